"""WHAT WILL HAPPEN: frozen targets x steps = jobs in waves, with digests and an estimate. Pure.

Belongs here: everything that is decided before the first request. Does not: what happens afterwards (``run/``).
"""
