"""Who is told to be a straggler, and who is not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.playbook.model import Amount, Transport
from fleet.run.answers import Operation
from fleet.run.job_state import JobState
from fleet.run.model import Phase
from fleet.run.stragglers import ENOUGH, LEAST, stragglers
from tests.unit.run.factory import plan

DURATIONS = st.lists(st.floats(0.1, 5000), min_size=ENOUGH, max_size=60)


def states(ended: list[float], running: list[float], *, waves: tuple[Amount, ...] = ()) -> list[JobState]:
    """Jobs of one step that took ``ended`` seconds, and others that have been ``running`` for so long at moment 0."""
    made = plan(len(ended) + len(running), waves=waves)
    jobs = [JobState(job, Transport.MANAGED, None, operation=Operation(Transport.MANAGED)) for job in made.jobs()]
    for state, took in zip(jobs, ended, strict=False):
        state.phase, state.intended, state.ended = Phase.DONE, -9e6, -9e6 + took
    for state, age in zip(jobs[len(ended) :], running, strict=True):
        state.phase, state.intended = Phase.RUNNING, -age
    return jobs


def test_the_one_that_hangs_is_named() -> None:
    """Of three running jobs the one far beyond its kin is told, with its age and what is usual."""
    (found,) = stragglers(states([20.0] * 10 + [22.0] * 10, [5, 25, 300]), now=0.0)
    assert (found.job, found.age, found.usual) == (22, 300, 21)


def test_nothing_is_said_before_enough_have_ended() -> None:
    """With too few to compare with, nobody is a straggler."""
    assert not stragglers(states([1.0] * (ENOUGH - 1), [9999]), now=0.0)
    assert stragglers(states([1.0] * ENOUGH, [9999]), now=0.0)


def test_the_oldest_comes_first() -> None:
    """Stragglers are told by age."""
    found = stragglers(states([1.0] * 20, [50, 500, 100]), now=0.0)
    assert [straggler.age for straggler in found] == [500, 100, 50]


def test_waves_are_apart() -> None:
    """A later wave is not measured by the one before: its machines may be others."""
    waves = (Amount(20), Amount(100, percent=True))
    assert not stragglers(states([1.0] * 20, [9999], waves=waves), now=0.0)


@given(DURATIONS, st.floats(0, 1e5))
def test_nobody_within_twice_the_usual_is_one(ended: list[float], age: float) -> None:
    """A straggler is always at least twice as old as the median, and LEAST seconds older, and older than three quarters."""
    for found in stragglers(states(ended, [age]), now=0.0):
        assert found.age >= 2 * found.usual
        assert found.age >= found.usual + LEAST
        assert sum(took < found.age for took in ended) >= 0.75 * len(ended)


@given(DURATIONS)
def test_somebody_old_enough_is_one(ended: list[float]) -> None:
    """However the others spread, a job that never ends becomes a straggler."""
    assert stragglers(states(ended, [1e6]), now=0.0)
