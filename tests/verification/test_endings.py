"""The ways in which the pretended world reports the end of a script: each occurs, and Fleet reads each of them rightly."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.playbook.model import Transport
from fleet.run.model import Status
from tests.verification.endings import (
    HIDES_THE_CODE,
    HIDES_THE_RECEIPT,
    JUSTIFIES,
    OF_ACTIONS,
    OF_MANAGED,
    OF_RECEIPTS,
    Ending,
    fitting,
)
from tests.verification.history import History
from tests.verification.invariants import INVARIANTS, check
from tests.verification.labs import Misread
from tests.verification.scenario import Blow, Interruption, Scenario, draw
from tests.verification.world import live

NEEDS_A_KILL = {Ending.VIEW_TIMED_OUT, Ending.VIEW_CANCELLED}
"""Views that are shown of killed commands only."""

NEEDS_A_FAILURE = {Ending.VIEW_OLD_CODE, Ending.OLD_FORM}
PROVEN = set(OF_RECEIPTS) - HIDES_THE_RECEIPT


def calm(seed: int, *, transport: Transport, receipts: bool, endings: dict[Ending, float], exit: int = 0) -> Scenario:
    """A scenario in which nothing goes wrong but the report of how scripts end; with ``exit`` each ends with that code."""
    drawn = draw(seed, sizes=(2, 6))
    rules = [rule.model_copy(update={"exit": exit or rule.exit}) for rule in drawn.lab.rules]
    lab = drawn.lab.model_copy(update={"faults": [], "remember_names": False, "rules": rules})
    plan = replace(drawn.plan, transport=transport, receipts=receipts, gates=())
    return replace(
        drawn, lab=lab, plan=plan, rates={}, interruptions=(), happenings=(), endings=endings, misread={}, sqlite=False
    )


def lived(ending: Ending, *, receipts: bool) -> list[History]:
    """Runs in which every script's end is reported so."""
    transport = Transport.ACTION if ending in OF_ACTIONS else Transport.MANAGED
    endings = {ending: 1.0, **({Ending.KILLED: 1.0} if ending in NEEDS_A_KILL else {})}
    exit = 1 if ending in NEEDS_A_FAILURE else 0
    return [
        live(calm(seed, transport=transport, receipts=receipts, endings=endings, exit=exit)) for seed in range(40, 47)
    ]


@pytest.mark.parametrize(
    ("ending", "receipts"),
    [(ending, receipts) for ending in Ending for receipts in (True, False) if receipts or ending not in OF_RECEIPTS],
)
def test_each_ending_is_met_and_read_rightly(ending: Ending, receipts: bool) -> None:
    """No invariant is broken, and rows say what this ending leaves them to say: with proof only where there is proof."""
    histories = lived(ending, receipts=receipts)
    assert [check(history) for history in histories] == [()] * len(histories)
    rows = [
        row
        for history in histories
        for number, row in enumerate(history.rows)
        if any(job == number and ending in said for (job, _), said in history.said.items())
    ]
    assert rows, f"{ending.value} was not met"
    statuses = {row.status for row in rows}
    if ending in PROVEN:
        assert all(row.verified for row in rows)
    elif ending in JUSTIFIES and ending in (HIDES_THE_RECEIPT if receipts else HIDES_THE_CODE):
        assert statuses & JUSTIFIES[ending] and Status.SUCCEEDED not in statuses
        assert not any(row.verified for row in rows)


def test_every_ending_can_be_drawn() -> None:
    """Each fits some plan, and says of itself who tells it and what a row may say after it."""
    plan = draw(0).plan
    fit = {
        ending
        for transport in (Transport.ACTION, Transport.MANAGED)
        for ending in fitting(replace(plan, transport=transport, receipts=True))
    }
    assert fit == set(Ending)
    assert not set(OF_ACTIONS) & set(OF_MANAGED)
    told = PROVEN | NEEDS_A_FAILURE | {Ending.VIEW_TIMED_OUT}
    assert set(JUSTIFIES) | told == set(Ending)


@pytest.mark.parametrize("misread", list(Misread))
def test_a_list_that_is_read_in_part_is_said_to_be(misread: Misread) -> None:
    """The VM is found by another list, or the plan names that one is missing, and then the run does not end with 0."""
    drawn = next(found for found in map(draw, range(1000)) if len(found.misread) == 1)
    quiet = calm(drawn.seed, transport=Transport.MANAGED, receipts=True, endings={})
    (name,) = drawn.misread
    history = live(replace(quiet, lab=drawn.lab, misread={name: misread}))
    assert check(history) == ()
    assert history.report is not None
    assert bool(history.unlisted) == bool(history.plan.unread) == (misread is not Misread.OTHER_OWNER)
    assert (history.report.exit_code == 0) <= (not history.unlisted)


def test_an_owner_that_stood_still_meets_the_fence_of_the_real_journal() -> None:
    """It loses the lock, goes on beside the next owner, and writes nothing: the journal stays whole."""
    frozen = Interruption(Blow.FROZEN, at=2.0, lasts=20.0)
    quiet = calm(3, transport=Transport.MANAGED, receipts=True, endings={})
    history = live(replace(quiet, sqlite=True, interruptions=(frozen,)))
    assert (history.owners, history.damage) == (2, "")
    assert check(history) == ()
    assert list(INVARIANTS["a former owner writes nothing"](replace(history, damage="seq 3 is there twice")))
