"""Trials of Fleet itself: ``python -m tests.verification``. Not part of the wheel.

In scope: scenarios made from seeds, kills at every write, the reference model of the promises, the checker of the
invariants. Out of scope: tests of single modules, which are in ``tests/unit``.
"""
