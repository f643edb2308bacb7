"""Targets that left the selection before an approved plan was applied: nothing is sent to them, and nothing is spent."""

from __future__ import annotations

from dataclasses import replace

from fleet.plan.model import Left, Limits
from fleet.run import effects as f
from fleet.run.model import CauseCode, Status
from tests.unit.run.driven import due, opened
from tests.unit.run.factory import plan


def test_a_target_that_left_is_skipped_and_costs_nothing() -> None:
    """Its jobs end as its wave opens, with why it left; the budget is whole and the others go on."""
    made = plan(2, steps=2, limits=Limits(max_failures=0, max_unreachable=0))
    run = opened(replace(made, left=(Left(0, "it no longer matches"),)))
    outcomes = [state.outcome for state in run.jobs[:2]]
    assert [(each.status, each.cause.code) for each in outcomes if each] == [
        (Status.SKIPPED, CauseCode.LEFT_SELECTION)
    ] * 2
    assert run.budget.breach() is None
    assert [effect.job for effect in due(run, 1.0) if isinstance(effect, f.Submit)] == [2]
