"""Deleting the managed commands of a job's ended tries, one at a time, and what stays of them.

A delete is safe to repeat. One that a person must make possible first, because a right is missing, a policy forbids it or a
lock covers the VM, is not repeated: the command stays on its VM, and the report says why.
"""

from __future__ import annotations

from fleet.run import events as e
from fleet.run.answers import Refusal
from fleet.run.diagnosis import diagnose, is_settled
from fleet.run.job_state import JobState
from fleet.run.model import Cause, CauseCode, Phase, Status
from fleet.run.retry import backoff, said

REMOVAL_TRIES = 5
"""A managed command that cannot be deleted after this many tries stays on its VM."""


def plan_removal(state: JobState, at: float) -> None:
    """Have the managed command of the job's present try deleted, after those of earlier ones."""
    if state.retry not in state.removals:
        state.removals.append(state.retry)
    state.removal_due = at if state.removal_due is None else state.removal_due


def forget_removal(state: JobState, at: float, retry: int) -> None:
    """The managed command of a try is gone, or stays for good; on to the next."""
    state.undeleted.pop(retry, None)
    state.removals = [other for other in state.removals if other != retry]
    state.removal_due = at if state.removals else None
    state.removing, state.removal_tries = False, 0


def note_failure(state: JobState, event: e.RemovalFailed) -> bool:
    """Take over that a delete failed. Return whether the command now stays on its VM; if not, it is tried again later."""
    state.removing = False
    if not state.removals:
        return False
    state.removal_tries += 1
    refusal = Refusal(event.status, event.code, event.message)
    if state.removal_tries >= REMOVAL_TRIES or is_settled(refusal):
        gone = state.removals[0]
        forget_removal(state, event.at, gone)
        state.undeleted[gone] = _cause(refusal)
        if gone == state.retry:
            state.removal_tries = REMOVAL_TRIES
        return True
    state.removal_due = event.at + max(backoff(state.removal_tries, state.salt), event.retry_after or 0.0)
    return False


def try_anew(state: JobState, at: float) -> None:
    """Plan again, for a new owner, the deletes that did not work: a person may have removed the lock since."""
    state.removal_tries = 0
    anew = [retry for retry in state.undeleted if state.phase is Phase.DONE or retry != state.retry]
    for retry in anew:
        del state.undeleted[retry]
    if anew:
        state.removals = [*anew, *(retry for retry in state.removals if retry not in anew)]
        state.removal_due = at


def _cause(refusal: Refusal) -> Cause:
    if refusal.status == 0:
        return Cause(CauseCode.NO_ANSWER, refusal.message or "the delete had no usable answer")
    found = diagnose(refusal)
    return Cause(found.cause, said(refusal), found.hint)


def may_be_removed(state: JobState) -> bool:
    """Whether an ended job's managed command is deleted: that would end a script that still runs. A cancelled one is gone.

    One that had not started and whose agent is not ready is deleted, because it would otherwise start hours later.
    """
    outcome = state.outcome
    assert outcome is not None
    over = outcome.status is not Status.CANCELLED and not outcome.may_still_run
    return over or state.start.given_up or state.reported_its_end
