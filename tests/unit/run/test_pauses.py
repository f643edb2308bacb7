"""When a run does something again: looks, tries, removals, and the moments at which it gives up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.plan.model import JobId, Limits, Plan
from fleet.playbook.model import Transport
from fleet.run import effects as f
from fleet.run import events as e
from fleet.run.answers import Answer, LostReason, Refusal
from fleet.run.limits import ARM_DELETES, ARM_READS, ARM_WRITES
from fleet.run.model import CauseCode, Phase, Status
from fleet.run.retry import backoff
from fleet.run.state import FORBIDDEN, REMOVAL_TRIES, Run
from tests.unit.run.driven import OPERATION, due, ended, opened, sent
from tests.unit.run.factory import plan

JOB = JobId(0)
TOO_MANY = "SubscriptionRequestsThrottled"


def left(run: Run, at: float) -> tuple[int, int, int]:
    """How many writes, reads and deletes the run's one subscription allows at once."""
    (lane,) = run._lanes
    arm = lane.rates.arm
    return arm.writes.left(at), arm.reads.left(at), arm.deletes.left(at)


def test_every_call_is_counted_where_it_costs() -> None:
    """A submission is a write, a look and a find are reads, a removal is a delete, and nothing else costs anything."""
    writes, reads, deletes = ARM_WRITES[0], ARM_READS[0], ARM_DELETES[0]
    run = opened(plan(1, receipts=False))
    assert left(run, 1000.01) == (writes, reads, deletes)
    run.apply(e.SubmissionIntended(1000.0, JOB, 1))
    assert left(run, 1000.01) == (writes - 1, reads, deletes)
    run.apply(e.SubmissionLost(1000.0, JOB, LostReason.RESET))
    run.apply(e.FindBegun(1000.0, JOB))
    assert left(run, 1000.01) == (writes - 1, reads - 1, deletes)
    run.apply(e.CommandFound(1000.0, JOB, OPERATION))
    run.apply(e.LookBegun(1000.0, JOB))
    assert left(run, 1000.01) == (writes - 1, reads - 2, deletes)
    run.apply(e.ResultReceived(1000.0, JOB, Answer("Succeeded", "", 0)))
    run.apply(e.RemovalBegun(1000.0, JOB))
    assert left(run, 1000.01) == (writes - 1, reads - 2, deletes - 1)


@pytest.mark.parametrize("status", [429, 503])
def test_a_throttled_call_holds_up_what_shares_its_limit(status: int) -> None:
    """Only 429 says that a limit was met; any other failure holds nobody else up."""
    throttled = status == 429
    run = opened(plan(1, receipts=False))
    run.apply(e.SubmissionIntended(1000.0, JOB, 1))
    run.apply(e.SubmissionRefused(1000.0, JOB, Refusal(status, TOO_MANY, "", 60.0)))
    assert (left(run, 1059.0)[0] == 0) == throttled
    run = opened(plan(1, receipts=False))
    sent(run, 0, 1000.0)
    run.apply(e.LookBegun(1001.0, JOB))
    run.apply(e.LookFailed(1001.0, JOB, status, 60.0, TOO_MANY))
    assert (left(run, 1060.0)[1] == 0) == throttled
    run = opened(plan(1, receipts=False))
    sent(run, 0, 1000.0)
    ended(run, 0, 1001.0)
    run.apply(e.RemovalBegun(1002.0, JOB))
    run.apply(e.RemovalFailed(1002.0, JOB, status, 60.0, TOO_MANY))
    assert (left(run, 1061.0)[2] == 0) == throttled


def removing(**more: object) -> Run:
    run = opened(plan(1, receipts=False, **more))  # type: ignore[arg-type]
    sent(run, 0, 1.0)
    ended(run, 0, 2.0)
    return run


