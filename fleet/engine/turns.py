"""Rates that everything which signs in alike shares, and the line before them for calls that no run makes.

A run decides by itself when its calls leave. A read before a run, or a question to a VM, waits here for its turn.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from fleet.clock import Clock, SystemClock
from fleet.run.rates import Rates
from fleet.targets.model import Target

Pause = Callable[[float], Awaitable[None]]

SMALLEST_PAUSE = 1e-6
"""Seconds. Moments are floats, and what lies nearer is now."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class SharedRates:
    """The rates of one sign-in, and the clock by which all who share them count."""

    rates: Rates = field(default_factory=Rates)
    clock: Clock = field(default_factory=SystemClock)


class Turns:
    """Lets calls leave when the shared rates allow them, each kind in the order in which they came, and counts them.

    All of them together have one place among those who share the rates, as a run has.
    """

    def __init__(self, shared: SharedRates, pause: Pause = asyncio.sleep) -> None:
        self._shared = shared
        self._pause = pause
        self._who = object()
        self._lines: defaultdict[tuple[int, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def rates(self) -> Rates:
        """The shared rates."""
        return self._shared.rates

    def now(self) -> float:
        """Return the moment that the shared rates count from."""
        return self._shared.clock.now()

    async def submit(self, target: Target) -> None:
        """Return when a command may be sent to the target."""
        lane = self.rates.lane(target)
        own = lane.shared_by(self._who)
        await self._turn((id(lane), "submit"), own.submit_at, own.wait_to_submit, own.submitted)
        own.submission_answered(self.now())

    async def read(self, target: Target) -> None:
        """Return when a command on the target may be read."""
        lane = self.rates.lane(target)
        own = lane.shared_by(self._who)
        await self._turn((id(lane), "read"), own.read_at, own.wait_to_read, own.read)
        own.read_answered(self.now())

    async def remove(self, target: Target, within: float = math.inf) -> None:
        """Return when a command on the target may be deleted; at once where that is not ``within`` so many seconds."""
        lane = self.rates.lane(target)
        own = lane.shared_by(self._who)
        await self._turn((id(lane), "remove"), own.remove_at, own.wait_to_remove, own.removed, within)
        own.removal_answered(self.now())

    async def read_anything(self, subscription: str, within: float = math.inf) -> None:
        """Return when something in the subscription may be read; at once where that is not ``within`` so many seconds."""
        reads = self.rates.arm(subscription).reads
        await self._turn(
            (id(reads), "read"),
            lambda: reads.earliest(self._who),
            lambda now: reads.wait(now, self._who),
            lambda at: reads.take(at, self._who),
            within,
        )

    async def _turn(
        self,
        line: tuple[int, str],
        earliest: Callable[[], float],
        keep_place: Callable[[float], None],
        count: Callable[[float], None],
        within: float = math.inf,
    ) -> None:
        async with self._lines[line]:
            now = self.now()
            while SMALLEST_PAUSE < (wait := earliest() - now) <= within:
                keep_place(now)
                await self._pause(wait)
                now = max(self.now(), now + wait)
            count(now)
