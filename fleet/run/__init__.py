"""WHAT IS HAPPENING: the fold of events into a run, and every decision about it. Pure.

``Run.next(now)`` only reads and returns an effect; ``Run.apply(event)`` only writes. Belongs here: the life of a job,
limits, retries, polling, budgets, cancellation. Does not: doing anything (``engine/``), keeping events (``store/``).
"""
