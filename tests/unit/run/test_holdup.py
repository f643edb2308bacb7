"""What holds a run's pace back, at each stage of it."""

from __future__ import annotations

from dataclasses import replace

from fleet.plan.model import Limits
from fleet.playbook.model import Amount, Spread, StartRate
from fleet.run import events as e
from fleet.run.effects import Submit
from fleet.run.holdup import Holdup
from fleet.run.model import CauseCode
from tests.unit.run.driven import ended, opened, sent
from tests.unit.run.factory import plan

NOW = 1_000.0


def held(limits: Limits, count: int = 10, *, under_way: int = 0, over: int = 0) -> Holdup:
    """What holds a run with so many jobs under way, and so many ended."""
    run = opened(plan(count, receipts=False, limits=limits), at=NOW)
    for job in range(under_way + over):
        sent(run, job, NOW)
    for job in range(over):
        ended(run, job, NOW)
    return run.holdup(NOW)


def test_each_limit_is_named() -> None:
    """The limit that lets no more start; nothing at first, and the scripts once all have started."""
    assert held(Limits()) is Holdup.NOTHING
    assert held(Limits(concurrency=3), under_way=3) is Holdup.CONCURRENCY
    assert held(Limits(concurrency_per_subscription=2), under_way=2) is Holdup.CONCURRENCY
    assert held(Limits(max_failures=2), under_way=3) is Holdup.BUDGET
    assert held(Limits(slow_start=True), under_way=1) is Holdup.SLOW_START
    assert held(Limits(slow_start=True), under_way=1, over=1) is Holdup.NOTHING
    assert held(Limits(spread=Spread("os", Amount(2))), under_way=2) is Holdup.SPREAD
    assert held(Limits(rate=StartRate(2, 60.0)), under_way=2) is Holdup.RATE
    assert held(Limits(rate=StartRate(2, 60.0)), under_way=1) is Holdup.NOTHING
    assert held(Limits(), under_way=10) is Holdup.SCRIPTS


def test_azures_writes_are_named_once_its_bucket_is_empty() -> None:
    """After as many submissions as one subscription takes at once, the refill decides; a second later some may go."""
    run = opened(plan(300, receipts=False, limits=Limits(concurrency=1000)), at=NOW)
    count = 0
    while run.holdup(NOW) is Holdup.NOTHING:
        sent(run, count, NOW)
        count += 1
    assert run.holdup(NOW) is Holdup.WRITES and 150 < count < 200
    assert run.holdup(NOW + 1.0) is Holdup.NOTHING


def test_a_step_that_is_full_holds_its_jobs_until_one_ends() -> None:
    """One at a time: the next goes when the first ends, and one that a person has cancelled meanwhile never does."""
    for cancelled in (False, True):
        made = plan(3, receipts=False)
        run = opened(replace(made, steps=tuple(replace(step, concurrency=1) for step in made.steps)), at=NOW)
        assert run.holdup(NOW) is Holdup.NOTHING
        sent(run, 0, NOW)
        assert run.holdup(NOW) is Holdup.STEP
        if cancelled:
            run.apply(e.RunCancelled(NOW, e.StopKind.SOFT, "jo", "", "d"))
            run.apply(e.LaunchStopped(NOW, CauseCode.STOPPED_BY_USER, "jo"))
        ended(run, 0, NOW + 1.0)
        assert isinstance(run.next(NOW + 1.0), Submit) is not cancelled


def test_a_budget_that_was_raised_holds_no_longer() -> None:
    """What people change while the run goes on counts at once."""
    run = opened(plan(10, receipts=False, limits=Limits(max_failures=0)), at=NOW)
    sent(run, 0, NOW)
    assert run.holdup(NOW) is Holdup.BUDGET
    run.apply(e.LimitsChanged(NOW, max_failures=5, who="jo", directive="d"))
    assert run.holdup(NOW) is Holdup.NOTHING
