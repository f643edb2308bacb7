"""WHAT WAS ASKED: the playbook's model, its one table of keys, and the loader. Pure.

Belongs here: every key a playbook may have, what is wrong with a given text, values for parameters. Does not:
opening files (the caller hands in a reader), turning a playbook into jobs (``plan/build.py``).
"""
