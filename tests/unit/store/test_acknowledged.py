"""The note of what was acknowledged: it only ever claims what is true, and hinders nobody."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.errors import StateError
from fleet.plan.model import Plan
from fleet.run.events import Event
from fleet.store.sqlite import acknowledged, database, journal
from fleet.store.sqlite.acknowledged import Note
from tests.unit.store.own_loop import finish

CHAIN = "ab" * 32


async def keep(folder: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    kept = journal.create(folder, run_id="r1", plan=plan, owner="me", now=1.0)
    for event in life:
        await kept.append([event])
        said = acknowledged.read(folder)
        assert said is not None and said.events == life.index(event) + 1, "noted before anybody is told"
    await kept.close()


def test_every_commit_is_noted_before_it_is_acknowledged(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """Whenever an append returns, the note counts its events; it is one line that only its owner may read."""
    finish(keep(tmp_path / "r1", plan, life))
    file = tmp_path / "r1" / acknowledged.FILE
    assert len(file.read_bytes()) == 87
    assert file.stat().st_mode & 0o777 == 0o600 or os.name != "posix"


def test_a_note_that_cannot_be_written_hinders_nobody(tmp_path: Path) -> None:
    """Closed, or on a disk that fails, it keeps what it said before."""
    note = Note(tmp_path, 1, CHAIN)
    note.close()
    note.close()
    note.write(2, CHAIN)
    assert acknowledged.read(tmp_path) == (1, CHAIN)


def refused(folder: Path) -> str:
    """What is said of a damaged note."""
    with pytest.raises(StateError) as said:
        acknowledged.read(folder)
    assert said.value.code == "journal_damaged"
    assert str(folder / acknowledged.FILE) in str(said.value)
    return str(said.value)


def test_a_note_that_is_not_whole_is_damage(tmp_path: Path) -> None:
    """Empty, cut off, longer than it is, or with any of its digits changed: it is named. Only a missing one says nothing."""
    assert acknowledged.read(tmp_path) is None
    Note(tmp_path, 12, CHAIN).close()
    file = tmp_path / acknowledged.FILE
    whole = file.read_bytes()
    changed = [whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :] for place in range(len(whole))]
    for content in (b"", whole[:-1], whole + b"0", whole + b"\n", *changed):
        file.write_bytes(content)
        assert "is damaged" in refused(tmp_path), content
    file.write_bytes(whole)
    assert acknowledged.read(tmp_path) == (12, CHAIN)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("planted", ["a pipe", "a link"])
def test_a_note_that_cannot_be_made_durable_is_told(tmp_path: Path, planted: str) -> None:
    """Something else in its place is not followed and not written to in silence; no file stays open."""
    if planted == "a pipe":
        os.mkfifo(tmp_path / acknowledged.FILE)
    else:
        (tmp_path / acknowledged.FILE).symlink_to(tmp_path / "elsewhere")
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    with pytest.raises(OSError, match=r"\S"):
        Note(tmp_path, 1, CHAIN)
    assert not before or len(os.listdir("/proc/self/fd")) == before
    assert not (tmp_path / "elsewhere").exists()
    assert "cannot be read" in refused(tmp_path)


class Pieces:
    """A disk that takes this many bytes, and then no more."""

    def __init__(self, takes: int) -> None:
        self._left = takes

    def __call__(self, descriptor: int, data: bytes) -> int:
        if not self._left:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = self._write(descriptor, data[: self._left])
        self._left -= taken
        return taken

    _write = staticmethod(os.write)


@pytest.mark.parametrize("takes", [0, 1, 12, 80])
def test_a_note_that_a_disk_took_in_part_claims_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, takes: int
) -> None:
    """Half a note would be taken for damage: it is removed. One of which nothing was written says what it said."""
    note = Note(tmp_path, 1, CHAIN)
    monkeypatch.setattr(os, "write", Pieces(takes))
    note.write(2, "cd" * 32)
    note.write(3, "cd" * 32)
    note.close()
    kept = acknowledged.read(tmp_path)
    assert kept == (None if takes > 11 else (1, CHAIN))
    monkeypatch.undo()
    Note(tmp_path, 4, CHAIN).close()
    assert acknowledged.read(tmp_path) == (4, CHAIN)


@pytest.mark.parametrize("takes", [0, 40, 87])
def test_a_note_is_whole_from_its_first_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, takes: int) -> None:
    """A disk that fails while it is made leaves none, and what a killed process left half made is in nobody's way."""
    (tmp_path / acknowledged.MAKING).write_bytes(b"0000")
    if takes == 87:
        monkeypatch.setattr(os, "fsync", Pieces(0))
    else:
        monkeypatch.setattr(os, "write", Pieces(takes))
    with pytest.raises((OSError, TypeError)):
        Note(tmp_path, 1, CHAIN)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_changes_while_it_is_taken_over_is_left_to_the_other(
    tmp_path: Path, plan: Plan, life: tuple[Event, ...]
) -> None:
    """What was read must still be so when the lease is taken: else somebody else is at work, whatever the lock says."""
    folder = tmp_path / "r1"
    finish(keep(folder, plan, life))

    def connect(uri: str) -> sqlite3.Connection:
        if "mode=rw" in uri:
            other = sqlite3.connect(folder / journal.DATABASE)
            other.execute("INSERT INTO lease VALUES (9, 'other', 1, 'host', 1.0)")
            other.commit()
            other.close()
        return database.connect(uri)

    with pytest.raises(StateError) as refused:
        journal.open_for_writing(folder, owner="you", now=2.0, connect=connect)
    assert refused.value.code == "lease_lost"
    assert journal.read(folder).epoch == 9
    assert not journal.read(folder).live


@pytest.mark.parametrize("write", [lambda descriptor, data: 0, Pieces(12)])
def test_a_disk_that_takes_nothing_more_ends_the_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[int, bytes], int]
) -> None:
    """One that was there is given up: it claims what it said, or is gone."""
    Note(tmp_path, 1, CHAIN).close()
    monkeypatch.setattr(os, "write", write)
    Note(tmp_path, 2, CHAIN).close()
    monkeypatch.undo()
    assert acknowledged.read(tmp_path) in (None, (1, CHAIN))
