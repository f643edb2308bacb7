"""The durable journal of one run: create it, append to it under an epoch, take it over, read it back.

A run is a folder with ``journal.db`` (SQLite, WAL), ``acknowledged`` and ``lock``. Who holds the lock writes; who writes does
so under the epoch of its lease, and loses that right the moment a later owner takes a higher one.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import anyio

from fleet.engine.run_store import Tail, Takeover
from fleet.errors import StateError
from fleet.plan.model import Plan
from fleet.run.events import Event
from fleet.run.kept import SavedRun
from fleet.store.sqlite import acknowledged, database, reading, wal
from fleet.store.sqlite.acknowledged import Note
from fleet.store.sqlite.database import DATABASE as DATABASE
from fleet.store.sqlite.database import FORMAT, Connect, as_state_error, log_of, obstructed
from fleet.store.sqlite.database import LOCK as LOCK
from fleet.store.sqlite.files import Lock, is_locked, is_obstructed, is_plain_file, make_file, make_folder, sync_folder
from fleet.store.sqlite.presence import Presence
from fleet.store.sqlite.reading import Contents, Header
from fleet.store.sqlite.records import to_row
from fleet.store.sqlite.writer import Writer, lease_lost

_MAKING = ".new"
_MADE_WITHIN = 3600.0
"""Seconds after which a folder that is not finished was left behind."""


class Journal:
    """Keeps events durably, in order, under one epoch. Made by :func:`create` or :func:`open_for_writing`.

    One thread owns the connection; appends that wait together share one commit. Any failure ends the journal:
    later appends are refused with the same reason, so what is on disk is always a prefix of what was
    appended.
    """

    def __init__(self, writer: Writer, lock: Lock, epoch: int) -> None:
        self._writer = writer
        self._lock = lock
        self.epoch = epoch
        """The owner's number: 1 for the first, one more for each that resumes."""

    async def append(self, events: Sequence[Event]) -> None:
        """Return once all these events are on disk, or raise StateError and acknowledge none.

        Codes: ``lease_lost`` (a later owner holds the run), ``state_lost`` (the journal's files were removed or
        replaced), ``journal_closed``, ``disk_full``, ``disk_error``. When the disk itself failed in mid-commit, events
        that were not acknowledged may still be found later. Cancelling does not tear a batch: it is awaited to its end,
        then the cancellation goes on.
        """
        rows = [to_row(event) for event in events]
        if not rows:
            return
        kept = self._writer.put(rows)
        try:
            await asyncio.shield(kept)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):  # the line in hand is finished: one flush of the disk, then we go
                await asyncio.wait([kept])
            raise

    async def look(self) -> None:
        """Raise StateError ``state_lost`` if the journal's files were removed or replaced, and end the journal so."""
        await asyncio.shield(self._writer.put(()))

    @property
    def loss(self) -> StateError | None:
        """Why nothing of this journal can be found any more. Final once it is closed."""
        return self._writer.loss

    @property
    def saved(self) -> tuple[Event, ...] | None:
        """After a loss: the events that happened, as far as they are known, without submissions that were not sent."""
        return self._writer.saved

    async def close(self) -> None:
        """Commit what waits, fold the log into the file and let go of the run. Safe to repeat."""
        try:
            await self._writer.end()
        finally:
            self._lock.release()


def create(
    folder: Path, *, run_id: str, plan: Plan, owner: str, now: float, connect: Connect = database.connect
) -> Journal:
    """Make a new run's folder and journal, on disk before it returns, and own it under epoch 1.

    Raises StateError (``run_exists``, ``disk_full``, ...); a folder made in vain is taken away again.
    """
    make_folder(folder.parent)
    with _translated(folder):
        if folder.exists():
            raise StateError(f"the run folder {folder} exists already", code="run_exists")
    _sweep(folder.parent, now)
    header = Header.of(run_id, now, _program(), plan)
    _make(folder, header, owner, now, connect)
    path = folder / DATABASE
    try:
        with _owned(folder) as lock, _translated(path):
            connection = database.open_to_write(path, connect)
            with _closed_on_failure(connection):
                note = Note(folder, 0, header.chain)
                present = Presence((folder, *database.open_files(path)), growing=path)
            return Journal(Writer(connection, note, path, present, epoch=1, count=0, chain=header.chain), lock, 1)
    except BaseException:
        _take_away(folder)
        raise


