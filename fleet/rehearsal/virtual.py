"""An event loop whose clock jumps to the next thing to do, and the clock that belongs to it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.SelectSelector):
    """Never waits: it moves the clock instead, and refuses to wait for nothing at all.

    While something outside the loop is awaited (a thread that writes to a real disk), the clock stands still.
    """

    now = 0.0
    outside = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.outside:
            return super().select(0 if timeout == 0 else 60.0)
        if timeout is not None:
            self.now += timeout
            return []
        if ready := super().select(0):
            return ready
        raise RuntimeError("nothing will ever happen again")


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop in virtual time: what waits for nothing outside the process costs no time."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Stop the clock while something outside the loop is awaited."""
        self._jumping.outside += 1
        try:
            yield
        finally:
            self._jumping.outside -= 1


class LoopClock:
    """A clock that shows ``origin`` (epoch seconds) when its loop begins, and moves with the loop."""

    def __init__(self, origin: float) -> None:
        self._origin = origin
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        return self._origin + self._loop.time()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time. Ctrl-C raises ``KeyboardInterrupt``, whatever the work does with it."""
    results: list[T] = []

    async def kept() -> None:  # with the result in it, the task is formatted whole when the runner gives SIGINT back
        task = asyncio.current_task()
        assert task is not None
        try:
            results.append(await work)
        finally:
            if task.cancelling():  # the work may have taken the interrupt for the end of one of its own tasks
                raise asyncio.CancelledError

    try:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(kept())
    finally:
        work.close()  # an interrupt may come before it has begun, and Python would complain of that
    return results[0]
