"""THE VERBS, each in the module of its name or of its group.

In scope: flags, questions and output of a verb.
Out of scope: use cases, which are in ``app``; what several verbs share, which is in ``cli``.
"""
