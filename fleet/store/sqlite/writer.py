"""The one thread that writes a journal: it takes all that waits, commits it at once, and tells everybody.

A commit costs one flush of the disk whatever it holds, so fifty jobs that wait together pay for one.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import StateError
from fleet.run.events import Event, SubmissionIntended
from fleet.store.sqlite import reading, records
from fleet.store.sqlite.acknowledged import Note
from fleet.store.sqlite.database import FAILURES, as_state_error
from fleet.store.sqlite.presence import Presence
from fleet.store.sqlite.records import Row

# Fenced: a row goes in only while no later owner has taken the run. See docs/state.md.
_INSERT = (
    "INSERT INTO events (seq, epoch, kind, body, chain) SELECT ?, ?, ?, ?, ? WHERE (SELECT max(epoch) FROM lease) = ?"
)
_MARK = "UPDATE tail SET seq = ?, chain = ?"


@dataclass(frozen=True, slots=True)
class _Waiting:
    rows: Sequence[Row]
    kept: asyncio.Future[None]


class Writer:
    """Owns a connection and a note from now on and commits rows after ``count`` events that end with ``chain``.

    The first failure is the last commit: what was waiting and what comes later gets a StateError, so the
    journal never has a hole. That the journal's files were removed or replaced is such a failure; it is looked for
    before and after each commit, and when nothing but an empty batch is put.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        note: Note,
        path: Path,
        presence: Presence,
        *,
        epoch: int,
        count: int,
        chain: str,
    ) -> None:
        self._connection = connection
        self._note = note
        self._path = path
        self._presence = presence
        self.loss: StateError | None = None
        """Why nothing that this writes can be found any more; None while it can. Final once :meth:`end` has returned."""
        self.saved: tuple[Event, ...] | None = None
        """After a loss: what was acknowledged, and what came with it and was not. None where it cannot be read."""
        self._epoch = epoch
        self._count = count
        self._chain = chain
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._enders: list[asyncio.Future[None]] = []
        self._closing = False
        self._failure: StateError | None = None
        self._ended = False
        # A thread of its own, not one of anyio's pool: it keeps one connection for the run's whole life, takes all that waits
        # in one commit, and outlives a loop that is closed. Futures of asyncio carry its answers at the least cost.
        self._thread = threading.Thread(target=self._work, name=f"journal {path.parent.name}", daemon=True)
        self._thread.start()

    def put(self, rows: Sequence[Row]) -> asyncio.Future[None]:
        """Queue rows; the future ends when they are committed.

        Raises StateError if nothing is taken any more.
        """
        future = asyncio.get_running_loop().create_future()
        with self._changed:
            if self._failure is not None:
                if self.saved is not None:
                    self.saved += _happened(rows)
                raise _again(self._failure)
            if self._closing:
                raise StateError(f"the journal {self._path} is closed", code="journal_closed")
            self._waiting.append(_Waiting(rows, future))
            self._changed.notify()
        return future

    async def end(self) -> None:
        """Commit what waits, close the connection and end the thread. Safe to repeat."""
        with self._changed:
            self._closing = True
            self._changed.notify()
            if not self._ended:
                ended = asyncio.get_running_loop().create_future()
                self._enders.append(ended)
            else:
                ended = None
        if ended is not None:
            await ended

    def _work(self) -> None:
        failure = None
        while failure is None and (group := self._next_group()):
            failure = self._keep([row for waiting in group for row in waiting.rows])
            if failure is not None:
                group += self._refuse_more(failure)
            _tell([waiting.kept for waiting in group], failure)
        if self.loss is None and (lost := self._presence.lost()):
            with suppress(Exception):  # whatever it is, nobody may wait for ever
                self._save(self._count, [], lost)
        with suppress(sqlite3.Error):
            self._connection.close()
        self._note.close()
        with self._changed:
            self._ended = True
            enders, self._enders = self._enders, []
        _tell(enders, None)

    def _next_group(self) -> list[_Waiting]:
        """Wait for work and take all of it; nothing means: closed and done."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            group, self._waiting = self._waiting, []
            return group

    def _refuse_more(self, failure: StateError) -> list[_Waiting]:
        with self._changed:
            self._failure = failure
            rest, self._waiting = self._waiting, []
            return rest

    def _keep(self, rows: list[Row]) -> StateError | None:
        """Commit rows, all or none, and say why not."""
        acknowledged = self._count
        try:
            lost = self._presence.lost()
            if rows and not lost:
                self._commit(rows)
                lost = self._presence.lost()
            if lost:
                return self._save(acknowledged, rows, lost)
        except StateError as error:
            failure = error
        except Exception as error:  # whatever it is, nobody may wait for ever
            failure = as_state_error(error, self._path)
        else:
            return None
        with suppress(sqlite3.Error):
            self._connection.rollback()
        return failure

    def _save(self, acknowledged: int, rows: list[Row], lost: str) -> StateError:
        """Read what was acknowledged while the lost files are still open, and add what happened since.

        A later owner that was not kept out by the lock cuts the log when it takes the run over: that is no loss.
        """
        if reading.is_taken_over(self._connection, self._epoch):
            return lease_lost(self._path)
        self.loss = state_lost(self._path, lost)
        with suppress(StateError, *FAILURES):
            found = reading.contents(self._connection, self._path).events[:acknowledged]
            if len(found) == acknowledged:
                self.saved = found + _happened(rows)
        return self.loss

    def _commit(self, rows: list[Row]) -> None:
        count, chain, values = self._count, self._chain, []
        for row in rows:
            count, chain = count + 1, records.link(chain, self._epoch, row)
            values.append((count, self._epoch, row.kind, row.body, chain, self._epoch))
        self._connection.execute("BEGIN IMMEDIATE")
        if self._connection.executemany(_INSERT, values).rowcount != len(values):
            raise lease_lost(self._path)
        self._connection.execute(_MARK, (count, chain))
        self._connection.execute("COMMIT")
        self._count, self._chain = count, chain
        self._note.write(count, chain)


def lease_lost(path: Path) -> StateError:
    """Say that a later owner holds the run."""
    return StateError(
        f"another process has taken over the run in {path.parent}; nothing more is written by this one",
        hint="let that process finish, or stop it and resume",
        code="lease_lost",
    )


def _happened(rows: Sequence[Row]) -> tuple[Event, ...]:
    """Rebuild what happened although it was not acknowledged. A submission did not: it is only sent afterwards."""
    events = (records.from_row(row) for row in rows)
    return tuple(event for event in events if not isinstance(event, SubmissionIntended))


def state_lost(path: Path, lost: str) -> StateError:
    """Say that the files of a run that is being carried out were removed or replaced."""
    return StateError(
        f"{lost} while run {path.parent.name} was kept there: no more of it can be kept, and nothing more is sent",
        hint=f"scripts that Azure accepted go on in their VMs, which keep the answers (fleet commands list all); if "
        f"{path.parent} is put back as it was, fleet resume {path.parent.name} reads them; otherwise this run is lost, "
        "and a new one runs every script again",
        code="state_lost",
    )


def _again(failure: StateError) -> StateError:
    return StateError(str(failure), hint=failure.hint, code=failure.code)


def _tell(futures: Sequence[asyncio.Future[None]], failure: StateError | None) -> None:
    """End the futures, each in its own loop, with one call per loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for future in futures:
        by_loop.setdefault(future.get_loop(), []).append(future)
    for loop, group in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, group, failure)


def _resolve(futures: Sequence[asyncio.Future[None]], failure: StateError | None) -> None:
    for future in futures:
        if future.done():
            continue
        if failure is None:
            future.set_result(None)
        else:
            future.set_exception(_again(failure))
