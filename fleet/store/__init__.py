"""MEMORY: the durable journal of each run, and the folder of runs.

Belongs here: how events are kept, fenced and read back. Does not: what an event means (``run/``).
"""
