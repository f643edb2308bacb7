"""Which running jobs take far longer than their like: the same step, in the same wave, as far as it has ended.

A job is a straggler when it is older than Tukey's outer fence of the durations seen (third quartile plus three times the
distance between the quartiles). Where all took about the same time that fence is very near, so a straggler is also at
least twice as old as the median, and ``LEAST`` seconds older.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import quantiles

from fleet.plan.model import JobId
from fleet.run.job_state import JobState
from fleet.run.model import Phase

ENOUGH = 8
"""So many of a wave's jobs must have ended before anything is said about the others."""
LEAST = 10.0


@dataclass(frozen=True, slots=True)
class Straggler:
    """A running job, how long it has been running, and what is usual in its wave; both in seconds."""

    job: JobId
    age: float
    usual: float


def stragglers(jobs: Iterable[JobState], now: float) -> tuple[Straggler, ...]:
    """Find the jobs that run far longer than those of their step and wave that have ended, the oldest first."""
    running: dict[tuple[str, int], list[JobState]] = defaultdict(list)
    took: dict[tuple[str, int], list[float]] = defaultdict(list)
    for state in jobs:
        kin = (state.job.step.id, state.job.wave)
        if state.phase is Phase.RUNNING and state.intended is not None:
            running[kin].append(state)
        elif state.operation is not None and state.ended is not None and state.intended is not None:
            took[kin].append(state.ended - state.intended)
    found = [
        Straggler(state.job.id, now - state.intended, usual)
        for kin, states in running.items()
        if len(took[kin]) >= ENOUGH
        for usual, fence in [_fence(took[kin])]
        for state in states
        if state.intended is not None and now - state.intended > fence
    ]
    return tuple(sorted(found, key=lambda straggler: (-straggler.age, straggler.job)))


def _fence(durations: Sequence[float]) -> tuple[float, float]:
    """The median, and the age beyond which a job is a straggler."""
    first, median, third = quantiles(durations, n=4, method="inclusive")
    return median, max(third + 3 * (third - first), 2 * median, median + LEAST)
