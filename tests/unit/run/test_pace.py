"""How many targets may be under way: the slow start, and the spread over groups."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.plan.model import Limits, Plan
from fleet.playbook.model import Amount, Spread
from fleet.run.admission import Admission
from fleet.run.model import Status
from tests.unit.run.factory import plan, target

SLOW = Limits(slow_start=True)


def fly(pace: Admission, target: int, *, ends: Status | None = Status.SUCCEEDED, costs: bool = False) -> None:
    """One job of a target takes off, lands and, unless it is to be sent again, ends."""
    pace.flown(target, 1)
    pace.flown(target, -1)
    if ends is not None:
        pace.ended(target, ends, costs=costs)


def test_without_limits_there_is_always_room() -> None:
    """No slow start, no width; targets are counted all the same."""
    pace = Admission(plan(3))
    assert pace.width is None
    for number in range(3):
        pace.flown(number, 1)
        assert (pace.under_way, pace.has_room()) == (number + 1, True)


def test_a_wave_begins_with_one_target_and_grows_with_each_that_ends_well() -> None:
    """1, 2, 3, ... may be under way: one more for each target whose last step has ended and cost no budget."""
    pace = Admission(plan(5, limits=SLOW))
    assert (pace.width, pace.has_room()) == (1, True)
    pace.flown(0, 1)
    assert not pace.has_room()
    pace.flown(0, -1)
    assert pace.has_room()  # it was refused, and waits like the others
    pace.ended(0, Status.SUCCEEDED, costs=False)
    assert (pace.width, pace.under_way) == (2, 0)
    pace.flown(1, 1)
    assert pace.has_room()
    pace.flown(2, 1)
    assert (pace.has_room(), pace.under_way) == (False, 2)


def test_another_wave_begins_slowly_again() -> None:
    """What one wave has earned says nothing of the targets of the next."""
    pace = Admission(plan(3, limits=SLOW))
    fly(pace, 0)
    fly(pace, 1)
    assert pace.width == 3
    pace.open_wave()
    assert pace.width == 1


@pytest.mark.parametrize(
    ("ends", "costs", "width"),
    [
        (Status.SUCCEEDED, False, 2),
        (Status.FAILED, False, 2),  # no budget counts it
        (Status.FAILED, True, 1),
        (Status.UNREACHABLE, True, 1),
        (Status.SKIPPED, False, 1),
        (Status.NOT_STARTED, False, 1),
    ],
)
def test_only_what_ran_and_cost_nothing_earns_width(ends: Status, costs: bool, width: int) -> None:
    """A target that was never sent to, or that spent some of a budget, lets nobody else begin."""
    pace = Admission(plan(2, limits=SLOW))
    fly(pace, 0, ends=ends, costs=costs)
    assert (pace.width, pace.under_way) == (width, 0)


def test_a_target_stays_under_way_between_its_steps() -> None:
    """From its first submission to the end of its last step a target counts once, whatever flies."""
    pace = Admission(plan(2, steps=2, limits=SLOW))
    assert not pace.has_begun(0)
    fly(pace, 0)
    assert (pace.under_way, pace.has_begun(0), pace.width) == (1, True, 1)
    pace.flown(0, 1)
    assert pace.under_way == 1
    pace.flown(0, -1)
    pace.ended(0, Status.SUCCEEDED, costs=False)
    assert (pace.under_way, pace.has_begun(0), pace.width) == (0, True, 2)
    assert not pace.has_begun(1)


def test_one_bad_step_spoils_the_target() -> None:
    """A target whose first step cost a budget earns nothing by a second that did not, and one whose steps all ran does."""
    pace = Admission(plan(2, steps=2, limits=SLOW))
    fly(pace, 0, ends=Status.FAILED, costs=True)
    pace.ended(0, Status.SKIPPED, costs=False)
    assert pace.width == 1
    fly(pace, 1)
    pace.ended(1, Status.SKIPPED, costs=False)
    assert (pace.width, pace.under_way) == (2, 0)


def test_a_target_that_is_tried_again_stays_under_way() -> None:
    """Between two tries nobody takes its place, and the next try is no other target."""
    pace = Admission(plan(2, limits=SLOW))
    fly(pace, 0, ends=None)
    pace.begun(0)
    assert (pace.under_way, pace.has_begun(0), pace.has_room()) == (1, True, False)
    fly(pace, 0)
    assert (pace.under_way, pace.width) == (0, 2)


def spread(per: str, most: Amount, *zones: str) -> Plan:
    """A plan over one VM in each of these zones."""
    targets = tuple(target(index, zone=zone, tags={"Rack": zone}) for index, zone in enumerate(zones))
    return replace(plan(len(zones), limits=Limits(spread=Spread(per, most))), targets=targets)


@pytest.mark.parametrize("per", ["zone", "tag:rack"])
def test_a_group_lets_so_many_of_its_own_begin(per: str) -> None:
    """Each group has a maximum of its own; case does not make groups, and what has no value is in none."""
    pace = Admission(spread(per, Amount(1), "a", "b", "A", "", "b"))
    assert [pace.group(number) for number in range(5)] == [0, 1, 0, None, 1]
    assert (pace.room_of(0), pace.room_of(1)) == (1, 1)
    pace.flown(2, 1)
    pace.flown(3, 1)
    assert (pace.room_of(0), pace.room_of(1), pace.under_way) == (0, 1, 2)
    pace.flown(2, -1)
    pace.ended(2, Status.SUCCEEDED, costs=False)
    assert pace.room_of(0) == 1


def test_a_groups_maximum_may_be_a_part_of_it() -> None:
    """A percentage is of the group's own targets, and never nothing."""
    pace = Admission(spread("zone", Amount(50, percent=True), *"aaaab"))
    assert (pace.room_of(0), pace.room_of(1)) == (2, 1)


def test_without_a_spread_nobody_has_a_group() -> None:
    """No target is held back for its neighbours."""
    pace = Admission(plan(3))
    assert [pace.group(number) for number in range(3)] == [None] * 3
