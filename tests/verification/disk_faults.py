"""Fail the n-th system call that writes, resizes or flushes a file of a run, for every n.

The runs are real ones, with the real journal on a real disk, over a cloud in memory and in virtual time. Each meets one
fault; then somebody mends the disk and resumes. A C compiler makes the small library that fails the calls.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet.app import runs
from fleet.app.connect import Connection
from fleet.cli.signals import Stopping
from fleet.config.load import Config
from fleet.config.load import load as load_config
from fleet.engine.run_store import RunJournal
from fleet.errors import StateError
from fleet.plan.model import Limits, Plan
from fleet.playbook.model import Amount
from fleet.rehearsal.virtual import LoopClock, VirtualLoop
from fleet.rehearsal.virtual import run as run_virtually
from fleet.run.events import Event
from fleet.store.sqlite import journal as journals
from fleet.store.sqlite.store import SqliteRuns
from fleet.store.sqlite.threads import at_once
from fleet.testing import ScriptedCloud
from tests.unit.run.factory import plan as make_plan

SOURCE = Path(__file__).with_name("faulty.c")
ORIGIN = 1_767_225_600.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens from a call on. ``half``: the call itself writes half of what it should, and says so."""

    error: int
    for_good: bool
    half: bool = False


FAULTS = {
    "disk full": Fault(errno.ENOSPC, for_good=True),
    "disk full once": Fault(errno.ENOSPC, for_good=False),
    "I/O error": Fault(errno.EIO, for_good=False),
    "I/O error for good": Fault(errno.EIO, for_good=True),
    "short write": Fault(0, for_good=False, half=True),
    "short write, then full": Fault(errno.ENOSPC, for_good=True, half=True),
}
CALM = Fault(0, for_good=False)
CODES = {"disk_full", "disk_error", "state"}


def compiler() -> str | None:
    """The C compiler, where there is one."""
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)


def compile_library(folder: Path) -> Path:
    """Make the library that fails calls."""
    made = folder / "faulty.so"
    words = [str(compiler()), "-shared", "-fPIC", "-O1", "-o", str(made), str(SOURCE), "-ldl"]
    subprocess.run(words, check=True, capture_output=True)
    return made


def failing(library: Path, number: int, fault: Fault, folder: Path) -> dict[str, str]:
    """The environment of a process of which the n-th call below a folder meets this fault."""
    said = f"{number}:{fault.error}:{int(fault.for_good)}:{int(fault.half)}:{folder.resolve()}"
    return {"LD_PRELOAD": str(library), "FLEET_FAIL": said}


class Disk:
    """The hand on the library."""

    def __init__(self, folder: Path) -> None:
        self._library = ctypes.CDLL(None)
        self._folder = os.fsencode(folder.resolve())

    def fails(self, number: int, fault: Fault) -> None:
        """Let the n-th call from now on meet this fault."""
        self._library.fleet_fail(self._folder, ctypes.c_long(number), fault.error, fault.for_good, fault.half)

    def is_mended(self) -> int:
        """Let nothing fail any more; returns how many calls there were."""
        calls = int(self._library.fleet_seen())
        self._library.fleet_fail(b"", ctypes.c_long(0), 0, 0, 0)
        return calls


class Recording:
    """The real journal; the clock stands still while it writes, and what it acknowledges is counted."""

    def __init__(self, journal: RunJournal, world: World) -> None:
        self._journal = journal
        self._world = world
        self._world.appended = self._world.appended[: self._world.acknowledged]

    async def append(self, events: Sequence[Event]) -> None:
        self._world.appended += events
        with _loop().outside():
            await self._journal.append(events)
        self._world.acknowledged += len(events)

    async def look(self) -> None:
        with _loop().outside():
            await self._journal.look()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def close(self) -> None:
        with _loop().outside():
            await self._journal.close()


def _loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


@dataclass
class World:
    """One run's plan, folder and cloud, over as many owners as it takes."""

    plan: Plan
    config: Config
    cloud: ScriptedCloud = field(default_factory=ScriptedCloud)
    appended: list[Event] = field(default_factory=list)
    acknowledged: int = 0
    run_id: str = ""

    def live(self) -> str:
        """Begin the run, or resume it, and carry it out. Returns what a person is told if that fails."""
        try:
            run_virtually(self._live())
        except StateError as error:
            if error.code not in CODES or not error.hint or str(self.config.state_dir) not in str(error):
                raise
            return error.code
        return ""

    async def _live(self) -> None:
        clock = LoopClock(ORIGIN)
        connection = Connection(self.cloud, None, None, None, "lab")  # type: ignore[arg-type]
        store = SqliteRuns(self.config.state_dir, at_once)
        if self.run_id:
            opened = await runs.take_over(store, self.run_id, clock)
            found = (await store.read(self.run_id)).events
            self.appended, self.acknowledged = list(found), len(found)
        else:
            opened = await runs.begin(store, self.plan, {}, clock, {})
            self.run_id = opened.run.run_id
        opened.journal = Recording(opened.journal, self)
        await runs.carry_out(opened, connection, {}, clock, lambda event: None, Stopping())

    def wrong(self) -> Iterator[str]:
        """What the disk says that was not acknowledged so, or the other way round."""
        if not self.run_id:
            if any(self.config.state_dir.glob("runs/*")) or self.cloud.executions:
                yield "a run that could not be begun left something"
            return
        kept = journals.read(self.config.state_dir / "runs" / self.run_id)
        if kept.damage:
            yield f"damage where there is none: {kept.damage}"
        if list(kept.events) != self.appended[: len(kept.events)]:
            yield "on disk is not what was written"
        if len(kept.events) < self.acknowledged:
            yield f"{self.acknowledged} events were acknowledged, {len(kept.events)} are there"


