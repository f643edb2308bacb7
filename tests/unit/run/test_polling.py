"""When to look again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.run.polling import (
    KEEP,
    LATEST_FIRST,
    LEARN_FROM,
    LONGEST,
    LONGEST_HINT,
    SHORTEST,
    STEADY,
    Durations,
    Reads,
    deciles,
    likely_end,
    next_look,
)

IDLE = Reads(10, 220, 25.0)
"""Ten jobs in a subscription whose bucket is full."""
BUSY = Reads(500, 0, 25.0)


def of(*seconds: float, usual: tuple[float, ...] = ()) -> Durations:
    durations = Durations(usual)
    for each in seconds:
        durations.add(each)
    return durations


@given(
    st.floats(0, 1e5),
    st.integers(0, 1000),
    st.floats(0, 600),
    st.lists(st.floats(0, 1e4), max_size=30),
    st.builds(Reads, st.integers(1, 20_000), st.integers(0, 220), st.floats(25, 375)),
)
def test_looks_are_bounded_and_honour_the_service(
    age: float, looks: int, hint: float, took: list[float], reads: Reads
) -> None:
    """A pause is never below a reasonable hint of the service, is bounded, and is steady after a burst."""
    wait = next_look(age=age, looks=looks, hint=hint, durations=of(*took), reads=reads)
    believed = min(hint, LONGEST_HINT)
    assert max(believed, 0.2) <= wait <= max(LONGEST, believed)
    if looks >= 20:
        assert wait >= STEADY


def test_the_first_look_is_learnt_from_jobs_that_ended() -> None:
    """Once enough jobs of a step took about 20 s, the next one is first looked at then."""
    learned = of(*[20.0] * LEARN_FROM)
    assert next_look(age=1.0, looks=0, hint=None, durations=learned, reads=IDLE) == 19.0
    assert next_look(age=21.0, looks=1, hint=None, durations=learned, reads=IDLE) == SHORTEST
    assert next_look(age=1.0, looks=0, hint=None, durations=of(*[20.0] * (LEARN_FROM - 1)), reads=IDLE) == 1.0


def test_what_earlier_runs_took_counts_from_the_first_job_on() -> None:
    """No job of this run has ended yet, and none is looked at before it can have."""
    assert next_look(age=0.0, looks=0, hint=None, durations=of(usual=(20.0,) * 11), reads=BUSY) == 20.0


def test_scripts_of_unknown_length_are_looked_at_as_often_as_all_can_be() -> None:
    """Often while reads lie idle; where they do not, no sooner than every job had its look. The first is never late."""
    for age, looks, idle, busy in ((0.0, 0, 1.0, LATEST_FIRST), (3.0, 1, 1.0, 20.0), (20.0, 4, 5.0, 20.0)):
        waits = [next_look(age=age, looks=looks, hint=None, durations=of(), reads=reads) for reads in (IDLE, BUSY)]
        assert waits == [idle, busy]


def test_looks_are_spread_over_the_ends() -> None:
    """Where lengths differ, each look finds about as many jobs ended: more looks where more reads are left."""
    usual = tuple(float(each) for each in range(10, 120, 10))
    few = next_look(age=0.0, looks=0, hint=None, durations=of(usual=usual), reads=Reads(100, 0, 1.0))
    many = next_look(age=0.0, looks=0, hint=None, durations=of(usual=usual), reads=IDLE)
    assert (few, many) == (LONGEST, 20.0)
    late = next_look(age=100.0, looks=5, hint=None, durations=of(usual=usual), reads=Reads(100, 0, 25.0))
    assert late == SHORTEST, "few are left at this age"


def test_one_that_outlasts_all_others_is_looked_at_steadily() -> None:
    """Never more than five seconds late while few of its like are left."""
    waits = [
        next_look(age=20.0 + over, looks=3, hint=None, durations=of(usual=(20.0,) * 11), reads=IDLE)
        for over in (0.0, 10.0, 100.0, 1000.0)
    ]
    assert waits == [1.0, 1.5, 5.0, 5.0]


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=1500))
def test_the_sample_is_of_all_that_ended(seconds: list[float]) -> None:
    """It is bounded, in order, and takes jobs from the first to the last, not those that ended last."""
    durations = of(*seconds)
    assert len(durations.ordered) <= KEEP
    assert durations.ordered == sorted(durations.ordered) and set(durations.ordered) <= set(seconds)
    middle = durations.quantile(0.5)
    assert (middle is None) == (len(durations.ordered) < LEARN_FROM)
    assert middle is None or durations.share(middle) >= 0.5


def test_a_burst_of_ends_does_not_drive_out_the_short_ones() -> None:
    """Of a thousand jobs that take one second more each, the middle of the sample is the middle of all."""
    middle = of(*map(float, range(1000))).quantile(0.5)
    assert middle == pytest.approx(500, abs=20)


def test_deciles_stand_for_all() -> None:
    """The shortest, the longest, and what lies between in tenths; nothing for nothing."""
    assert deciles(()) == ()
    assert deciles([3.0]) == (3.0,) * 11
    assert deciles(range(101)) == tuple(range(0, 101, 10))


def test_an_end_is_learned_a_little_sooner_than_it_was_seen() -> None:
    """Half a second at most, and never before the last look that saw it running."""
    assert likely_end(0.0, 20.0) == 19.5
    assert likely_end(19.8, 20.0) == pytest.approx(19.9)
    assert likely_end(0.0, 2.0) == pytest.approx(1.9)
