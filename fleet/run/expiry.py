"""When a job's time is over, and the last look before that.

A job that Azure accepted is looked at once more when its time limit and the grace are over, however long Azure asked to
wait: it is never given up unseen. If that look has no answer within :data:`LAST_LOOK`, the job is given up without it.
"""

from __future__ import annotations

from fleet.plan.model import Limits
from fleet.run import reboot
from fleet.run.job_state import JobState
from fleet.run.model import Phase

LAST_LOOK = 60.0
"""Seconds that the last look may take, the wait for its turn included."""

_READ = (Phase.RUNNING, Phase.FINDING)


def cutoff(state: JobState, opened: float, limits: Limits) -> float | None:
    """Return when the job's time is over; None while that is not counted.

    Time in which the run had no owner does not count: the run was ``opened`` then, and looks first.
    """
    first = state.first_intended
    if first is None or state.phase in (Phase.SUBMITTING, Phase.DONE):
        return None
    deliver, grace = reboot.bounds(state.job.step, limits)
    if state.phase is Phase.WAITING and not state.possibly_sent:
        return max(first, opened) + deliver
    sent = state.intended if state.phase is Phase.RUNNING and state.intended is not None else first
    return max(sent + state.job.step.timeout, opened) + grace


def give_up_at(state: JobState, cutoff: float | None) -> float | None:
    """Return when the job is given up: later than its ``cutoff`` while its last look has no answer."""
    if cutoff is None or state.phase not in _READ or state.looked_at >= cutoff:
        return cutoff
    return cutoff + LAST_LOOK


def is_too_late(state: JobState, cutoff: float | None) -> bool:
    """Whether the job's next look would come after its ``cutoff``, at which it must be made.

    Not where a command was missing: the second look for it must not come sooner, or a script that arrives late runs twice.
    """
    waits = state.phase is Phase.FINDING and state.missing > 0
    return cutoff is not None and state.phase in _READ and not waits and state.looked_at < cutoff < state.due
