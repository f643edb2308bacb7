"""Targets into waves, and what a plan costs."""

from __future__ import annotations

import itertools
from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from fleet.plan.estimate import estimate
from fleet.plan.launch_order import NO_TIMES, Times, arranged, ordered
from fleet.plan.model import Gate, Limits, Plan
from fleet.plan.waves import canary_set, split
from fleet.playbook.model import Amount, Flow, HealthCheck, Order, Spread, Strategy, Transport, Turn, WavesBy
from fleet.targets.model import Target
from tests.unit.run.factory import plan, target

percents = st.integers(1, 100).map(lambda n: Amount(n, percent=True))
counts = st.integers(1, 80).map(Amount)


@given(st.integers(0, 60), st.lists(st.one_of(percents, counts), max_size=5), st.booleans())
def test_every_target_is_in_exactly_one_wave(total: int, entries: list[Amount], canary: bool) -> None:
    """Whatever is asked for, waves are never empty and part the targets."""
    targets = [target(n) for n in range(total)]
    waves = split(targets, ["canary", *entries] if canary else entries)
    assert sorted(index for wave in waves for index in wave.targets) == list(range(total))
    assert all(wave.targets for wave in waves)
    assert [wave.index for wave in waves] == list(range(len(waves)))


def test_entries_are_cumulative_and_percents_are_floored() -> None:
    """``[1, 10%, 100%]`` of 25 gives waves of 1, 1 and 23: 10 % is 2 in all."""
    waves = split([target(n) for n in range(25)], [Amount(1), Amount(10, percent=True), Amount(100, percent=True)])
    assert [(wave.label, len(wave.targets)) for wave in waves] == [("1", 1), ("10%", 1), ("100%", 23)]


def test_whoever_is_left_over_forms_a_last_wave() -> None:
    """``[50%]`` does not drop the other half."""
    assert [len(wave.targets) for wave in split([target(n) for n in range(10)], [Amount(50, percent=True)])] == [5, 5]


traits = st.fixed_dictionaries(
    {
        "image": st.sampled_from(["ubuntu", "debian", "rhel"]),
        "size": st.sampled_from(["a", "b"]),
        "location": st.sampled_from(["north", "west"]),
    }
)


@given(st.lists(traits, min_size=1, max_size=30))
def test_the_canary_covers_every_class(machines: list[dict[str, str]]) -> None:
    """Every image, size and region of the fleet is in the canary, and nobody is in it without need."""
    targets = [target(n, **machine) for n, machine in enumerate(machines)]
    chosen = [machines[index] for index in canary_set(targets)]
    for trait in ("image", "size", "location"):
        assert {machine[trait] for machine in chosen} == {machine[trait] for machine in machines}
    assert len(chosen) <= 5


def test_the_canary_is_the_smallest_set() -> None:
    """Where taking the VM that covers most each time needs four, and three suffice, three are taken."""
    machines = [
        {"image": "a", "size": "1", "location": "x"},
        {"image": "b", "size": "2", "location": "x"},
        {"image": "c", "size": "3", "location": "x"},
        {"image": "a", "size": "2", "location": "y"},
        {"image": "b", "size": "1", "location": "z"},
        {"image": "c", "size": "3", "location": "z"},
    ]
    targets = [target(n, **machine) for n, machine in enumerate(machines)]
    chosen = canary_set(targets)
    brute = min(
        len(some)
        for size in range(1, 7)
        for some in itertools.combinations(range(6), size)
        if all({machines[n][trait] for n in some} == {m[trait] for m in machines} for trait in machines[0])
    )
    assert len(chosen) == brute == 3


THREE_THOUGH_NOTHING_HAS_THREE_VALUES = [
    {"image": "ubuntu", "size": "a", "location": "north"},
    {"image": "ubuntu", "size": "b", "location": "west"},
    {"image": "debian", "size": "a", "location": "west"},
]


@example(THREE_THOUGH_NOTHING_HAS_THREE_VALUES)
@given(st.lists(traits, min_size=1, max_size=9))
def test_no_smaller_canary_exists(machines: list[dict[str, str]]) -> None:
    """No smaller set covers as much, whatever the fleet."""
    chosen = canary_set([target(n, **machine) for n, machine in enumerate(machines)])
    for some in itertools.combinations(machines, len(chosen) - 1):
        assert any({m[trait] for m in some} != {m[trait] for m in machines} for trait in machines[0])


