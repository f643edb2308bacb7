"""When a run does something again: looks, tries, removals, and the moments at which it gives up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.guest import envelope
from fleet.plan.model import JobId, Limits, Plan
from fleet.playbook.model import Amount, Fact, OnExisting, Properties, Spread, Strategy, Transport, Turn
from fleet.run import effects as f
from fleet.run import events as e
from fleet.run.answers import Answer, LostReason, Refusal
from fleet.run.expiry import LAST_LOOK
from fleet.run.limits import ARM_DELETES, ARM_READS, ARM_WRITES
from fleet.run.model import CauseCode, Phase, Status
from fleet.run.polling import FIRST_LOOK, LEARN_FROM
from fleet.run.removal import REMOVAL_TRIES
from fleet.run.retry import backoff
from fleet.run.state import Run
from fleet.run.view import CLEAN_UP_PATIENCE
from tests.unit.run.driven import OPERATION, begin, due, ended, opened, sent
from tests.unit.run.factory import plan

JOB = JobId(0)
TOO_MANY = "SubscriptionRequestsThrottled"


def calls_at_once(run: Run, now: float) -> int:
    """Answer every call that may be made at ``now``; return how many that were."""
    calls = 0
    while not isinstance(effect := run.next(now), f.WaitUntil | f.Finish):
        begin(run, effect, now)
        match effect:
            case f.Submit(job):
                run.apply(e.SubmissionAccepted(now, job, OPERATION, 600.0))
            case f.Look(job):
                run.apply(e.SeenRunning(now, job, 600.0))
            case f.Find(job):
                run.apply(e.LookFailed(now, job, 503, 600.0))
            case f.Remove(job):
                run.apply(e.CommandRemoved(now, job))
        calls += 1
    return calls


MANY = 400
"""More VMs than ARM takes calls at once of any kind."""


def test_each_call_counts_against_its_own_limit() -> None:
    """A submission is a write, a look and a find are reads, a removal is a delete; each has a bucket of its own."""
    made = plan(MANY, receipts=False, limits=Limits(concurrency=MANY))
    assert calls_at_once(opened(made, at=1000.0), 1000.0) == pytest.approx(ARM_WRITES[0], abs=1)
    looked, found, removed = (opened(made, at=1000.0) for _ in range(3))
    for job in map(JobId, range(MANY)):
        sent(removed, job, 1000.0)
        removed.apply(e.ResultReceived(1000.0, job, Answer("Succeeded", "", 0)))
        sent(looked, job, 1000.0)
        found.apply(e.SubmissionIntended(1000.0, job, 1))
        found.apply(e.SubmissionLost(1000.0, job, LostReason.RESET))
    assert calls_at_once(looked, 1500.0) == pytest.approx(ARM_READS[0], abs=1)
    assert calls_at_once(found, 1000.0) == pytest.approx(ARM_READS[0], abs=1)
    assert calls_at_once(removed, 1000.0) == pytest.approx(ARM_DELETES[0], abs=1)


@pytest.mark.parametrize("status", [429, 503])
def test_a_throttled_call_holds_up_what_shares_its_limit(status: int) -> None:
    """Only 429 says that a limit was met; any other failure holds nobody else up."""
    most = 0 if status == 429 else 1
    run = opened(plan(2, receipts=False), at=1000.0)
    run.apply(e.SubmissionIntended(1000.0, JOB, 1))
    run.apply(e.SubmissionRefused(1000.0, JOB, Refusal(status, TOO_MANY, "", 60.0)))
    assert calls_at_once(run, 1059.0) == most
    run = opened(plan(2, receipts=False), at=1000.0)
    for job in (0, 1):
        sent(run, job, 1000.0)
    run.apply(e.LookBegun(1001.0, JOB))
    run.apply(e.LookFailed(1001.0, JOB, status, 60.0, TOO_MANY))
    assert calls_at_once(run, 1060.0) == most
    run = opened(plan(2, receipts=False), at=1000.0)
    for job in (0, 1):
        sent(run, job, 1000.0)
        ended(run, job, 1001.0)
    run.apply(e.RemovalBegun(1002.0, JOB))
    run.apply(e.RemovalFailed(1002.0, JOB, status, 60.0, TOO_MANY))
    assert calls_at_once(run, 1061.0) == most


def removing(**more: object) -> Run:
    run = opened(plan(1, receipts=False, **more))  # type: ignore[arg-type]
    sent(run, 0, 1.0)
    ended(run, 0, 2.0)
    return run


def test_a_removal_is_tried_five_times() -> None:
    """After pauses that grow, or the one the service asks for; then the command stays, and is told."""
    assert REMOVAL_TRIES == 5
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


LOCKED = e.RemovalFailed(
    2.0, JOB, 409, None, "ScopeLocked", "The scope 'x' cannot perform delete operation because following scope(s) are"
    " locked: '/subscriptions/s/resourceGroups/rg'. Please remove the lock and try again.",
)  # fmt: skip


def test_a_removal_that_a_lock_refuses_is_tried_once_and_explained() -> None:
    """The report names the code, and the lock to remove; a new owner of the run tries again, as it may be gone."""
    run = removing()
    run.apply(e.RemovalBegun(2.0, JOB))
    run.apply(LOCKED)
    assert (run.leftovers, run.next(2.0)) == ([JOB], f.Finish())
    run.apply(e.RunOpened(5.0, 2))
    assert (run.leftovers, run.next(5.0)) == ([], f.Remove(JOB))
    run.apply(e.RemovalBegun(5.0, JOB))
    run.apply(replace(LOCKED, at=6.0))
    run.apply(e.RunEnded(7.0))
    ((left,),) = (job.leftovers for job in run.record().jobs)
    assert left.retry == 0 and left.cause is not None
    assert left.cause.message.startswith("ScopeLocked: The scope 'x'")
    assert "remove the lock on /subscriptions/s/resourceGroups/rg" in left.cause.hint
    assert run.record().jobs[0].left


def test_a_command_of_an_earlier_try_that_stays_is_told_of() -> None:
    """Whatever became of the later one: each that stays is a leftover of its own, by its try."""
    made = plan(1, receipts=False)
    flow = replace(made.steps[0].flow, retries=1)
    run = opened(replace(made, steps=(replace(made.steps[0], flow=flow),)))
    sent(run, 0, 1.0)
    ended(run, 0, 2.0, exit_code=1)
    run.apply(LOCKED)
    sent(run, 0, 3.0)
    ended(run, 0, 4.0)
    run.apply(e.CommandRemoved(5.0, JOB, retry=1))
    run.apply(e.RunEnded(6.0))
    assert [left.retry for left in run.record().jobs[0].leftovers] == [0]


def test_a_removal_that_has_no_answer_is_told_with_what_is_known() -> None:
    """After five tries, with the last one's trouble; a failure of what is no longer asked for changes nothing."""
    run = removing()
    for at in range(5):
        run.apply(e.RemovalFailed(2.0 + at, JOB, 0, message="connection refused" if at else ""))
    run.apply(e.RemovalFailed(9.0, JOB, 0))
    run.apply(e.RunEnded(10.0))
    assert [left.cause and left.cause.message for left in run.record().jobs[0].leftovers] == ["connection refused"]


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
    assert (run.jobs[0].removed, run.jobs[0].removing, run.next(104.0)) == (False, False, f.Remove(JOB))
    run.apply(e.RemovalBegun(104.0, JOB))
    run.apply(e.CommandRemoved(105.0, JOB, retry=1))
    assert (run.jobs[0].removals, run.jobs[0].removal_due, run.jobs[0].removed) == ([], None, True)


