"""Budgets: which failures count against the run's and the wave's, and what may begin beside them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.plan.model import JobId, Limits
from fleet.playbook.model import Amount
from fleet.run import effects as f
from fleet.run import events as e
from fleet.run.answers import Refusal
from fleet.run.model import Status
from tests.unit.run.driven import due, ended, opened, sent
from tests.unit.run.factory import plan

JOB = JobId(0)


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


def test_a_refused_step_may_go_again_where_no_other_may_begin() -> None:
    """It holds its own part of a strict budget; who has none to hold does not begin beside it."""
    run = opened(plan(2, steps=2, receipts=False, limits=Limits(max_unreachable=0, concurrency=1)))
    sent(run, 0, 1.0)
    ended(run, 0, 2.0)
    run.apply(e.SubmissionIntended(3.0, JobId(1), 1))
    run.apply(e.SubmissionRefused(3.0, JobId(1), Refusal(409, "Conflict", "in progress")))
    run.apply(e.CommandRemoved(4.0, JobId(0)))
    assert due(run, 100.0) == [f.Submit(JobId(1), 2)]


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


def test_a_waves_budget_is_named_after_it() -> None:
    """As people count: from one."""
    run = opened(plan(2, waves=(Amount(1), Amount(1)), receipts=False))
    assert run.wave_budget.where == " in wave 1"
