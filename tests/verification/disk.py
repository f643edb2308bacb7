"""The disk of a simulated machine, and the journal on it: slow, full, broken, torn, fenced."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Protocol

from fleet.clock import Clock
from fleet.errors import StateError
from fleet.run.events import Event
from fleet.store.sqlite.records import Row, from_row, to_row
from tests.verification.history import Kept
from tests.verification.scenario import Blow, Interruption, Moment


class Owner(Protocol):
    """A process, as its disk knows it."""

    interruption: Interruption | None
    epoch: int

    async def passed(self) -> None: ...

    def die(self) -> None: ...


class Disk:
    """What survives every process: events as the rows that the real journal keeps."""

    def __init__(self, rng: random.Random, clock: Clock) -> None:
        self.rows: list[tuple[int, float, Row]] = []
        self.epoch = 0
        self._rng = rng
        self._clock = clock

    def take_over(self) -> tuple[int, tuple[Event, ...]]:
        """Give the run to a new owner: its epoch, and what is kept."""
        self.epoch += 1
        return self.epoch, self.events()

    def events(self) -> tuple[Event, ...]:
        """What is kept, rebuilt from its rows."""
        return tuple(from_row(row) for _, _, row in self.rows)

    def kept(self) -> list[Kept]:
        """What is kept, with the epoch and the moment of each."""
        return [Kept(epoch, at, from_row(row)) for epoch, at, row in self.rows]

    def keep(self, epoch: int, events: Sequence[Event]) -> None:
        """Bring events to disk."""
        now = self._clock.now()
        self.rows += [(epoch, now, to_row(event)) for event in events]

    def pause(self) -> float:
        """How long a flush takes: mostly milliseconds, sometimes a second."""
        return self._rng.choice((0.0, 0.002, 0.01, 0.01, 1.0))


class SimulatedJournal:
    """One owner's hand on the disk. Its first failure is its end, as with the real one."""

    def __init__(self, disk: Disk, owner: Owner) -> None:
        self._disk = disk
        self._owner = owner
        self._failure: StateError | None = None
        self._writes = 0

    async def append(self, events: Sequence[Event]) -> None:
        """Keep all these events, or raise StateError and acknowledge none; or die in the midst of it."""
        assert all(event.durable for event in events), "only durable events are journalled"
        if not events:
            return
        if self._failure is not None:
            raise self._failure
        await asyncio.sleep(self._disk.pause())
        await self._owner.passed()
        if self._disk.epoch != self._owner.epoch:
            raise self._failed("another owner has taken over the run", "lease_lost")
        self._writes += 1
        blow = self._owner.interruption
        if blow is not None and blow.write == self._writes:
            await self._struck(blow, events)
        self._disk.keep(self._owner.epoch, events)
        if blow is not None and (blow.blow, blow.write) == (Blow.KILLED_IN_WRITE, self._writes):
            self._owner.die()
            await self._owner.passed()

    async def _struck(self, blow: Interruption, events: Sequence[Event]) -> None:
        """Let this write meet what is in store for it; a write that is kept and then survived by nobody goes on."""
        if blow.blow is Blow.DISK_FULL:
            raise self._failed("the disk is full", "disk_full")
        if blow.blow is Blow.DISK_ERROR:
            self._disk.keep(self._owner.epoch, events)
            raise self._failed("the disk failed", "disk_error")
        if blow.blow is Blow.KILLED_IN_WRITE and blow.moment is not Moment.AFTER:
            if blow.moment is Moment.TORN:
                self._disk.keep(self._owner.epoch, events[: round(blow.share * len(events))])
            self._owner.die()
            await self._owner.passed()

    def _failed(self, message: str, code: str) -> StateError:
        self._failure = StateError(message, code=code)
        return self._failure
