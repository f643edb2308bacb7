"""The moments at which a run is most easily wrong: taken over late, stopped, throttled, at the edge of a budget."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.plan.model import JobId, Limits, Plan
from fleet.playbook.model import Amount, Properties, Spread, Transport
from fleet.run import effects as f
from fleet.run import events as e
from fleet.run.answers import LostReason, Quota, Refusal
from fleet.run.expiry import LAST_LOOK
from fleet.run.model import CauseCode, Phase, Status
from fleet.run.retry import backoff
from fleet.run.state import Run
from fleet.run.view import CLEAN_UP_PATIENCE
from tests.unit.engine.harness import RUN_ID
from tests.unit.run.driven import OPERATION, due, ended, opened, sent
from tests.unit.run.factory import plan, target

DAY = 86_400.0


def test_a_run_taken_over_the_next_day_looks_before_it_gives_up() -> None:
    """A job in flight when the lid was closed is looked at after a resume, however late; only then may it expire."""
    run = opened(plan(1))
    sent(run, 0, 1.0)
    run.apply(e.RunOpened(DAY, 2))
    assert run.next(DAY) == f.Look(JobId(0))
    run.apply(e.LookBegun(DAY, JobId(0)))
    run.apply(e.SeenRunning(DAY, JobId(0)))
    end = DAY + run.plan.limits.answer_grace
    assert f.Expire(JobId(0)) not in due(run, end - 1.0)
    assert f.Expire(JobId(0)) in due(run, end + LAST_LOOK)


def test_a_refused_job_is_tried_again_after_a_late_takeover() -> None:
    """Time in which nobody drove the run is no time to deliver: a refused job gets its full time again."""
    run = opened(plan(1))
    run.apply(e.SubmissionIntended(1.0, JobId(0), 1))
    run.apply(e.SubmissionRefused(1.0, JobId(0), Refusal(409, "Conflict", "in progress")))
    run.apply(e.RunOpened(DAY, 2))
    assert run.next(DAY) == f.Submit(JobId(0), 2)


def test_nothing_is_due_in_the_past_while_clean_up_goes_on() -> None:
    """When only removals are left and the run's deadline passes, the run waits for an answer and does not spin."""
    run = opened(plan(1, receipts=False, limits=Limits(deadline=10.0)))
    sent(run, 0, 1.0)
    ended(run, 0, 5.0)
    run.apply(e.RemovalBegun(9.0, JobId(0)))
    assert run.next(20.0) == f.WaitUntil(None)


def test_what_a_person_cancels_is_no_failure_of_the_script() -> None:
    """A hard stop spends no failure budget: the jobs not yet sent stay to be resumed."""
    run = opened(plan(5, limits=Limits(concurrency=2, max_failures=1)))
    sent(run, 0, 1.0)
    sent(run, 1, 1.0)
    run.apply(e.StopRequested(2.0, e.StopKind.HARD))
    assert due(run, 2.0) == [f.Remove(JobId(0)), f.Remove(JobId(1))]
    for job in (0, 1):
        run.apply(e.CommandRemoved(3.0, JobId(job)))
    assert run.next(3.0) == f.Halt()
    run.apply(e.RunOpened(4.0, 2))
    assert isinstance(run.next(4.0), f.Submit)


@pytest.mark.parametrize(
    "event",
    [
        e.JobExpired(5.0, JobId(0)),
        e.ResultUnreadable(5.0, JobId(0), Refusal(404, "ResourceNotFound", "gone")),
    ],
)
def test_a_command_whose_end_is_unknown_is_left_alone(event: e.Event) -> None:
    """Deleting a command ends its script, so one that may still run is never cleaned up."""
    run = opened(plan(1))
    sent(run, 0, 1.0)
    if isinstance(event, e.ResultUnreadable):
        run.apply(e.LookBegun(4.0, JobId(0)))
    run.apply(event)
    assert run.jobs[0].outcome is not None
    assert run.jobs[0].outcome.status is Status.UNKNOWN
    assert run.next(6.0) == f.Finish()


def test_a_soft_stop_cleans_up_behind_it() -> None:
    """Before a stopped run is left, the commands whose results were read are deleted."""
    run = opened(plan(2, receipts=False))
    sent(run, 0, 1.0)
    run.apply(e.StopRequested(2.0, e.StopKind.SOFT))
    ended(run, 0, 3.0)
    assert run.next(3.0) == f.Remove(JobId(0))
    run.apply(e.RemovalBegun(3.0, JobId(0)))
    run.apply(e.CommandRemoved(3.0, JobId(0)))
    assert run.next(3.0) == f.Halt()


