"""Which jobs have ended since the last look: what the live picture counts and the stream of rows tells."""

from __future__ import annotations

from fleet.plan.model import JobId
from fleet.run.events import Event
from fleet.run.state import Run


class Endings:
    """Follows a run by its events, so that nobody has to look at every job each time. Names each ending once.

    One event may end many jobs: later steps with an earlier one, and everything that waits when launching stops.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._observed = run.applied
        self._told = len(run.endings)

    def since(self, event: Event) -> list[JobId]:
        """Return the jobs that ended with this event, in the order of the plan. To be given every event, in order."""
        self._observed += 1
        first = self._told
        while self._told < len(self._run.endings) and self._run.endings[self._told][1] <= self._observed:
            self._told += 1
        return sorted(job for job, _ in self._run.endings[first : self._told])
