"""Print how a journal takes damage: cuts and flipped bits, of its file and of its log.

Three journals are tried: one that was closed (all of it is in the file), one whose owner was killed (its events are in the
log), and one whose owner was killed after the log had been begun anew (frames of the log before lie behind the present
ones).
Each damaged journal is read; every 17th is resumed as well. What may come of it: a refusal in words, a beginning of the run
with the damage named, or, where the damage hits nothing, the whole run.

Faults of single calls (disk full, I/O error, short write at the n-th call, for every n) are in ``disk_faults``.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fleet.engine.run_store import RunJournal
from fleet.errors import ExitCode, StateError
from fleet.store.sqlite import acknowledged, journal
from tests.fuzz import sound

LOG = f"{journal.DATABASE}-wal"
SHARED = f"{journal.DATABASE}-shm"
PAGE = 4096
FRAME = PAGE + 24
RESUMED = 17
GOOD = ("refused in words", "good prefix, named", "nothing lost")


@dataclass(frozen=True)
class Sweep:
    """One file of one journal, cut at every byte of a range of places or with every bit of them flipped."""

    what: str
    folder: Path
    name: str
    flips: bool
    places: tuple[int, ...]

    def damaged(self, whole: bytes, number: int) -> bytes:
        if not self.flips:
            return whole[: self.places[number]]
        place = self.places[number // 8]
        return whole[:place] + bytes([whole[place] ^ 1 << number % 8]) + whole[place + 1 :]

    def __len__(self) -> int:
        return len(self.places) * (8 if self.flips else 1)


def tried(sweep: Sweep, numbers: Iterable[int]) -> Counter[str]:
    """Try these damages on a copy of the journal, and count what came of them."""
    files = {path.name: path.read_bytes() for path in sweep.folder.iterdir()}
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=sweep.folder.parent) as root:
        folder = Path(root)
        _lay(folder, files)
        for number in numbers:
            (folder / sweep.name).write_bytes(sweep.damaged(files[sweep.name], number))
            said = _read(folder)
            if number % RESUMED == 0 and said in GOOD:
                said = _resumed(folder, said)
                _lay(folder, files)
            (folder / SHARED).unlink(missing_ok=True)
            counts[said] += 1
        left = {path.name: path.read_bytes() for path in folder.iterdir()}
        counts["CHANGED BY A READER"] += any(left[name] != files[name] for name in files if name != sweep.name)
    return counts


def _lay(folder: Path, files: dict[str, bytes]) -> None:
    for path in folder.iterdir():
        path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _read(folder: Path) -> str:
    try:
        found = journal.read(folder)
    except StateError:
        return GOOD[0]
    except Exception as error:
        return f"TRACEBACK {error!r}"
    if found.events != sound.EVENTS[: len(found.events)]:
        return "WRONG EVENTS"
    if found.damage:
        return GOOD[1]
    return GOOD[2] if found.events == sound.EVENTS else "A LOSS THAT IS NOT NAMED"


def _resumed(folder: Path, said: str) -> str:
    """Take the run over: refused where events are lost, and then left as it was; else with every event."""
    before = {path: path.read_bytes() for path in folder.iterdir() if path.name != SHARED}
    try:
        opened = journal.open_for_writing(folder, owner="you", now=9.0)
    except StateError:
        kept = all(path.exists() and path.read_bytes() == content for path, content in before.items())
        return said if said != GOOD[2] and kept else "REFUSED THOUGH WHOLE, OR CHANGED BY A REFUSAL"
    except Exception as error:
        return f"TRACEBACK {error!r}"
    _finish(opened.journal)
    return said if opened.events == sound.EVENTS else "RESUMED WITH A LOSS"


def _finish(kept: RunJournal) -> None:
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(kept.close())
    finally:
        loop.close()


def sweeps(root: Path) -> tuple[Sweep, ...]:
    """Make the three journals, and name all that is done to them."""
    anew = sound.make(root / "anew")
    killed = sound.make(root / "killed", anew=False)
    closed = _closed(killed, root / "closed")
    size = {(folder, path.name): path.stat().st_size for folder in (anew, killed, closed) for path in folder.iterdir()}
    header, last = tuple(range(32)), tuple(range(size[killed, LOG] - FRAME, size[killed, LOG]))
    file = size[closed, journal.DATABASE]
    every = {(folder, name): tuple(range(length)) for (folder, name), length in size.items()}
    present = _present(anew / LOG)
    note = acknowledged.FILE
    return (
        Sweep("file, cut at every byte", closed, journal.DATABASE, False, every[closed, journal.DATABASE]),
        Sweep("file, bits of its header", closed, journal.DATABASE, True, tuple(range(100))),
        Sweep("file, bits of its last 4 KiB", closed, journal.DATABASE, True, tuple(range(file - PAGE, file))),
        Sweep("log, cut at every byte", killed, LOG, False, every[killed, LOG]),
        Sweep("log, bits of its header", killed, LOG, True, header),
        Sweep("log, bits of its last frame (4 KiB)", killed, LOG, True, last),
        Sweep("log begun anew, cut at every byte", anew, LOG, False, tuple(range(present))),
        Sweep("log begun anew, bits of its header", anew, LOG, True, header),
        Sweep("log begun anew, bits of its last frame", anew, LOG, True, tuple(range(present - FRAME, present, 7))),
        Sweep("file beside that log, cut", killed, journal.DATABASE, False, tuple(range(0, PAGE, 64))),
        Sweep("note, cut at every byte", killed, note, False, every[killed, note]),
        Sweep("note, every bit", killed, note, True, every[killed, note]),
    )  # fmt: skip


def _closed(killed: Path, folder: Path) -> Path:
    """The same journal with its log folded into the file, as closing leaves it."""
    shutil.copytree(killed, folder)
    connection = sqlite3.connect(folder / journal.DATABASE)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    return folder


def _present(log: Path) -> int:
    """Where the frames of the present log end, and those of the one before it begin."""
    content = log.read_bytes()
    starts = range(32, len(content), FRAME)
    return next(start for start in starts if content[start + 8 : start + 16] != content[16:24])


def try_damage(jobs: int | None, only: str) -> int:
    """Try the sweeps with this text in their names; print what came of each. Returns the exit code."""
    began = time.monotonic()
    memory = Path("/dev/shm")
    cores = jobs or os.cpu_count() or 1
    wrong = tries = 0
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as root,
        multiprocessing.get_context("spawn").Pool(cores) as pool,
    ):
        for sweep in sweeps(Path(root)):
            if only not in sweep.what:
                continue
            shares = [range(share, len(sweep), 8 * cores) for share in range(8 * cores)]
            counts = sum(pool.imap_unordered(partial(tried, sweep), shares), Counter[str]())
            tries += len(sweep)
            wrong += sum(count for said, count in counts.items() if said not in GOOD)
            told = "; ".join(f"{said}: {count:,}" for said, count in sorted(counts.items()) if count)
            print(f"{sweep.what}: {len(sweep):,} tries; {told}", flush=True)
        pool.close()
        pool.join()
    if not tries:
        print(f"no sweep has {only!r} in its name", file=sys.stderr)
        return ExitCode.USAGE
    spent = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    print(
        f"{tries:,} tries, {wrong} wrong, in {time.monotonic() - began:.0f} s; {spent:.0f} s of CPU in {cores} processes"
    )
    return int(wrong > 0)
