"""Summaries of runs that have ended, so that the list of runs need not open each journal again.

A summary counts as long as the files that it was read from are the same: inode, size and times. A program that changes a file
changes these, so damage shows as it does without an index. Runs that have not ended are read every time. The index may be
removed at any time, and one that is damaged counts for nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from fleet.errors import StateError
from fleet.run.kept import RunState, RunSummary
from fleet.store.sqlite import acknowledged
from fleet.store.sqlite.database import DATABASE, LOCK
from fleet.store.sqlite.files import is_locked, read_plain, write_private

FILE = "runs.index"

_FORMAT = 1
_LOG = f"{DATABASE}-wal"
_READ = (DATABASE, _LOG, acknowledged.FILE)
"""The files that a summary is read from."""
_BESIDE = (f"{DATABASE}-shm", f"{DATABASE}-journal", LOCK)
"""The files that must not be anything but regular ones."""
_SETTLED_S = 2.0
"""Seconds since the last change. Times of files are coarse: a second change might leave them as they are."""

Files = list[list[int] | None]
"""Inode, size and times of each file that was read; None for one that is missing."""


class Entry(NamedTuple):
    """A run that has ended, and the files that say so."""

    playbook: str
    created: float
    targets: int
    files: Files


class Index:
    """What is known of the runs of one folder. Made for one listing, at ``now``."""

    def __init__(self, runs: Path, now: float) -> None:
        self._runs = runs
        self._now = now
        self._path = runs.with_name(FILE)
        self._known = _read(self._path)
        self._current: dict[str, Entry] = {}

    def summary(self, name: str, read: Callable[[str], RunSummary]) -> RunSummary:
        """Return the summary of a run, which is read only where the index does not know it."""
        folder = f"{self._runs}{os.sep}{name}"
        files = _files(folder)
        known = self._known.get(name)
        if known is not None and known.files == files and not is_locked(Path(folder, LOCK)):
            self._current[name] = known
            return RunSummary(name, RunState.ENDED, known.playbook, known.created, known.targets)
        found = read(name)
        if found.state is RunState.ENDED and files is not None and self._is_settled(files) and files == _files(folder):
            self._current[name] = Entry(found.playbook, found.created, found.targets, files)
        return found

    def _is_settled(self, files: Files) -> bool:
        newest = max(max(stamp[2:]) for stamp in files if stamp is not None)
        return newest / 1e9 < self._now - _SETTLED_S

    def save(self) -> None:
        """Keep what is known now. Where that cannot be written, the next listing reads the runs again."""
        if self._current == self._known:
            return
        text = json.dumps([_FORMAT, self._current])
        with suppress(StateError):
            write_private(self._path, f"{_digest(text)}\n{text}\n")


def _files(folder: str) -> Files | None:
    """Return what tells the files of a run from changed ones; None where that cannot be told."""
    try:
        files = [_stamp(f"{folder}{os.sep}{name}") for name in _READ]
        for name in _BESIDE:
            _stamp(f"{folder}{os.sep}{name}")
    except OSError:
        return None
    return files if files[0] is not None else None


def _stamp(path: str) -> list[int] | None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{path} is not a regular file")
    times = [found.st_mtime_ns, found.st_ctime_ns]
    if path.endswith(_LOG):
        del times[1]  # SQLite sets the owner of a log whenever it opens one, which changes this time alone
    return [found.st_ino, found.st_size, *times]


def _read(path: Path) -> dict[str, Entry]:
    """Return what the index holds: nothing where it is missing, damaged, or of another version."""
    try:
        digest, _, text = read_plain(path).decode("ascii").partition("\n")
        if _digest(text.rstrip("\n")) != digest:
            return {}
        version, entries = json.loads(text)
        return {name: Entry(*entry) for name, entry in entries.items()} if version == _FORMAT else {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()
