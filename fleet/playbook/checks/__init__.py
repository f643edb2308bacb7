"""CHECKS OF A PLAYBOOK that no single key can make. Pure.

In scope: what values, steps, transports and gates mean to each other.
Out of scope: the form of single keys, which is in ``playbook.keys``.
"""
