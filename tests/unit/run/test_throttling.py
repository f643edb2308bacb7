"""Throttling: what a refused call holds up, how long a run waits, and whose turn it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.plan.model import JobId, Limits
from fleet.run import effects as f
from fleet.run import events as e
from fleet.run.answers import Answer, LostReason, Quota, Refusal
from fleet.run.limits import ARM_DELETES, ARM_READS, ARM_WRITES
from fleet.run.model import CauseCode, Phase
from fleet.run.polling import FIRST_LOOK, LEARN_FROM
from fleet.run.retry import backoff
from fleet.run.state import Run
from tests.unit.run.driven import OPERATION, begin, due, ended, opened, sent
from tests.unit.run.factory import plan, target

JOB = JobId(0)
TOO_MANY = "SubscriptionRequestsThrottled"
MANY = 400
"""More VMs than ARM takes calls at once of any kind."""


def _two_regions() -> Run:
    made = plan(6)
    targets = tuple(target(index, location=("westeurope", "eastus")[index % 2]) for index in range(6))
    return opened(replace(made, targets=targets))


def _submitted(effects: list[f.Effect]) -> set[str]:
    return {("westeurope", "eastus")[effect.job % 2] for effect in effects if isinstance(effect, f.Submit)}


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


@pytest.mark.parametrize(
    ("code", "others"), [("OperationNotAllowed", {"eastus"}), ("SubscriptionRequestsThrottled", set())]
)
def test_a_throttled_region_holds_up_no_other(code: str, others: set[str]) -> None:
    """Compute's limits are per region, ARM's per subscription: a refused submission holds up what shares its limit."""
    run = _two_regions()
    run.apply(e.SubmissionIntended(1.0, JobId(0), 1))
    run.apply(e.SubmissionRefused(1.0, JobId(0), Refusal(429, code, "slow down", 300.0)))
    assert _submitted(due(run, 100.0)) == others


def test_reads_of_a_throttled_region_hold_up_no_other() -> None:
    """A read that one region refuses leaves the reads of the others alone."""
    run = _two_regions()
    sent(run, 0, 1.0)
    sent(run, 1, 1.0)
    run.apply(e.LookBegun(2.0, JobId(0)))
    run.apply(e.LookFailed(2.0, JobId(0), 429, 300.0))
    assert f.Look(JobId(1)) in due(run, 10.0)


@pytest.mark.parametrize("code", ["TooManyRequests", "SubscriptionRequestsThrottled"])
def test_an_absurd_wait_is_not_believed_for_ever(code: str) -> None:
    """A service that asks for thirty years is asked again after an hour."""
    run = opened(plan(2))
    run.apply(e.SubmissionIntended(1.0, JobId(0), 1))
    run.apply(e.SubmissionRefused(1.0, JobId(0), Refusal(429, code, "", 999_999_999.0)))
    assert f.Submit(JobId(1), 1) in due(run, 3700.0)


def test_a_busy_vm_that_names_no_wait_is_not_hammered() -> None:
    """``Retry-After: 0`` is no leave to send again at once."""
    run = opened(plan(1))
    run.apply(e.SubmissionIntended(1.0, JobId(0), 1))
    run.apply(e.SubmissionRefused(1.0, JobId(0), Refusal(409, "Conflict", "in progress", 0.0)))
    assert isinstance(run.next(1.0), f.WaitUntil)


def test_a_missing_command_is_sent_again_after_a_pause_that_grows() -> None:
    """While a region loses every submission, sending again leaves room for the others' submissions."""
    run = opened(plan(1))
    now = 1.0
    sends: list[float] = []
    while len(sends) < 6:
        effect = run.next(now)
        match effect:
            case f.Submit(job, attempt):
                sends.append(now)
                run.apply(e.SubmissionIntended(now, job, attempt))
                run.apply(e.SubmissionLost(now, job, LostReason.SERVER_ERROR))
            case f.Find(job):
                run.apply(e.FindBegun(now, job))
                run.apply(e.CommandMissing(now, job))
            case f.WaitUntil(at):
                assert at is not None
                now = at
    assert sends[5] - sends[4] > 10


def test_subscriptions_and_regions_are_told_apart_without_case() -> None:
    """Two spellings of one subscription and region share its limits, and a quota finds them."""
    made = plan(4, limits=Limits(concurrency_per_subscription=1))
    spellings = [("SUB-0", "WestEurope"), ("sub-0", "westeurope")]
    targets = tuple(target(index, spellings[index % 2][0], location=spellings[index % 2][1]) for index in range(4))
    run = opened(replace(made, targets=targets))
    assert len([effect for effect in due(run, 1.0) if isinstance(effect, f.Submit)]) == 1
    run.apply(e.QuotaSeen(1.0, Quota("sub-0", "WESTEUROPE", {"writes": 0})))
    assert run.call_budget(1.0) == 0


@pytest.mark.parametrize("remaining", [0, -5, 10**12])
def test_a_quota_however_odd_never_stops_a_lane(remaining: int) -> None:
    """What the headers say is believed for as long as a bucket takes to fill, and no longer."""
    run = opened(plan(2))
    names = ("writes", "reads", "deletes", "UpdateVMSubscriptionMaximum")
    run.apply(e.QuotaSeen(1.0, Quota("sub-0", "westeurope", dict.fromkeys(names, remaining))))
    assert isinstance(run.next(200.0), f.Submit)


def test_a_pause_that_nobody_asked_for_is_the_run_s_own() -> None:
    """It is as long as the job's salt makes it, with no least length but that: so calls that failed together spread."""
    run = opened(plan(9, receipts=False))
    job = next(state.job.id for state in run.jobs if backoff(1, state.salt) < 0.99)
    pause = backoff(1, f"{job}")
    run.apply(e.SubmissionIntended(1.0, job, 1))
    run.apply(e.SubmissionLost(2.0, job, LostReason.RESET))
    run.apply(e.FindBegun(3.0, job))
    run.apply(e.LookFailed(4.0, job, 503))
    assert run.jobs[job].due == 4.0 + pause
    run.apply(e.FindBegun(6.0, job))
    run.apply(e.CommandFound(7.0, job, OPERATION))
    ended(run, job, 8.0)
    run.apply(e.RemovalBegun(9.0, job))
    run.apply(e.RemovalFailed(10.0, job, 503))
    assert run.jobs[job].removal_due == 10.0 + pause


def test_a_find_that_failed_is_made_again_after_a_pause() -> None:
    """Looking for a lost submission is free: after a pause that grows, or the one the service asks for, within reason."""
    for asked, pause in ((None, backoff(1, "0")), (40.0, 40.0), (9000.0, 300.0)):
        run = opened(plan(1))
        run.apply(e.SubmissionIntended(1.0, JobId(0), 1))
        run.apply(e.SubmissionLost(2.0, JobId(0), LostReason.RESET))
        assert due(run, 2.0) == [f.Find(JobId(0))]
        run.apply(e.LookFailed(10.0, JobId(0), 503, asked))
        assert (run.jobs[0].phase, run.jobs[0].due) == (Phase.FINDING, 10.0 + pause)


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
    assert (taught.jobs[0].due, untaught.jobs[0].due) == (114.5, 100.0 + FIRST_LOOK)


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


def test_subscriptions_take_turns() -> None:
    """Their limits are apart, so working through one before the other would only take longer."""
    run = opened(plan(6, subscriptions=3))
    first = [run.jobs[effect.job].job.target.subscription for effect in due(run, 1.0) if isinstance(effect, f.Submit)]
    assert first == ["sub-0", "sub-1", "sub-2"] * 2
