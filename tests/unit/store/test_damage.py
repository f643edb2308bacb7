"""A journal that was cut, flipped or edited gives its good part and says so: no traceback, no lie."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import StateError
from fleet.plan.model import Plan
from fleet.run.events import Event
from fleet.run.kept import RunState
from fleet.store.sqlite import acknowledged, journal, wal
from fleet.store.sqlite.runs import RunsFolder
from tests.unit.store.own_loop import finish

LOG = f"{journal.DATABASE}-wal"


def keep(folder: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """Keep a whole life and close properly: everything is in one file."""

    async def live() -> None:
        kept = journal.create(folder, run_id="r1", plan=plan, owner="me", now=1.0)
        for event in life:
            await kept.append([event])
        await kept.close()

    finish(live())


def keep_unclosed(folder: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """Keep a whole life and leave the folder as a killed owner does: everything is in the log."""

    async def live() -> None:
        kept = journal.create(folder.with_name("source"), run_id="r1", plan=plan, owner="me", now=1.0)
        for event in life:
            await kept.append([event])
        shutil.copytree(folder.with_name("source"), folder)
        await kept.close()

    finish(live())


def read_damaged(folder: Path, life: tuple[Event, ...]) -> journal.SavedRun | None:
    """Read, accept nothing but a sentence or a good prefix, and leave no trace for the next try."""
    try:
        found = journal.read(folder)
    except StateError as error:
        assert str(folder) in str(error) or error.code == "newer_version"
        return None
    finally:
        (folder / f"{journal.DATABASE}-shm").unlink(missing_ok=True)
    assert found.events == life[: len(found.events)]
    return found


def test_truncated_file(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """A closed journal cut anywhere gives an error or a good prefix, and a missing event is always named."""
    folder = tmp_path / "r1"
    keep(folder, plan, life)
    whole = (folder / journal.DATABASE).read_bytes()
    pages = range(0, len(whole), 4096)
    for size in sorted({*range(0, len(whole), 997), *pages, *(page + 1 for page in pages), len(whole) - 1}):
        (folder / journal.DATABASE).write_bytes(whole[:size])
        found = read_damaged(folder, life)
        assert found is None or found.damage, size


def test_flipped_bits_in_file(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """One flipped bit in a closed journal never changes an event or loses one unnoticed."""
    folder = tmp_path / "r1"
    keep(folder, plan, life)
    whole = bytearray((folder / journal.DATABASE).read_bytes())
    for place in [*range(200), *range(200, len(whole), 41)]:
        whole[place] ^= 1 << place % 8
        (folder / journal.DATABASE).write_bytes(whole)
        whole[place] ^= 1 << place % 8
        found = read_damaged(folder, life)
        assert found is None or found.damage or (found.events == life and found.plan == plan), place


def places_to_cut(log: bytes) -> list[int]:
    """Many places in a log, the ends of its frames among them, and so of its commits."""
    return sorted({*range(0, len(log), 1499), *range(32, len(log), 4120)})


def test_a_lost_end_of_the_log_is_named(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """A log cut after a kill, even between two commits, is known to lack events: nobody goes on with it, nor changes it."""
    folder = tmp_path / "r1"
    keep_unclosed(folder, plan, life)
    whole = (folder / LOG).read_bytes()
    for size in places_to_cut(whole):
        (folder / LOG).write_bytes(whole[:size])
        found = read_damaged(folder, life)
        assert found is None or found.damage, size
        with pytest.raises(StateError) as refused:
            journal.open_for_writing(folder, owner="you", now=2.0)
        assert refused.value.code == ("no_journal" if found is None else "journal_damaged")
        assert (folder / LOG).read_bytes() == whole[:size]
    (folder / LOG).write_bytes(whole)
    opened = journal.open_for_writing(folder, owner="you", now=2.0)
    assert opened.events == life
    finish(opened.journal.close())


def test_truncated_log(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """A log that a power cut left unfinished, and no note beside it, gives a prefix that can be gone on with."""
    folder = tmp_path / "r1"
    keep_unclosed(folder, plan, life)
    (folder / acknowledged.FILE).unlink()
    whole = (folder / LOG).read_bytes()
    lengths = []
    for size in places_to_cut(whole):
        (folder / LOG).write_bytes(whole[:size])
        found = read_damaged(folder, life)
        lengths.append(-1 if found is None else len(found.events))
    assert lengths == sorted(lengths)
    opened = journal.open_for_writing(folder, owner="you", now=2.0)
    assert opened.events == life[: len(opened.events)]
    finish(opened.journal.close())
    assert journal.read(folder).epoch == 2


def test_flipped_bits_in_log(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """One flipped bit in the log loses no event unnoticed: SQLite stops there in silence, we do not."""
    folder = tmp_path / "r1"
    keep_unclosed(folder, plan, life)
    whole = bytearray((folder / LOG).read_bytes())
    for place in [
        *range(64),
        *range(64, len(whole) - 4120, 1511),
        *range(len(whole) - 4120, len(whole) - 4096),
        *range(len(whole) - 4096, len(whole), 61),
    ]:
        whole[place] ^= 1 << place % 8
        (folder / LOG).write_bytes(whole)
        whole[place] ^= 1 << place % 8
        found = read_damaged(folder, life)
        assert found is None or found.damage or found.events == life, place


def _frame(log: bytes, *, commits: bool) -> bytes:
    """A frame of this log: one that ends a commit, or one in the middle of one."""
    frames = [log[start : start + 4120] for start in range(32, len(log), 4120)]
    return next(frame for frame in frames if (frame[4:8] != bytes(4)) == commits)


def test_what_a_power_cut_can_do_is_told_from_damage(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """Behind the last commit, frames without one are nobody's loss; one commit may be a power cut's; two are damage."""
    folder = tmp_path / "r1"
    keep_unclosed(folder, plan, life)
    log = (folder / LOG).read_bytes()
    middle, last = _frame(log, commits=False), _frame(log, commits=True)
    expected = {
        "": (False, False),
        "unfinished": (False, False),
        "one": (True, False),
        "two": (True, True),
        "salt": (True, True),
    }
    with_salt = log[:-4112] + bytes([log[-4112] ^ 1]) + log[-4111:]
    ends = {"": log, "unfinished": log + middle, "one": log + last, "two": log + last + last, "salt": with_salt}
    for name, content in ends.items():
        (folder / LOG).write_bytes(content)
        said, is_damaged = wal.end(folder / LOG)
        assert (bool(said), is_damaged) == expected[name], name
        assert bool(journal.read(folder).damage) == expected[name][0], name
    (folder / LOG).write_bytes(ends["two"])
    with pytest.raises(StateError) as refused:
        journal.open_for_writing(folder, owner="you", now=2.0)
    assert refused.value.code == "journal_damaged"
    (folder / LOG).write_bytes(ends["one"])
    opened = journal.open_for_writing(folder, owner="you", now=2.0)
    assert opened.events == life
    assert (folder / LOG).read_bytes().count(last) == 0, "what a power cut left is not found again"
    finish(opened.journal.close())


def test_an_empty_file_beside_its_log_is_left_alone(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """SQLite deletes the log of a file that is empty, even for a reader; we open neither, and say so."""
    folder = tmp_path / "runs" / "r1"
    folder.parent.mkdir()
    keep_unclosed(folder, plan, life)
    whole, log = (folder / journal.DATABASE).read_bytes(), (folder / LOG).read_bytes()
    (folder / journal.DATABASE).write_bytes(b"")
    for use in (journal.read, lambda where: journal.open_for_writing(where, owner="you", now=2.0)):
        with pytest.raises(StateError) as refused:
            use(folder)
        assert refused.value.code == "journal_damaged"
        assert "the log was left as it is" in refused.value.hint
    (listed,) = [run for run in RunsFolder(tmp_path).list() if run.id == "r1"]
    assert (listed.state, "is empty" in listed.detail) == (RunState.DAMAGED, True)
    assert (folder / LOG).read_bytes() == log
    (folder / journal.DATABASE).write_bytes(whole)
    assert journal.read(folder).events == life, "with the file put back, the log holds the rest"


def test_an_older_copy_is_not_taken_for_the_run(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """A journal put back from before is whole in itself, and lacks events that were acknowledged; so does another one."""
    folder, older = tmp_path / "r1", tmp_path / "older"
    older.mkdir()
    keep(folder, plan, life)
    keep(older / "r1", plan, life[:7])
    shutil.copy(older / "r1" / journal.DATABASE, folder)
    found = journal.read(folder)
    assert (found.events, found.damage.count(f"{len(life)} events were acknowledged")) == (life[:7], 1)
    other = (*life[:-1], replace(life[-1], at=6.0))
    keep(tmp_path / "other" / "r1", plan, other)
    shutil.copy(tmp_path / "other" / "r1" / journal.DATABASE, folder)
    found = journal.read(folder)
    assert (found.events, "not the one that was acknowledged" in found.damage) == (life[:-1], True)


NOTES = {
    "empty": b"",
    "zeros": bytes(87),
    "longer": b"0" * 300,
    "flipped": b"000000000016 " + b"ab" * 32 + b" 00000000\n",
    "a folder": None,
}


@pytest.mark.parametrize("note", NOTES)
def test_a_damaged_note_is_damage(tmp_path: Path, plan: Plan, life: tuple[Event, ...], note: str) -> None:
    """The journal beside it is read to its end, the damage is named wherever the run is shown, and nobody goes on with it."""
    folder = tmp_path / "runs" / "r1"
    keep(folder, plan, life)
    path = folder / acknowledged.FILE
    path.unlink()
    content = NOTES[note]
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    found = journal.read(folder)
    assert (found.events, str(path) in found.damage) == (life, True)
    (listed,) = RunsFolder(tmp_path).list()
    assert (listed.state, str(path) in listed.detail) == (RunState.DAMAGED, True)
    with pytest.raises(StateError) as refused:
        journal.open_for_writing(folder, owner="you", now=2.0)
    assert (refused.value.code, str(path) in str(refused.value)) == ("journal_damaged", True)


def test_a_run_without_a_note_is_judged_by_itself(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """Journals of before have none; the next owner makes one."""
    folder = tmp_path / "runs" / "r1"
    keep(folder, plan, life)
    (folder / acknowledged.FILE).unlink()
    assert (journal.read(folder).events, journal.read(folder).damage) == (life, "")
    assert RunsFolder(tmp_path).list()[0].state is RunState.ENDED
    finish(journal.open_for_writing(folder, owner="you", now=2.0).journal.close())
    said = acknowledged.read(folder)
    assert said is not None and said.events == len(life)


def test_a_damaged_note_hides_no_lost_end(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """Together with a log that is cut between two commits, where nothing else can know of it."""
    folder = tmp_path / "runs" / "r1"
    folder.parent.mkdir()
    keep_unclosed(folder, plan, life)
    shutil.rmtree(folder.with_name("source"))
    note = bytearray((folder / acknowledged.FILE).read_bytes())
    note[40] ^= 1
    (folder / acknowledged.FILE).write_bytes(note)
    log = (folder / LOG).read_bytes()
    cuts = 0
    for size in range(32, len(log), 4120):
        (folder / LOG).write_bytes(log[:size])
        found = read_damaged(folder, life)
        if found is not None:
            cuts += len(found.events) < len(life)
            assert found.damage, size
        with pytest.raises(StateError):
            journal.open_for_writing(folder, owner="you", now=2.0)
    assert cuts > 10


def test_a_list_of_runs_misses_a_lost_end(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """Fewer events than were acknowledged are named by the list too, which reads none of them."""
    folder = tmp_path / "runs" / "r1"
    folder.parent.mkdir()
    keep_unclosed(folder, plan, life)
    shutil.rmtree(folder.with_name("source"))
    log = (folder / LOG).read_bytes()
    (folder / LOG).write_bytes(log[: 32 + 4120 * ((len(log) - 32) // 4120 - 4)])
    (listed,) = RunsFolder(tmp_path).list()
    assert (listed.state, f"{len(life)} were acknowledged" in listed.detail) == (RunState.DAMAGED, True)


def test_log_begun_anew_is_sound(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """Frames of an older log behind the present ones are no damage."""
    folder = tmp_path / "r1"

    async def live() -> None:
        kept = journal.create(tmp_path / "source", run_id="r1", plan=plan, owner="me", now=1.0)
        await kept.append(life)
        fold = sqlite3.connect(tmp_path / "source" / journal.DATABASE)
        fold.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        fold.close()
        await kept.append(life[:1])
        shutil.copytree(tmp_path / "source", folder)
        await kept.close()

    finish(live())
    assert (folder / LOG).read_bytes()[8 + 32 : 16 + 32] != (folder / LOG).read_bytes()[-4112:-4104]
    found = journal.read(folder)
    assert (found.events, found.damage) == ((*life, life[0]), "")


EDITS: dict[str, tuple[str, int]] = {
    "changed": ("UPDATE events SET body = replace(body, '2.0', '2.5') WHERE seq = 3", 2),
    "other kind": ("UPDATE events SET kind = 'command_missing' WHERE seq = 6", 5),
    "other epoch": ("UPDATE events SET epoch = 2 WHERE seq = 4", 3),
    "missing in the middle": ("DELETE FROM events WHERE seq = 5", 4),
    "missing at the end": ("DELETE FROM events WHERE seq > 10", 10),
    "all missing": ("DELETE FROM events", 0),
    "not text": ("UPDATE events SET body = x'ff00' WHERE seq = 2", 1),
    "a number": ("UPDATE events SET chain = NULL WHERE seq = 2", -1),
    "no end mark": ("DELETE FROM tail", 15),
    "another table": ("DROP TABLE events", 0),
}


@pytest.mark.parametrize("edit", EDITS)
def test_edited_rows(tmp_path: Path, plan: Plan, life: tuple[Event, ...], edit: str) -> None:
    """Rows changed or removed by hand are noticed: the events before them are kept, resuming is refused."""
    statement, good = EDITS[edit]
    folder = tmp_path / "r1"
    keep(folder, plan, life)
    connection = sqlite3.connect(folder / journal.DATABASE)
    try:
        connection.execute(statement)
        connection.commit()
    except sqlite3.IntegrityError:
        assert good < 0
        return
    finally:
        connection.close()
    found = journal.read(folder)
    assert (found.events, bool(found.damage)) == (life[:good], True)
    assert str(folder) in found.damage
    with pytest.raises(StateError) as refused:
        journal.open_for_writing(folder, owner="you", now=2.0)
    assert refused.value.code == "journal_damaged"
    assert journal.read(folder).epoch == 1


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("UPDATE run SET plan = replace(plan, 'vm1', 'vm9')", "journal_damaged"),
        ("UPDATE run SET run_id = 'r2'", "journal_damaged"),
        ("UPDATE run SET plan = 7", "journal_damaged"),
        ("UPDATE run SET format = 2", "newer_version"),
        ("DELETE FROM run", "no_journal"),
        ("DROP TABLE run", "no_journal"),
    ],
)
def test_edited_plan(tmp_path: Path, plan: Plan, life: tuple[Event, ...], statement: str, code: str) -> None:
    """Without the plan that was kept there is no run to show, and the sentence says why."""
    folder = tmp_path / "r1"
    keep(folder, plan, life)
    connection = sqlite3.connect(folder / journal.DATABASE)
    connection.execute(statement)
    connection.commit()
    connection.close()
    for use in (journal.read, lambda where: journal.open_for_writing(where, owner="you", now=2.0)):
        with pytest.raises(StateError) as error:
            use(folder)
        assert error.value.code == code


def _no_folder(folder: Path) -> None:
    pass


def _empty_folder(folder: Path) -> None:
    folder.mkdir()


def _empty_file(folder: Path) -> None:
    folder.mkdir()
    (folder / journal.DATABASE).touch()


def _other_file(folder: Path) -> None:
    folder.mkdir()
    (folder / journal.DATABASE).write_text("not a database at all\n" * 100)


def _link(folder: Path) -> None:
    folder.mkdir()
    (folder / "elsewhere").touch()
    (folder / journal.DATABASE).symlink_to(folder / "elsewhere")


def _is_folder(folder: Path) -> None:
    (folder / journal.DATABASE).mkdir(parents=True)


@pytest.mark.parametrize("make", [_no_folder, _empty_folder, _empty_file, _other_file, _link, _is_folder])
def test_not_a_journal(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """What is no journal is refused in a sentence that names it, for reading and for writing."""
    folder = tmp_path / "r1"
    make(folder)
    for use in (journal.read, lambda where: journal.open_for_writing(where, owner="you", now=2.0)):
        with pytest.raises(StateError) as error:
            use(folder)
        assert str(folder) in str(error.value)
        assert error.value.hint
