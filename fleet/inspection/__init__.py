"""ASKS A VM BESIDE A RUN: its kept output, its processes, what its script prints.

In scope: questions to a VM, under the rates that runs share, as often as ``run/retry`` allows.
Out of scope: the scripts that ask, which are in ``guest``; what a run asks of its own jobs, which is in ``engine``.
"""