def test_clean_up_is_waited_for_as_long_as_it_goes_on() -> None:
    """The run ends when nothing more could be deleted for some time, counted from the last that was."""
    run = opened(plan(2, receipts=False))
    for job in (0, 1):
        sent(run, job, 1.0)
        ended(run, job, 2.0)
    assert due(run, 2.0) == [f.Remove(JOB), f.Remove(JobId(1))]
    run.apply(e.RemovalFailed(3.0, JobId(1), 503, 90_000.0))
    run.apply(e.CommandRemoved(50.0, JOB))
    end = 50.0 + CLEAN_UP_PATIENCE
    assert run.next(51.0) == f.WaitUntil(end)
    assert run.next(end) == f.Finish()
    run.apply(e.RunEnded(end))
    assert [job.left for job in run.record().jobs] == [False, True]


def test_a_group_is_held_back_in_every_subscription() -> None:
    """A group of the spread may lie in several: where one target took its place, the others wait."""
    made = plan(2, subscriptions=2, limits=Limits(spread=Spread("zone", Amount(1))))
    run = opened(replace(made, targets=tuple(replace(vm, zone="1") for vm in made.targets)))
    assert due(run, 1.0) == [f.Submit(JOB, 1)]


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


def test_a_look_follows_the_services_hint() -> None:
    """Not before the moment it names, and soon where it names none."""
    for hint, expected in ((None, 51.0), (40.0, 90.0), (9000.0, 350.0)):
        run = opened(plan(1))
        run.apply(e.SubmissionIntended(50.0, JOB, 1))
        run.apply(e.SubmissionAccepted(50.0, JOB, OPERATION, hint))
        assert run.jobs[0].due == expected
    run.apply(e.SeenRunning(400.0, JOB, 7.0))
    assert run.jobs[0].due == 430.0, "after 350 s the next look is half a minute away"
    run.apply(e.LookFailed(500.0, JOB, 503, 60.0))
    assert run.jobs[0].due == 560.0
    run.apply(e.LookFailed(600.0, JOB, 503))
    assert run.jobs[0].due == 630.0


