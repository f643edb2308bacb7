"""WHAT HAPPENED: a run aggregated into a report, and its renderings. Pure.

Belongs here: the report's model, its aggregation and one module per rendering; renderers do not know each
other.
Does not: deciding an outcome (``run/job.py``), writing files (``app``).
"""
