"""REHEARSES A RUN: the real plan, engine and wire against a pretend fleet, in virtual time.

In scope: virtual time, the network in memory and its faults, the pretend fleet that a playbook selects, one rehearsed run.
Out of scope: what the engine does, which is in ``run/`` and ``engine/``; what Azure answers, which is in ``lab/``; trials of
Fleet itself, which are not part of the wheel.
"""