def test_only_what_a_receipt_proved_teaches_how_long_a_step_takes() -> None:
    """From submission to answer, of jobs that ended with proof: the next job is looked at about then. What failed or was
    refused teaches nothing.
    """
    taught, untaught = (opened(plan(LEARN_FROM + 1, receipts=False)) for _ in range(2))
    for job in range(1, LEARN_FROM + 1):
        sent(taught, job, 10.0)
        ended(taught, job, 25.0)
        untaught.apply(e.SubmissionIntended(10.0, JobId(job), 1))
        if job % 2:
            untaught.apply(e.SubmissionRefused(25.0, JobId(job), Refusal(403, "", "")))
        else:
            untaught.apply(e.SubmissionAccepted(10.0, JobId(job), OPERATION))
            untaught.apply(e.ResultFailed(25.0, JobId(job), "Odd", ""))
    for run in (taught, untaught):
        sent(run, 0, 100.0)
    assert (taught.jobs[0].due, untaught.jobs[0].due) == (115.0, 100.0 + FIRST_LOOK)


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


def test_a_result_proves_that_the_credential_was_good() -> None:
    """As an accepted submission does; a look that found the script running comes with no moment of its own."""
    run = opened(plan(2, receipts=False))
    sent(run, 1, 5.0)
    run.apply(e.SubmissionIntended(20.0, JOB, 1))
    ended(run, 1, 30.0)
    for attempt in (2, 3):
        run.apply(e.SubmissionRefused(60.0, JOB, Refusal(401, "InvalidAuthenticationToken", "")))
        run.apply(e.SubmissionIntended(61.0, JOB, attempt))
    run.apply(e.SubmissionRefused(62.0, JOB, Refusal(401, "InvalidAuthenticationToken", "")))
    assert (run.jobs[0].phase, run.signed_out) == (Phase.DONE, False)


def test_every_event_is_counted_and_ends_are_told_by_it() -> None:
    """Whoever watches a run can ask what has ended since the event that they saw last."""
    run = opened(plan(2, receipts=False))
    sent(run, 0, 1.0)
    assert (run.applied, run.endings) == (4, [])
    ended(run, 0, 2.0)
    assert (run.applied, run.endings) == (6, [(JOB, 6)])
    run.apply(e.LaunchStopped(3.0, CauseCode.DEADLINE))
    assert (run.applied, run.endings) == (7, [(JOB, 6), (JobId(1), 7)])


def retrying(retries: int = 1, **more: object) -> Run:
    made = plan(1, receipts=False, **more)  # type: ignore[arg-type]
    flow = replace(made.steps[0].flow, retries=retries)
    run = opened(replace(made, steps=(replace(made.steps[0], flow=flow),)))
    sent(run, 0, 1.0)
    run.apply(e.LookBegun(2.0, JOB))
    return run


@pytest.mark.parametrize(
    ("event", "again"),
    [
        (e.ResultReceived(3.0, JOB, Answer("Failed", "", 1)), True),
        (e.ResultReceived(3.0, JOB, Answer("TimedOut", "", -1)), False),  # only its shell was ended
        (e.ResultReceived(3.0, JOB, Answer("Succeeded", "", 0)), False),
        (e.ResultReceived(3.0, JOB, Answer("Running", "", 0)), False),
        (e.ResultFailed(3.0, JOB, "VMExtensionProvisioningError", "command terminated with exit status=1"), True),
        (e.ResultFailed(3.0, JOB, "Odd", ""), False),
        (e.ResultFailed(3.0, JOB, "Canceled", "", cancelled=True), False),
        (e.ResultUnreadable(3.0, JOB, Refusal(403, "", "")), False),
    ],
)
def test_only_what_has_certainly_ended_badly_is_run_again(event: e.Event, again: bool) -> None:
    """A failure whose script is over; nothing that may still run, was not delivered, or went well."""
    run = retrying()
    run.apply(event)
    assert (run.jobs[0].retry, run.jobs[0].phase is Phase.DONE) == (int(again), not again)


