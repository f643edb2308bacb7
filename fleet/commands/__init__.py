"""MANAGED COMMANDS ON VMS: what is known of one, whose it is, and one change on many. Pure.

In scope: names, owners and leftovers of managed commands, bulk changes.
Out of scope: the command of a job, which is in ``run``; calls, which are in ``azure``.
"""
