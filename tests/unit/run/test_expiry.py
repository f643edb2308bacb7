"""Expiry: when a job that was sent, and one that was not, is given up."""

from __future__ import annotations

import pytest

from fleet.plan.model import JobId, Limits
from fleet.playbook.model import Transport
from fleet.run import effects as f
from fleet.run import events as e
from fleet.run.answers import LostReason, Refusal
from fleet.run.expiry import LAST_LOOK
from fleet.run.model import CauseCode
from tests.unit.run.driven import OPERATION, due, opened, sent
from tests.unit.run.factory import plan

DAY = 86_400.0
JOB = JobId(0)


def test_a_job_that_was_not_started_never_expires() -> None:
    """Stopping the launch ends a refused job for good: nothing more is said of it."""
    run = opened(plan(2))
    run.apply(e.SubmissionIntended(1.0, JobId(0), 1))
    run.apply(e.SubmissionRefused(1.0, JobId(0), Refusal(409, "Conflict", "in progress")))
    sent(run, 1, 1.0)
    run.apply(e.LaunchStopped(2.0, CauseCode.DEADLINE))
    assert f.Expire(JobId(0)) not in due(run, DAY)


def test_a_hint_never_outlasts_the_time_for_an_answer() -> None:
    """A job whose operation asks for a very long wait is looked at all the same before it is given up."""
    run = opened(plan(1))
    run.apply(e.SubmissionIntended(1.0, JobId(0), 1))
    run.apply(e.SubmissionAccepted(1.0, JobId(0), OPERATION, 999_999_999.0))
    assert due(run, 302.0) == [f.Look(JobId(0))]


def test_when_a_job_that_was_never_sent_is_given_up() -> None:
    """The time to deliver counts from its first submission, and again from the moment somebody takes the run over."""
    run = opened(plan(1, limits=Limits(deliver_timeout=100.0)), at=0.0)
    busy = Refusal(409, "Conflict", "in progress", 1000.0)
    run.apply(e.SubmissionIntended(50.0, JOB, 1))
    assert run.jobs[0].deadline is None, "what is on the wire is waited for"
    run.apply(e.SubmissionRefused(51.0, JOB, busy))
    assert run.jobs[0].deadline == 150.0
    assert run.next(149.9) == f.WaitUntil(150.0)
    assert run.next(150.0) == f.Expire(JOB)
    run.apply(e.RunOpened(400.0, 2))
    assert run.jobs[0].deadline == 500.0


def test_when_a_job_that_was_sent_is_given_up() -> None:
    """Its own time limit and a grace for the answer, from the submission that was accepted, and the grace again for who
    takes the run over; then a last look has its time.
    """
    limits = Limits(answer_grace=100.0)
    run = opened(plan(1, limits=limits))
    sent(run, 0, 50.0)
    assert run.jobs[0].deadline == 50.0 + 600.0 + 100.0 + LAST_LOOK
    run.apply(e.RunOpened(400.0, 2))
    assert run.jobs[0].deadline == 750.0 + LAST_LOOK
    run.apply(e.RunOpened(9000.0, 3))
    assert run.jobs[0].deadline == 9100.0 + LAST_LOOK


@pytest.mark.parametrize("lost", [False, True])
def test_a_job_is_looked_at_once_more_before_it_is_given_up(lost: bool) -> None:
    """However long Azure asked to wait: at the end of its time it is looked at, and given up with that look's answer."""
    run = opened(plan(1, limits=Limits(answer_grace=100.0)))
    run.apply(e.SubmissionIntended(50.0, JOB, 1))
    if lost:
        run.apply(e.SubmissionLost(50.0, JOB, LostReason.RESET))
        run.apply(e.FindBegun(51.0, JOB))
        run.apply(e.LookFailed(740.0, JOB, 503, 120.0))
    else:
        run.apply(e.SubmissionAccepted(740.0, JOB, OPERATION, 120.0))
    (asked,) = due(run, 750.0)
    assert isinstance(asked, f.Find if lost else f.Look) and run.jobs[0].due == 750.0
    run.apply(e.FindBegun(750.0, JOB) if lost else e.LookBegun(750.0, JOB))
    assert not isinstance(run.next(755.0), f.Expire), "the answer is awaited"
    run.apply(e.LookFailed(755.0, JOB, 500, None, "", "HTTP 500 boom"))
    assert run.next(755.0) == f.Expire(JOB)


def test_a_last_look_does_not_hurry_the_second_look_for_a_missing_command() -> None:
    """A script without a receipt is looked for twice, a minute apart, even where its time is over in between."""
    run = opened(plan(1, receipts=False, limits=Limits(answer_grace=100.0)))
    run.apply(e.SubmissionIntended(50.0, JOB, 1))
    run.apply(e.SubmissionLost(50.0, JOB, LostReason.RESET))
    run.apply(e.FindBegun(730.0, JOB))
    run.apply(e.CommandMissing(730.0, JOB))
    assert run.next(750.0) == f.WaitUntil(790.0) and run.next(790.0) == f.Find(JOB)
    run.apply(e.FindBegun(790.0, JOB))
    run.apply(e.CommandMissing(791.0, JOB))
    assert run.next(791.0) == f.Expire(JOB), "nothing is sent after its time"


def test_a_last_look_without_an_answer_does_not_hold_the_run() -> None:
    """It is waited for a minute."""
    run = opened(plan(1, limits=Limits(answer_grace=100.0)))
    sent(run, 0, 50.0)
    run.apply(e.LookBegun(750.0, JOB))
    assert run.next(809.0) == f.WaitUntil(810.0)
    assert run.next(810.0) == f.Expire(JOB)


def test_a_lost_submission_is_given_up_by_its_first_one() -> None:
    """Being sent again wins it no time: what arrived first may be running."""
    run = opened(plan(1, transport=Transport.ACTION, limits=Limits(answer_grace=100.0)))
    run.apply(e.SubmissionIntended(50.0, JOB, 1))
    run.apply(e.SubmissionLost(51.0, JOB, LostReason.RESET))
    assert run.jobs[0].deadline == 750.0
    run.apply(e.SubmissionIntended(60.0, JOB, 2))
    run.apply(e.SubmissionLost(61.0, JOB, LostReason.RESET))
    assert run.jobs[0].deadline == 750.0
