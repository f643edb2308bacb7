"""One rate: how many calls it lets go, and when."""

from __future__ import annotations

import heapq

from hypothesis import given
from hypothesis import strategies as st

from fleet.run.rate import KEPT, LONGEST_CALL, Rate

RESERVE = 10 + KEPT
"""What is kept of a bucket with ten calls a second."""


@given(st.integers(1, 50), st.floats(0.1, 100), st.lists(st.floats(0, 3), max_size=200))
def test_a_rate_never_allows_more_than_burst_and_refill(burst: int, per_second: float, pauses: list[float]) -> None:
    """In any window, calls made as soon as allowed number at most the burst plus the refill."""
    rate = Rate(burst, per_second)
    now, calls = 1000.0, []
    for pause in pauses:
        now = max(now + pause, rate.earliest())
        rate.take(now)
        calls.append(now)
    for first, begin in enumerate(calls):
        for last in range(first, len(calls)):
            assert last - first + 1 <= burst + per_second * (calls[last] - begin) + 1e-3


@given(st.floats(0, 1000), st.floats(0, 1000))
def test_a_block_holds_until_its_moment(now: float, wait: float) -> None:
    """After a block nothing is allowed before its end, and something is at its end."""
    rate = Rate(10, 5.0)
    rate.take(now)
    rate.block(now + wait)
    assert abs(rate.earliest() - (now + wait)) < 1e-6 or rate.earliest() <= now + wait


def test_the_service_is_believed_when_less_is_left() -> None:
    """A remaining count below ours slows us down; one above ours changes nothing."""
    rate = Rate(100, 10.0)
    rate.take(50.0)
    rate.note(50.0, 0)
    assert rate.earliest() > 50.0
    before = rate.level.read().full_at
    rate.note(50.0, 99)
    assert rate.level.read().full_at == before
    assert rate.left(50.0) == 0
    assert rate.left(60.0) == 100


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=300), st.lists(st.floats(0, 20), min_size=1))
def test_calls_that_are_held_up_on_their_way_do_not_arrive_together_with_later_ones(
    pauses: list[float], delays: list[float]
) -> None:
    """Whatever each call is delayed by, what arrives in any window is at most the burst plus the refill."""
    assert most_at_once(pauses, delays) <= 1e-3


def most_at_once(pauses: list[float], delays: list[float], *, counts_answers: bool = True) -> float:
    """Make calls as soon as they are allowed; return by how many the fullest window of arrivals is too full.

    Each call arrives when its delay has passed, and is answered at once.
    """
    burst, per_second = 20, 10.0
    rate, now = Rate(burst, per_second), 1000.0
    flying: list[float] = []
    arrivals: list[float] = []
    for number, pause in enumerate(pauses):
        now = max(now + pause, rate.earliest())
        while flying and (flying[0] <= now or len(flying) >= burst):
            arrivals.append(flying[0])
            now = max(now, flying[0])
            if counts_answers:
                rate.answer(flying[0])
            heapq.heappop(flying)
            now = max(now, rate.earliest())
        (rate.send if counts_answers else rate.take)(now)
        heapq.heappush(flying, now + delays[number % len(delays)])
    arrivals = sorted([*arrivals, *flying])
    return max(
        last - first + 1 - burst - per_second * (arrivals[last] - begin)
        for first, begin in enumerate(arrivals)
        for last in range(first, len(arrivals))
    )


def test_a_stall_at_the_start_makes_no_crowd() -> None:
    """Calls that wait for a slow start count once they have arrived; counted when they were decided they make a crowd."""
    pauses, delays = [0.0] * 60, [*([4.0] * 20), *([0.0] * 40)]
    assert most_at_once(pauses, delays, counts_answers=False) > 5
    assert most_at_once(pauses, delays) <= 1e-3


def test_a_call_without_an_answer_counts_no_longer_than_a_call_may_take() -> None:
    """A run that was left in the middle holds nobody up for long."""
    rate = Rate(10, 5.0)
    for _ in range(10):
        rate.send(1000.0)
    assert rate.left(1010.0) == 0
    rate.send(1000.0 + LONGEST_CALL + 1)
    assert rate.left(1000.0 + LONGEST_CALL + 10) == 9


def test_more_is_believed_to_be_left_where_the_service_says_so() -> None:
    """It may hold more than is documented, or fill faster: calls go as it says, less those that it may not have counted."""
    rate = Rate(100, 10.0)
    for _ in range(100):
        rate.send(50.0)
        rate.answer(50.0)
    rate.grant(51.0, 1000)
    assert rate.left(51.0) == 1000 - RESERVE - 100  # the answers of the last two seconds may not be in it
    rate.grant(54.0, 1000)
    rate.send(54.0)
    assert rate.left(54.0) == 1000 - RESERVE - 1
    rate.grant(54.0, RESERVE)
    assert rate.left(54.0) == 1000 - RESERVE - 1  # what is less is for ``note``
    rate.note(54.0, RESERVE)
    assert rate.left(54.0) == RESERVE


def test_what_the_service_blocked_stays_blocked() -> None:
    """An answer that comes late and tells of more than nothing does not end a block."""
    rate = Rate(100, 10.0)
    rate.block(60.0)
    rate.grant(59.0, 100)
    assert rate.earliest() >= 60.0
    rate.grant(60.0, 100)
    assert rate.left(60.0) == 100 - RESERVE


def test_an_answer_to_nothing_changes_nothing() -> None:
    """What was asked by another, or before a restart, is no call of this rate."""
    rate = Rate(10, 5.0)
    rate.answer(1000.0)
    assert (rate.left(1000.0), rate) == (10, Rate(10, 5.0))
