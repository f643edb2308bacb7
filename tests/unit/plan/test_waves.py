"""Targets into waves, and what a plan costs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.plan.estimate import estimate
from fleet.plan.model import Limits
from fleet.plan.waves import canary_set, split
from fleet.playbook.model import Amount, Transport
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


def test_the_estimate_follows_the_documented_limits() -> None:
    """2,000 VMs in one subscription cannot start faster than in 180 s; in four it takes 30 s."""
    limits = Limits(concurrency=5000)
    assert estimate(plan(2000, limits=limits), 20.0).seconds == 200.0
    assert estimate(plan(2000, subscriptions=4, limits=limits), 20.0).seconds == 50.0


def test_the_estimate_counts_calls() -> None:
    """A managed job costs a submission and a delete; the action needs no delete."""
    cost = estimate(plan(10, steps=2))
    assert (cost.jobs, cost.submissions, cost.deletes) == (20, 20, 20)
    assert estimate(plan(10, transport=Transport.ACTION)).deletes == 0