def _make(folder: Path, header: Header, owner: str, now: float, connect: Connect) -> None:
    """Make the run's folder under a name that is no run's, and give it its own when all of it is on disk.

    So a process that is killed meanwhile leaves no run that never began.
    """
    making = folder.with_name(f".{folder.name}{_MAKING}")
    try:
        with _translated(making):
            making.mkdir(mode=0o700)
            making.chmod(0o700)
            make_file(making / DATABASE)
            connection = database.open_to_write(making / DATABASE, connect)
            with closing(connection):
                _begin(connection, header, owner, now)
            sync_folder(making)
            making.rename(folder)
            making = folder
            sync_folder(folder.parent)
    except BaseException:
        _take_away(making)
        raise


def _sweep(runs: Path, now: float) -> None:
    """Take away what processes that were killed left half made."""
    for making in runs.glob(f".*{_MAKING}"):
        with suppress(OSError):
            if now - making.stat().st_mtime > _MADE_WITHIN:
                _take_away(making)


def open_for_writing(folder: Path, *, owner: str, now: float, connect: Connect = database.connect) -> Takeover:
    """Take a run over under the next epoch, and read it.

    Raises StateError: ``run_is_live`` while another process (or another journal of this one) holds it,
    ``journal_damaged`` when events are lost, since resuming could then run a script twice, ``newer_version``,
    ``no_journal``. A run that is refused is left as it was, to the byte of its log.
    """
    path = _existing(folder)
    with _owned(folder) as lock, _translated(path):
        found = _undamaged(path, connect)
        epoch, count = found.epoch + 1, len(found.events)
        connection = database.open_to_write(path, connect)
        with _closed_on_failure(connection):
            # What an unfinished commit left at the log's end must not be taken for damage later on.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            note = Note(folder, count, found.chain)
            with _closed_on_failure(note):
                connection.execute("BEGIN IMMEDIATE")
                if not reading.stands_at(connection, count, found.chain, found.epoch):
                    raise lease_lost(path)
                _take_lease(connection, epoch, owner, now)
                connection.execute("COMMIT")
                sync_folder(folder)
                present = Presence((folder, *database.open_files(path)), growing=path)
        writer = Writer(connection, note, path, present, epoch=epoch, count=count, chain=found.chain)
        return Takeover(Journal(writer, lock, epoch), found.plan, found.events)


def read(folder: Path, *, connect: Connect = database.connect) -> SavedRun:
    """Read a run without changing it, also while it is live.

    Raises StateError when not even the plan can be read; other damage is named in the result.
    """
    path = _existing(folder)
    live = is_locked(folder / LOCK)
    unclear = "" if live else wal.end(log_of(path)).said
    if is_obstructed(folder / LOCK):
        unclear = unclear or str(obstructed(folder / LOCK))
    with _translated(path):
        found = _snapshot(path, connect)
    return SavedRun(
        found.header.run_id,
        found.plan,
        found.events,
        found.epoch,
        found.header.created,
        live,
        found.damage or unclear,
    )


def tail(folder: Path, after: int, *, connect: Connect = database.connect) -> Tail:
    """Read the events that follow event ``after`` without changing anything. Raises StateError ``no_journal``."""
    path = _existing(folder)
    live = is_locked(folder / LOCK)
    with _translated(path):
        connection = database.open_to_read(path, connect)
        try:
            connection.execute("BEGIN")
            found = reading.rest(connection, path, after)
        finally:
            connection.close()
    return Tail(found.events, found.last, live, found.damage)


