"""THE TERMINAL: verbs, flags, progress, exit codes.

One short module per family of verbs, imported only when its verb is used. Does not: putting parts together
(``app``).
"""
