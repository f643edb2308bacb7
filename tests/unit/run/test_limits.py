"""Rates and budgets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.plan.model import Limits
from fleet.run import events as e
from fleet.run.answers import Quota
from fleet.run.limits import ARM_READS, ARM_WRITES, Budget, LaneRates, Rate, SubscriptionRates
from fleet.run.model import CauseCode
from fleet.run.state import Run
from fleet.targets.model import Kind
from tests.unit.run.factory import plan


@given(st.integers(1, 50), st.floats(0.1, 100), st.lists(st.floats(0, 3), max_size=200))
def test_a_rate_never_allows_more_than_burst_and_refill(burst: int, per_second: float, pauses: list[float]) -> None:
    """In any window, calls made as soon as allowed number at most the burst plus the refill."""
    rate = Rate(burst, per_second)
    now, calls = 1000.0, []
    for pause in pauses:
        now = max(now + pause, rate.earliest())
        rate.take(now)
        calls.append(now)
    for first, begin in enumerate(calls):
        for last in range(first, len(calls)):
            assert last - first + 1 <= burst + per_second * (calls[last] - begin) + 1e-3


@given(st.floats(0, 1000), st.floats(0, 1000))
def test_a_block_holds_until_its_moment(now: float, wait: float) -> None:
    """After a block nothing is allowed before its end, and something is at its end."""
    rate = Rate(10, 5.0)
    rate.take(now)
    rate.block(now + wait)
    assert abs(rate.earliest() - (now + wait)) < 1e-6 or rate.earliest() <= now + wait


def test_the_service_is_believed_when_less_is_left() -> None:
    """A remaining count below ours slows us down; one above ours changes nothing."""
    rate = Rate(100, 10.0)
    rate.take(50.0)
    rate.note(50.0, 0)
    assert rate.earliest() > 50.0
    before = rate.full_at
    rate.note(50.0, 99)
    assert rate.full_at == before
    assert rate.left(50.0) == 0
    assert rate.left(60.0) == 100


@given(st.integers(0, 20), st.integers(0, 50), st.integers(0, 50))
def test_a_strict_budget_reserves_what_is_in_flight(maximum: int, failures: int, in_flight: int) -> None:
    """Strict: should all jobs in flight and one more fail, the budget is exceeded by one at most."""
    budget = Budget(Limits(max_failures=maximum), failures=failures)
    if budget.room(in_flight, 7):
        assert failures + in_flight + 1 <= maximum + 1


@given(st.integers(0, 20), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_a_strict_budget_reserves_what_waits_to_be_tried_again(
    most: int, lost: int, in_flight: int, tried: int
) -> None:
    """Strict: should all jobs in flight, all that were refused and one more be out of reach, one at most is too many."""
    budget = Budget(Limits(max_unreachable=most), not_reached=lost)
    if budget.room(in_flight, tried):
        assert lost + in_flight + tried + 1 <= most + 1


def test_a_lax_budget_counts_only_what_failed() -> None:
    """With ``strict: false`` jobs in flight reserve nothing."""
    budget = Budget(Limits(max_failures=2, strict=False), failures=2)
    assert budget.room(100, 100)
    budget.failures = 3
    assert not budget.room(0, 0)


def test_breaches_name_their_budget() -> None:
    """Each budget ends the run with its own cause, and at its maximum it does not yet."""
    budget = Budget(Limits(max_failures=1, max_unreachable=0), failures=1)
    assert budget.breach() is None
    budget.not_reached = 1
    breach = budget.breach()
    assert breach is not None
    assert breach[0] is CauseCode.BUDGET_UNREACHABLE
    budget.failures = 2
    breach = budget.breach()
    assert breach is not None
    assert breach == (CauseCode.BUDGET_FAILURES, "2 targets failed; the budget allows 1")


@given(st.integers(0, 40), st.integers(0, ARM_WRITES[0]))
def test_principals_multiply_arms_limits_and_not_computes(principals: int, remaining: int) -> None:
    """k principals have k times ARM's calls, at most 15 times, and what one has left counts k times."""
    rates = LaneRates(SubscriptionRates())
    rates.arm.share(principals)
    k = min(max(principals, 1), 15)
    assert (rates.arm.writes.left(0.0), rates.arm.reads.left(0.0)) == (ARM_WRITES[0] * k, ARM_READS[0] * k)
    assert rates.arm.writes.per_second == 10.0 * k
    assert rates.updates.left(0.0) == 1000
    rates.note(100.0, Quota("s", "l", {"writes": remaining, "UpdateVMSubscriptionMaximum": 500}))
    assert rates.arm.writes.left(100.0) in (remaining * k, max(remaining * k - 1, 0))
    assert rates.updates.left(100.0) in (500, 499)


def test_who_carries_the_run_decides_the_pace() -> None:
    """A run opened by three principals may send three times as much at once; one who takes it over alone may not."""
    run = Run(plan(10, subscriptions=2), "20260101-000000-test")
    run.apply(e.RunOpened(0.0, 1, "me", 3))
    assert run.call_budget(0.0) == 3 * ARM_WRITES[0]
    run.apply(e.RunOpened(1000.0, 2, "other"))
    assert run.call_budget(1000.0) == ARM_WRITES[0]


def test_each_kind_has_the_buckets_of_its_own_provider() -> None:
    """What one kind's header says holds up no other; a removal on an instance passes a bucket of its own."""
    arm = SubscriptionRates()
    lanes = {kind: LaneRates(arm, kind) for kind in Kind}
    told = {"UpdateVMSubscriptionMaximum": 0, "DeleteVMScaleSetVMSubscriptionMaximum": 0, "resource-requests": 0}
    for lane in lanes.values():
        lane.note(1000.0, Quota("s", "l", told))
    assert {kind: lane.submit_at() > 1000.0 for kind, lane in lanes.items()} == {
        Kind.VM: True,
        Kind.SCALE_SET: False,
        Kind.ARC: True,
    }
    assert all(lane.remove_at() > 1000.0 for lane in lanes.values())
    lanes[Kind.SCALE_SET].note(1000.0, Quota("s", "l", {"VMScaleSetVMActionsSubscriptionMaximum": 0}))
    assert lanes[Kind.SCALE_SET].submit_at() > 1000.0


def test_a_refused_region_of_scale_sets_does_not_hold_up_vms() -> None:
    """A 429 of Compute is about one policy; ARM's own is about the whole subscription."""
    arm = SubscriptionRates()
    machines, instances = LaneRates(arm, Kind.VM), LaneRates(arm, Kind.SCALE_SET)
    instances.refused_submission(1000.0, 60.0, "OperationNotAllowed")
    assert (instances.submit_at() >= 1060.0, machines.submit_at() < 1000.0) == (True, True)
    instances.refused_submission(1000.0, 60.0, "SubscriptionRequestsThrottled")
    assert machines.submit_at() >= 1060.0


def test_a_submission_to_an_arc_machine_costs_a_read_as_well() -> None:
    """Its connection is asked first, so reads that are used up hold it back."""
    lane = LaneRates(SubscriptionRates(), Kind.ARC)
    for _ in range(ARM_READS[0]):
        lane.read(1000.0)
    assert lane.submit_at() > 1000.0
    before = lane.arm.reads.left(1000.0 + 1)
    lane.submitted(1000.0 + 1)
    assert lane.arm.reads.left(1000.0 + 1) == before - 1
