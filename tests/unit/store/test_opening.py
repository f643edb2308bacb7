"""A run's journal is made, taken over, read and let go of: what each of them does to the disk, and what it refuses."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import StateError
from fleet.plan.model import Plan
from fleet.run.events import Event
from fleet.store.sqlite import acknowledged, database, journal, reading
from tests.patience import stretched
from tests.unit.store.own_loop import finish
from tests.unit.store.test_damage import LOG, keep, keep_unclosed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "r1"


def begin(folder: Path, plan: Plan, connect: database.Connect = database.connect) -> journal.Journal:
    return journal.create(folder, run_id="r1", plan=plan, owner="jo", now=7.0, connect=connect)


def edit(folder: Path, *statements: str) -> None:
    connection = sqlite3.connect(folder / journal.DATABASE)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_new_run_is_on_disk_before_anything_is_sent(
    folder: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its entries, those of the folder above, and the note of what was acknowledged are flushed, also at a take-over."""
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_ino))
    keep(folder, plan, ())
    note = (folder / acknowledged.FILE).stat().st_ino
    assert {folder.stat().st_ino, folder.parent.stat().st_ino, note} <= set(flushed)
    flushed.clear()
    finish(journal.open_for_writing(folder, owner="jo", now=8.0).journal.close())
    assert {folder.stat().st_ino, note} <= set(flushed)


@pytest.mark.asyncio
async def test_a_new_run_tells_of_itself(folder: Path, plan: Plan) -> None:
    """Who made it, with which version, when; owners follow each other by number; only its owner may look."""
    await begin(folder, plan).close()
    await journal.open_for_writing(folder, owner="you", now=8.0).journal.close()
    connection = sqlite3.connect(folder / journal.DATABASE)
    (made,) = connection.execute("SELECT format, run_id, created, program, playbook, targets FROM run")
    owners = connection.execute("SELECT epoch, owner, pid, taken_at FROM lease ORDER BY epoch").fetchall()
    connection.close()
    assert made == (1, "r1", 7.0, metadata.version("azfleet"), "patch", 4)
    assert owners == [(1, "jo", os.getpid(), 7.0), (2, "you", os.getpid(), 8.0)]
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "journal.db", folder / "lock")] == [
        0o700,
        0o600,
        0o600,
    ]
    assert journal.read(folder).created == 7.0


def test_a_new_runs_folder_is_closed_to_others_from_the_first_moment(
    folder: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else can open a file in it before its rights are set."""
    monkeypatch.setattr(os, "chmod", lambda *_, **__: None)
    before = os.umask(0)
    keep(folder, plan, ())
    os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_journal_that_is_not_closed_keeps_no_process_alive(folder: Path, plan: Plan) -> None:
    """A program that ends in an error ends, and what was acknowledged is on disk."""
    keep(folder, plan, ())
    code = (
        "import pathlib, sys\n"
        "from fleet.store.sqlite import journal\n"
        "kept = journal.open_for_writing(pathlib.Path(sys.argv[1]), owner='jo', now=8.0)\n"
        "raise SystemExit(3)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    assert subprocess.run([sys.executable, "-c", code, str(folder)], env=environment, timeout=60).returncode == 3
    assert journal.read(folder).epoch == 2


@pytest.mark.asyncio
async def test_a_program_that_was_not_installed_has_no_version(
    folder: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run from its sources without being installed, a run is kept all the same."""

    def version(_: str) -> str:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "version", version)
    await begin(folder, plan).close()
    connection = sqlite3.connect(folder / journal.DATABASE)
    assert connection.execute("SELECT program FROM run").fetchone() == ("unknown",)
    connection.close()


@pytest.mark.asyncio
async def test_who_holds_a_run_is_named(folder: Path, plan: Plan) -> None:
    """A second owner is told whose process to wait for."""
    kept = begin(folder, plan)
    with pytest.raises(StateError) as refused:
        journal.open_for_writing(folder, owner="you", now=8.0)
    assert f"the run in {folder} is being carried out by jo (process {os.getpid()} on " in str(refused.value)
    assert refused.value.code == "run_is_live"
    await kept.close()


