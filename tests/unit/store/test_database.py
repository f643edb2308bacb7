"""How the journal's file is opened, and what its errors say."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from fleet.errors import StateError
from fleet.store.sqlite import database
from fleet.store.sqlite.database import as_state_error, connect, open_to_read, open_to_write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty database with a name that a URI must escape."""
    path = tmp_path / "a ?#%é" / "journal.db"
    path.parent.mkdir()
    made = sqlite3.connect(path)
    made.execute("CREATE TABLE t (a TEXT)")
    made.close()
    return path


def pragma(connection: sqlite3.Connection, name: str) -> object:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return value


def test_a_commit_is_on_disk_when_it_returns(path: Path) -> None:
    """Write-ahead log, flushed at every commit; what the file says of itself is not trusted."""
    connection = open_to_write(path, connect)
    settings = {name: pragma(connection, name) for name in ("journal_mode", "synchronous", "cell_size_check")}
    assert settings == {"journal_mode": b"wal", "synchronous": 2, "cell_size_check": 1}
    assert pragma(connection, "trusted_schema") == 0
    assert (connection.isolation_level, pragma(connection, "busy_timeout")) == (None, 5000)
    connection.execute("INSERT INTO t VALUES ('é')")
    assert connection.execute("SELECT a FROM t").fetchone() == ("é".encode(),), "text comes as the bytes that lie there"
    connection.close()


def test_every_setting_is_made_whatever_sqlite_was_built_to_do(path: Path) -> None:
    """One that would flush less, trust a file's own functions, or believe its cells, is told not to."""

    def careless(uri: str) -> sqlite3.Connection:
        connection = connect(uri)
        for setting in ("synchronous=OFF", "trusted_schema=ON", "cell_size_check=OFF"):
            connection.execute(f"PRAGMA {setting}")
        return connection

    writer = open_to_write(path, careless)
    reader = open_to_read(path, careless)
    assert pragma(writer, "synchronous") == 2
    for connection in (writer, reader):
        assert (pragma(connection, "trusted_schema"), pragma(connection, "cell_size_check")) == (0, 1)
        connection.close()


def test_a_reader_changes_nothing(path: Path) -> None:
    """It sees what is there, as bytes, and is refused any change."""
    writer = open_to_write(path, connect)
    writer.execute("INSERT INTO t VALUES ('x')")
    reader = open_to_read(path, connect)
    assert reader.execute("SELECT a FROM t").fetchone() == (b"x",)
    assert (pragma(reader, "cell_size_check"), pragma(reader, "trusted_schema")) == (1, 0)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("INSERT INTO t VALUES ('y')")
    reader.close()
    writer.close()


@pytest.mark.parametrize("opened", [open_to_write, open_to_read])
def test_opening_makes_no_file(tmp_path: Path, opened: object) -> None:
    """A journal that is not there is an error, not a new and empty one."""
    with pytest.raises(sqlite3.OperationalError):
        opened(tmp_path / "journal.db", connect)  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []


class Opened:
    """Opens real databases, fails those whose URI has a text in it, and knows which were closed again."""

    def __init__(self, fails: str = "\0", statement: str = "\0") -> None:
        self.uris: list[str] = []
        self.open = 0
        self._fails, self._statement = fails, statement

    def __call__(self, uri: str) -> sqlite3.Connection:
        self.uris.append(uri)
        if uri.endswith(self._fails):
            raise sqlite3.OperationalError("unable to open database file")
        outer = self

        class Connection(sqlite3.Connection):
            def execute(self, *args: object) -> sqlite3.Cursor:  # type: ignore[override]
                if outer._statement in str(args[0]):
                    raise sqlite3.OperationalError("disk I/O error")
                return super().execute(*args)  # type: ignore[arg-type]

            def close(self) -> None:
                outer.open -= 1
                super().close()

        self.open += 1
        return sqlite3.connect(uri, uri=True, factory=Connection)


def test_a_closed_journal_can_be_read_where_nothing_can_be_written(path: Path) -> None:
    """Without shared memory beside it a file that was closed properly is read as it lies."""
    opened = Opened(fails="mode=ro")
    connection = open_to_read(path, opened)
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    connection.close()
    assert [uri.partition("?")[2] for uri in opened.uris] == ["mode=ro", "mode=ro&immutable=1"]
    assert (opened.uris[0].partition("?")[0], opened.open) == (path.as_uri(), 0)


