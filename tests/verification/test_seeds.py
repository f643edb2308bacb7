"""Seeds: equal ones give equal histories, and in every one of them the invariants hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.rehearsal.faults import Fault
from tests.verification.invariants import check
from tests.verification.scenario import Blow, Interruption, Moment, draw
from tests.verification.world import live


@pytest.mark.parametrize("seed", [3, 14, 30, 111])
def test_a_seed_replays_a_run_exactly(seed: int) -> None:
    """Everything that happened, to the moment, is a function of the seed."""
    one, other = live(draw(seed)), live(draw(seed))
    assert one.kept == other.kept
    assert one.deliveries == other.deliveries
    assert one.departures == other.departures
    assert (one.report, one.said) == (other.report, other.said)


def test_the_real_journal_tells_the_same_story() -> None:
    """A scenario lived on SQLite and on the simulated disk ends with the same report."""
    calm = replace(draw(14), rates={}, interruptions=(), happenings=(), endings={})
    on_disk, simulated = live(replace(calm, sqlite=True)), live(replace(calm, sqlite=False))
    assert check(on_disk) == ()
    assert [row.status for row in on_disk.rows] == [row.status for row in simulated.rows]


@pytest.mark.parametrize("fault", list(Fault))
def test_each_fault_alone_and_often(fault: Fault) -> None:
    """Half of all requests meet one kind of fault: the run ends, and the invariants hold."""
    for seed in range(4):
        assert check(live(draw(seed, {fault: 0.5}, (1, 12)))) == ()


def test_every_write_of_a_run_may_be_the_last() -> None:
    """A process that is killed before, in the midst of and after each write to the journal, in turn: nothing is lost."""
    calm = replace(draw(2, sizes=(2, 4)), rates={Fault.LOST: 0.2}, happenings=(), sqlite=False)
    for write in range(1, 100):
        kills = [Interruption(Blow.KILLED_IN_WRITE, write=write, moment=moment, share=0.5) for moment in Moment]
        lived = [live(replace(calm, interruptions=(kill,))) for kill in kills]
        assert [check(history) for history in lived] == [(), (), ()], write
        if all(history.owners == 1 for history in lived):
            return  # the run has fewer writes than that
    pytest.fail("the run never ended")
