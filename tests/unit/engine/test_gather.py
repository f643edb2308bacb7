"""Many calls at once: the bound, the order of what comes back, and the one error that is raised."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import anyio
import pytest

from fleet.engine.gather import gather, most_telling
from fleet.errors import AzureUnusable, StateError
from tests.virtual import run as in_virtual_time


class Calls:
    """Calls that take a second each, and what becomes of them. ``fails`` says which raise what in the end."""

    def __init__(self, fails: Callable[[int], BaseException | None] = lambda number: None) -> None:
        self.fails = fails
        self.running, self.most = 0, 0
        self.ended: list[int] = []
        self.cancelled: list[int] = []

    async def one(self, number: int) -> str:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(1.0)
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        finally:
            self.running -= 1
        if (error := self.fails(number)) is not None:
            raise error
        self.ended.append(number)
        return f"result {number}"


def test_results_come_in_order_and_no_more_run_than_may() -> None:
    """Seven calls, three at once: never more than three run, and each result is at the place of its item."""
    calls = Calls()
    assert in_virtual_time(gather(range(7), calls.one, at_once=3)) == tuple(f"result {number}" for number in range(7))
    assert (calls.most, calls.running) == (3, 0)
    assert in_virtual_time(gather([], calls.one, at_once=3)) == ()


def test_the_first_error_is_raised_as_itself_and_ends_the_others() -> None:
    """It keeps its cause; calls that run are cancelled and awaited, and no other is started."""
    cause = OSError("reset")

    async def one(number: int) -> None:
        if number == 1:
            await asyncio.sleep(0.5)
            raise ValueError("wrong") from cause
        await calls.one(number)

    calls = Calls()
    with pytest.raises(ValueError, match="wrong") as raised:
        in_virtual_time(gather(range(100), one, at_once=4))
    assert raised.value.__cause__ is cause
    assert (calls.ended, sorted(calls.cancelled), calls.running) == ([], [0, 2, 3], 0)


def test_what_is_shielded_is_finished_before_the_error_is_raised() -> None:
    """A call that must clean up elsewhere does so, however long that takes, although it was cancelled."""
    cleaned: list[int] = []

    async def one(number: int) -> None:
        try:
            await asyncio.sleep(number)
            raise ValueError("the first")
        finally:
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(5.0)
                cleaned.append(number)

    with pytest.raises(ValueError, match="the first"):
        in_virtual_time(gather(range(1, 9), one, at_once=3))
    assert sorted(cleaned) == [1, 2, 3]


def test_a_call_that_is_cancelled_from_elsewhere_is_no_result() -> None:
    """What it waits for was cancelled: the gather ends as cancelled, not with fewer results."""

    async def one(number: int) -> None:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(1.0, future.cancel if number == 2 else future.set_result, None)
        await future

    with pytest.raises(asyncio.CancelledError):
        in_virtual_time(gather(range(5), one, at_once=2))


ERRORS: list[BaseException] = [ValueError("a"), AzureUnusable("no token"), StateError("disk full"), SystemExit(3)]


@pytest.mark.parametrize(("count", "told"), [(1, ValueError), (2, AzureUnusable), (3, StateError)])
def test_of_several_errors_the_most_telling_is_raised(count: int, told: type[Exception]) -> None:
    """Of errors of one moment, that nothing more can be done outweighs what came first; the others are in its notes."""
    with pytest.raises(told) as raised:
        in_virtual_time(gather(range(count), Calls(ERRORS.__getitem__).one, at_once=count))
    others = [error for error in ERRORS[:count] if error is not raised.value]
    notes = getattr(raised.value, "__notes__", [])
    assert notes[-len(others) or len(notes) :] == [
        f"at the same time: {type(error).__name__}: {error}" for error in others
    ]


def test_what_ends_the_process_outweighs_all_and_a_text_is_noted_once() -> None:
    """Groups in groups are one list of errors."""
    inner = BaseExceptionGroup("inner", [ValueError("again"), SystemExit(3), ValueError("again")])
    found = most_telling(BaseExceptionGroup("outer", [KeyError("k"), inner]))
    assert isinstance(found, SystemExit)
    assert found.__notes__ == ["at the same time: KeyError: 'k'", "at the same time: ValueError: again"]


@pytest.mark.parametrize("by", ["task", "scope"])
def test_a_gather_that_is_cancelled_leaves_nothing_running(by: str) -> None:
    """Its calls end with it, by a task of asyncio and by a scope of anyio, and no error takes the place of the end."""
    calls = Calls()

    async def limited(work: Awaitable[object]) -> None:
        if by == "scope":
            with anyio.move_on_after(2.5) as scope:
                await work
            assert scope.cancelled_caught
        else:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(work, 2.5)

    in_virtual_time(limited(gather(range(9), calls.one, at_once=3)))
    assert (calls.running, sorted(calls.ended), sorted(calls.cancelled)) == (0, [0, 1, 2, 3, 4, 5], [6, 7, 8])