def test_a_removal_is_tried_five_times() -> None:
    """After pauses that grow, or the one the service asks for; then the command stays, and is told."""
    assert (REMOVAL_TRIES, FORBIDDEN) == (5, 403)
    run = removing()
    at = 2.0
    for tries in range(1, 5):
        assert run.next(at) == f.Remove(JOB)
        run.apply(e.RemovalBegun(at, JOB))
        assert run.jobs[0].removing
        asked = 500.0 if tries == 2 else None
        run.apply(e.RemovalFailed(at, JOB, 503, asked))
        assert (run.jobs[0].removing, run.jobs[0].removal_tries, run.leftovers) == (False, tries, [])
        at += asked or backoff(tries, "0")
        assert run.next(at - 0.001) == f.WaitUntil(at)
    run.apply(e.RemovalBegun(at, JOB))
    run.apply(e.RemovalFailed(at, JOB, 503))
    assert (run.leftovers, run.next(at)) == ([JOB], f.Finish())


def test_a_removal_that_is_forbidden_is_not_tried_again() -> None:
    """The credential may run commands and not delete them: the command stays, and is told at once."""
    run = removing()
    run.apply(e.RemovalBegun(2.0, JOB))
    run.apply(e.RemovalFailed(2.0, JOB, 403))
    assert (run.leftovers, run.next(2.0)) == ([JOB], f.Finish())


def test_a_try_that_follows_has_its_command_removed_after_the_one_before() -> None:
    """In the order of the tries, one at a time, each counted anew."""
    made = plan(1, receipts=False)
    flow = replace(made.steps[0].flow, retries=1, retry_delay=50.0)
    run = opened(replace(made, steps=(replace(made.steps[0], flow=flow),)))
    sent(run, 0, 1.0)
    ended(run, 0, 2.0, exit_code=1)
    assert (run.jobs[0].removals, run.jobs[0].removal_due, run.next(2.0)) == ([0], 2.0, f.Remove(JOB))
    run.apply(e.RemovalBegun(3.0, JOB))
    run.apply(e.RemovalFailed(3.0, JOB, 503, 100.0))
    assert run.next(51.9) == f.WaitUntil(52.0)
    assert run.next(52.0) == f.Submit(JOB, 2, retry=1)
    sent(run, 0, 52.0)
    ended(run, 0, 60.0)
    assert (run.jobs[0].removals, run.jobs[0].removal_due) == ([0, 1], 103.0)
    run.apply(e.RemovalBegun(103.0, JOB))
    run.apply(e.CommandRemoved(104.0, JOB, retry=0))
    assert (run.jobs[0].removals, run.jobs[0].removal_due, run.jobs[0].removal_tries) == ([1], 104.0, 0)
    assert (run.jobs[0].removed, run.next(104.0)) == (False, f.Remove(JOB))
    run.apply(e.RemovalBegun(104.0, JOB))
    run.apply(e.CommandRemoved(105.0, JOB, retry=1))
    assert (run.jobs[0].removals, run.jobs[0].removal_due, run.jobs[0].removed) == ([], None, True)


@pytest.mark.parametrize(
    ("made", "removed"),
    [
        (plan(1, receipts=False), True),
        (plan(1, receipts=False, transport=Transport.ACTION), False),
    ],
)
def test_only_managed_commands_are_removed(made: Plan, removed: bool) -> None:
    """An action leaves nothing on its VM."""
    run = opened(made)
    sent(run, 0, 1.0)
    ended(run, 0, 2.0)
    assert (f.Remove(JOB) in due(run, 2.0)) == removed