def test_a_forbidden_removal_is_not_tried_again() -> None:
    """A credential that may not delete is refused once a command, not five times."""
    run = opened(plan(1, receipts=False))
    sent(run, 0, 1.0)
    ended(run, 0, 3.0)
    run.apply(e.RemovalBegun(3.0, JobId(0)))
    run.apply(e.RemovalFailed(3.0, JobId(0), 403))
    assert run.leftovers == [JobId(0)]
    assert run.next(3.0) == f.Finish()
    assert not run.record().jobs[0].left
    run.apply(e.RunEnded(4.0))
    assert run.record().jobs[0].left


def test_what_was_deleted_is_not_left() -> None:
    """A replayed journal tells the same: only a deletion that was taken says that nothing lies there."""
    run = opened(plan(2, receipts=False))
    for job in (0, 1):
        sent(run, job, 1.0)
        ended(run, job, 3.0)
    run.apply(e.CommandRemoved(3.5, JobId(0)))
    run.apply(e.RunEnded(4.0))
    assert [job.left for job in run.record().jobs] == [False, True]


def test_unreachable_targets_stop_the_run_at_the_first_beyond_the_budget() -> None:
    """When many refused jobs run out of time at once, the budget is exceeded by one and the rest is not started."""
    run = opened(plan(9, limits=Limits(max_unreachable=2, strict=False, deliver_timeout=100.0)))
    for job in range(9):
        run.apply(e.SubmissionIntended(1.0, JobId(job), 1))
        run.apply(e.SubmissionRefused(1.0, JobId(job), Refusal(409, "Conflict", "in progress", 500.0)))
    due(run, 200.0)
    statuses = [state.outcome.status for state in run.jobs if state.outcome]
    assert statuses.count(Status.UNREACHABLE) == 3
    assert statuses.count(Status.NOT_STARTED) == 6


def test_a_job_that_was_not_started_never_expires() -> None:
    """Stopping the launch ends a refused job for good: nothing more is said of it."""
    run = opened(plan(2))
    run.apply(e.SubmissionIntended(1.0, JobId(0), 1))
    run.apply(e.SubmissionRefused(1.0, JobId(0), Refusal(409, "Conflict", "in progress")))
    sent(run, 1, 1.0)
    run.apply(e.LaunchStopped(2.0, CauseCode.DEADLINE))
    assert f.Expire(JobId(0)) not in due(run, DAY)


def test_a_lost_submission_that_is_sent_again_is_not_told_as_never_sent() -> None:
    """A job that waits to be sent again may have run, and its record says so."""
    run = opened(plan(2, transport=Transport.ACTION))
    run.apply(e.SubmissionIntended(1.0, JobId(0), 1))
    run.apply(e.SubmissionLost(2.0, JobId(0), LostReason.RESET))
    first, second = run.record().jobs
    assert first.phase is Phase.WAITING
    assert first.possibly_sent
    assert not second.possibly_sent


def _two_regions() -> Run:
    made = plan(6)
    targets = tuple(target(index, location=("westeurope", "eastus")[index % 2]) for index in range(6))
    return opened(replace(made, targets=targets))


def _submitted(effects: list[f.Effect]) -> set[str]:
    return {("westeurope", "eastus")[effect.job % 2] for effect in effects if isinstance(effect, f.Submit)}


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


def test_the_newest_moment_of_a_run_is_known() -> None:
    """A run knows the latest moment it was told of, so that whoever takes it over never goes back in time."""
    run = opened(plan(1), at=DAY)
    sent(run, 0, DAY + 5.0)
    assert run.latest == DAY + 5.0
    again = Run(run.plan, RUN_ID)
    again.apply(e.SubmissionAccepted(3.0, JobId(0), OPERATION))
    assert again.latest == 3.0


def test_clean_up_that_never_succeeds_does_not_keep_a_run_from_ending() -> None:
    """A service that lets nothing be deleted for ever holds up the end of the run for ten minutes, not years."""
    run = opened(plan(1, receipts=False))
    sent(run, 0, 1.0)
    ended(run, 0, 3.0)
    run.apply(e.RemovalBegun(3.0, JobId(0)))
    run.apply(e.RemovalFailed(3.0, JobId(0), 429, 999_999_999.0))
    assert run.next(4.0) == f.WaitUntil(603.0)
    assert run.next(603.0) == f.Finish()


def test_a_run_that_took_long_cleans_up_all_the_same() -> None:
    """The patience with deletions begins when the last job has ended, not with the run."""
    run = opened(plan(1, receipts=False))
    sent(run, 0, 1.0)
    ended(run, 0, 2.0 + CLEAN_UP_PATIENCE)
    assert run.next(2.0 + CLEAN_UP_PATIENCE) == f.Remove(JobId(0))


def test_a_hint_never_outlasts_the_time_for_an_answer() -> None:
    """A job whose operation asks for a very long wait is looked at all the same before it is given up."""
    run = opened(plan(1))
    run.apply(e.SubmissionIntended(1.0, JobId(0), 1))
    run.apply(e.SubmissionAccepted(1.0, JobId(0), OPERATION, 999_999_999.0))
    assert due(run, 302.0) == [f.Look(JobId(0))]


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


