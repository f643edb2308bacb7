"""Which run is at work on which VM, for every process that shares a state folder: one small SQLite file.

A lease is a promise among runs, not the record of one. So commits need not reach the disk before they return
(``synchronous=NORMAL``); they survive the death of any process, not a power cut, which ends every process that could be
surprised. A run whose file is removed or replaced while it is at work would keep nobody out: it is told.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fleet.engine.ports import Holder
from fleet.errors import StateError
from fleet.store.sqlite import database
from fleet.store.sqlite.files import is_plain_file, make_file
from fleet.store.sqlite.presence import Presence
from fleet.targets.model import Target

FILE = "leases.db"

_TABLE = """CREATE TABLE IF NOT EXISTS lease (
    cloud TEXT NOT NULL, vm TEXT NOT NULL, run_id TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (cloud, vm))"""
# One statement, so that two processes cannot both find a lease void.
_TAKE = """INSERT INTO lease (cloud, vm, run_id, until) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (cloud, vm) DO UPDATE SET run_id = ?3, until = ?4 WHERE run_id = ?3 OR until <= ?5"""
_HOLDER = "SELECT run_id, until FROM lease WHERE cloud = ? AND vm = ?"
_RELEASE = "DELETE FROM lease WHERE cloud = ? AND vm = ? AND run_id = ?"


@dataclass(frozen=True, slots=True)
class _Ask:
    """A lease that is asked for, until ``until``; with no ``answer`` one that is let go of."""

    vm: str
    run_id: str
    now: float = 0.0
    until: float = 0.0
    answer: asyncio.Future[Holder | None] | None = None


class FileLeases:
    """The leases of one cloud's VMs, kept under a state folder.

    One thread does all the work, in order. What is asked for in one pass of the event loop is one commit.
    """

    def __init__(self, state_dir: Path, cloud: str) -> None:
        """Open the file, made (0600) where it is missing. Raises StateError."""
        self._path = state_dir / FILE
        self._cloud = cloud
        self.loss: StateError | None = None
        """That the file was removed or replaced; None as far as has been seen."""
        try:
            self._remove_stray_log()
            with suppress(FileExistsError):
                make_file(self._path)
            self._connection = database.open_to_write(self._path, database.connect)
            self._connection.execute("PRAGMA synchronous=NORMAL").fetchall()
            self._connection.execute(_TABLE)
            self._presence = Presence(database.open_files(self._path), growing=self._path)
        except (StateError, *database.FAILURES) as error:
            raise self._unusable(error) from error
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="leases")
        self._asked: list[_Ask] = []

    def _remove_stray_log(self) -> None:
        """Remove the log of a file that was deleted without it: SQLite would take it for the new file's.

        The log is seen before the file is missed: where another process makes both just now, neither is old.
        """
        _, *others = database.open_files(self._path)
        left = [file for file in others if is_plain_file(file)]
        if left and not os.path.lexists(self._path):
            for file in left:
                file.unlink(missing_ok=True)

    async def take(self, target: Target, run_id: str, *, now: float, until: float) -> Holder | None:
        """See :class:`fleet.engine.ports.Leases`."""
        answer: asyncio.Future[Holder | None] = asyncio.get_running_loop().create_future()
        self._ask(_Ask(target.key, run_id, now, until, answer))
        return await answer

    async def look(self) -> None:
        """Raise StateError ``leases_lost`` if the file was removed or replaced."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._look)

    def release(self, target: Target, run_id: str) -> None:
        """See :class:`fleet.engine.ports.Leases`."""
        self._ask(_Ask(target.key, run_id))

    async def close(self) -> None:
        """Finish what was asked and close the file."""
        self._hand_over()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    def _ask(self, ask: _Ask) -> None:
        self._asked.append(ask)
        if len(self._asked) == 1:
            asyncio.get_running_loop().call_soon(self._hand_over)

    def _hand_over(self) -> None:
        """Give the thread what was asked for since the last time."""
        asked, self._asked = self._asked, []
        if asked:
            self._thread.submit(self._work, asked, asyncio.get_running_loop())

    def _work(self, asked: Sequence[_Ask], loop: asyncio.AbstractEventLoop) -> None:
        found: Sequence[Holder | None] | StateError
        try:
            found = self._answers(asked)
            self._look()
        except StateError as error:
            found = error
        except database.FAILURES as error:
            found = self._unusable(error)
            found.__cause__ = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_tell, asked, found)

    def _answers(self, asked: Sequence[_Ask]) -> list[Holder | None]:
        """Carry all of it out, or nothing: what is then not let go of becomes void by itself."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            found = [self._answer(ask) for ask in asked]
            execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                execute("ROLLBACK")
            raise
        return found

    def _answer(self, ask: _Ask) -> Holder | None:
        execute = self._connection.execute
        if ask.answer is None:
            execute(_RELEASE, (self._cloud, ask.vm, ask.run_id))
            return None
        if execute(_TAKE, (self._cloud, ask.vm, ask.run_id, ask.until, ask.now)).rowcount:
            return None
        run_id, until = execute(_HOLDER, (self._cloud, ask.vm)).fetchone()
        return Holder(run_id.decode(), until)

    def _close(self) -> None:
        if lost := self._presence.lost():
            self.loss = leases_lost(lost)
        with suppress(sqlite3.Error):
            self._connection.close()

    def _look(self) -> None:
        if lost := self._presence.lost():
            self.loss = leases_lost(lost)
            raise self.loss

    def _unusable(self, error: Exception) -> StateError:
        return StateError(
            f"the leases in {self._path} cannot be used ({error})",
            hint="while no run is under way the file may be deleted; --lease none goes ahead without it",
            code="leases_unusable",
        )


def _tell(asked: Sequence[_Ask], found: Sequence[Holder | None] | StateError) -> None:
    """Answer those who wait, in their event loop."""
    for number, ask in enumerate(asked):
        if ask.answer is None or ask.answer.done():
            continue
        if isinstance(found, StateError):
            ask.answer.set_exception(found)
        else:
            ask.answer.set_result(found[number])


def leases_lost(lost: str) -> StateError:
    """Say that the file was removed or replaced while a run was at work."""
    return StateError(
        f"{lost} while VMs were leased there: another run could be at work on them, so nothing more is sent",
        hint="see that no other run is at work on these VMs (fleet runs), then resume this one",
        code="leases_lost",
    )