def test_a_refused_job_leaves_nothing_to_remove() -> None:
    """Nothing reached the VM."""
    run = opened(plan(1))
    run.apply(e.SubmissionIntended(1.0, JOB, 1))
    run.apply(e.SubmissionRefused(2.0, JOB, Refusal(403, "AuthorizationFailed", "no")))
    assert (run.jobs[0].phase, run.next(2.0)) == (Phase.DONE, f.Finish())


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
    takes the run over.
    """
    limits = Limits(answer_grace=100.0)
    run = opened(plan(1, limits=limits))
    sent(run, 0, 50.0)
    assert run.jobs[0].deadline == 50.0 + 600.0 + 100.0
    run.apply(e.RunOpened(400.0, 2))
    assert run.jobs[0].deadline == 750.0
    run.apply(e.RunOpened(9000.0, 3))
    assert run.jobs[0].deadline == 9100.0


def test_a_lost_submission_is_given_up_by_its_first_one() -> None:
    """Being sent again wins it no time: what arrived first may be running."""
    run = opened(plan(1, transport=Transport.ACTION, limits=Limits(answer_grace=100.0)))
    run.apply(e.SubmissionIntended(50.0, JOB, 1))
    run.apply(e.SubmissionLost(51.0, JOB, LostReason.RESET))
    assert run.jobs[0].deadline == 750.0
    run.apply(e.SubmissionIntended(60.0, JOB, 2))
    run.apply(e.SubmissionLost(61.0, JOB, LostReason.RESET))
    assert run.jobs[0].deadline == 750.0


def test_a_look_follows_the_services_hint() -> None:
    """Not before the moment it names, and soon where it names none."""
    for hint, expected in ((None, 51.0), (40.0, 90.0), (9000.0, 350.0)):
        run = opened(plan(1))
        run.apply(e.SubmissionIntended(50.0, JOB, 1))
        run.apply(e.SubmissionAccepted(50.0, JOB, OPERATION, hint))
        assert run.jobs[0].due == expected
    run.apply(e.SeenRunning(400.0, JOB, 7.0))
    assert run.jobs[0].due == 430.0, "after 350 s the next look is half a minute away"


def test_only_what_a_receipt_proved_teaches_how_long_a_step_takes() -> None:
    """From submission to answer, of jobs that ended with proof; a lost or refused one teaches nothing."""
    run = opened(plan(3, receipts=False))
    sent(run, 0, 10.0)
    ended(run, 0, 25.0)
    sent(run, 1, 10.0)
    run.apply(e.ResultFailed(90.0, JobId(1), "Odd", ""))
    run.apply(e.SubmissionIntended(10.0, JobId(2), 1))
    run.apply(e.SubmissionRefused(95.0, JobId(2), Refusal(403, "", "")))
    assert run._durations_of(run.jobs[2]).arrived == [15.0]


def test_signed_out_is_known_only_if_nothing_was_heard_since() -> None:
    """A credential that Azure refuses stops the run, unless another answer proves that it was good meanwhile."""
    for heard, stops in ((5.0, True), (50.0, False)):
        run = opened(plan(2))
        sent(run, 1, heard)
        for attempt in (1, 2, 3):
            run.apply(e.SubmissionIntended(20.0, JOB, attempt))
            run.apply(e.SubmissionRefused(60.0, JOB, Refusal(401, "InvalidAuthenticationToken", "")))
        outcome = run.jobs[0].outcome
        assert outcome is not None and outcome.cause.code is CauseCode.UNAUTHENTICATED
        assert run.signed_out is stops


def test_a_target_spends_its_part_of_the_budget_once() -> None:
    """However many of its steps end badly; and what a person cancelled spends nothing."""
    run = opened(plan(1, steps=2, receipts=False, limits=Limits(max_failures=9)))
    sent(run, 0, 1.0)
    ended(run, 0, 2.0, exit_code=1)
    assert (run.budget.failures, run.wave_budget.failures) == (1, 1)
    run = opened(plan(2, receipts=False, limits=Limits(max_failures=9)))
    for job in (0, 1):
        sent(run, job, 1.0)
    run.apply(e.ResultFailed(2.0, JobId(1), "Canceled", "", cancelled=True))
    assert run.budget.failures == 1, "somebody else cancelled it"
    run.apply(e.RunCancelled(3.0, e.StopKind.HARD))
    run.apply(e.CommandRemoved(4.0, JOB))
    outcome = run.jobs[0].outcome
    assert outcome is not None and outcome.status is Status.CANCELLED
    assert run.budget.failures == 1
