"""Which jobs wait for another run to be done with their VMs, folded by that run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from fleet.clock import iso
from fleet.run.job_state import JobState
from fleet.targets.folding import fold


@dataclass(frozen=True, slots=True)
class LeaseWait:
    """VMs that wait for one run. ``until`` (epoch seconds) is when its last lease of them is void at the latest."""

    run_id: str
    until: float
    names: tuple[str, ...]

    def __str__(self) -> str:
        verb = "waits" if len(self.names) == 1 else "wait"
        return f"{fold(self.names)}: {verb} for run {self.run_id} until {clock(self.until)}"


def lease_waits(jobs: Iterable[JobState]) -> tuple[LeaseWait, ...]:
    """Find the VMs that wait for other runs, those of the run with most of them first."""
    found: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for state in jobs:
        if (refusal := state.waits_for_lease) is not None:
            found[refusal.holder][state.job.target.name] = refusal.until or 0.0
    waits = [LeaseWait(run_id, max(until.values()), tuple(until)) for run_id, until in found.items()]
    return tuple(sorted(waits, key=lambda wait: (-len(wait.names), wait.run_id)))


def clock(moment: float) -> str:
    """Say the time of a moment that is near: ``17:55 UTC``."""
    return f"{iso(moment)[11:16]} UTC"
