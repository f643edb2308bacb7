"""Rates and budgets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.plan.model import Limits
from fleet.run import events as e
from fleet.run.answers import Quota
from fleet.run.budget import Budget
from fleet.run.limits import (
    ARC_REQUESTS,
    ARM_DELETES,
    ARM_READS,
    ARM_THROTTLED,
    ARM_WRITES,
    CALLS_AT_ONCE,
    COMPUTE_UPDATES,
    LaneRates,
    SubscriptionRates,
)
from fleet.run.model import CauseCode, Status
from fleet.run.rate import Rate
from fleet.run.state import Run
from fleet.targets.model import Kind
from tests.unit.run.driven import due
from tests.unit.run.factory import plan


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
        lane.read_answered(1000.0)
    assert lane.submit_at() > 1000.0
    before = lane.arm.reads.left(1000.0 + 1)
    lane.submitted(1000.0 + 1)
    assert lane.arm.reads.left(1000.0 + 1) == before - 1


def test_less_is_used_than_is_documented() -> None:
    """Each bucket is the documented one less a reserve: one refill, and a few calls for clocks that differ."""
    reserve = 3
    assert (200 - 10 - reserve, 10.0) == ARM_WRITES
    assert (250 - 25 - reserve, 25.0) == ARM_READS
    assert (200 - 10 - reserve, 10.0) == ARM_DELETES
    assert COMPUTE_UPDATES == (1500 - 500, 500 / 60)  # refilled once a minute
    assert ARC_REQUESTS == (320 - 2 * 10, 10.0)  # recorded: 319 left after one call


def test_the_wire_is_not_crowded() -> None:
    """However much is due, 96 requests are on the wire at most."""
    run = Run(plan(200), "20260101-000000-test")
    run.apply(e.RunOpened(0.0, 1))
    run.apply(e.WaveOpened(0.0, 0))
    assert len(due(run, 0.0)) == CALLS_AT_ONCE == 96


@given(st.integers(1, 100), st.floats(0.5, 50), st.integers(0, 60))
def test_a_bucket_is_counted_in_whole_calls(burst: int, per_second: float, taken: int) -> None:
    """A full bucket of n allows n calls at once, each leaves one less, and the next comes one refill later."""
    rate = Rate(burst, per_second)
    assert rate.left(1000.0) == burst
    for _ in range(min(taken, burst)):
        assert rate.earliest() <= 1000.001
        rate.take(1000.0)
    left = max(burst - taken, 0)
    assert rate.left(1000.001) == left
    if left == 0:
        assert rate.earliest() == pytest.approx(1000.0 + 1 / per_second)


def test_a_block_takes_nothing_back() -> None:
    """A block lets one call go at its end, the next one a refill later; a shorter one after it changes nothing."""
    rate = Rate(10, 5.0)
    rate.block(1000.0)
    assert (rate.earliest(), rate.left(1000.0), rate.left(999.9)) == (pytest.approx(1000.0), 1, 0)
    rate.block(900.0)
    assert rate.earliest() == pytest.approx(1000.0)
    rate.take(1000.0)
    assert rate.earliest() == pytest.approx(1000.2)


def test_what_the_service_counted_is_taken_over() -> None:
    """With 30 of 100 left, 30 calls may go now and the bucket is full 70 refills later."""
    rate = Rate(100, 10.0)
    rate.note(50.0, 30)
    assert (rate.left(50.0), rate.level.read().full_at) == (30, 57.0)


@pytest.mark.parametrize("principals", [-1, 0, 1, 2, 15, 16, 99])
def test_fifteen_principals_are_the_most_that_help(principals: int) -> None:
    """All principals of a subscription together may make 15 times the calls of one (documented); there is always one."""
    rates = SubscriptionRates()
    rates.share(principals)
    k = {-1: 1, 0: 1, 16: 15, 99: 15}.get(principals, principals)
    assert rates.principals == k
    for rate, (burst, per_second) in (
        (rates.writes, ARM_WRITES),
        (rates.reads, ARM_READS),
        (rates.deletes, ARM_DELETES),
    ):
        assert (rate.burst, rate.per_second) == (burst * k, per_second * k)


ALL_RATES = ("writes", "reads", "deletes", "updates", "removals")


def spent(lane: LaneRates, at: float) -> dict[str, int]:
    """How many calls each bucket of a lane is short of, where it is short of any."""
    buckets = {name: getattr(lane.arm if name in ("writes", "reads", "deletes") else lane, name) for name in ALL_RATES}
    return {name: rate.burst - rate.left(at) for name, rate in buckets.items() if rate.left(at) < rate.burst}


@pytest.mark.parametrize(
    ("kind", "submission", "removal"),
    [
        (Kind.VM, {"writes": 1, "updates": 1, "removals": 1}, {"deletes": 1, "updates": 1, "removals": 1}),
        (Kind.SCALE_SET, {"writes": 1, "updates": 1}, {"deletes": 1, "removals": 1}),
        (Kind.ARC, {"writes": 1, "reads": 1, "updates": 1, "removals": 1}, {"deletes": 1, "updates": 1, "removals": 1}),
    ],
)
def test_what_a_call_costs(kind: Kind, submission: dict[str, int], removal: dict[str, int]) -> None:
    """Each call is counted once in every bucket that it passes, and in no other."""
    lanes = [LaneRates(SubscriptionRates(), kind) for _ in range(3)]
    updates = lanes[0].updates
    assert (updates.burst, updates.per_second) == (ARC_REQUESTS if kind is Kind.ARC else COMPUTE_UPDATES)
    lanes[0].submitted(1000.0)
    lanes[1].removed(1000.0)
    lanes[2].read(1000.0)
    assert [spent(lane, 1000.001) for lane in lanes] == [submission, removal, {"reads": 1}]


@pytest.mark.parametrize("kind", list(Kind))
def test_a_call_waits_for_every_bucket_that_it_passes(kind: Kind) -> None:
    """What may leave only later for one of its buckets leaves later, whichever it is."""
    waits = {"submit": {"writes", "updates"}, "read": {"reads"}, "remove": {"deletes", "removals"}}
    if kind is not Kind.SCALE_SET:
        waits["submit"] |= {"removals"}
        waits["remove"] |= {"updates"}
    if kind is Kind.ARC:
        waits["submit"] |= {"reads"}
    for name in ALL_RATES:
        lane = LaneRates(SubscriptionRates(), kind)
        getattr(lane.arm if name in ("writes", "reads", "deletes") else lane, name).block(5000.0)
        moments = {"submit": lane.submit_at(), "read": lane.read_at(), "remove": lane.remove_at()}
        held = {call for call, at in moments.items() if at == pytest.approx(5000.0)}
        assert held == {call for call, names in waits.items() if name in names}
        assert all(at <= 0.0 for call, at in moments.items() if call not in held)


@pytest.mark.parametrize(
    ("wait", "held"), [(None, 1.0), (0.0, 1.0), (0.4, 1.0), (1.5, 1.5), (3600.0, 3600.0), (9e9, 3600.0)]
)
def test_a_refusal_is_believed_within_bounds(wait: float | None, held: float) -> None:
    """A 429 without a hint holds for a second, one with any hint for an hour at most; only what shares the limit waits."""
    for code in (ARM_THROTTLED, "", "OperationNotAllowed"):
        for call in ("submission", "read", "removal"):
            arm = SubscriptionRates()
            here, elsewhere = LaneRates(arm, Kind.SCALE_SET), LaneRates(arm, Kind.SCALE_SET)
            getattr(here, f"refused_{call}")(1000.0, wait, code)
            moments = {"submission": here.submit_at(), "read": here.read_at(), "removal": here.remove_at()}
            theirs = {
                "submission": elsewhere.submit_at(),
                "read": elsewhere.read_at(),
                "removal": elsewhere.remove_at(),
            }
            assert moments.pop(call) == pytest.approx(1000.0 + held)
            if code == ARM_THROTTLED:
                assert theirs.pop(call) == pytest.approx(1000.0 + held)
            assert all(other <= 0.0 for other in (*moments.values(), *theirs.values()))


def test_a_later_refusal_of_a_read_frees_nothing() -> None:
    """Of two refusals the later end holds, in whichever order they came."""
    lane = LaneRates(SubscriptionRates())
    lane.refused_read(1000.0, 60.0, "")
    lane.refused_read(1000.0, 5.0, "")
    assert lane.read_at() == 1060.0


HEADERS = {
    "writes": "writes",
    "reads": "reads",
    "deletes": "deletes",
    "UpdateVMSubscriptionMaximum": "updates",
    "VMScaleSetVMActionsSubscriptionMaximum": "updates",
    "DeleteVMScaleSetVMSubscriptionMaximum": "removals",
    "resource-requests": "updates",
}
OF_KIND = {
    Kind.VM: {"UpdateVMSubscriptionMaximum"},
    Kind.SCALE_SET: {"VMScaleSetVMActionsSubscriptionMaximum", "DeleteVMScaleSetVMSubscriptionMaximum"},
    Kind.ARC: {"resource-requests"},
}


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("header", HEADERS)
def test_a_header_tells_of_its_own_bucket_alone(kind: Kind, header: str) -> None:
    """Each count is believed for the one bucket it is about: ARM's of one principal, times all; others as they are."""
    lane = LaneRates(SubscriptionRates(), kind)
    lane.arm.share(3)
    lane.note(1000.0, Quota("s", "l", {header: 7}))
    about_arm = header in ("writes", "reads", "deletes")
    told = {HEADERS[header]} if about_arm or header in OF_KIND[kind] else set()
    if told == {"updates"} and kind is not Kind.SCALE_SET:
        told.add("removals")  # one bucket
    assert set(spent(lane, 1000.001)) == told
    for name in told:
        rate = getattr(lane.arm if about_arm else lane, name)
        assert rate.left(1000.001) == (21 if about_arm else 7)


