"""WHAT STANDS IN THE WAY: rights, compatibility, locks and other patchers, before anything is sent. Pure.

In scope: facts that were read, and findings drawn from them.
Out of scope: reading the facts, which is in ``azure``; the plan itself, which is in ``plan``.
"""
