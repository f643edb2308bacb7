"""Waves and budgets of whole runs in virtual time: the rows of docs/rollouts.md."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from fleet.plan.build import Settings, build
from fleet.plan.model import Plan
from fleet.playbook.model import Amount, Playbook, Rollout, Script, Selection, Spread, StartRate, Step
from fleet.run import events as e
from fleet.run.answers import LostReason, Refusal
from fleet.run.model import CauseCode, Status
from fleet.run.record import RunRecord
from fleet.targets.model import Target, TargetSet
from fleet.testing import Behaviour, ScriptedCloud
from tests.unit.engine.harness import Trial
from tests.unit.run.factory import target

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

BROKEN = Behaviour(exit_code=1)
OFF = Behaviour(refuse=Refusal(409, "OperationNotAllowed", "the VM to be running"))


def percent(value: float) -> Amount:
    return Amount(value, percent=True)


def planned(rollout: Rollout, targets: list[Target], *, steps: int = 1, concurrency: int = 500) -> Plan:
    """What ``fleet plan`` makes of a playbook with this rollout."""
    playbook = Playbook(
        name="test",
        version="1",
        title="",
        owner="",
        description="",
        digest="0" * 64,
        file="",
        parameters=(),
        selection=Selection(),
        rollout=rollout,
        steps=tuple(Step(f"step{n}", Script(text=f"echo {n}\n"), timeout=600.0) for n in range(steps)),
    )
    return build(playbook, TargetSet(tuple(targets)), {}, Settings(concurrency=concurrency))


def vms(count: int) -> list[Target]:
    return [target(index) for index in range(count)]


def only(names: Callable[[int], bool], behaviour: Behaviour, otherwise: Behaviour | None = None) -> ScriptedCloud:
    """A cloud in which the VMs whose number fits behave in this way."""
    usual = otherwise or Behaviour()
    return ScriptedCloud(lambda command, n: behaviour if names(int(command.target.name[2:])) else usual)


def statuses(record: RunRecord) -> Counter[Status | None]:
    return Counter(job.outcome.status if job.outcome else None for job in record.jobs)


@pytest.mark.parametrize("latency", [0.01, 5.0])
@pytest.mark.parametrize("concurrency", [1, 60, 5000])
async def test_a_script_that_breaks_every_vm_reaches_four_of_a_thousand(concurrency: int, latency: float) -> None:
    """With max_failures 3, strict, never more than 4 VMs run it, whatever the concurrency and latency."""
    rollout = Rollout(waves=("canary", percent(5), percent(25), percent(100)), max_failures=Amount(3), slow_start=False)
    machines = [target(n, image=f"image-{n % 6}", location=("north", "west")[n % 2]) for n in range(1000)]
    cloud = ScriptedCloud(lambda command, n: Behaviour(exit_code=1, latency=latency))
    record = await Trial(planned(rollout, machines, concurrency=concurrency), cloud).start()
    assert len(cloud.executions) == 4
    assert statuses(record) == {Status.FAILED: 4, Status.NOT_STARTED: 996}


async def test_percents_are_of_the_frozen_targets_and_floored() -> None:
    """2 % of 199 VMs are 3: the fourth failure stops the run, though most of the VMs were never looked at."""
    made = planned(Rollout(max_failures=percent(2), max_unreachable=percent(0.4)), vms(199))
    assert (made.limits.max_failures, made.limits.max_unreachable) == (3, 0)
    assert statuses(await Trial(made, only(lambda n: True, BROKEN)).start())[Status.FAILED] <= 4


async def test_a_waves_percents_are_of_its_own_targets() -> None:
    """10 % per wave of waves of 5 and 45 are 0 and 4."""
    made = planned(Rollout(waves=(percent(10),), wave_max_failures=percent(10)), vms(50))
    assert [(len(wave.targets), wave.max_failures) for wave in made.waves] == [(5, 0), (45, 4)]


async def test_a_waves_budget_begins_anew() -> None:
    """One failure in each of two waves is within a budget of 1 per wave; two in one wave stop the run and say where."""
    rollout = Rollout(waves=(percent(50),), wave_max_failures=Amount(1))
    spread_out = await Trial(planned(rollout, vms(20)), only(lambda n: n in (0, 15), BROKEN)).start()
    assert spread_out.stop_cause is None
    assert statuses(spread_out) == {Status.SUCCEEDED: 18, Status.FAILED: 2}
    together = await Trial(planned(rollout, vms(20)), only(lambda n: n in (12, 15), BROKEN)).start()
    assert together.stop_cause is CauseCode.BUDGET_FAILURES
    assert together.stop_message == "2 targets failed in wave 2; the budget allows 1"


async def test_zero_stops_at_the_first() -> None:
    """``max_failures: 0`` lets one VM after the other begin, and none after the first failure."""
    trial = Trial(planned(Rollout(max_failures=Amount(0)), vms(30)), only(lambda n: n == 5, BROKEN))
    assert statuses(await trial.start()) == {Status.SUCCEEDED: 5, Status.FAILED: 1, Status.NOT_STARTED: 24}
    assert trial.peak_in_flight == 1


async def test_without_a_budget_every_target_is_tried() -> None:
    """No budget, no stop: all fail, all are tried, and slow start does not crawl behind them."""
    trial = Trial(planned(Rollout(), vms(100)), only(lambda n: True, BROKEN))
    assert statuses(await trial.start()) == {Status.FAILED: 100}
    assert trial.peak_in_flight > 20


async def test_unreachable_is_no_failure_and_never_shrinks_a_wave() -> None:
    """Half a wave of VMs that are off costs no failure, has rows of its own, and leaves the percents as they were."""
    made = planned(Rollout(waves=(percent(50),), max_failures=percent(10)), vms(40))
    record = await Trial(made, only(lambda n: n % 2 == 0, OFF)).start()
    assert statuses(record) == {Status.UNREACHABLE: 20, Status.SUCCEEDED: 20}
    assert made.limits.max_failures == 4
    assert record.stop_cause is None


async def test_unreachable_has_a_budget_of_its_own() -> None:
    """More VMs that could not be reached than allowed stop the run, with that cause."""
    record = await Trial(planned(Rollout(max_unreachable=Amount(2)), vms(30)), only(lambda n: n < 9, OFF)).start()
    assert record.stop_cause is CauseCode.BUDGET_UNREACHABLE
    assert statuses(record)[Status.UNREACHABLE] == 3


async def test_unknown_and_unverified_count_as_not_reached() -> None:
    """What certainly did not answer and what might have run are one budget: nothing certain came back."""
    lost = Behaviour(lose=LostReason.RESET, arrives=False)
    made = planned(Rollout(max_unreachable=Amount(1)), vms(6))
    made = replace(made, limits=replace(made.limits, deliver_timeout=60.0, answer_grace=60.0))
    record = await Trial(made, only(lambda n: n < 3, lost)).start()
    assert statuses(record)[Status.UNKNOWN] == 2
    assert record.stop_cause is CauseCode.BUDGET_UNREACHABLE


async def test_skipped_and_not_started_cost_nothing() -> None:
    """A VM whose first step fails is one failure, however many of its steps are skipped."""
    made = planned(Rollout(max_failures=Amount(2), slow_start=False), vms(4), steps=5)
    record = await Trial(made, only(lambda n: n < 2, BROKEN)).start()
    assert statuses(record) == {Status.FAILED: 2, Status.SKIPPED: 8, Status.SUCCEEDED: 10}
    assert record.stop_cause is None


async def test_a_wave_in_which_all_fail_is_just_failures() -> None:
    """A canary that fails as a whole is 1 of the 10 failures allowed: the next wave starts."""
    record = await Trial(
        planned(Rollout(waves=(Amount(1),), max_failures=Amount(10)), vms(40)), only(lambda n: n == 0, BROKEN)
    ).start()
    assert statuses(record) == {Status.FAILED: 1, Status.SUCCEEDED: 39}


async def test_strict_reserves_what_is_in_flight() -> None:
    """Strict: in flight are never more than may still fail, and one."""
    trial = Trial(planned(Rollout(max_failures=Amount(7), slow_start=False), vms(60)), ScriptedCloud())
    await trial.start()
    assert trial.peak_in_flight == 8


async def test_a_lax_budget_is_overshot_by_what_is_in_flight_at_most() -> None:
    """``strict: false``: everything may be in flight when the last failure allowed is seen, and no more."""
    made = planned(Rollout(max_failures=Amount(3), strict=False, slow_start=False), vms(200), concurrency=50)
    trial = Trial(made, only(lambda n: True, BROKEN))
    failed = statuses(await trial.start())[Status.FAILED]
    assert trial.peak_in_flight == 50
    assert 4 <= failed <= 3 + 50


async def test_a_resumed_run_goes_on_with_the_budget_it_had() -> None:
    """Failures before a resume count after it, of the run and of the wave."""
    made = planned(Rollout(waves=(percent(50),), wave_max_failures=Amount(1), slow_start=False), vms(40))
    trial = Trial(made, only(lambda n: n in (0, 9), BROKEN))
    asyncio.get_running_loop().call_later(2.6, lambda: trial.stop(e.StopKind.SOFT))
    first = await trial.start()
    assert statuses(first)[Status.FAILED] == 1
    record = await trial.resume()
    assert statuses(record)[Status.FAILED] == 2
    assert record.stop_message == "2 targets failed in wave 1; the budget allows 1"


async def test_slow_start_doubles_inside_each_wave() -> None:
    """One VM begins a wave, then two, four, ...: no more are under way than have ended well, and one."""
    trial = Trial(planned(Rollout(waves=(Amount(15),), slow_start=True), vms(60), concurrency=12), ScriptedCloud())
    record = await trial.start()
    for wave in (0, 1):
        jobs = [job for job in record.jobs if job.job.wave == wave]
        for job in jobs:
            assert job.started is not None
            well = sum((other.ended or 0.0) <= job.started for other in jobs)
            under_way = sum((other.started or 0.0) <= job.started < (other.ended or 0.0) for other in jobs)
            assert under_way <= well + 1
    assert trial.peak_in_flight == 12


async def test_slow_start_takes_whole_targets() -> None:
    """All steps of the first VM end before a second VM begins."""
    record = await Trial(planned(Rollout(slow_start=True), vms(4), steps=3), ScriptedCloud()).start()
    jobs = sorted(record.jobs, key=lambda job: job.started or 0.0)
    assert [job.job.target.name for job in jobs[:3]] == ["vm0000"] * 3


async def test_slow_start_costs_a_few_rounds_only() -> None:
    """A healthy wave of 500 takes ten rounds of the script's length, not five hundred."""
    cloud = ScriptedCloud(lambda command, n: Behaviour(duration=60.0))
    await Trial(planned(Rollout(slow_start=True), vms(500)), cloud).start()
    assert asyncio.get_running_loop().time() < 10 * 60.0 * 1.3


