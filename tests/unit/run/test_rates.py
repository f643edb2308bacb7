"""The table of rates that one sign-in has, and the places of those who share it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.run import effects as f
from fleet.run import events as e
from fleet.run.answers import Quota, Refusal
from fleet.run.limits import ARM_THROTTLED, ARM_WRITES
from fleet.run.rate import WAITED_FOR, Rate
from fleet.run.rates import Bucket, Rates
from fleet.run.state import Run
from fleet.targets.model import Kind, Target
from tests.unit.run.factory import plan, target

NOW = 1000.0
PROVIDERS = {
    Kind.VM: "Microsoft.Compute/virtualMachines",
    Kind.SCALE_SET: "Microsoft.Compute/virtualMachineScaleSets/set/virtualMachines",
    Kind.ARC: "Microsoft.HybridCompute/machines",
}


def machine(kind: Kind) -> Target:
    made = target(1, id=f"/subscriptions/sub-0/resourceGroups/rg/providers/{PROVIDERS[kind]}/one")
    assert made.kind is kind
    return made


def opened(vms: int = 3) -> Run:
    run = Run(plan(vms), "20260101-000000-test")
    run.apply(e.RunOpened(NOW, 1))
    run.apply(e.WaveOpened(NOW, 0))
    return run


def submit(run: Run, now: float) -> bool:
    """Do what the run wants to do now, if that is to send a command."""
    effect = run.next(now)
    if isinstance(effect, f.Submit):
        run.apply(e.SubmissionIntended(now, effect.job, effect.attempt))
    return isinstance(effect, f.Submit)


def test_machines_of_one_place_share_what_azure_shares() -> None:
    """ARM's rates are one for each subscription, the provider's one for each region and kind; case makes no difference."""
    rates = Rates()
    here = rates.lane(target(1))
    assert rates.lane(target(2, subscription="SUB-0", location="WestEurope")) is here
    others = [rates.lane(target(3, location="northeurope")), rates.lane(machine(Kind.SCALE_SET))]
    assert [other.arm is here.arm for other in others] == [True, True]
    assert [other.updates is here.updates for other in others] == [False, False]
    assert rates.lane(target(5, subscription="other")).arm is not here.arm


def test_who_signs_in_decides_for_every_subscription() -> None:
    """Principals that take turns multiply the rates that are there, and those that come later."""
    rates = Rates()
    before = rates.arm("a")
    rates.share(3)
    assert [arm.writes.left(NOW) for arm in (before, rates.arm("b"))] == [3 * ARM_WRITES[0]] * 2


def test_headers_count_for_the_place_that_they_are_about() -> None:
    """ARM's counts hold for the whole subscription, also where nothing is known of the region; no other is touched."""
    rates = Rates()
    rates.lane(target(1))
    for location in ("westeurope", "elsewhere"):
        rates.note(NOW, Quota("SUB-0", location, {"reads": 7}))
        assert rates.arm("sub-0").reads.left(NOW) == 7
    rates.note(NOW, Quota("other", "", {"writes": 0}))
    assert (rates.arm("other").writes.left(NOW), rates.arm("sub-0").writes.left(NOW)) == (0, ARM_WRITES[0])


calls = st.sampled_from(["submitted", "read", "removed", "refused_submission", "refused_read", "refused_removal"])


