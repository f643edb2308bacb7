"""The index of ended runs: it saves reading journals, and hides nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.plan.model import Plan
from fleet.run.events import Event
from fleet.run.kept import RunState, RunSummary
from fleet.store.sqlite.database import DATABASE, LOCK
from fleet.store.sqlite.files import Lock
from fleet.store.sqlite.index import FILE, Index
from fleet.store.sqlite.runs import RunsFolder
from tests.unit.store.test_runs_folder import begin

ID = "20261122-191733-aaaa"
ENDED = RunSummary(ID, RunState.ENDED, "patch", 1_795_375_053.0, 4)
OTHER = RunSummary(ID, RunState.DAMAGED, detail="it was read again")
LATER = 4e9
"""In 2096: the files were changed long ago."""


def never(name: str) -> RunSummary:
    """Stand for a journal that must not be opened."""
    raise AssertionError(f"{name} was read")


def again(name: str) -> RunSummary:
    """Stand for a journal that is opened again, and tell something else than before."""
    return OTHER


@pytest.fixture
def runs(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> Path:
    """The folder of runs, with one that has ended and is in the index."""
    kept = RunsFolder(tmp_path)
    begin(kept, ID, plan, life, ENDED.created)
    index = Index(kept.path, LATER)
    assert index.summary(ID, lambda name: ENDED) == ENDED
    index.save()
    return kept.path


def test_an_ended_run_is_read_once(runs: Path) -> None:
    """A run that has ended is listed without its journal, as long as its files stay as they were."""
    assert Index(runs, LATER).summary(ID, never) == ENDED
    assert (runs.with_name(FILE).stat().st_mode & 0o777) == 0o600


def grown(runs: Path) -> None:
    with (runs / ID / DATABASE).open("ab") as file:
        file.write(b"\0")


def flipped(runs: Path) -> None:
    """Change one byte, and put the time of change back."""
    path = runs / ID / DATABASE
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(runs: Path) -> None:
    path = runs / ID / DATABASE
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


def obstructed(runs: Path) -> None:
    (runs / ID / LOCK).unlink()
    os.mkfifo(runs / ID / LOCK)


CHANGES: dict[str, Callable[[Path], object]] = {
    "the journal grew": grown,
    "a byte was changed": flipped,
    "the journal was replaced": replaced,
    "the journal is gone": lambda runs: (runs / ID / DATABASE).unlink(),
    "the log is not empty": lambda runs: (runs / ID / f"{DATABASE}-wal").write_bytes(b"1"),
    "the note is gone": lambda runs: (runs / ID / "acknowledged").unlink(),
    "a pipe lies in place of the lock": obstructed,
    "the index is cut short": lambda runs: os.truncate(runs.with_name(FILE), 100),
    "the index says something else": lambda runs: runs.with_name(FILE).write_bytes(
        runs.with_name(FILE).read_bytes().replace(b"patch", b"other")
    ),
    "the index is gone": lambda runs: runs.with_name(FILE).unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_read_again(runs: Path, change: str) -> None:
    """A run is read again if any of its files is not what it was, and if the index is not what was written."""
    CHANGES[change](runs)
    assert Index(runs, LATER).summary(ID, again) == OTHER


def test_a_run_that_is_carried_out_is_read_again(runs: Path) -> None:
    """A run whose lock is held is live, whatever the index says."""
    lock = Lock(runs / ID / LOCK)
    found = Index(runs, LATER).summary(ID, again)
    lock.release()
    assert found == OTHER


@pytest.mark.parametrize("state", [RunState.LIVE, RunState.UNFINISHED, RunState.DAMAGED])
def test_only_ended_runs_are_kept(runs: Path, state: RunState) -> None:
    """Other runs are read every time."""
    runs.with_name(FILE).unlink()
    index = Index(runs, LATER)
    index.summary(ID, lambda name: RunSummary(name, state))
    index.save()
    assert Index(runs, LATER).summary(ID, again) == OTHER


def test_a_run_that_changed_just_now_is_not_kept(runs: Path) -> None:
    """Times of files are coarse, so a run counts as unchanged only once its files were left alone for a while."""
    runs.with_name(FILE).unlink()
    index = Index(runs, time.time())
    index.summary(ID, lambda name: ENDED)
    index.save()
    assert Index(runs, LATER).summary(ID, again) == OTHER


def test_an_index_that_cannot_be_written_is_left_out(runs: Path) -> None:
    """Where no index can be kept, runs are listed as before."""
    runs.with_name(FILE).unlink()
    runs.with_name(FILE).mkdir()
    index = Index(runs, LATER)
    assert index.summary(ID, lambda name: ENDED) == ENDED
    index.save()
    assert Index(runs, LATER).summary(ID, again) == OTHER


def test_runs_that_are_gone_leave_the_index(runs: Path) -> None:
    """What is not listed any more is not kept."""
    Index(runs, LATER).save()
    assert Index(runs, LATER).summary(ID, again) == OTHER
