"""What a run counts: requests and their answers, and how each of its jobs stands."""

from __future__ import annotations

from typing import NamedTuple, TypeGuard, get_args

from fleet.run import events as e
from fleet.run.job_state import JobState
from fleet.run.limits import LaneRates
from fleet.run.model import Phase

CALLS = frozenset({e.SubmissionIntended, e.LookBegun, e.FindBegun, e.RemovalBegun})
Answer = (
    e.SubmissionAccepted
    | e.SubmissionRefused
    | e.SubmissionLost
    | e.CommandFound
    | e.CommandMissing
    | e.ResultReceived
    | e.ResultFailed
    | e.ResultUnreadable
    | e.AnswerUnusable
    | e.SeenRunning
    | e.LookFailed
    | e.AgentSeen
    | e.CommandRemoved
    | e.RemovalFailed
)
"""What ends a call about a job."""

_ANSWERS = frozenset(get_args(Answer))


def is_end_of_call(event: e.Event) -> TypeGuard[Answer]:
    """Whether a call ended: with an answer, or without one."""
    return type(event) in _ANSWERS


def is_answer(event: e.Event) -> bool:
    """Whether something came back: not where an answer was lost."""
    if isinstance(event, (e.LookFailed, e.RemovalFailed)):
        return event.status != 0
    return type(event) in _ANSWERS and not isinstance(event, e.SubmissionLost)


def count_call(rates: LaneRates, event: e.Event) -> None:
    """Count a call about a job where Azure counts it, and hold up what shares a limit that refused one."""
    if isinstance(event, e.SubmissionIntended):
        rates.submitted(event.at)
    elif isinstance(event, (e.LookBegun, e.FindBegun)):
        rates.read(event.at)
    elif isinstance(event, e.SubmissionRefused) and event.refusal.status == 429:
        rates.refused_submission(event.at, event.refusal.retry_after, event.refusal.code)
    elif isinstance(event, e.LookFailed) and event.status == 429:
        rates.refused_read(event.at, event.retry_after, event.code)


def count_answer(rates: LaneRates, state: JobState, event: Answer) -> None:
    """Count the end of a call that is open as the job stands; an event that ends none changes nothing."""
    if isinstance(event, (e.CommandRemoved, e.RemovalFailed)):
        if state.removing:
            rates.removal_answered(event.at)
    elif state.phase is Phase.SUBMITTING:
        rates.submission_answered(event.at)
    elif state.calling:
        rates.read_answered(event.at)


class Counted(NamedTuple):
    """What of a job the run counts."""

    in_flight: bool
    held_back: bool
    tried: bool
    reserves: bool

    @classmethod
    def of(cls, state: JobState) -> Counted:
        return cls(state.in_flight, state.held_back, state.tried, state.reserves)
