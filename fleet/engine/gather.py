"""Runs one async function over many items, a bounded number at once, and raises one error where several happen.

Built on anyio: the first error cancels the calls that are still running, and whoever calls sees that error, not a group.
A cancelled call is cancelled again at each wait, so what it must still finish is shielded (``anyio.CancelScope``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import anyio

from fleet.errors import AzureUnusable, StateError

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

A = TypeVar("A")
B = TypeVar("B")


async def gather(items: Iterable[A], work: Callable[[A], Awaitable[B]], *, at_once: int) -> tuple[B, ...]:
    """Run the work for each item, at most ``at_once`` at a time, and return the results in the order of the items.

    Raises the first error, with all other calls ended.
    """
    places = anyio.CapacityLimiter(at_once)
    results: dict[int, B] = {}

    async def one(number: int, item: A) -> None:
        results[number] = await work(item)
        places.release_on_behalf_of(number)  # not after an error: nothing more is started then

    async with task_group() as tasks:
        for number, item in enumerate(items):
            await places.acquire_on_behalf_of(number)
            tasks.start_soon(one, number, item)
    if tasks.cancel_scope.cancel_called:  # a call was cancelled from elsewhere, which anyio does not report
        raise anyio.get_cancelled_exc_class()
    return tuple(results[number] for number in range(len(results)))


@asynccontextmanager
async def task_group() -> AsyncIterator[TaskGroup]:
    """Open a task group that raises the most telling error of its tasks as itself."""
    try:
        async with anyio.create_task_group() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        error = most_telling(group)
        raise error from error.__cause__


def most_telling(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error of a group that says best what went wrong; its notes name the others, each text once.

    What ends the process goes first, then what ends any work (the state folder, Azure), then what happened first.
    """
    errors = list(_each(group))
    chosen = min(errors, key=_rank)
    for text in dict.fromkeys(map(_text, errors)):
        if text != _text(chosen):
            chosen.add_note(f"at the same time: {text}")
    return chosen


def _each(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _each(error)
        else:
            yield error


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _rank(error: BaseException) -> int:
    if not isinstance(error, Exception):
        return 0
    return 1 if isinstance(error, StateError) else 2 if isinstance(error, AzureUnusable) else 3
