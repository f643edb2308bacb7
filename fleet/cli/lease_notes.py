"""Says on stderr, where no live picture is drawn, which VMs wait for other runs: each once, many on one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleet.plan.model import JobId
    from fleet.run.events import Event
    from fleet.run.state import Run

GATHER = 1.0
"""Seconds over which VMs that begin to wait are told together."""


class LeaseNotes:
    """Follows a run by its events; ``say`` is called with each line."""

    def __init__(self, run: Run, say: Callable[[str], None]) -> None:
        self._run = run
        self._say = say
        self._said: set[tuple[str, str]] = set()
        """Targets and the runs that they were said to wait for."""
        self._fresh: set[JobId] = set()
        self._since = 0.0

    def observe(self, event: Event) -> None:
        """Take one event; say what has gathered."""
        from fleet.run.answers import LEASED
        from fleet.run.events import SubmissionRefused
        from fleet.run.waits import lease_waits

        if isinstance(event, SubmissionRefused) and event.refusal.status == 0 and event.refusal.code == LEASED:
            key = (self._run.jobs[event.job].job.target.key, event.refusal.holder)
            if key not in self._said:
                self._said.add(key)
                self._since = self._since if self._fresh else event.at
                self._fresh.add(event.job)
        if self._fresh and event.at >= self._since + GATHER:
            for wait in lease_waits(self._run.jobs[job] for job in sorted(self._fresh)):
                self._say(str(wait))
            self._fresh.clear()
