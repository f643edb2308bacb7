"""Time, from one place.

Times inside Fleet are floats: seconds since 1970-01-01 UTC. They become text only at the edges.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time. Pure code never owns one: it is handed ``now``."""

    def now(self) -> float:
        """Return the present moment in seconds since the epoch, UTC; never runs backwards."""
        ...


class SystemClock:
    """Wall time when it is first asked, carried forward by the event loop's own clock.

    So a jump of the system clock cannot move deadlines, and a loop in virtual time moves this clock with it.
    """

    def __init__(self) -> None:
        from asyncio import get_running_loop  # here, since a program that only renders times needs no event loop

        self._running_loop = get_running_loop
        self._ahead: float | None = None
        """Seconds by which wall time is ahead of the loop's."""

    def now(self) -> float:
        elapsed = self._running_loop().time()
        if self._ahead is None:
            self._ahead = time.time() - elapsed  # noqa: TID251  this is the one clock
        return self._ahead + elapsed


def wall_time() -> float:
    """Return the system's wall time, for code that runs outside an event loop (file names, listings)."""
    return time.time()  # noqa: TID251  this is the one clock


def iso(moment: float) -> str:
    """Render a moment as ISO 8601 in UTC with milliseconds, for example ``2026-03-01T02:03:04.500Z``."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_iso(text: str) -> float:
    """Read an ISO 8601 time with an offset (or ``Z``). Raises ValueError if it is none."""
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"no offset in {text!r}")
    return parsed.timestamp()