def test_after_a_stop_nothing_is_run_again() -> None:
    """A failed job ends as it is once launching has stopped."""
    run = retrying()
    run.apply(e.LaunchStopped(2.0, CauseCode.DEADLINE))
    run.apply(e.ResultReceived(3.0, JOB, Answer("Failed", "", 1)))
    assert (run.jobs[0].retry, run.jobs[0].phase) == (0, Phase.DONE)


def test_what_brings_a_target_to_a_good_end_is_run_again_after_a_stop() -> None:
    """A step that always runs has its tries, whatever stopped the launching."""
    made = plan(1, steps=2, receipts=False)
    first, last = made.steps
    always = replace(last, flow=replace(last.flow, turn=Turn.ALWAYS, retries=1))
    run = opened(replace(made, steps=(first, always)))
    sent(run, 0, 1.0)
    ended(run, 0, 2.0)
    sent(run, 1, 3.0)
    run.apply(e.LaunchStopped(4.0, CauseCode.DEADLINE))
    ended(run, 1, 5.0, exit_code=1)
    assert (run.jobs[1].retry, run.jobs[1].phase) == (1, Phase.WAITING)


def test_tries_are_as_many_as_were_asked_for() -> None:
    """And the last failure stands."""
    run = retrying(2)
    run.apply(e.ResultReceived(3.0, JOB, Answer("Failed", "", 1)))
    for at in (10.0, 20.0):
        assert run.jobs[0].phase is Phase.WAITING
        sent(run, 0, at)
        ended(run, 0, at + 1, exit_code=2)
    outcome = run.jobs[0].outcome
    assert (run.jobs[0].retry, outcome and outcome.exit_code) == (2, 2)


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


def test_a_step_that_follows_knows_what_came_before() -> None:
    """Its turn comes with the facts of those above; once its target has spent its part it reserves nothing more."""
    made = plan(2, steps=2, receipts=False, limits=Limits(max_failures=5))
    first, last = made.steps
    first = replace(first, flow=replace(first.flow, collect={"x": Fact(key="x")}))
    last = replace(last, flow=replace(last.flow, turn=Turn.ALWAYS))
    run = opened(replace(made, steps=(first, last)))
    for job, code in ((0, 1), (2, 0)):
        sent(run, job, 1.0)
        run.apply(e.LookBegun(5.0, JobId(job)))
        run.apply(e.ResultReceived(5.0, JobId(job), Answer("Failed" if code else "Succeeded", "", code, f"x={job}\n")))
    assert [(state.released, state.begun, state.due) for state in run.jobs[1::2]] == [(True, 5.0, 5.0)] * 2
    assert [dict(state.known.facts) for state in run.jobs[1::2]] == [{"x": "0"}, {"x": "2"}]
    assert [state.free for state in run.jobs] == [False, True, False, False]
    sent(run, 1, 6.0)
    sent(run, 3, 6.0)
    assert (run.reserved, run.in_flight) == (1, 2)


def test_a_run_begins_once() -> None:
    """When its first owner opens it, whoever goes on with it; what stopped it last time does not count."""
    run = opened(plan(1), at=5.0)
    assert run.started == 5.0
    run.apply(e.StopRequested(6.0, e.StopKind.SOFT))
    run.apply(e.RunOpened(9.0, 2, waits=False))
    assert (run.started, run.stop, run.calls) == (5.0, None, 0)


def test_step_by_step_the_whole_wave_goes_on_together() -> None:
    """The second step begins on all of a wave when the first has ended on all of it, and not before."""
    run = opened(replace(plan(2, steps=3, receipts=False), strategy=Strategy.STEP))
    assert [state.released for state in run.jobs] == [True, False, False, True, False, False]
    sent(run, 0, 1.0)
    ended(run, 0, 2.0)
    assert [state.released for state in run.jobs] == [True, False, False, True, False, False]
    sent(run, 3, 1.0)
    ended(run, 3, 3.0)
    assert [state.released for state in run.jobs] == [True, True, False, True, True, False]
    assert [state.begun for state in run.jobs[1::3]] == [3.0, 3.0]


def test_target_by_target_each_goes_on_alone() -> None:
    """The second step begins on a target when the first has ended there."""
    run = opened(plan(2, steps=2, receipts=False))
    sent(run, 0, 1.0)
    ended(run, 0, 2.0)
    assert [state.released for state in run.jobs] == [True, True, True, False]