async def test_a_rate_bounds_the_starts_in_any_stretch_of_time() -> None:
    """Five a minute: the sixth VM starts when the first did a minute ago, whatever ends meanwhile, also after a kill."""
    trial = Trial(planned(Rollout(rate=StartRate(5, 60.0)), vms(12), steps=2), ScriptedCloud())
    first = asyncio.ensure_future(trial.start())
    await asyncio.sleep(30.0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    record = await trial.resume()
    starts = sorted(job.started or 0.0 for job in record.jobs if job.job.step.id == "step0")
    assert all(later - earlier >= 60.0 for earlier, later in zip(starts, starts[5:], strict=False))
    assert starts[4] - starts[0] < 1.0 and starts[11] - starts[0] < 130.0
    assert statuses(record) == {Status.SUCCEEDED: 24}


async def test_a_steps_own_concurrency_holds_that_step_only() -> None:
    """Two at a time in the middle step, in all subscriptions together; the others go as wide as the run lets."""
    made = planned(Rollout(), [target(index, subscription=f"sub-{index % 3}") for index in range(30)], steps=3)
    steps = tuple(replace(step, concurrency=2 if step.id == "step1" else None) for step in made.steps)
    cloud = ScriptedCloud(lambda command, n: Behaviour(duration=10.0))
    trial = Trial(replace(made, steps=steps), cloud)
    first = asyncio.ensure_future(trial.start())
    await asyncio.sleep(35.0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    record = await trial.resume()
    assert statuses(record) == {Status.SUCCEEDED: 90}

    def most(step: str) -> int:
        spans = [(job.started or 0.0, job.ended or 0.0) for job in record.jobs if job.job.step.id == step]
        return max(sum(other[0] <= span[0] < other[1] for other in spans) for span in spans)

    assert (most("step0"), most("step1")) == (30, 2)
    assert set(cloud.executions.values()) == {3}


async def test_spread_keeps_a_group_from_going_all_at_once() -> None:
    """At most one VM of each app is under way, its steps included; VMs without the tag are not held back."""
    machines = [target(n, tags={"App": f"app{n % 3}"} if n < 30 else {}) for n in range(40)]
    rollout = Rollout(spread=Spread("tag:app", Amount(1)), slow_start=False)
    trial = Trial(planned(rollout, machines, steps=2), ScriptedCloud())
    record = await trial.start()
    spans: dict[str, list[tuple[float, float]]] = {}
    for index in range(30):
        jobs = record.jobs[2 * index : 2 * index + 2]
        span = (min(job.started or 0.0 for job in jobs), max(job.ended or 0.0 for job in jobs))
        spans.setdefault(machines[index].tags["App"], []).append(span)
    for group in spans.values():
        assert len(group) == 10
        group.sort()
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(group))
    assert trial.peak_in_flight == 13
    assert statuses(record) == {Status.SUCCEEDED: 80}


async def test_a_busy_vm_holds_nobody_of_its_group_up() -> None:
    """A VM that refuses for now gives its turn to the next of its group."""
    busy = Behaviour(refuse=Refusal(409, "Conflict", "in progress", 300.0))
    machines = [target(n, tags={"app": "one"}) for n in range(5)]
    made = planned(Rollout(spread=Spread("tag:app", Amount(1))), machines)
    record = await Trial(made, only(lambda n: n == 0, busy)).start()
    others = [job.ended or 0.0 for job in record.jobs[1:]]
    assert max(others) - min(others) < 60.0
    assert statuses(record)[Status.SUCCEEDED] == 4