COSTS = {
    Status.FAILED: "failures",
    Status.TIMED_OUT: "failures",
    Status.CANCELLED: "failures",
    Status.UNREACHABLE: "not_reached",
    Status.UNVERIFIED: "not_reached",
    Status.UNKNOWN: "not_reached",
}


@pytest.mark.parametrize("status", list(Status))
def test_every_end_costs_one_budget_or_none(status: Status) -> None:
    """A bad end is counted once, in one of the two budgets, and minded only where that one is limited."""
    budget = Budget(Limits(max_failures=5, max_unreachable=5))
    budget.count(status)
    cost = COSTS.get(status)
    assert (budget.failures, budget.not_reached) == (int(cost == "failures"), int(cost == "not_reached"))
    assert Budget(Limits(max_failures=5)).minds(status) == (cost == "failures")
    assert Budget(Limits(max_unreachable=5)).minds(status) == (cost == "not_reached")
    assert not Budget(Limits()).minds(status)


def test_the_last_place_of_a_budget_is_given_once() -> None:
    """A job starts while all in flight, should they all end badly, keep within each budget; without one there is room."""
    failures = Budget(Limits(max_failures=3), failures=1, not_reached=99)
    assert [failures.room(in_flight, 50) for in_flight in (0, 2, 3)] == [True, True, False]
    unreachable = Budget(Limits(max_unreachable=4), failures=99, not_reached=1)
    assert [unreachable.room(*both) for both in ((3, 0), (2, 1), (0, 3), (3, 1), (4, 0))] == [True] * 3 + [False] * 2
    assert Budget(Limits()).room(999, 999)
    lax = Budget(Limits(max_failures=0, max_unreachable=0, strict=False))
    assert lax.room(9, 9)