def _undamaged(path: Path, connect: Connect) -> Contents:
    """Read what a new owner goes on with.

    By a connection that can only read: one that writes would, when it is closed, fold the sound part of a damaged log into
    the file and delete the rest.
    """
    end = wal.end(log_of(path))
    found = _snapshot(path, connect)
    if damage := found.damage or (end.said if end.is_damaged else ""):
        raise StateError(
            damage,
            hint="what can be read can still be shown and reported; to go on, start a new run",
            code="journal_damaged",
        )
    return found


def _snapshot(path: Path, connect: Connect) -> Contents:
    said, doubt = reading.NOTHING_SAID, ""
    try:
        said = acknowledged.read(path.parent) or said
    except StateError as error:
        doubt = str(error)
    connection = database.open_to_read(path, connect)
    try:
        connection.execute("BEGIN")
        found = reading.contents(connection, path, said)
    finally:
        connection.close()
    return replace(found, damage=found.damage or doubt)


def _existing(folder: Path) -> Path:
    path = folder / DATABASE
    if not is_plain_file(path):
        raise StateError(
            f"there is no journal in {folder}", hint="fleet runs lists the runs kept here", code="no_journal"
        )
    return path


def _begin(connection: sqlite3.Connection, header: Header, owner: str, now: float) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in database.SCHEMA:
        connection.execute(statement)
    connection.execute(
        "INSERT INTO run VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            FORMAT,
            header.run_id,
            header.created,
            header.program,
            header.playbook,
            header.targets,
            header.plan,
            header.chain,
        ),
    )
    connection.execute("INSERT INTO tail VALUES (1, 0, ?)", (header.chain,))
    _take_lease(connection, 1, owner, now)
    connection.execute("COMMIT")


def _take_lease(connection: sqlite3.Connection, epoch: int, owner: str, now: float) -> None:
    connection.execute("INSERT INTO lease VALUES (?, ?, ?, ?, ?)", (epoch, owner, os.getpid(), platform.node(), now))


@contextmanager
def _owned(folder: Path) -> Iterator[Lock]:
    """Hold the run's lock; it stays held when the block ends well. Raises StateError ``run_is_live``."""
    try:
        lock = Lock(folder / LOCK)
    except BlockingIOError as error:
        raise StateError(
            f"the run in {folder} is being carried out by {_holder(folder)}",
            hint="wait for it to end, or stop it first",
            code="run_is_live",
        ) from error
    except OSError as error:
        raise StateError(
            f"the lock {folder / LOCK} cannot be taken ({error.strerror})",
            hint="keep the state folder on a local disk that you may write to",
        ) from error
    try:
        yield lock
    except BaseException:
        lock.release()
        raise


def _holder(folder: Path) -> str:
    try:
        connection = database.open_to_read(folder / DATABASE, database.connect)
        try:
            return reading.holder(connection)
        finally:
            connection.close()
    except (StateError, *database.FAILURES):
        return "another process"


@contextmanager
def _closed_on_failure(opened: sqlite3.Connection | Note) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):
            opened.close()
        raise


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn the errors of SQLite and the system into StateError."""
    try:
        yield
    except database.FAILURES as error:
        raise as_state_error(error, path) from error


def _take_away(folder: Path) -> None:
    """Remove what a failed creation left; nothing was sent for it."""
    database_files = (f"{DATABASE}{suffix}" for suffix in ("", "-wal", "-shm", "-journal"))
    for name in (*database_files, acknowledged.FILE, acknowledged.MAKING, LOCK):
        with suppress(OSError):
            (folder / name).unlink()
    with suppress(OSError):
        folder.rmdir()


def _program() -> str:
    from importlib import metadata  # not needed to read a journal, and slow to import

    try:
        return metadata.version("azfleet")
    except metadata.PackageNotFoundError:
        return "unknown"