@dataclass
class Figures:
    """What was tried, and what was wrong."""

    tries: int = 0
    calls: int = 0
    told: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def sweep(root: Path, vms: int, name: str, figures: Figures, *, resumed: bool) -> None:
    """Let every call of a run meet a fault, in turn: of its first owner, or of the one that resumes it in the middle."""
    fault, number, calls = FAULTS[name], 0, 1
    middle = _try(root, vms, 0, CALM, Figures(), "", middle=0) // 2 if resumed else 0
    while number <= calls:  # until a fault comes too late to strike
        number += 1
        place = f"{name}, call {number} of {'a resumed' if resumed else 'a'} run"
        try:
            calls = _try(root, vms, number, fault, figures, place, middle=middle)
        except Exception:
            figures.wrong.append(f"{place}: {traceback.format_exc()}")
        figures.tries += 1
    figures.calls = max(figures.calls, calls)


def _try(root: Path, vms: int, number: int, fault: Fault, figures: Figures, place: str, *, middle: int) -> int:
    """One fault: what is told, what is on disk then, and how the run ends when the disk is mended. Returns the calls."""
    with tempfile.TemporaryDirectory(dir=root) as folder:
        return _tried(Path(folder), vms, number, fault, figures, place, middle=middle)


def _tried(root: Path, vms: int, number: int, fault: Fault, figures: Figures, place: str, *, middle: int) -> int:
    config, _ = load_config(flags={}, environ={"FLEET_STATE_DIR": str(root / "state")}, cwd=root, home=root)
    limits = Limits(concurrency=max(2, vms // 4))
    world = World(make_plan(vms, waves=(Amount(1),), limits=limits), config)
    disk = Disk(root)
    if middle:
        disk.fails(middle, FAULTS["disk full"])
        world.live()
        disk.is_mended()
    disk.fails(number, fault)
    said = world.live()
    calls = disk.is_mended()
    figures.told[said or "nothing"] += 1
    figures.wrong += [f"{place}: {wrong}" for wrong in world.wrong()]
    if again := world.live():
        figures.wrong.append(f"{place}: a mended disk is refused: {again}")
    figures.wrong += [f"{place}, resumed: {wrong}" for wrong in world.wrong()]
    if set(world.cloud.executions.values()) != {1} or len(world.cloud.executions) != vms:
        figures.wrong.append(f"{place}: not once each: {world.cloud.executions}")
    run = runs.replay(journals.read(config.state_dir / "runs" / world.run_id))
    if not run.finished or any(job.outcome is None or job.outcome.status != "succeeded" for job in run.jobs):
        figures.wrong.append(f"{place}: the run did not end well")
    return calls


def start(library: Path, name: str, vms: int) -> subprocess.Popen[str]:
    """Sweep one fault in a process of its own, which prints its figures."""
    words = [sys.executable, "-m", "tests.verification", "faults", "--child", "--vms", str(vms), "--fault", name]
    return subprocess.Popen(words, env={**os.environ, "LD_PRELOAD": str(library)}, stdout=subprocess.PIPE, text=True)


def print_figures(name: str, vms: int) -> int:
    """Sweep one fault in this process, and print its figures as JSON. Returns the exit code."""
    memory = Path("/dev/shm")
    figures, began = Figures(), time.monotonic()
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as root:
        for resumed in (False, True):
            sweep(Path(root), vms, name, figures, resumed=resumed)
    print(json.dumps([figures.tries, figures.calls, figures.told, figures.wrong, time.monotonic() - began]))
    return int(bool(figures.wrong))


def try_faults(names: Sequence[str], vms: int) -> int:
    """Sweep these faults, each in a process of its own; print what came of each. Returns the exit code."""
    if compiler() is None:
        print("there is no C compiler here; nothing was tried")
        return 2
    began, tries, wrong = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        library = compile_library(Path(folder))
        children = {name: start(library, name, vms) for name in names}
        for name, child in children.items():
            out, _ = child.communicate()
            count, calls, told, problems, _ = json.loads(out)
            tries, wrong = tries + count, wrong + len(problems)
            said = "; ".join(f"{text}: {number}" for text, number in sorted(told.items()))
            print(f"{name} at each of {calls} calls: {count} tries; {said}", *problems[:5], sep="\n  ")
    print(f"{tries:,} tries with {vms} VMs, {wrong} wrong, in {time.monotonic() - began:.0f} s")
    return int(wrong > 0)