def test_every_wave_begins_slowly() -> None:
    """What the first wave earned says nothing of the second: it begins with one target again."""
    run = opened(plan(5, waves=(Amount(2), Amount(5)), receipts=False, limits=Limits(slow_start=True)))
    for job in (0, 1):
        sent(run, job, 1.0)
        ended(run, job, 2.0)
    run.apply(e.WaveOpened(3.0, 1))
    assert [effect for effect in due(run, 3.0) if isinstance(effect, f.Submit)] == [f.Submit(JobId(2), 1)]


@pytest.mark.parametrize(
    ("limits", "of_wave", "begun"), [(Limits(), None, 3), (Limits(max_failures=5), None, 1), (Limits(), 5, 1)]
)
def test_a_failure_that_any_budget_counts_earns_no_haste(limits: Limits, of_wave: int | None, begun: int) -> None:
    """Be it the run's or the wave's; one that neither counts is as good as a success."""
    made = plan(5, receipts=False, limits=replace(limits, slow_start=True))
    run = opened(replace(made, waves=tuple(replace(wave, max_failures=of_wave) for wave in made.waves)))
    for job in (0, 1):
        sent(run, job, 1.0)
        ended(run, job, 2.0, exit_code=1)
    assert len([effect for effect in due(run, 3.0) if isinstance(effect, f.Submit)]) == begun


def test_a_find_that_failed_is_made_again_after_a_pause() -> None:
    """Looking for a lost submission is free: after a pause that grows, or the one the service asks for, within reason."""
    for asked, pause in ((None, backoff(1, "0")), (40.0, 40.0), (9000.0, 300.0)):
        run = opened(plan(1))
        run.apply(e.SubmissionIntended(1.0, JobId(0), 1))
        run.apply(e.SubmissionLost(2.0, JobId(0), LostReason.RESET))
        assert due(run, 2.0) == [f.Find(JobId(0))]
        run.apply(e.LookFailed(10.0, JobId(0), 503, asked))
        assert (run.jobs[0].phase, run.jobs[0].due) == (Phase.FINDING, 10.0 + pause)


@pytest.mark.parametrize("lost", [False, True])
def test_who_takes_over_asks_again_what_was_being_asked(lost: bool) -> None:
    """An answer to a read that is still on the wire will never come to the next owner."""
    run = opened(plan(1))
    run.apply(e.SubmissionIntended(1.0, JobId(0), 1))
    run.apply(
        e.SubmissionLost(2.0, JobId(0), LostReason.RESET) if lost else e.SubmissionAccepted(2.0, JobId(0), OPERATION)
    )
    (asked,) = due(run, 60.0)
    run.apply(e.RunOpened(70.0, 2))
    assert due(run, 70.0) == [asked]
    assert run.calls == 1


def test_who_takes_over_looks_again_at_what_was_being_looked_at() -> None:
    """A standing command about which nobody will hear any more holds no slot, and is looked at anew."""
    run = opened(_standing(plan(2, receipts=False, limits=Limits(concurrency=1))))
    assert due(run, 1.0) == [f.Find(JobId(0))]
    assert (run.in_flight, run.held_back) == (1, 1)
    run.apply(e.RunOpened(70.0, 2))
    assert (run.in_flight, run.held_back, run.calls) == (0, 0, 0)
    assert due(run, 70.0) == [f.Find(JobId(0))]


def test_what_was_to_be_cancelled_is_followed_by_who_takes_over() -> None:
    """A hard stop ends with its process: a command that it could not delete any more is read to its end."""
    run = opened(plan(1, receipts=False))
    sent(run, 0, 1.0)
    run.apply(e.StopRequested(2.0, e.StopKind.HARD))
    assert run.next(2.0) == f.Remove(JobId(0))
    run.apply(e.RunOpened(70.0, 2))
    assert due(run, 70.0) == [f.Look(JobId(0))]


def test_who_takes_over_deletes_what_an_earlier_try_left() -> None:
    """Whether its deletion waits, was on the wire, or is that of a job that has ended."""
    made = plan(2, receipts=False)
    flow = replace(made.steps[0].flow, retries=1, retry_delay=500.0)
    run = opened(replace(made, steps=(replace(made.steps[0], flow=flow),)))
    for job, code in ((0, 1), (1, 0)):
        sent(run, job, 1.0)
        ended(run, job, 2.0, exit_code=code)
    assert set(due(run, 2.0)) == {f.Remove(JobId(0)), f.Remove(JobId(1))}
    run.apply(e.RunOpened(70.0, 2))
    assert set(due(run, 70.0)) == {f.Remove(JobId(0)), f.Remove(JobId(1))}


