"""What a stopped run no longer does, and what a single bad VM cannot do to the others."""

from __future__ import annotations

from fleet.plan.model import JobId, Limits, Plan
from fleet.playbook.model import Transport
from fleet.run import effects as f
from fleet.run import events as e
from fleet.run.answers import LostReason, Refusal
from fleet.run.model import CauseCode, Phase, Status
from fleet.run.state import Run
from tests.unit.run.driven import OPERATION, due, ended, opened, sent
from tests.unit.run.factory import plan

FIRST, SECOND = JobId(0), JobId(1)
BUSY = Refusal(409, "Conflict", "Run command extension execution is in progress.")
UNSIGNED = Refusal(401, "ExpiredAuthenticationToken", "The access token has expired.")


def lost(made: Plan) -> Run:
    """A run whose first submission left, and whose answer never came."""
    run = opened(made)
    run.apply(e.SubmissionIntended(0.0, FIRST, 1))
    run.apply(e.SubmissionLost(1.0, FIRST, LostReason.RESET))
    return run


def test_a_lost_submission_is_not_sent_again_after_a_person_stopped_the_run() -> None:
    """The run halts with it, and the next owner sends it: what never arrived does not begin after a stop."""
    run = lost(plan(1, transport=Transport.ACTION))
    run.apply(e.StopRequested(2.0, e.StopKind.SOFT))
    assert isinstance(run.next(600.0), f.Halt)
    run.apply(e.RunOpened(700.0, 2))
    assert run.next(700.0) == f.Submit(FIRST, 2)


def test_a_lost_submission_is_not_sent_again_after_the_deadline() -> None:
    """Once launching has stopped for good it ends unknown, which says that nobody sent it again."""
    run = lost(plan(1, transport=Transport.ACTION, limits=Limits(deadline=60.0)))
    run.apply(e.LaunchStopped(60.0, CauseCode.DEADLINE, "the run's deadline passed"))
    outcome = run.jobs[FIRST].outcome
    assert outcome is not None
    assert (outcome.status, outcome.cause.code) == (Status.UNKNOWN, CauseCode.ANSWER_LOST)
    assert run.in_flight == run.held_back == 0


def test_a_lost_managed_command_is_looked_for_after_the_deadline_and_not_sent() -> None:
    """Looking is free; that it is not there ends the job instead of sending it."""
    run = lost(plan(1, limits=Limits(deadline=60.0)))
    run.apply(e.LaunchStopped(60.0, CauseCode.DEADLINE))
    assert run.next(60.0) == f.Find(FIRST)
    run.apply(e.FindBegun(60.0, FIRST))
    run.apply(e.CommandMissing(61.0, FIRST))
    assert run.jobs[FIRST].outcome is not None
    assert run.jobs[FIRST].outcome.status is Status.UNKNOWN


def test_a_refused_submission_is_not_tried_again_after_the_deadline() -> None:
    """What was on the wire when launching stopped, and was refused, was not started."""
    run = opened(plan(1))
    run.apply(e.SubmissionIntended(0.0, FIRST, 1))
    run.apply(e.LaunchStopped(1.0, CauseCode.DEADLINE))
    run.apply(e.SubmissionRefused(2.0, FIRST, BUSY))
    assert run.jobs[FIRST].outcome is not None
    assert run.jobs[FIRST].outcome.status is Status.NOT_STARTED


def test_a_busy_vm_reserves_its_part_of_a_strict_budget() -> None:
    """While one VM may yet be out of reach, a budget of none lets no other begin; the busy one is tried again."""
    run = opened(plan(3, receipts=False, limits=Limits(max_unreachable=0)))
    assert due(run, 0.0) == [f.Submit(FIRST, 1)]
    run.apply(e.SubmissionRefused(1.0, FIRST, BUSY))
    assert due(run, 60.0) == [f.Submit(FIRST, 2)]
    run.apply(e.SubmissionAccepted(61.0, FIRST, OPERATION))
    ended(run, FIRST, 70.0)
    assert f.Submit(SECOND, 1) in due(run, 70.0)


def unsigned(run: Run, job: JobId, at: float) -> None:
    """A job that Azure refuses to sign in until it gives up."""
    while run.jobs[job].phase is not Phase.DONE:
        run.apply(e.SubmissionIntended(at, job, run.jobs[job].attempt + 1))
        run.apply(e.SubmissionRefused(at, job, UNSIGNED))
        at += 1.0


def test_one_vm_that_refuses_the_sign_in_does_not_end_the_run() -> None:
    """As long as others are accepted the credential is good: only that VM is unreachable."""
    run = opened(plan(3))
    run.apply(e.SubmissionIntended(0.0, FIRST, 1))
    sent(run, SECOND, 1.0)
    run.apply(e.SubmissionRefused(2.0, FIRST, UNSIGNED))
    unsigned(run, FIRST, 3.0)
    outcome = run.jobs[FIRST].outcome
    assert outcome is not None
    assert outcome.cause.code is CauseCode.UNAUTHENTICATED
    assert not any(isinstance(effect, f.StopLaunching) for effect in due(run, 10.0))


def test_a_sign_in_that_nobody_accepts_ends_the_run() -> None:
    """When nothing was accepted since the job began, nothing more can be sent."""
    run = opened(plan(3))
    unsigned(run, FIRST, 0.0)
    assert any(isinstance(effect, f.StopLaunching) for effect in due(run, 10.0))


def test_a_vm_that_is_gone_while_its_command_is_looked_for_ends_the_search() -> None:
    """Nobody polls a deleted VM until the time is over."""
    run = lost(plan(1))
    run.apply(e.FindBegun(2.0, FIRST))
    run.apply(e.ResultUnreadable(3.0, FIRST, Refusal(404, "ResourceNotFound", "no such VM")))
    outcome = run.jobs[FIRST].outcome
    assert outcome is not None
    assert (outcome.status, outcome.cause.code) == (Status.UNKNOWN, CauseCode.OPERATION_GONE)
    assert "whether the script was started is not known" in outcome.cause.hint
