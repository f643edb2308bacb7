"""What holds a plan back most."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.plan.bottleneck import Bound, bottleneck
from fleet.plan.model import Limits, Plan
from fleet.playbook.model import Amount, Spread, StartRate
from tests.unit.run.factory import plan


@pytest.mark.parametrize(
    ("made", "bound", "at_once", "wider"),
    [
        (plan(100), Bound.SCRIPT, 100, 100),
        (plan(100, limits=Limits(max_failures=5)), Bound.BUDGET, 6, 100),
        (plan(100, limits=Limits(max_unreachable=5, concurrency=50)), Bound.BUDGET, 6, 50),
        (plan(100, limits=Limits(concurrency=10)), Bound.CONCURRENCY, 10, 100),
        (plan(100, limits=Limits(slow_start=True)), Bound.SLOW_START, 100, 100),
        (plan(100, limits=Limits(spread=Spread("os", Amount(1)))), Bound.SPREAD, 100, 100),
        (plan(100, limits=Limits(rate=StartRate(5, 60.0))), Bound.RATE, 100, 100),
        (plan(2000, limits=Limits(concurrency=2000)), Bound.WRITES, 2000, 2000),
    ],
)
def test_the_limit_that_costs_most_is_named(made: Plan, bound: Bound, at_once: int, wider: int) -> None:
    """Each limit where it costs most; none but the scripts where nothing else costs a twentieth of the time."""
    found = bottleneck(made)
    assert (found.bound, found.at_once, found.wider) == (bound, at_once, wider)
    assert (found.seconds > 0) == (bound not in (Bound.SCRIPT, Bound.WRITES))


def test_a_narrow_step_is_named() -> None:
    """One step that goes two at a time costs more than all the others."""
    made = plan(100)
    steps = tuple(replace(step, concurrency=2) for step in made.steps)
    assert bottleneck(replace(made, steps=steps)).bound is Bound.STEP


def test_budgets_of_waves_count_too() -> None:
    """What each wave may lose holds back as what the whole run may."""
    made = plan(100)
    waves = tuple(replace(wave, max_failures=1) for wave in made.waves)
    assert bottleneck(replace(made, waves=waves)).bound is Bound.BUDGET
