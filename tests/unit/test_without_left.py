"""Which targets of a frozen plan are not run when it is applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.app.search import Found, without_left
from fleet.errors import Refused
from fleet.plan.model import Plan, Scope
from fleet.run.model import CauseCode
from fleet.run.state import Run
from fleet.targets.expand import Wanted
from fleet.targets.model import SUBSCRIPTION_UNREADABLE, Os, Target, TargetSet, UnreadScope
from fleet.targets.partial import PartialTarget
from tests.unit.run.factory import plan

PLAN = plan(4, subscriptions=2, steps=2)


def found(present: Sequence[Target], *unread: str) -> Found:
    scopes = tuple(UnreadScope(subscription, "", "forbidden", "no role") for subscription in unread)
    return Found(tuple(present), Wanted(), TargetSet(tuple(present), scopes), Scope())


def left(applied: Plan) -> dict[int, str]:
    return {item.target: item.why for item in applied.left}


def test_a_subscription_that_cannot_be_read_is_not_left() -> None:
    """Whether its VMs are still selected is not known, so the plan is refused; ids are compared without regard to case."""
    with pytest.raises(
        Refused, match=r"whether 2 targets of the plan would be selected is not known: vm\[0001,0003\]"
    ) as error:
        without_left(PLAN, found([PLAN.targets[0], PLAN.targets[2]], "SUB-1"))
    assert (error.value.code, "sub-1" in error.value.hint) == ("plan_drift", True)


def test_an_unread_subscription_of_which_all_was_seen_is_no_doubt() -> None:
    """What was listed is known, though another kind of machine there could not be listed."""
    assert left(without_left(PLAN, found(PLAN.targets[:3], "sub-0"))).keys() == {3}
    assert without_left(PLAN, found(PLAN.targets, "sub-0", "sub-1")) == PLAN


LAST = PLAN.targets[3]


@pytest.mark.parametrize(
    ("target", "unknown", "is_doubtful"),
    [
        (LAST, frozenset({"tags"}), True),
        (replace(LAST, id="?"), frozenset({"id", "os"}), True),
        (replace(LAST, id="?", name="?"), frozenset({"id", "name"}), True),
        (replace(LAST, id="?", subscription="?", name="?"), frozenset({"id", "name", "subscription"}), True),
        (replace(LAST, id="?", name="other"), frozenset({"id"}), False),
        (replace(LAST, id="?", name="?", subscription="sub-0"), frozenset({"id", "name"}), False),
        (PLAN.targets[1], frozenset({"tags"}), False),
    ],
)
def test_a_machine_that_cannot_be_read_may_be_the_one_that_is_missing(
    target: Target, unknown: frozenset[str], is_doubtful: bool
) -> None:
    """Where all that is known of an entry fits the target, nobody can say that it left."""
    lost = PartialTarget(target, unknown, "VM ?", "a field cannot be read")
    present = TargetSet(PLAN.targets[:3], (lost.scope(),))
    seen = Found(PLAN.targets[:3], Wanted(), present, Scope(), (lost,))
    if is_doubtful:
        with pytest.raises(Refused, match="1 target of the plan would be selected is not known: vm0003"):
            without_left(PLAN, seen)
    else:
        assert left(without_left(PLAN, seen)).keys() == {3}


def test_a_subscription_without_an_id_may_be_any() -> None:
    """An entry of the list of subscriptions that cannot be read may hold whatever is missing."""
    entry = UnreadScope("", "", SUBSCRIPTION_UNREADABLE, "its id is no text", "entry 2")
    with pytest.raises(Refused, match="not known: vm0003"):
        without_left(PLAN, Found(PLAN.targets[:3], Wanted(), TargetSet(PLAN.targets[:3], (entry,)), Scope()))


def test_what_was_seen_and_is_not_wanted_has_left_for_certain() -> None:
    """Also where not all of its subscription could be read."""
    wanted = Wanted(exclude=(LAST.name,))
    scope = UnreadScope(LAST.subscription, "", "forbidden", "no role")
    seen = Found(PLAN.targets, wanted, TargetSet(PLAN.targets[:3], (scope,)), Scope())
    assert left(without_left(PLAN, seen)) == {3: "no longer selected: excluded by vm0003"}


def test_another_os_under_the_same_id_is_another_machine() -> None:
    """A script is wrapped for the OS that the plan froze."""
    other = replace(PLAN.targets[1], os=Os.WINDOWS, id=PLAN.targets[1].id.upper())
    assert left(without_left(PLAN, found([PLAN.targets[0], other, *PLAN.targets[2:]]))) == {
        1: "its OS changed from linux to windows"
    }


@given(st.sets(st.integers(0, 3), min_size=1))
def test_the_digest_is_that_of_the_frozen_plan(present: set[int]) -> None:
    """Who left changes neither the digest nor the rows: each job of those, and no other, ends as `left_selection`."""
    applied = without_left(PLAN, found([PLAN.targets[index] for index in sorted(present)]))
    assert applied.digest == PLAN.digest and applied.targets == PLAN.targets
    records = Run(applied, "20260301-020304-k3v9").record().jobs
    gone = {job.job.target for job in records if job.outcome and job.outcome.cause.code is CauseCode.LEFT_SELECTION}
    assert gone == {target for index, target in enumerate(PLAN.targets) if index not in present}
    assert len(records) == 8