RINGS = ["prod", "dev", "", "Test", "prod", "prod", "dev", "prod"]


def ringed() -> list[Target]:
    return [target(n, tags={"Ring": ring} if ring else {}) for n, ring in enumerate(RINGS)]


def test_waves_by_a_tag_go_group_after_group() -> None:
    """Named values come first in their order, the others follow, and last whoever has none; case does not matter."""
    waves = split(ringed(), WavesBy("tag:ring", order=("dev", "TEST")))
    assert [(wave.label, wave.targets) for wave in waves] == [
        ("ring dev", (1, 6)),
        ("ring Test", (3,)),
        ("ring prod", (0, 4, 5, 7)),
        ("no ring", (2,)),
    ]


def test_waves_inside_each_group() -> None:
    """``each`` cuts every group in turn, in percents of the group."""
    waves = split(ringed(), WavesBy("tag:ring", order=("dev",), each=(Amount(50, percent=True),)))
    assert [(wave.label, len(wave.targets)) for wave in waves][:2] == [("ring dev, 50%", 1), ("ring dev, 100%", 1)]
    assert [len(wave.targets) for wave in waves if "prod" in wave.label] == [2, 2]


def test_a_canary_goes_before_all_groups() -> None:
    """With ``canary`` every class is covered first, and nobody goes twice."""
    waves = split(ringed(), WavesBy("tag:ring", canary=True))
    assert (waves[0].label, waves[0].targets) == ("canary", (0,))
    assert sorted(index for wave in waves for index in wave.targets) == list(range(8))


@given(
    st.lists(st.sampled_from(["1", "2", "10", ""]), max_size=40),
    st.lists(st.one_of(percents, counts), max_size=3),
    st.booleans(),
)
def test_groups_part_the_targets(zones: list[str], each: list[Amount], canary: bool) -> None:
    """Whatever the groups, every target is in exactly one wave, and no wave is empty or of two groups."""
    targets = [target(n, zone=zone) for n, zone in enumerate(zones)]
    waves = split(targets, WavesBy("zone", each=tuple(each), canary=canary))
    assert sorted(index for wave in waves for index in wave.targets) == list(range(len(zones)))
    assert all(wave.targets for wave in waves)
    assert all(len({zones[n] for n in wave.targets}) == 1 for wave in waves if wave.label != "canary")


def test_the_same_seed_gives_the_same_order_and_a_new_vm_moves_no_other() -> None:
    """Drawn by lot, each VM has its own number: another seed, another order; one VM more, the same order of the rest."""
    targets = [target(n) for n in range(50)]
    order = ordered(targets, Order.RANDOM, 7)
    assert order == ordered(targets, Order.RANDOM, 7) != ordered(targets, Order.RANDOM, 8)
    assert order != ordered(targets, Order.NAME, 7) == tuple(range(50))
    assert [n for n in ordered([*targets, target(50)], Order.RANDOM, 7) if n < 50] == list(order)


def test_the_longest_go_first_after_the_ramp() -> None:
    """Known times decide the order inside a wave; a slow start takes the shortest first, so that it is short."""
    targets = [target(n) for n in range(8)]
    times = Times("run", {target.key: 10.0 * 4**n for n, target in enumerate(targets) if n != 5})
    assert arranged(range(8), targets, times, Limits()) == (7, 6, 4, 3, 5, 2, 1, 0)
    assert arranged(range(8), targets, times, Limits(slow_start=True)) == (0, 1, 2, 7, 6, 4, 3, 5)
    assert arranged(range(8), targets, NO_TIMES, Limits()) == tuple(range(8))


def test_times_that_differ_little_change_nothing() -> None:
    """A run that took a second more or less on some VMs does not shuffle the next one."""
    targets = [target(n) for n in range(6)]
    times = Times("run", {target.key: 40.0 + n % 2 for n, target in enumerate(targets)})
    assert arranged(range(6), targets, times, Limits()) == tuple(range(6))


