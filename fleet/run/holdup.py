"""What a run waits for before it can start or read more."""

from __future__ import annotations

from enum import StrEnum


class Holdup(StrEnum):
    """What holds a run's pace back at one moment."""

    NOTHING = "nothing"
    """More is started or read as fast as it can be sent."""
    BUDGET = "budget"
    """What is in flight could spend all that the failure budget has left."""
    SLOW_START = "slow start"
    RATE = "rate"
    """As many VMs as the rollout's rate allows have started a moment ago."""
    CONCURRENCY = "concurrency"
    STEP = "step"
    """Every job that waits is of a step that runs on as many VMs as it may."""
    SPREAD = "spread"
    """Every VM that waits is of a group that has as many at work as it may."""
    WRITES = "ARM writes"
    READS = "ARM reads"
    SCRIPTS = "scripts"
    """All that may start has started: the scripts that run decide."""
