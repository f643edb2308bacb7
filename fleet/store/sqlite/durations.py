"""How long scripts took in earlier runs: one small table, for every process that shares a state folder.

It only helps to look at the right time, so it may be deleted at any time, and one that cannot be used counts for nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.store.sqlite import database
from fleet.store.sqlite.files import is_plain_file, make_file

if TYPE_CHECKING:
    import sqlite3

FILE = "durations.db"

RUNS_KEPT = 8
"""The newest runs of a script that count."""

_TABLE = """CREATE TABLE IF NOT EXISTS took (
    script TEXT NOT NULL, run_id TEXT NOT NULL, at REAL NOT NULL, seconds TEXT NOT NULL, PRIMARY KEY (script, run_id))"""
_LEARN = "INSERT OR REPLACE INTO took VALUES (?, ?, ?, ?)"
_FORGET = """DELETE FROM took WHERE script = ?1 AND run_id NOT IN (
    SELECT run_id FROM took WHERE script = ?1 ORDER BY at DESC LIMIT ?2)"""
_KNOWN = "SELECT seconds FROM took WHERE script = ?"


class DurationTable:
    """Keeps a few durations of each run of a script, in seconds."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE

    def learn(self, run_id: str, at: float, took: Mapping[str, Sequence[float]]) -> None:
        """Keep what the scripts of a run took, by their keys; older runs of each are forgotten."""
        with suppress(*database.FAILURES):
            if not is_plain_file(self._path):
                make_file(self._path)
            with self._opened() as connection:
                connection.execute("PRAGMA synchronous=NORMAL").fetchall()
                connection.execute(_TABLE)
                connection.execute("BEGIN IMMEDIATE")
                for script, seconds in took.items():
                    connection.execute(_LEARN, (script, run_id, at, json.dumps([round(each, 3) for each in seconds])))
                    connection.execute(_FORGET, (script, RUNS_KEPT))
                connection.execute("COMMIT")

    def usual(self, scripts: Sequence[str]) -> Mapping[str, Sequence[float]]:
        """Return what is known of these scripts, in order; one of which nothing is known is left out."""
        found: dict[str, Sequence[float]] = {}
        with suppress(*database.FAILURES, ValueError, TypeError):
            if is_plain_file(self._path):
                with self._opened() as connection:
                    for script in scripts:
                        rows = connection.execute(_KNOWN, (script,)).fetchall()
                        seconds = sorted(float(each) for (text,) in rows for each in json.loads(text))
                        if seconds:
                            found[script] = seconds
        return found

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with closing(database.open_to_write(self._path, database.connect)) as connection:
            yield connection
