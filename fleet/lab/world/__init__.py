"""WHAT EXISTS IN THE LAB and what happens there: machines, commands, operations, time. Pure.

In scope: the lab file, the world made of it, how executions go.
Out of scope: requests and their form, which are in ``lab.arm``; real sandboxes, which are in ``lab.guests``.
"""
