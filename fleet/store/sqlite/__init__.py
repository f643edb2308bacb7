"""THE EMBEDDED STORE: runs in folders, each with its journal in SQLite.

In scope: files, tables, locks, leases and their errors as sentences.
Out of scope: what the rows mean, which is in ``run``.
"""