def test_a_refused_step_may_go_again_where_no_other_may_begin() -> None:
    """It holds its own part of a strict budget; who has none to hold does not begin beside it."""
    run = opened(plan(2, steps=2, receipts=False, limits=Limits(max_unreachable=0, concurrency=1)))
    sent(run, 0, 1.0)
    ended(run, 0, 2.0)
    run.apply(e.SubmissionIntended(3.0, JobId(1), 1))
    run.apply(e.SubmissionRefused(3.0, JobId(1), Refusal(409, "Conflict", "in progress")))
    run.apply(e.CommandRemoved(4.0, JobId(0)))
    assert due(run, 100.0) == [f.Submit(JobId(1), 2)]


def _standing(made: Plan) -> Plan:
    return replace(made, steps=(replace(made.steps[0], properties=Properties(command="nightly")),))


def test_a_place_that_is_given_back_is_for_whoever_may_go() -> None:
    """After a pause standing commands are looked at anew: where one region is throttled, another's VM of the group goes."""
    made = _standing(plan(2, limits=Limits(spread=Spread("zone", Amount(1)))))
    places = ("westeurope", "eastus")
    targets = (replace(vm, zone="1", location=place) for vm, place in zip(made.targets, places, strict=True))
    run = opened(replace(made, targets=tuple(targets)))
    assert due(run, 1.0) == [f.Find(JobId(0))]
    run.apply(e.RunPaused(2.0))
    run.apply(e.CommandMissing(3.0, JobId(0)))
    run.apply(e.QuotaSeen(4.0, Quota("sub-0", "westeurope", {"UpdateVMSubscriptionMaximum": -100})))
    run.apply(e.RunUnpaused(5.0))
    assert due(run, 5.0) == [f.Find(JobId(1))]


def test_an_earlier_command_that_may_not_be_deleted_leaves_the_next_to_be_tried() -> None:
    """What a first try left stays and is told; what the second leaves is deleted all the same."""
    made = plan(1, receipts=False)
    flow = replace(made.steps[0].flow, retries=1)
    run = opened(replace(made, steps=(replace(made.steps[0], flow=flow),)))
    sent(run, 0, 1.0)
    ended(run, 0, 2.0, exit_code=1)
    assert set(due(run, 2.0)) == {f.Remove(JobId(0)), f.Submit(JobId(0), 2, retry=1)}
    run.apply(e.RemovalFailed(3.0, JobId(0), 403))
    assert run.leftovers == [JobId(0)]
    run.apply(e.SubmissionAccepted(100.0, JobId(0), OPERATION))
    ended(run, 0, 101.0)
    assert due(run, 101.0) == [f.Remove(JobId(0))]
    run.apply(e.CommandRemoved(102.0, JobId(0), retry=1))
    assert run.next(102.0) == f.Finish()


def test_a_held_start_that_is_over_does_not_take_its_groups_place() -> None:
    """Of three in a group of which one may go, the second is given up while it waits: the third goes next."""
    made = plan(3, receipts=False, limits=Limits(spread=Spread("zone", Amount(1))))
    run = opened(replace(made, targets=tuple(replace(vm, zone="1") for vm in made.targets)))
    assert due(run, 1.0) == [f.Submit(JobId(0), 1)]
    run.apply(e.SubmissionAccepted(1.0, JobId(0), OPERATION))
    run.apply(e.JobExpired(2.0, JobId(1)))
    ended(run, 0, 10.0)
    assert f.Submit(JobId(2), 1) in due(run, 10.0)


def test_how_far_a_wave_is_can_be_asked() -> None:
    """Over when its last job has ended; then it settles for the soak, unless nothing follows or launching has stopped."""
    run = opened(plan(3, waves=(Amount(1), Amount(2)), receipts=False, limits=Limits(soak=60.0)))
    assert (run.is_wave_over(0), run.is_wave_over(1), run.settles_until) == (False, False, None)
    sent(run, 0, 1.0)
    ended(run, 0, 5.0)
    assert (run.is_wave_over(0), run.is_wave_over(1), run.settles_until) == (True, False, 65.0)
    run.apply(e.WaveOpened(65.0, 1))
    assert run.settles_until is None
    sent(run, 1, 66.0)
    ended(run, 1, 70.0)
    assert run.settles_until == 130.0
    run.apply(e.LaunchStopped(71.0, CauseCode.DEADLINE))
    assert run.settles_until is None


def test_nothing_settles_after_the_last_wave() -> None:
    """Nobody waits for what does not come."""
    run = opened(plan(1, receipts=False, limits=Limits(soak=60.0)))
    sent(run, 0, 1.0)
    ended(run, 0, 5.0)
    assert (run.is_wave_over(0), run.settles_until, run.finished) == (True, None, False)
    run.apply(e.RunEnded(6.0))
    assert run.finished
