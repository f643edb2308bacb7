"""Print how a journal takes damage: cut at every byte, every bit of its last 4 KiB flipped: ``python -m tests.bench.damage``.

Faults of single calls (disk full, I/O error at the n-th call, for every n) are in ``tests/unit/store/test_faults.py``.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from fleet.errors import StateError
from fleet.store import journal
from tests.fuzz import sound

TAIL = 4096
LOG = f"{journal.DATABASE}-wal"


def cuts(whole: bytes) -> Iterator[bytes]:
    return (whole[:size] for size in range(len(whole)))


def flips(whole: bytes) -> Iterator[bytes]:
    for place in range(max(0, len(whole) - TAIL), len(whole)):
        for bit in range(8):
            yield whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :]


def verdict(folder: Path) -> str:
    """Read a damaged journal: an error in words, a good prefix that says so, or all of it, untouched."""
    try:
        found = journal.read(folder)
    except StateError:
        return "refused in words"
    finally:
        (folder / f"{journal.DATABASE}-shm").unlink(missing_ok=True)
    if found.events != sound.EVENTS[: len(found.events)]:
        return "WRONG EVENTS"
    if found.events == sound.EVENTS and not found.damage:
        return "nothing lost"
    return "good prefix, named" if found.damage else "good prefix, as an unfinished commit leaves it"


def sweep(folder: Path, name: str, damage: Callable[[bytes], Iterator[bytes]]) -> dict[str, int]:
    files = {path: path.read_bytes() for path in folder.iterdir()}
    counts: dict[str, int] = {}
    for damaged in damage(files[folder / name]):
        for path, content in files.items():  # SQLite drops the log of a file that is empty
            path.write_bytes(damaged if path.name == name else content)
        said = verdict(folder)
        counts[said] = counts.get(said, 0) + 1
    for path, content in files.items():
        path.write_bytes(content)
    return counts


def _closed(killed: Path, folder: Path) -> Path:
    """The same journal with its log folded into the file, as closing leaves it."""
    shutil.copytree(killed, folder)
    connection = sqlite3.connect(folder / journal.DATABASE)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    return folder


def main() -> int:
    memory = Path("/dev/shm")
    bad = 0
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as root:
        killed = sound.make(Path(root))
        closed = _closed(killed, Path(root) / "closed")
        for folder, name in ((closed, journal.DATABASE), (killed, LOG)):
            for what, damage in (("cut at every byte", cuts), ("every bit flipped", flips)):
                counts = sweep(folder, name, damage)
                bad += counts.get("WRONG EVENTS", 0)
                told = "; ".join(f"{said}: {count}" for said, count in sorted(counts.items()))
                print(f"{name}, {what}: {sum(counts.values())} tries; {told}", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
