"""Who may go next, and when to look again: one lane per subscription and region.

ARM limits each subscription, Compute each subscription and region, so lanes share nothing but a subscription's ARM
rates, and going round the lanes interleaves subscriptions from the first second. A lane holds its jobs in heaps by due
moment; an entry is stale once its job has moved on, and stale tops are dropped when the run is written, never when it
is read.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fleet.plan.model import JobId
from fleet.run.job import JobState
from fleet.run.limits import LaneRates
from fleet.run.model import Phase

Entry = tuple[float, JobId]


@dataclass(slots=True)
class Lane:
    """The jobs of one subscription and region, by what they wait for."""

    subscription: str
    location: str
    rates: LaneRates
    launches: list[Entry] = field(default_factory=list)
    """Released jobs of which nothing was sent."""
    resends: list[Entry] = field(default_factory=list)
    """Jobs whose submission may have arrived and is safely sent again; they hold their slot already."""
    looks: list[Entry] = field(default_factory=list)
    """Running jobs, and lost ones to be found."""
    removals: list[Entry] = field(default_factory=list)
    """Managed commands to delete."""

    def index(self, state: JobState) -> None:
        """Enter a job where it now belongs."""
        entry = (state.due, state.job.id)
        if state.phase is Phase.WAITING:
            heapq.heappush(self.resends if state.possibly_sent else self.launches, entry)
        elif state.phase in (Phase.RUNNING, Phase.FINDING) and not state.calling:
            heapq.heappush(self.looks, entry)
        if state.removal_due is not None and not state.removing:
            heapq.heappush(self.removals, (state.removal_due, state.job.id))

    def settle(self, jobs: Sequence[JobState]) -> None:
        """Drop stale tops, so that whoever reads sees true ones."""
        _drop(self.launches, lambda e: _waits(jobs[e[1]], e) and not jobs[e[1]].possibly_sent)
        _drop(self.resends, lambda e: _waits(jobs[e[1]], e) and jobs[e[1]].possibly_sent)
        _drop(self.looks, lambda e: _is_looked_at(jobs[e[1]], e))
        _drop(self.removals, lambda e: jobs[e[1]].removal_due == e[0] and not jobs[e[1]].removing)

    def launch_at(self) -> float | None:
        return max(self.launches[0][0], self.rates.submit_at()) if self.launches else None

    def resend_at(self) -> float | None:
        return max(self.resends[0][0], self.rates.submit_at()) if self.resends else None

    def look_at(self) -> float | None:
        return max(self.looks[0][0], self.rates.read_at()) if self.looks else None

    def removal_at(self) -> float | None:
        """Lowest priority: while jobs wait for the same bucket, they go first."""
        if not self.removals:
            return None
        return max(self.removals[0][0], self.rates.remove_at())


def _drop(heap: list[Entry], is_true: Callable[[Entry], bool]) -> None:
    while heap and not is_true(heap[0]):
        heapq.heappop(heap)


def _waits(state: JobState, entry: Entry) -> bool:
    return state.phase is Phase.WAITING and state.due == entry[0]


def _is_looked_at(state: JobState, entry: Entry) -> bool:
    return state.phase in (Phase.RUNNING, Phase.FINDING) and not state.calling and state.due == entry[0]
