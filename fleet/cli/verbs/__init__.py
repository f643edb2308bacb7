"""THE VERBS, each in the module of its name or of its group.

In scope: flags, questions and output of a verb.
What only the work of a verb needs is imported in its functions, so that help and completion load the flags alone.
Out of scope: use cases, which are in ``app``; what several verbs share, which is in ``cli``.
"""