def test_the_estimate_knows_slow_start_strict_budgets_and_spread() -> None:
    """A wave takes as many rounds as what may be under way allows."""

    def seconds(limits: Limits) -> float:
        return estimate(plan(100, limits=limits), 10.0).seconds

    assert seconds(Limits(concurrency=50)) == 20.0
    assert seconds(Limits(concurrency=50, max_failures=9)) == 100.0
    assert seconds(Limits(concurrency=50, max_failures=9, strict=False)) == 20.0
    slow = estimate(plan(100, limits=Limits(concurrency=50, slow_start=True)), 10.0)
    assert (slow.seconds, slow.slow_start) == (70.0, 50.0)
    assert seconds(Limits(concurrency=50, spread=Spread("location", Amount(20)))) == 50.0


def test_the_estimate_follows_the_documented_limits() -> None:
    """2,000 VMs in one subscription cannot start faster than in 180 s; in four it takes 30 s."""
    limits = Limits(concurrency=5000)
    assert estimate(plan(2000, limits=limits), 20.0).seconds == 200.0
    assert estimate(plan(2000, subscriptions=4, limits=limits), 20.0).seconds == 50.0


def timed(*flows: Flow, strategy: Strategy = Strategy.NODE, vms: int = 10, **limits: object) -> Plan:
    """A plan of one wave with a step for each of these flows."""
    made = plan(vms, steps=len(flows), limits=Limits(**limits))  # type: ignore[arg-type]
    steps = tuple(replace(step, flow=flow) for step, flow in zip(made.steps, flows, strict=True))
    return replace(made, steps=steps, strategy=strategy)


def test_the_estimate_knows_that_steps_wait_for_each_other() -> None:
    """Step by step nobody begins the next step before all have ended the one before, so each step waits for submissions."""
    both = [estimate(timed(Flow(), Flow(), strategy=way, vms=2000, concurrency=5000), 20.0) for way in Strategy]
    assert [cost.seconds for cost in both] == [400.0, 400.0], "limited by what may be sent at all"
    both = [estimate(timed(Flow(), Flow(), strategy=way, vms=400, concurrency=5000), 100.0) for way in Strategy]
    assert [cost.seconds for cost in both] == [200.0, 220.0]
    both = [estimate(timed(Flow(), Flow(), strategy=way, vms=10, concurrency=4), 10.0) for way in Strategy]
    assert [cost.seconds for cost in both] == [60.0, 60.0]


def test_the_estimate_tells_what_retries_may_add() -> None:
    """The usual figures know none; the upper ones have every step fail until its last try."""
    cost = estimate(timed(Flow(), Flow(retries=2, retry_delay=30.0), concurrency=5), 10.0)
    assert (cost.submissions, cost.seconds) == (20, 2 * (10 + 10))
    assert (cost.most_submissions, cost.most_seconds) == (40, 2 * (10 + 10 + 2 * (30 + 10)))
    plain = estimate(plan(10), 10.0)
    assert (plain.most_submissions, plain.most_seconds) == (plain.submissions, plain.seconds)


def test_the_estimate_leaves_out_what_only_follows_a_failure() -> None:
    """A rescue step costs nothing where nothing fails, and a health step only after the waves whose gates ask for it."""
    assert estimate(timed(Flow(), Flow(turn=Turn.RESCUE)), 10.0).submissions == 10
    made = plan(10, steps=2, waves=(Amount(4),), limits=Limits(soak=100.0, concurrency=2))
    steps = (made.steps[0], replace(made.steps[1], flow=Flow(turn=Turn.GATE)))
    gates = (Gate(1, health=HealthCheck("step1", Amount(0))),)
    first = estimate(replace(made, steps=steps, gates=gates), 10.0)
    assert (first.submissions, first.deletes) == (14, 14)
    assert first.seconds == (2 * 10 + 100 + 2 * 10) + 3 * 10
    each = estimate(replace(made, steps=steps, gates=(*gates, Gate(2, health=HealthCheck("step1", Amount(0))))), 10.0)
    assert each.submissions == 20 and each.seconds == first.seconds + 100 + 3 * 10, "the last wave settles, too"


def test_the_estimate_counts_calls() -> None:
    """A managed job costs a submission and a delete; the action needs no delete."""
    cost = estimate(plan(10, steps=2))
    assert (cost.jobs, cost.submissions, cost.deletes) == (20, 20, 20)
    assert estimate(plan(10, transport=Transport.ACTION)).deletes == 0