def test_what_was_being_sent_when_an_owner_died_may_have_arrived() -> None:
    """The next owner knows it as lost, looks for it, and nothing is on the wire."""
    run = opened(plan(2))
    run.apply(e.SubmissionIntended(1.0, JOB, 1))
    run.apply(e.RunOpened(9.0, 2))
    state = run.jobs[0]
    assert (state.phase, state.possibly_sent, state.calling, run.calls) == (Phase.FINDING, True, False, 0)
    assert state.trouble is not None and "crashed" in state.trouble.message
    assert f.Find(JOB) in due(run, 9.0)


def test_who_takes_over_cancels_nothing_that_another_cancelled() -> None:
    """A stop ends with its process: what was to be deleted to end it runs on, and what is left over is deleted still."""
    made = plan(2, receipts=False)
    run = opened(made)
    sent(run, 0, 1.0)
    sent(run, 1, 1.0)
    ended(run, 1, 2.0)
    run.apply(e.StopRequested(3.0, e.StopKind.HARD))
    assert [state.removals for state in run.jobs] == [[0], [0]]
    run.apply(e.RemovalBegun(3.0, JOB))
    run.apply(e.RunOpened(9.0, 2))
    assert [(state.removals, state.removal_due, state.removing) for state in run.jobs] == [
        ([], None, False),
        ([0], 2.0, False),
    ]


def test_a_soft_stop_deletes_nothing_that_runs() -> None:
    """What runs is awaited; a hard one has it deleted, actions excepted."""
    for kind, transport, expected in (
        (e.StopKind.SOFT, Transport.AUTO, []),
        (e.StopKind.HARD, Transport.AUTO, [0]),
        (e.StopKind.HARD, Transport.ACTION, []),
    ):
        run = opened(plan(1, transport=transport, receipts=False))
        sent(run, 0, 1.0)
        run.apply(e.StopRequested(3.0, kind))
        assert run.jobs[0].removals == expected


def test_subscriptions_take_turns() -> None:
    """Their limits are apart, so working through one before the other would only take longer."""
    run = opened(plan(6, subscriptions=3))
    first = [run.jobs[effect.job].job.target.subscription for effect in due(run, 1.0) if isinstance(effect, f.Submit)]
    assert first == ["sub-0", "sub-1", "sub-2"] * 2


def test_what_the_step_s_own_limit_ended_is_run_again() -> None:
    """Its receipt says that the script was ended in the VM, so nothing of it goes on."""
    made = plan(1)
    flow = replace(made.steps[0].flow, retries=1)
    run = opened(replace(made, steps=(replace(made.steps[0], flow=flow),)))
    sent(run, 0, 1.0)
    command = run.command(JOB, {})
    opening = envelope.open(command.script, {})
    assert opening is not None
    code, out, err = opening.seal(
        exit_code=124, stdout=b"", stderr=b"", boot_id="b", started=1.0, ended=2.0, replayed=False, timed_out=True
    )
    run.apply(e.LookBegun(2.0, JOB))
    run.apply(e.ResultReceived(3.0, JOB, Answer("Failed", "", code, out.decode(), err.decode())))
    assert (run.jobs[0].retry, run.jobs[0].phase) == (1, Phase.WAITING)
    assert run.jobs[0].earlier is not None and run.jobs[0].earlier.status is Status.TIMED_OUT


@pytest.mark.parametrize("event", [e.RunUnpaused(9.0), e.RunOpened(9.0, 2)])
def test_a_standing_command_is_looked_at_anew_after_a_pause(event: e.Event) -> None:
    """Others may have changed or started it meanwhile; and until then it holds no slot."""
    made = plan(1, receipts=False)
    own = Properties(command="nightly", on_existing=OnExisting.UPDATE)
    run = opened(replace(made, steps=(replace(made.steps[0], properties=own),)))
    assert due(run, 1.0) == [f.Find(JOB)]
    run.apply(e.RunPaused(2.0))
    run.apply(e.CommandMissing(3.0, JOB))
    assert (run.held_back, run.in_flight) == (1, 1)
    run.apply(event)
    assert (run.held_back, run.in_flight) == (0, 0)
    if isinstance(event, e.RunOpened):
        run.apply(e.RunUnpaused(9.0))
    assert run.next(9.0) == f.Find(JOB)


def test_a_waves_budget_is_named_after_it() -> None:
    """As people count: from one."""
    run = opened(plan(2, waves=(Amount(1), Amount(1)), receipts=False))
    assert run.wave_budget.where == " in wave 1"
