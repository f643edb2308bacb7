"""THE TABLE OF A PLAYBOOK'S KEYS: what may be written, what it means, its default and an example. Pure.

In scope: keys and their form.
Out of scope: what several keys mean together, which is in ``playbook.checks``; the checked playbook,
which is in ``playbook.model``.
"""