@pytest.mark.asyncio
async def test_an_unknown_holder_is_another_process(folder: Path, plan: Plan) -> None:
    """Where nobody signed, or not in letters, or the journal cannot be read, the run is held all the same."""
    kept = begin(folder, plan)
    edit(folder, "UPDATE lease SET owner = ''")
    with pytest.raises(StateError, match=r"carried out by another process \(process \d+ on "):
        journal.open_for_writing(folder, owner="you", now=8.0)
    edit(folder, "UPDATE lease SET owner = CAST(x'6AFF' AS TEXT)")
    with pytest.raises(StateError, match="carried out by j\N{REPLACEMENT CHARACTER} \\(process"):
        journal.open_for_writing(folder, owner="you", now=8.0)
    edit(folder, "DELETE FROM lease")
    with pytest.raises(StateError, match=r"carried out by another process$"):
        journal.open_for_writing(folder, owner="you", now=8.0)
    edit(folder, "DROP TABLE lease")
    with pytest.raises(StateError, match=r"carried out by another process$"):
        journal.open_for_writing(folder, owner="you", now=8.0)
    await kept.close()


def test_a_lock_that_cannot_be_taken_is_said(folder: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """A file system without locks, or a link in the lock's place: what, why, and what to do."""
    keep(folder, plan, life)
    (folder / "lock").unlink()
    (folder / "lock").symlink_to("elsewhere")
    with pytest.raises(StateError, match=f"the lock {folder}/lock cannot be taken \\(Too many levels") as error:
        journal.open_for_writing(folder, owner="you", now=8.0)
    assert "local disk" in error.value.hint


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, plan: Plan) -> None:
    """A name that no folder can have is a sentence with the folder in it."""
    with pytest.raises(StateError, match="File name too long"):
        begin(tmp_path / ("x" * 300), plan)


def test_where_there_is_no_journal_it_is_said(tmp_path: Path) -> None:
    """With the code that tells it from damage."""
    with pytest.raises(StateError, match=f"there is no journal in {tmp_path}") as error:
        journal.read(tmp_path)
    assert error.value.code == "no_journal"


@pytest.mark.asyncio
async def test_nothing_is_kept_at_once(folder: Path, plan: Plan) -> None:
    """An empty batch needs no disk, not even an open journal."""
    kept = begin(folder, plan)
    await kept.append([])
    await kept.close()
    await kept.append([])


class Gate:
    """Opens real databases in which rows are written only once the gate is open."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, uri: str) -> sqlite3.Connection:
        gate = self

        class Connection(sqlite3.Connection):
            def executemany(self, statement: str, rows: Iterable[Any]) -> sqlite3.Cursor:  # type: ignore[override]
                gate.reached.set()
                assert gate.opened.wait(stretched(20))
                return super().executemany(statement, rows)

        return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, factory=Connection)


@pytest.mark.asyncio
async def test_a_cancelled_append_ends_with_its_line(folder: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """Who cancels an append waits for the flush in hand, and then it is cancelled, not done."""
    gate = Gate()
    kept = begin(folder, plan, gate)
    task = asyncio.ensure_future(kept.append(life))
    await asyncio.to_thread(gate.reached.wait, 20)
    task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert journal.read(folder).events == life
    await kept.close()


@pytest.mark.asyncio
async def test_a_cancelled_close_can_be_repeated(folder: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """What was being written is written, whoever waits for it, and the run is let go of."""
    gate = Gate()
    kept = begin(folder, plan, gate)
    written = asyncio.ensure_future(kept.append(life))
    await asyncio.to_thread(gate.reached.wait, 20)
    closing = asyncio.ensure_future(kept.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    gate.opened.set()
    await written
    await kept.close()
    found = journal.read(folder)
    assert (found.events, found.live) == (life, False)


@pytest.mark.asyncio
async def test_one_who_no_longer_waits_holds_up_nobody(folder: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """Of two who wait for the journal's end, the second is told though the first has gone."""
    gate = Gate()
    kept = begin(folder, plan, gate)
    written = asyncio.ensure_future(kept.append(life))
    await asyncio.to_thread(gate.reached.wait, 20)
    gone, waiting = asyncio.ensure_future(kept.close()), asyncio.ensure_future(kept.close())
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    gate.opened.set()
    await written
    await asyncio.wait_for(waiting, stretched(20))
    assert journal.read(folder).events == life


class Meanwhile:
    """Opens real databases, and lets something happen before a statement with this text."""

    def __init__(self, text: str, happens: Callable[[], None]) -> None:
        self._text, self._happens = text, happens
        self.open = 0

    def __call__(self, uri: str) -> sqlite3.Connection:
        outer = self
        outer.open += 1

        class Connection(sqlite3.Connection):
            def execute(self, *args: Any) -> sqlite3.Cursor:
                if outer._text in args[0]:
                    happens, outer._happens = outer._happens, lambda: None
                    happens()
                return super().execute(*args)

            def close(self) -> None:
                outer.open -= 1
                super().close()

        return sqlite3.connect(uri, uri=True, isolation_level=None, factory=Connection)