def test_a_journal_with_a_log_is_not_read_without_it(path: Path) -> None:
    """Reading the file alone would lose what is in the log, unnoticed."""
    path.with_name("journal.db-wal").touch()
    opened = Opened(fails="mode=ro")
    with pytest.raises(sqlite3.OperationalError):
        open_to_read(path, opened)
    assert len(opened.uris) == 1


@pytest.mark.parametrize(
    "statement", ["trusted_schema", "cell_size_check", "sqlite_schema", "journal_mode", "synchronous"]
)
def test_a_failed_opening_leaves_nothing_open(path: Path, statement: str) -> None:
    """Whichever of its first statements fails, the connection is closed and the error is told."""
    opened = Opened(statement=statement)
    for use in (open_to_write, open_to_read):
        if (statement == "sqlite_schema") > (use is open_to_read):
            continue
        if use is open_to_read and statement in ("journal_mode", "synchronous"):
            continue
        with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
            use(path, opened)
    assert opened.uris
    assert opened.open == 0


def failure(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("as SQLite puts it")
    error.sqlite_errorcode = code
    return error


DAMAGED = "is damaged (as SQLite puts it)"
FORBIDDEN = "cannot be opened (as SQLite puts it)"
BUSY = "is held by another program"
UNUSABLE = "cannot be used (as SQLite puts it)"


@pytest.mark.parametrize(
    ("error", "code", "text", "hint"),
    [
        (failure(sqlite3.SQLITE_FULL), "disk_full", "the disk is full", "free some space"),
        (OSError(errno.ENOSPC, "No space left"), "disk_full", "the disk is full", "free some space"),
        (OSError(errno.EDQUOT, "Quota exceeded"), "disk_full", "the disk is full", "free some space"),
        (failure(sqlite3.SQLITE_CORRUPT), "journal_damaged", DAMAGED, "put back a copy"),
        (failure(sqlite3.SQLITE_CORRUPT_VTAB), "journal_damaged", DAMAGED, "put back a copy"),
        (failure(sqlite3.SQLITE_NOTADB), "journal_damaged", DAMAGED, "put back a copy"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd"), "journal_damaged", "is damaged", "put back a copy"),
        (MemoryError(), "journal_damaged", "is damaged", "put back a copy"),
        (failure(sqlite3.SQLITE_PERM), "state_error", FORBIDDEN, "permissions"),
        (failure(sqlite3.SQLITE_READONLY), "state_error", FORBIDDEN, "permissions"),
        (failure(sqlite3.SQLITE_CANTOPEN), "state_error", FORBIDDEN, "permissions"),
        (failure(sqlite3.SQLITE_AUTH), "state_error", FORBIDDEN, "permissions"),
        (PermissionError(13, "Permission denied"), "state_error", "cannot be opened", "permissions"),
        (failure(sqlite3.SQLITE_BUSY), "state_error", BUSY, "end that program"),
        (failure(sqlite3.SQLITE_LOCKED), "state_error", BUSY, "end that program"),
        (failure(sqlite3.SQLITE_IOERR_WRITE), "disk_error", UNUSABLE, "local one"),
        (OSError(5, "Input/output error"), "disk_error", "cannot be used", "local one"),
        (failure(sqlite3.SQLITE_ERROR), "disk_error", UNUSABLE, "local one"),
    ],
)
def test_every_failure_has_its_sentence(error: Exception, code: str, text: str, hint: str) -> None:
    """What SQLite or the system says becomes what happened, where, what to do, and a stable code."""
    said = as_state_error(error, Path("/state/runs/r1/journal.db"))
    assert (said.code, text in str(said), hint in said.hint) == (code, True, True), (said, said.code, said.hint)
    assert "/state/runs/r1/journal.db" in str(said)


def test_the_format_is_the_one_that_is_documented() -> None:
    """A later one needs a way to read this one."""
    assert database.FORMAT == 1


@pytest.mark.parametrize(("file", "log", "lost"), [(b"", b"x", True), (b"", b"", False), (b"x" * 9, b"x", False)])
def test_a_log_is_not_deleted_for_a_file_that_is_empty(tmp_path: Path, file: bytes, log: bytes, lost: bool) -> None:
    """SQLite would delete it, even for a reader, and it may be all that is left."""
    path = tmp_path / "journal.db"
    path.write_bytes(file)
    database.log_of(path).write_bytes(log)
    for use in (open_to_write, open_to_read):
        try:
            use(path, connect).close()
            damage = ""
        except StateError as error:
            damage = error.code
        except sqlite3.Error:
            damage = ""
        assert damage == ("journal_damaged" if lost else "")
    assert not lost or database.log_of(path).read_bytes() == log
