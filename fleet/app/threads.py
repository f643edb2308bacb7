"""Reads and writes files in a thread, so that an event loop in which other runs may go on is not held up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import anyio.to_thread

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def in_thread(work: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call a function that reads or writes files. Where the caller is cancelled, the call is left to itself.

    A file may be a pipe that its writer keeps waiting for a minute. A loop has 40 such threads at most, anyio's own limit.
    """
    return await anyio.to_thread.run_sync(work, *args, abandon_on_cancel=True)
