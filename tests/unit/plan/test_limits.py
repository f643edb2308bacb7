"""What a rollout and the settings make of a plan's limits, and what is said where no budget is set."""

from __future__ import annotations

import pytest

from fleet.cli.render_plan import no_budget, render_plan
from fleet.plan.build import MOST_AT_ONCE, Settings, build
from fleet.plan.model import Plan
from fleet.playbook.model import Amount, Playbook, Rollout, Script, Selection, Step, Strategy
from fleet.targets.model import TargetSet
from tests.unit.run.factory import target


def planned(rollout: Rollout, settings: Settings | None = None, count: int = 500) -> Plan:
    """What a plan of so many VMs is, under this rollout."""
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
        steps=(Step("work", Script(text="true\n")),),
    )
    return build(playbook, TargetSet(tuple(map(target, range(count)))), {}, settings or Settings())


@pytest.mark.parametrize(
    ("rollout", "override", "slowly"),
    [
        (Rollout(), None, False),
        (Rollout(max_failures=Amount(3)), None, True),
        (Rollout(max_unreachable=Amount(3)), None, True),
        (Rollout(wave_max_failures=Amount(1)), None, True),
        (Rollout(max_failures=Amount(100, percent=True)), None, False),
        (Rollout(slow_start=True), None, True),
        (Rollout(max_failures=Amount(3), slow_start=False), None, False),
        (Rollout(), True, True),
        (Rollout(max_failures=Amount(3)), False, False),
        (Rollout(max_failures=Amount(3), strategy=Strategy.STEP), None, False),
    ],
)
def test_slow_start_is_on_where_a_budget_is_set(rollout: Rollout, override: bool | None, slowly: bool) -> None:
    """It protects a budget that can be exceeded; what a playbook or a flag says goes before that."""
    assert planned(rollout, Settings(override_slow_start=override)).limits.slow_start is slowly


def test_a_budget_of_the_command_line_starts_slowly_too() -> None:
    """`--max-failures` is a budget as the playbook's own is."""
    assert planned(Rollout(), Settings(override_max_failures=Amount(5))).limits.slow_start


@pytest.mark.parametrize(
    ("rollout", "settings", "count", "concurrency"),
    [
        (Rollout(), Settings(), 500, MOST_AT_ONCE),
        (Rollout(), Settings(concurrency=60), 500, 60),
        (Rollout(concurrency=Amount(10)), Settings(), 500, 10),
        (Rollout(concurrency=Amount(10)), Settings(override_concurrency=Amount(20, percent=True)), 500, 100),
    ],
)
def test_the_concurrency_is_as_large_as_nothing_bounds(
    rollout: Rollout, settings: Settings, count: int, concurrency: int
) -> None:
    """As many as memory takes where neither flag, playbook nor settings name a number, however many targets there are."""
    assert planned(rollout, settings, count).limits.concurrency == concurrency


def test_a_plan_without_a_budget_says_so_in_one_line() -> None:
    """How far a failing script reaches, and the flag that would stop it; nothing where a budget does."""
    said = "No budget: a failing script reaches all 500 VMs (`--max-failures 5` stops early)"
    assert no_budget(planned(Rollout())) == said
    assert said in render_plan(planned(Rollout()), "table")
    assert no_budget(planned(Rollout(max_unreachable=Amount(1)))) == said
    assert no_budget(planned(Rollout(max_failures=Amount(1)))) == ""
    assert no_budget(planned(Rollout(wave_max_failures=Amount(1)))) == ""


def test_a_plan_says_what_holds_it_back_and_what_would_change_it() -> None:
    """The number of failures that a given width would need, and the flags that lift other limits."""
    budget = render_plan(planned(Rollout(max_failures=Amount(5), slow_start=False)), "table")
    assert "the budget: 6 at once (20 at once would need max_failures 19)" in budget
    narrow = render_plan(planned(Rollout(concurrency=Amount(10))), "table")
    assert "the concurrency: 10 at once (-f 500 allows all)" in narrow
    assert "all at once, as fast as Azure's limits allow" in render_plan(planned(Rollout()), "table")
    assert "10 a second for each subscription" in render_plan(planned(Rollout(), count=2000), "table")