def test_a_breach_says_what_where_and_how_many() -> None:
    """The sentence counts targets in words that fit one and many, and names the wave."""
    budget = Budget(Limits(max_unreachable=0), not_reached=1, where=" in wave 2")
    assert budget.breach() == (
        CauseCode.BUDGET_UNREACHABLE,
        "1 target could not be reached in wave 2; the budget allows 0",
    )
    assert Budget(Limits(), failures=9, not_reached=9).breach() is None


def test_a_read_apart_from_runs_that_is_refused_holds_all_reads_up() -> None:
    """Where the limit is ARM's own; one of a provider says nothing of other reads."""
    rates = SubscriptionRates()
    rates.refused_read(100.0, 30.0, "TooManyRequests")
    assert rates.reads.earliest() <= 100.0
    rates.refused_read(100.0, 30.0, ARM_THROTTLED)
    assert rates.reads.earliest() == 130.0


def test_removals_leave_submissions_what_they_need() -> None:
    """VMs are submitted to and cleaned up after from one bucket, which comes back slowly."""
    lane = LaneRates(SubscriptionRates())
    for _ in range(500):
        lane.updates.take(1000.0)
    assert lane.remove_at() <= 1000.0
    assert lane.remove_at(unsent=2_900) <= 1000.0
    late = lane.remove_at(unsent=3_100)
    assert 1000.0 < late < 1005.0
    assert lane.remove_at(unsent=100_000) <= 1000.0 + 300 / COMPUTE_UPDATES[1] + 1
    assert LaneRates(SubscriptionRates(), Kind.SCALE_SET).remove_at(unsent=100_000) <= 0.0
