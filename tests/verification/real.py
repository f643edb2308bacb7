"""The real journal, SQLite on a real disk, in a world of virtual time: the clock stands still while it writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fleet.clock import Clock
from fleet.engine.run_store import RunJournal
from fleet.plan.model import Plan
from fleet.rehearsal.virtual import VirtualLoop
from fleet.run.events import Event
from fleet.store.sqlite import journal as journals
from fleet.store.sqlite.journal import LOCK
from fleet.store.sqlite.records import to_row
from tests.verification.disk import Disk, Owner
from tests.verification.scenario import RUN_ID, Blow, Moment


class RealDisk:
    """A run's folder, taken over by one owner after another."""

    def __init__(self, folder: Path, clock: Clock, plan: Plan) -> None:
        self._folder = folder / "run"
        self._clock = clock
        self._plan = plan
        self._left_open: list[RunJournal] = []
        """Journals of owners that stand still and hold the lock no more."""
        self.damage = ""
        """What a reader of the folder finds wrong with it."""

    @asynccontextmanager
    async def taken_over(self) -> AsyncIterator[tuple[RealJournal, int, tuple[Event, ...]]]:
        """Own the run until the block ends."""
        now = self._clock.now()
        if not self._folder.exists():
            journal: RunJournal = journals.create(
                self._folder, run_id=RUN_ID, plan=self._plan, owner="simulated", now=now
            )
            epoch, events = 1, tuple[Event, ...]()
        else:
            opened = journals.open_for_writing(self._folder, owner="simulated", now=now)
            journal, epoch, events = opened.journal, opened.journal.epoch, opened.events
        owned = RealJournal(journal)
        try:
            yield owned, epoch, events
        finally:
            if owned.is_frozen:
                # Its disk loses the lock with the file, as a network disk or a person may; the journal stays open.
                (self._folder / LOCK).unlink()
                self._left_open.append(journal)
            else:
                with _loop().outside():
                    await journal.close()

    async def close(self) -> None:
        """Close what owners that stood still have left open."""
        with _loop().outside():
            for journal in self._left_open:
                await journal.close()

    def files(self) -> dict[str, bytes]:
        """Every byte in the folder, by the file's name."""
        return {path.name: path.read_bytes() for path in self._folder.rglob("*") if path.is_file()}

    def copy(self, disk: Disk) -> Disk:
        """What the folder holds, as the simulated disk has it."""
        saved = journals.read(self._folder)
        self.damage = saved.damage
        assert saved.plan.digest == self._plan.digest, "the plan came back changed"
        disk.rows = [(saved.epoch, event.at, to_row(event)) for event in saved.events]
        return disk


class RealJournal:
    """One owner's hand on the real journal; dies before or after a write, never in it (see the kill tests for that)."""

    def __init__(self, journal: RunJournal) -> None:
        self._journal = journal
        self._owner: Owner | None = None
        self._writes = 0
        self.is_frozen = False
        """Its owner stands still and may go on later."""

    def under(self, owner: Owner) -> RealJournal:
        """Write for this owner."""
        self._owner = owner
        return self

    async def append(self, events: Sequence[Event]) -> None:
        """As the port says; the clock stands still meanwhile."""
        assert self._owner is not None
        await self._owner.passed()
        self._writes += bool(events)
        blow = self._owner.interruption
        strikes = blow is not None and blow.blow is Blow.KILLED_IN_WRITE and blow.write == self._writes
        if strikes and blow is not None and blow.moment is not Moment.AFTER:
            self._owner.die()
            await self._owner.passed()
        with _loop().outside():
            await self._journal.append(events)
        if strikes:
            self._owner.die()
            await self._owner.passed()


def _loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop
