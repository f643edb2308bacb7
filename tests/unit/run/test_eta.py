"""How long a run still takes, as its watchers are told."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from fleet.plan.model import Gate, Limits, Plan
from fleet.playbook.model import Amount, HealthCheck, Turn
from fleet.run import events as e
from fleet.run.answers import Command
from fleet.run.eta import Outlook, outlook
from fleet.run.model import CauseCode
from fleet.run.state import Run
from fleet.testing import Behaviour, ScriptedCloud
from tests.unit.engine.harness import RUN_ID, Trial
from tests.unit.run.driven import due, ended, opened, sent
from tests.unit.run.factory import plan
from tests.unit.run.stepped import step
from tests.virtual import run


def begun(plan: Plan, ended_after: dict[int, float], running: int) -> Run:
    """A run whose first jobs, all sent at moment 0, ended after so many seconds; so many more are running."""
    going = opened(replace(plan, receipts=False))
    for job in range(len(ended_after) + running):
        sent(going, job, 0.0)
    for job, after in ended_after.items():
        ended(going, job, after)
    return going


def test_nothing_is_said_before_anything_has_ended() -> None:
    """A guess that rests on nothing is none."""
    assert outlook(begun(plan(4), {}, 2), 5.0) is None
    assert outlook(Run(plan(4), RUN_ID), 5.0) is None


def test_what_is_left_is_work_over_what_goes_at_once() -> None:
    """Eight VMs of ten seconds, two at a time, take forty; what is under way counts for what it still needs."""
    going = begun(plan(10, limits=Limits(concurrency=2)), {0: 10.0, 1: 10.0}, 0)
    assert outlook(going, 10.0) == Outlook(40.0)
    sent(going, 2, 10.0)
    sent(going, 3, 10.0)
    assert outlook(going, 16.0) == Outlook(34.0)
    going.apply(e.LimitsChanged(16.0, concurrency=8))
    assert outlook(going, 16.0) == Outlook(10.0), "as people have changed it since: one chain is the least"


def test_a_straggler_holds_no_forecast_up() -> None:
    """It is left out and counted; what comes after it is not."""
    going = begun(plan(20, waves=(Amount(10),), limits=Limits(soak=60.0)), dict.fromkeys(range(9), 10.0), 1)
    assert outlook(going, 15.0) == Outlook(0.0 + 60.0 + 10.0)
    assert outlook(going, 5000.0) == Outlook(60.0 + 10.0, stragglers=1)


def test_waves_to_come_settle_and_are_looked_at() -> None:
    """Soak, health steps and the waves behind them count, and of a soak what is left of it."""
    made = plan(4, waves=(Amount(2),), limits=Limits(soak=60.0, concurrency=1))
    made = replace(
        made, steps=(*made.steps, step("check", Turn.GATE)), gates=(Gate(1, health=HealthCheck("check", Amount(0))),)
    )
    going = opened(replace(made, receipts=False))
    for job in (0, 2):
        sent(going, job, 0.0)
        ended(going, job, 10.0)
    assert outlook(going, 30.0) == Outlook(40.0 + 2 * 10.0 + 2 * 10.0)
    going.apply(e.HealthBegun(70.0, 0))
    assert outlook(going, 70.0) == Outlook(2 * 10.0 + 2 * 10.0)


def test_a_stopped_run_has_only_what_is_under_way_left() -> None:
    """Nothing more begins."""
    going = begun(plan(20), dict.fromkeys(range(4), 10.0), 1)
    going.apply(e.LaunchStopped(11.0, CauseCode.DEADLINE))
    assert outlook(going, 6.0) == Outlook(4.0)
    ended(going, 4, 12.0)
    due(going, 12.0)
    assert outlook(going, 12.0) is None


@pytest.mark.parametrize("waves", [(), (Amount(10), Amount(50, percent=True))])
def test_the_forecast_comes_true(waves: tuple[Amount, ...]) -> None:
    """In a run of sixty VMs whose scripts differ by half, it is never off by more than a third from its middle on."""
    rng = random.Random(4)
    took = [rng.uniform(15.0, 25.0) for _ in range(60)]

    def behave(command: Command, n: int) -> Behaviour:
        return Behaviour(duration=took[int(command.target.name.removeprefix("vm"))])

    made = plan(60, waves=waves, limits=Limits(concurrency=10, soak=30.0 if waves else 0.0))
    trial = Trial(made, ScriptedCloud(behave))
    run(trial.start())
    events = trial.runs.kept(RUN_ID)
    end = max(event.at for event in events if isinstance(event, e.ResultReceived))
    middle = (events[0].at + end) / 2
    again, seen = Run(made, RUN_ID), 0
    for event in events:
        again.apply(event)
        if event.at >= middle and end - event.at > 25.0 and (found := outlook(again, event.at)) is not None:
            seen += 1
            assert found.seconds == pytest.approx(end - event.at, rel=1 / 3)
    assert seen > 20
