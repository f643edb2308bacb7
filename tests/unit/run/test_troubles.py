"""What a job that goes wrong remembers, and says at its end."""

from __future__ import annotations

from fleet.run import events as e
from fleet.run.answers import Refusal
from fleet.run.job_state import JobState
from fleet.run.model import CauseCode, Status
from fleet.run.state import Run
from tests.unit.run.driven import opened, sent
from tests.unit.run.factory import plan


def looked() -> tuple[Run, JobState]:
    """A run whose only job was accepted and is being looked at."""
    run = opened(plan(1))
    sent(run, 0, 1.0)
    run.apply(e.LookBegun(2.0, run.jobs[0].job.id))
    return run, run.jobs[0]


def test_a_failed_look_frees_the_job_for_the_next_and_is_remembered() -> None:
    """After a read that failed the job may be read again; if no answer comes in time, the last trouble is told."""
    run, state = looked()
    assert state.calling
    run.apply(e.LookFailed(3.0, state.job.id, status=503))
    assert (state.calling, state.looks) == (False, 1)
    run.apply(e.JobExpired(4.0, state.job.id))
    assert state.outcome is not None
    assert (state.outcome.status, state.outcome.cause.code) == (Status.UNKNOWN, CauseCode.NO_ANSWER)
    assert "(HTTP 503)" in state.outcome.cause.message


def test_an_operation_that_may_not_be_read_says_what_azure_said() -> None:
    """A job whose operation is forbidden or gone is unknown, with the service's code, its words and what to do."""
    run, state = looked()
    run.apply(e.ResultUnreadable(3.0, state.job.id, Refusal(403, "AuthorizationFailed", "no rights")))
    assert state.outcome is not None
    cause = state.outcome.cause
    assert (state.outcome.status, cause.code) == (Status.UNKNOWN, CauseCode.OPERATION_GONE)
    assert cause.message == "AuthorizationFailed: no rights"
    assert cause.hint.startswith("the script was started")
