"""Where the blocking work of the store is done: in a few threads, or at once where no thread may run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import anyio.to_thread
from anyio.lowlevel import RunVar

T = TypeVar("T")

AT_ONCE = 8
"""Threads of one event loop that read or write runs at a time; more would only wait for the same disk."""

_limiter: RunVar[anyio.CapacityLimiter] = RunVar("fleet.store.sqlite")


class Work(Protocol):
    """Does blocking work for a coroutine."""

    async def __call__(self, work: Callable[[], T], /) -> T:
        """Return what the work returns, or raise what it raises."""
        ...


async def in_thread(work: Callable[[], T], /) -> T:
    """Do the work in a thread, so that the event loop goes on meanwhile. A cancellation waits for its end."""
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(AT_ONCE)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(work, limiter=limiter)


async def at_once(work: Callable[[], T], /) -> T:
    """Do the work here and now. In virtual time no thread may run: which of two comes first would be chance."""
    return work()
