"""What a run counts: requests and their answers, and how each of its jobs stands."""

from __future__ import annotations

from typing import NamedTuple

from fleet.run import events as e
from fleet.run.job_state import JobState

CALLS = frozenset({e.SubmissionIntended, e.LookBegun, e.FindBegun, e.RemovalBegun})
ANSWERS = frozenset(
    {
        e.SubmissionAccepted,
        e.SubmissionRefused,
        e.SubmissionLost,
        e.CommandFound,
        e.CommandMissing,
        e.ResultReceived,
        e.ResultFailed,
        e.ResultUnreadable,
        e.AnswerUnusable,
        e.SeenRunning,
        e.LookFailed,
        e.AgentSeen,
        e.CommandRemoved,
        e.RemovalFailed,
    }
)


def is_answer(event: e.Event) -> bool:
    """Whether something came back: not where an answer was lost."""
    if isinstance(event, (e.LookFailed, e.RemovalFailed)):
        return event.status != 0
    return type(event) in ANSWERS and not isinstance(event, e.SubmissionLost)


class Counted(NamedTuple):
    """What of a job the run counts."""

    in_flight: bool
    held_back: bool
    tried: bool
    reserves: bool

    @classmethod
    def of(cls, state: JobState) -> Counted:
        return cls(state.in_flight, state.held_back, state.tried, state.reserves)
