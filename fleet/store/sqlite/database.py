"""One SQLite file: its tables, how it is opened, and its errors as sentences.

WAL with ``synchronous=FULL``: a commit has reached the disk when it returns. WAL needs shared memory between
its users, so the file must lie on a local disk, never on NFS or SMB (SQLite documentation, "Write-Ahead
Logging").
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from pathlib import Path

from fleet.errors import StateError
from fleet.store.sqlite.files import is_obstructed

DATABASE = "journal.db"
LOCK = "lock"
"""Names of a run's files: its journal, and the lock of its writer."""

FORMAT = 1
"""The version of these tables. A program refuses a format above its own."""

SCHEMA = (
    """CREATE TABLE run (
        one INTEGER PRIMARY KEY CHECK (one = 1), format INTEGER NOT NULL, run_id TEXT NOT NULL,
        created REAL NOT NULL, program TEXT NOT NULL, playbook TEXT NOT NULL, targets INTEGER NOT NULL,
        plan TEXT NOT NULL, chain TEXT NOT NULL)""",
    """CREATE TABLE lease (
        epoch INTEGER PRIMARY KEY, owner TEXT NOT NULL, pid INTEGER NOT NULL, host TEXT NOT NULL,
        taken_at REAL NOT NULL)""",
    """CREATE TABLE events (
        seq INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
        chain TEXT NOT NULL)""",
    # The last row's place and chain value once more: rows missing at the end would show nowhere else.
    """CREATE TABLE tail (
        one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, chain TEXT NOT NULL)""",
)

FAILURES = (sqlite3.Error, OSError, UnicodeDecodeError, MemoryError)
"""What an operation on a file may raise.

The last two come of damage: SQLite quotes damaged names in its messages, which Python then cannot decode, and
believes a damaged length.
"""

Connect = Callable[[str], sqlite3.Connection]
"""Opens the database that a ``file:`` URI names. Handed in, so that tests can let any call fail."""

_BUSY_SECONDS = 5.0


def connect(uri: str) -> sqlite3.Connection:
    """Open a connection without implicit transactions; threads may pass it on, one user at a time."""
    return sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def open_to_write(path: Path, connect: Connect) -> sqlite3.Connection:
    """Open an existing file for durable writing.

    Raises sqlite3.Error, or StateError as :func:`_require_plain_files` and :func:`_keep_the_log` do.
    """
    _require_plain_files(path)
    _keep_the_log(path)
    connection = connect(_uri(path, "mode=rw"))
    try:
        connection.text_factory = bytes
        for pragma in ("trusted_schema=OFF", "journal_mode=WAL", "synchronous=FULL", "cell_size_check=ON"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def open_to_read(path: Path, connect: Connect) -> sqlite3.Connection:
    """Open an existing file read-only, also while a writer is at work. Raises as :func:`open_to_write` does.

    A folder that cannot be written (an archive, another user's) allows no shared memory; a file that was
    closed properly has no log beside it and can be read as it lies.
    """
    _require_plain_files(path)
    _keep_the_log(path)
    try:
        return _reader(_uri(path, "mode=ro"), connect)
    except sqlite3.OperationalError:
        if log_of(path).exists():
            raise
        return _reader(_uri(path, "mode=ro&immutable=1"), connect)


def log_of(path: Path) -> Path:
    """Return where the write-ahead log of a database lies."""
    return path.with_name(path.name + "-wal")


def open_files(path: Path) -> tuple[Path, ...]:
    """Return the files that SQLite holds open while it writes a database: itself, its log, and the log's index."""
    return path, log_of(path), path.with_name(path.name + "-shm")


def _require_plain_files(path: Path) -> None:
    """Refuse a database with anything but regular files where SQLite keeps its own: it would wait for a pipe for ever."""
    for file in (*open_files(path), path.with_name(path.name + "-journal")):
        if is_obstructed(file):
            raise obstructed(file)


def obstructed(file: Path) -> StateError:
    """Say that something else lies in the place of a file of a run, or of the leases."""
    return StateError(
        f"{file} is damaged: it is not a regular file",
        hint="remove what is there, or put back a copy of the folder",
        code="journal_damaged",
    )


def _keep_the_log(path: Path) -> None:
    """Refuse an empty file beside a log that is not: whoever opens it, even to read, makes SQLite delete the log.

    Seen with SQLite 3.40 (``pagerOpenWalIfPresent``): a database of no pages has no use for a log. A log is only ever
    begun beside a file that holds a page, so this one lost its content, and the log may be all that is left.
    """
    try:
        lost = path.stat().st_size == 0 and log_of(path).stat().st_size > 0
    except OSError:
        return
    if lost:
        raise StateError(
            f"{path} is damaged: it is empty, and the log beside it is not",
            hint="put back a copy of the folder if there is one; the log was left as it is",
            code="journal_damaged",
        )


def _reader(uri: str, connect: Connect) -> sqlite3.Connection:
    connection = connect(uri)
    try:
        connection.text_factory = bytes
        connection.execute("PRAGMA trusted_schema=OFF").fetchall()
        connection.execute("PRAGMA cell_size_check=ON").fetchall()
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _uri(path: Path, query: str) -> str:
    return f"{path.absolute().as_uri()}?{query}"


_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_NO_ROOM = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
_FORBIDDEN = frozenset({sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH})


def as_state_error(error: Exception, path: Path) -> StateError:
    """Turn what SQLite or the system says into a sentence with the path and what to do next."""
    reason = int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
    if reason == sqlite3.SQLITE_FULL or getattr(error, "errno", 0) in _NO_ROOM:
        return StateError(
            f"the disk is full: {path} could not be written",
            hint="free some space and resume",
            code="disk_full",
        )
    if reason in _DAMAGED or isinstance(error, (UnicodeDecodeError, MemoryError)):
        return StateError(
            f"the journal {path} is damaged ({error})",
            hint="put back a copy of the run's folder if there is one",
            code="journal_damaged",
        )
    if reason in _FORBIDDEN or isinstance(error, PermissionError):
        return StateError(
            f"the journal {path} cannot be opened ({error})",
            hint="check who owns the folder and its permissions",
        )
    if reason in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StateError(f"the journal {path} is held by another program", hint="end that program and try again")
    return StateError(
        f"the journal {path} cannot be used ({error})",
        hint="check the disk; a journal must lie on a local one, not on a network share",
        code="disk_error",
    )
