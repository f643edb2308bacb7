"""SETTINGS: the table of keys, and where each value comes from.

In scope: keys, defaults, sources and their order.
Out of scope: flags of single verbs, which are in ``cli``.
"""