def test_a_reader_sees_one_moment(folder: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """What is committed while somebody reads shows whole or not at all, never as damage; the reader goes without trace."""
    keep(folder, plan, life)

    def resume() -> None:
        opened = journal.open_for_writing(folder, owner="you", now=8.0)
        finish(opened.journal.append(life[:1]))
        finish(opened.journal.close())

    watched = Meanwhile("FROM tail", resume)
    found = journal.read(folder, connect=watched)
    assert (found.events, found.damage, watched.open) == (life, "", 0)
    assert len(journal.read(folder).events) == len(life) + 1


def test_a_log_whose_end_cannot_be_read_is_told(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """SQLite stops at the first bad frame in silence; the reader of a run that nobody holds is told."""
    folder = tmp_path / "r1"
    keep_unclosed(folder, plan, life)
    log = bytearray((folder / LOG).read_bytes())
    log[-1] ^= 1
    (folder / LOG).write_bytes(log)
    assert "after event 14 (15 events were acknowledged)" in journal.read(folder).damage
    (folder / acknowledged.FILE).unlink()
    assert "cannot be read to its end" in journal.read(folder).damage


@pytest.mark.asyncio
async def test_the_log_of_a_live_run_is_its_owners(folder: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """While somebody writes, a log's half-written end is no damage."""
    kept = begin(folder, plan)
    await kept.append(life)
    with (folder / LOG).open("ab") as log:
        log.write(b"\xff" * 4120)
    found = journal.read(folder)
    assert (found.events, found.damage, found.live) == (life, "", True)
    await kept.close()


def header(folder: Path, **changes: object) -> None:
    """Rewrite a run's own row, and its digest with it, as another program might have written it."""
    connection = sqlite3.connect(folder / journal.DATABASE)
    names = ("format", "run_id", "created", "program", "playbook", "targets", "plan")
    (row,) = connection.execute(f"SELECT {', '.join(names)} FROM run")
    values = {**dict(zip(names, row, strict=True)), **changes}
    chain = hashlib.sha256(json.dumps(list(values.values())).encode("ascii")).hexdigest()
    setting = ", ".join(f"{name} = ?" for name in names)
    connection.execute(f"UPDATE run SET {setting}, chain = ?", (*values.values(), chain))
    connection.commit()
    connection.close()


@pytest.mark.parametrize("text", ["[]", "{}", "{", '{"playbook": 7}', "[" * 100_000])
def test_a_plan_of_another_shape_is_a_newer_versions(
    folder: Path, plan: Plan, life: tuple[Event, ...], text: str
) -> None:
    """A plan that is the one that was kept, and that this program cannot read, was made by a newer one."""
    keep(folder, plan, life)
    header(folder, plan=text)
    with pytest.raises(StateError, match="its plan cannot be read") as error:
        journal.read(folder)
    assert error.value.code == "newer_version"


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ("format = 0", "journal_damaged"),
        ("created = 'then'", "journal_damaged"),
        ("targets = 'many'", "journal_damaged"),
        ("plan = x'ff'", "journal_damaged"),
        ("format = 2", "newer_version"),
    ],
)
def test_a_run_whose_own_row_is_odd_is_not_read(
    folder: Path, plan: Plan, life: tuple[Event, ...], setting: str, code: str
) -> None:
    """A column of another kind, or a format that never was, is damage; a later format is a later program's."""
    keep(folder, plan, life)
    edit(folder, f"UPDATE run SET {setting}")
    with pytest.raises(StateError) as error:
        journal.read(folder)
    assert error.value.code == code


def test_how_new_a_run_is_too_new_is_told(folder: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """The format that it has, and the last one that this program reads."""
    keep(folder, plan, life)
    header(folder, format=2)
    with pytest.raises(StateError, match="format 2, this version reads up to 1"):
        journal.read(folder)


def test_a_run_that_cannot_be_read_now_is_not_called_missing(folder: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """A disk that fails at the run's own row says nothing about whether there is one."""
    keep(folder, plan, life)

    def fail() -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with pytest.raises(StateError, match="cannot be used \\(disk I/O error\\)") as error:
        journal.read(folder, connect=Meanwhile("FROM run", fail))
    assert error.value.code == "disk_error"


@pytest.mark.parametrize(
    ("statement", "good", "what"),
    [
        ("UPDATE events SET epoch = 'x' WHERE seq = 2", 1, "does not hold a number"),
        ("UPDATE events SET kind = 7.5 WHERE seq = 2", 1, "was changed"),
        ("UPDATE events SET body = 'x' WHERE seq = 2", 1, "event 2 was changed"),
        ("UPDATE events SET body = CAST(x'EDA080' AS TEXT) WHERE seq = 2", 1, "event 2 was changed"),
        ("UPDATE events SET body = CAST(x'FF' AS TEXT) WHERE seq = 2", 1, "a column does not hold text"),
        ("UPDATE events SET seq = 99 WHERE seq = 15", 14, "event 15 is missing"),
        ("UPDATE tail SET seq = 14", 15, "its end mark does not fit"),
        ("UPDATE tail SET chain = 'x'", 15, "its end mark does not fit"),
        ("DELETE FROM tail", 15, "its end mark is missing"),
        ("DROP TABLE tail", 15, "no such table"),
        ("DROP TABLE lease", 15, "its owners cannot be read"),
    ],
)
def test_damage_is_named_where_it_begins(
    folder: Path, plan: Plan, life: tuple[Event, ...], statement: str, good: int, what: str
) -> None:
    """The sentence says after which event, and what is wrong; what comes before is given."""
    keep(folder, plan, life)
    edit(folder, statement)
    found = journal.read(folder)
    assert found.events == life[:good]
    assert what in found.damage
    assert "owners" in what or f"is damaged after event {good} (" in found.damage


@pytest.mark.parametrize("column", ["kind", "body", "chain"])
def test_a_column_that_holds_no_text_is_damage(folder: Path, plan: Plan, life: tuple[Event, ...], column: str) -> None:
    """Even in a table whose columns take anything."""
    keep(folder, plan, life)
    columns = ", ".join(
        f"7 AS {name}" if name == column else name for name in ("seq", "epoch", "kind", "body", "chain")
    )
    edit(
        folder,
        f"CREATE TABLE other AS SELECT {columns} FROM events",
        "DROP TABLE events",
        "ALTER TABLE other RENAME TO events",
    )
    found = journal.read(folder)
    assert (found.events, "a column does not hold text" in found.damage) == ((), True)


def test_the_first_damage_is_the_one_that_is_told(folder: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """Owners that cannot be read either do not hide where the events end."""
    keep(folder, plan, life)
    edit(folder, "DELETE FROM events WHERE seq = 5", "DROP TABLE lease")
    assert "after event 4" in journal.read(folder).damage


def test_the_number_of_the_next_owner_is_never_one_that_was(folder: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """The highest of those that took the run and those that wrote; none, where nobody did either."""
    keep(folder, plan, life)
    edit(folder, "INSERT INTO lease SELECT 9, owner, pid, host, taken_at FROM lease")
    assert journal.read(folder).epoch == 9
    edit(folder, "DELETE FROM lease")
    assert journal.read(folder).epoch == 1
    begun = folder.with_name("begun")
    keep(begun, plan, ())
    edit(begun, "DELETE FROM lease")
    assert journal.read(begun).epoch == 0


@pytest.mark.parametrize(("length", "ended"), [(15, True), (8, False)])
def test_whether_a_run_has_ended_is_told_without_reading_it(
    folder: Path, plan: Plan, life: tuple[Event, ...], length: int, ended: bool
) -> None:
    """The end is looked for among the last eight events: removals may still follow it."""
    keep(folder, plan, life[:length])
    connection = database.open_to_read(folder / journal.DATABASE, database.connect)
    assert reading.has_ended(connection) is ended
    connection.close()


@pytest.mark.parametrize(("after", "seen"), [(7, True), (8, False)])
def test_what_follows_the_end_hides_it_only_if_there_is_much(
    folder: Path, plan: Plan, life: tuple[Event, ...], after: int, seen: bool
) -> None:
    """Seven events may follow."""
    keep(folder, plan, (*life, *life[:after]))
    connection = database.open_to_read(folder / journal.DATABASE, database.connect)
    assert reading.has_ended(connection) is seen
    connection.close()


def test_what_was_left_half_made_is_taken_away_in_time(folder: Path, plan: Plan) -> None:
    """A folder that a killed process left goes with the next run that is made, once it is more than an hour old."""
    runs = folder.parent
    for name, age in ((".r7.new", 3600.0), (".r8.new", 3601.0), ("r9", 9999.0), (".other", 9999.0)):
        (runs / name).mkdir(parents=True)
        (runs / name / "journal.db").touch()
        os.utime(runs / name, (1.0 - age, 1.0 - age))
    keep(folder, plan, ())
    assert {path.name for path in runs.iterdir()} == {"r1", ".r7.new", "r9", ".other"}


@pytest.mark.parametrize("written", [0, 1])
def test_a_run_that_was_taken_over_meanwhile_is_not_taken_again(
    folder: Path, plan: Plan, life: tuple[Event, ...], written: int
) -> None:
    """Where locks do not hold, two may read the same end: only the first of them goes on from it."""
    keep(folder, plan, life)

    def overtake() -> None:
        (folder / journal.LOCK).unlink()
        first = journal.open_for_writing(folder, owner="first", now=8.0).journal
        finish(first.append(life[:written]))
        finish(first.close())

    before = Meanwhile("wal_checkpoint", overtake)
    with pytest.raises(StateError) as lost:
        journal.open_for_writing(folder, owner="second", now=8.0, connect=before)
    assert (lost.value.code, before.open) == ("lease_lost", 0)
    assert journal.read(folder).epoch == 2


def test_a_run_that_its_owner_still_writes_is_not_taken(folder: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """Where locks do not hold, what its owner writes between reading and taking over is seen: nothing is run twice."""
    first = begin(folder, plan)
    finish(first.append(life[:3]))
    (folder / journal.LOCK).unlink()
    meanwhile = Meanwhile("BEGIN IMMEDIATE", lambda: finish(first.append(life[3:4])))
    with pytest.raises(StateError) as lost:
        journal.open_for_writing(folder, owner="second", now=8.0, connect=meanwhile)
    finish(first.append(life[4:]))
    finish(first.close())
    assert (lost.value.code, meanwhile.open) == ("lease_lost", 0)
    assert (journal.read(folder).epoch, journal.read(folder).events) == (1, life)


def test_the_note_is_let_go_of_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed twice, written to after that, or never on disk: nothing stays open, and what was said stays."""
    before = len(os.listdir("/proc/self/fd"))
    note = acknowledged.Note(tmp_path, 3, "a" * 64)
    note.close()
    note.close()
    note.write(4, "b" * 64)
    assert acknowledged.read(tmp_path) == acknowledged.Acknowledged(3, "a" * 64)

    def fsync(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output"):
        acknowledged.Note(tmp_path, 5, "c" * 64)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_note_belongs_to_its_owner(tmp_path: Path) -> None:
    """0600 whatever the umask or a file that was there; a link is not followed; each writing replaces all of it."""
    path = tmp_path / acknowledged.FILE
    path.touch(0o644)
    before = os.umask(0)
    note = acknowledged.Note(tmp_path, 3, "a" * 64)
    os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    note.write(999_999_999_999, "b" * 64)
    assert acknowledged.read(tmp_path) == (999_999_999_999, "b" * 64)
    assert path.stat().st_size == 87
    note.close()
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        acknowledged.Note(tmp_path, 5, "c" * 64)


def test_a_note_that_cannot_be_read_is_named(
    folder: Path, plan: Plan, life: tuple[Event, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad sector under it is no reason not to read the journal, and it is said."""
    keep(folder, plan, life)
    real = os.open

    def refuse(path: Any, *rest: Any) -> int:
        if str(path).endswith(acknowledged.FILE):
            raise OSError(errno.EIO, "Input/output error")
        return real(path, *rest)

    monkeypatch.setattr(os, "open", refuse)
    found = journal.read(folder)
    assert (found.events, "Input/output error" in found.damage) == (life, True)


@pytest.mark.parametrize(
    "statement", ["PRAGMA journal_mode", "BEGIN", "CREATE TABLE tail", "INSERT INTO run", "COMMIT"]
)
def test_a_run_made_in_vain_leaves_nothing(folder: Path, plan: Plan, statement: str) -> None:
    """Whichever statement fails, no folder is left, not even the one that it was being made under."""

    def fail() -> None:
        raise sqlite3.OperationalError("disk I/O error")

    failing = Meanwhile(statement, fail)
    with pytest.raises(StateError, match="disk I/O error"):
        begin(folder, plan, failing)
    assert (list(folder.parent.iterdir()), failing.open) == ([], 0)


def test_a_closed_journal_holds_nothing_open(folder: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """File, log, lock and note are all let go of, by who made the run and by who took it over."""
    before = len(os.listdir("/proc/self/fd"))
    keep(folder, plan, life)
    assert len(os.listdir("/proc/self/fd")) == before
    finish(journal.open_for_writing(folder, owner="you", now=8.0).journal.close())
    assert len(os.listdir("/proc/self/fd")) == before
