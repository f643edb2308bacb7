"""ASKS A VM BESIDE A RUN: its kept output, its processes, what its script prints.

In scope: questions to a VM and their retries.
Out of scope: the scripts that ask, which are in ``guest``; what a run asks of its own jobs, which is in ``engine``.
"""
