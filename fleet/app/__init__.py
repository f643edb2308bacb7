"""THE USE CASES: what a terminal, a service or a program asks Fleet for, over an open cloud.

In scope: putting the parts together, one function or method for each request. Out of scope: what a person types and sees,
which is in ``cli``; decisions, which are in the pure packages.
"""
