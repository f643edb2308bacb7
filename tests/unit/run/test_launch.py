"""Launch: in which order the jobs of a wave start, and what holds one back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.plan.model import JobId, Limits
from fleet.playbook.model import Amount, OnExisting, Properties, Spread, Strategy
from fleet.run import effects as f
from fleet.run import events as e
from fleet.run.answers import Quota
from fleet.run.model import CauseCode
from tests.unit.run.driven import OPERATION, due, ended, opened, sent, standing
from tests.unit.run.factory import plan

JOB = JobId(0)


def test_every_wave_begins_slowly() -> None:
    """What the first wave earned says nothing of the second: it begins with one target again."""
    run = opened(plan(5, waves=(Amount(2), Amount(5)), receipts=False, limits=Limits(slow_start=True)))
    for job in (0, 1):
        sent(run, job, 1.0)
        ended(run, job, 2.0)
    run.apply(e.WaveOpened(3.0, 1))
    assert [effect for effect in due(run, 3.0) if isinstance(effect, f.Submit)] == [f.Submit(JobId(2), 1)]


def test_a_place_that_is_given_back_is_for_whoever_may_go() -> None:
    """After a pause standing commands are looked at anew: where one region is throttled, another's VM of the group goes."""
    made = standing(plan(2, limits=Limits(spread=Spread("zone", Amount(1)))))
    places = ("westeurope", "eastus")
    targets = (replace(vm, zone="1", location=place) for vm, place in zip(made.targets, places, strict=True))
    run = opened(replace(made, targets=tuple(targets)))
    assert due(run, 1.0) == [f.Find(JobId(0))]
    run.apply(e.RunPaused(2.0))
    run.apply(e.CommandMissing(3.0, JobId(0)))
    run.apply(e.QuotaSeen(4.0, Quota("sub-0", "westeurope", {"UpdateVMSubscriptionMaximum": -100})))
    run.apply(e.RunUnpaused(5.0))
    assert due(run, 5.0) == [f.Find(JobId(1))]


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


def test_a_group_is_held_back_in_every_subscription() -> None:
    """A group of the spread may lie in several: where one target took its place, the others wait."""
    made = plan(2, subscriptions=2, limits=Limits(spread=Spread("zone", Amount(1))))
    run = opened(replace(made, targets=tuple(replace(vm, zone="1") for vm in made.targets)))
    assert due(run, 1.0) == [f.Submit(JOB, 1)]


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
