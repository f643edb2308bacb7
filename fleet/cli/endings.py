"""Which jobs have ended since the last look: what the live picture counts and the stream of rows tells."""

from __future__ import annotations

from collections.abc import Iterable

from fleet.plan.model import JobId
from fleet.run.events import Event, LaunchStopped, RunCancelled, RunOpened, WaveRejected
from fleet.run.model import Phase
from fleet.run.state import Run


class Endings:
    """Follows a run by its events, so that nobody has to look at every job each time. Names each ending once."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._open = {state.job.id for state in run.jobs if state.phase is not Phase.DONE}

    def since(self, event: Event) -> list[JobId]:
        """Return the jobs that ended with this event, in the order of the plan."""
        ended = [job for job in self._touched(event) if self._run.jobs[job].phase is Phase.DONE]
        self._open.difference_update(ended)
        return ended

    def _touched(self, event: Event) -> Iterable[JobId]:
        if isinstance(event, (LaunchStopped, RunCancelled, RunOpened, WaveRejected)):
            return sorted(self._open)
        job = getattr(event, "job", None)
        if job is None:
            return ()
        # The end of a step may end the target's later steps with it.
        left = len(self._run.plan.steps) - self._run.plan.step_index(job)
        return [JobId(job + step) for step in range(left) if job + step in self._open]
