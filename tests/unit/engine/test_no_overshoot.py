"""No budget is overshot: random fleets, waves, latencies, budgets and kinds of trouble, in virtual time."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.plan.model import Limits
from fleet.playbook.model import Amount, Rollout, Spread
from fleet.run.answers import Command, LostReason, Refusal
from fleet.run.model import FAILURES, NOT_REACHED
from fleet.run.record import RunRecord
from fleet.testing import Behaviour, ScriptedCloud
from tests.unit.engine.harness import Trial
from tests.unit.engine.test_rollouts import OFF, percent, planned
from tests.unit.run.factory import plan, target
from tests.virtual import run


@st.composite
def rollouts(draw: st.DrawFn) -> Trial:
    """Random fleets, waves, latencies, budgets and kinds of trouble."""
    budget = st.one_of(st.none(), st.integers(0, 6).map(Amount), st.floats(0, 40).map(lambda n: percent(round(n, 2))))
    rollout = Rollout(
        waves=draw(st.sampled_from([(), ("canary", percent(30)), (Amount(2), percent(50))])),
        slow_start=draw(st.booleans()),
        spread=draw(st.sampled_from([None, Spread("tag:app", Amount(1)), Spread("size", percent(30))])),
        max_failures=draw(budget),
        max_unreachable=draw(budget),
        wave_max_failures=draw(budget),
        wave_max_unreachable=draw(budget),
    )
    subscriptions = draw(st.integers(1, 3))
    machines = [
        target(n, f"sub-{n % subscriptions}", size=f"size{n % 2}", tags={"app": f"a{n % 4}"} if n % 5 else {})
        for n in range(draw(st.integers(1, 50)))
    ]
    latencies = st.floats(0.01, 4.0)
    kinds = st.one_of(
        st.builds(Behaviour, exit_code=st.integers(0, 1), duration=st.floats(0.5, 30.0), latency=latencies),
        st.builds(lambda latency: replace(OFF, latency=latency), latencies),
        st.builds(lambda latency: Behaviour(lose=LostReason.RESET, latency=latency), latencies),
        st.just(Behaviour(refuse=Refusal(409, "Conflict", "in progress"))),
    )
    script = draw(st.lists(kinds, min_size=1, max_size=9))

    def behave(command: Command, n: int) -> Behaviour:
        return script[(int(command.target.name[2:]) + n - 1) % len(script)]

    made = planned(rollout, machines, steps=draw(st.integers(1, 2)), concurrency=draw(st.integers(1, 60)))
    return Trial(made, ScriptedCloud(behave))


@settings(
    max_examples=min(40, settings.default.max_examples),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
)
@given(rollouts())
def test_no_budget_is_overshot_and_nobody_waits_for_ever(trial: Trial) -> None:
    """Whatever the fleet, latencies and budgets: at most one more than allowed, of the run and of each wave."""
    record = run(trial.start())
    assert record.ended is not None
    assert all(job.outcome for job in record.jobs)
    limits, waves = trial.plan.limits, trial.plan.waves
    assert _within(record, None, limits.max_failures, limits.max_unreachable)
    assert all(_within(record, wave.index, wave.max_failures, wave.max_unreachable) for wave in waves)


def _within(record: RunRecord, wave: int | None, failures: int | None, unreachable: int | None) -> bool:
    outcomes = [job.outcome.status for job in record.jobs if job.outcome and wave in (None, job.job.wave)]
    failed = sum(status in FAILURES for status in outcomes)
    away = sum(status in NOT_REACHED for status in outcomes)
    return (failures is None or failed <= failures + 1) and (unreachable is None or away <= unreachable + 1)


def test_limits_of_older_plans_have_no_slow_start() -> None:
    """A plan of before slow start was there goes on as it was made."""
    assert not Limits().slow_start
    assert plan(3).limits.spread is None
