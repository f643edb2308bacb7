"""WHO: targets, selectors, expansion, and names folded for people. Pure.

Belongs here: what a target is, how a selector is understood and explained, how rows become a sorted target
set, how names are folded. Does not: asking Azure for rows (``azure/inventory.py``), waves
(``plan/build.py``).
"""