@given(
    st.lists(st.tuples(calls, st.sampled_from(Kind), st.booleans(), st.floats(0, 60)), max_size=40),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_levels_carry_all_that_is_known(done: list[tuple[str, Kind, bool, float]], theirs: int, ours: int) -> None:
    """A table that takes over another's levels allows nothing sooner than that one, however many principals each has."""
    known, fresh = Rates(theirs), Rates(ours)
    for call, kind, by_arm, after in done:
        lane = known.lane(machine(kind))
        if call.startswith("refused"):
            getattr(lane, call)(NOW + after, 10.0, ARM_THROTTLED if by_arm else "")
        else:
            getattr(lane, call)(NOW + after)
    levels = known.levels(NOW)
    fresh.hold(levels)
    for kind in Kind:
        there, here = known.lane(machine(kind)), fresh.lane(machine(kind))
        for moment in ("submit_at", "read_at", "remove_at"):
            sooner = getattr(here, moment)() < getattr(there, moment)() - 1e-6
            assert not sooner or getattr(there, moment)() <= NOW
    held = fresh.levels(NOW)
    fresh.hold(levels)
    assert fresh.levels(NOW) == held, "taking over twice changes nothing"


def test_levels_name_what_is_not_full_and_nothing_else() -> None:
    """Levels are plain values, one for each bucket in use; one that is full again is left out."""
    rates = Rates()
    rates.lane(target(1)).submitted(NOW)
    assert set(rates.levels(NOW)) == {
        Bucket("sub-0", "writes"),
        Bucket("sub-0", "updates", "westeurope", "vm"),
        Bucket("sub-0", "removals", "westeurope", "vm"),
    }
    assert rates.levels(NOW + 1.0) == {}


def test_of_two_levels_the_later_moment_holds() -> None:
    """A block is not forgotten for a level that is sooner, nor one that is shorter believed after it."""
    rates, bucket = Rates(), Bucket("sub-0", "writes")
    for moment in (NOW + 60.0, NOW + 10.0):
        rates.hold({bucket: moment})
        assert rates.lane(target(1)).submit_at() == pytest.approx(NOW + 60.0)


def test_a_run_counts_privately_until_it_joins() -> None:
    """What a run is told changes nothing that others share; from the moment at which it joins, all of it does."""
    rates, run = Rates(), opened()
    assert submit(run, NOW) and submit(run, NOW)
    run.apply(e.QuotaSeen(NOW, Quota("sub-0", "westeurope", {"reads": 9})))
    assert rates.levels(NOW) == {}
    run.join(rates, NOW)
    assert (rates.arm("sub-0").writes.left(NOW + 0.001), rates.arm("sub-0").reads.left(NOW + 0.001)) == (
        ARM_WRITES[0] - 2,
        9,
    )
    assert submit(run, NOW)
    assert rates.arm("sub-0").writes.left(NOW + 0.001) == ARM_WRITES[0] - 3 == run.call_budget(NOW + 0.001)


def test_what_others_used_is_used_for_a_run_that_joins() -> None:
    """A run alone could send at once; joined to a bucket that others have emptied, it waits for the next call."""
    rates, run = Rates(), opened()
    for _ in range(ARM_WRITES[0]):
        rates.lane(target(9)).submitted(NOW)
    run.join(rates, NOW)
    effect = run.next(NOW)
    assert isinstance(effect, f.WaitUntil)
    assert effect.at == pytest.approx(NOW + 0.1, abs=0.001)


@pytest.mark.parametrize("ahead", [-1000.0, 1000.0])
def test_a_run_whose_time_differs_counts_by_the_others_clock(ahead: float) -> None:
    """Calls and blocks are entered at the moments of those who share the table, and read in the run's own."""
    rates, run = Rates(), opened()
    assert submit(run, NOW)
    run.join(rates, NOW, ahead)
    assert rates.arm("sub-0").writes.left(NOW - ahead + 0.001) == ARM_WRITES[0] - 1
    run.apply(e.SubmissionRefused(NOW, run.jobs[0].job.id, Refusal(429, ARM_THROTTLED, "later", 30.0)))
    assert rates.arm("sub-0").writes.earliest() == pytest.approx(NOW - ahead + 30.0)
    effect = run.next(NOW)
    assert isinstance(effect, f.WaitUntil) and effect.at == pytest.approx(NOW + 30.0)


def empty(now: float) -> Rate:
    """A bucket of which the next call comes a tenth of a second after now."""
    rate = Rate(10, 10.0)
    for _ in range(10):
        rate.take(now)
    return rate


def test_who_came_first_calls_first() -> None:
    """Whoever asks, the next call is for who has waited longest; who has called goes to the end of the line."""
    rate = empty(NOW)
    rate.wait(NOW, "a")
    rate.wait(NOW, "b")
    assert [rate.earliest(who) - NOW for who in ("a", "b", "c")] == pytest.approx([0.1, 0.2, 0.3])
    rate.take(NOW + 0.1, "a")
    rate.wait(NOW + 0.1, "a")
    assert [rate.earliest(who) - NOW for who in ("b", "a")] == pytest.approx([0.2, 0.3])
    rate.wait(NOW + 0.15, "b")
    assert rate.earliest("b") - NOW == pytest.approx(0.2), "asking again loses no place"


def test_who_no_longer_asks_loses_its_place() -> None:
    """A place is kept for a while after the moment that it was for: until then it costs others one call, and no more."""
    rate = empty(NOW)
    rate.wait(NOW, "gone")
    assert rate.earliest("b") == pytest.approx(NOW + 0.2)
    later = NOW + 0.1 + WAITED_FOR + 0.01
    for _ in range(rate.left(later)):
        rate.take(later, "b")
    rate.wait(later, "b")
    assert list(rate.waiting) == ["b"]
    assert rate.earliest("b") == pytest.approx(later + 0.1)


@pytest.mark.parametrize("runs", [2, 3])
def test_runs_that_share_a_bucket_take_turns(runs: int) -> None:
    """However often one run asks, of an empty bucket each gets as many calls as the others."""
    rates = Rates()
    for _ in range(ARM_WRITES[0]):
        rates.lane(target(9)).submitted(NOW)
    sharing = [opened(60) for _ in range(runs)]
    sent = [0] * runs
    for run in sharing:
        run.join(rates, NOW)
    for step in range(900):
        now = NOW + step / 300
        for number, run in enumerate(sharing):
            if number == 0 or step % 10 == number:  # the first asks at each moment, before the others
                if submit(run, now):
                    sent[number] += 1
                else:
                    run.wait(now)
    assert max(sent) - min(sent) <= 1
    assert sum(sent) >= 28
