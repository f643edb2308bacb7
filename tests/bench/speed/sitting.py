"""One sitting: which cases are measured, in which order, and within which time."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path

from tests.bench.speed.figures import LARGE, Faults, Found, Start
from tests.bench.speed.processes import ROOT, STARVED, SUSPENDED, TWO, Client, sdk_python, serving
from tests.bench.speed.rows import LENGTHS, MINIMAL, SDK, Case, Measured
from tests.bench.speed.start import cpu_of, cpu_to_first_request


@dataclass(frozen=True)
class Sizes:
    """How large a sitting is."""

    virtual: tuple[int, ...] = (100, 500, 2_000, LARGE)
    processes: tuple[int, ...] = (500, 2_000)
    sdk: int = 500
    large: int = LARGE
    troubled: int = 1_000
    twins: int = 2_000
    seeds: int = 300
    seconds: float = 20.0
    """The length of the scripts of real processes."""
    longest_s: float = 40 * 60.0
    """Seconds after which nothing more is begun."""


QUICK = Sizes((100, 500), (500,), sdk=0, large=0, troubled=0, twins=0, seeds=30, seconds=5.0, longest_s=5 * 60.0)


VIRTUAL, PROCESSES = PARTS = "virtual", "processes"
NOTHING = Found()


@dataclass
class Sitting:
    """Measures and says on stderr how it goes. ``skipped`` names what there was no time or no client for."""

    sizes: Sizes
    skipped: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def measure(self, only: str = "", kept: Found = NOTHING) -> Found:
        """Measure everything, or only one of ``PARTS``; the other part is what was kept."""
        found = kept
        if only != PROCESSES:
            found = replace(found, virtual=self._virtual(), faults=self._faults())
        if only != VIRTUAL:
            with tempfile.TemporaryDirectory() as folder:
                found = self._measure_processes(Path(folder), found)
        return found

    def _measure_processes(self, folder: Path, found: Found) -> Found:
        self._say("start: fleet --help, a verb's help, the first request")
        start = Start(cpu_of("--help"), cpu_of("run", "--help"), cpu_to_first_request(folder))
        processes = [one for size in self.sizes.processes for one in self._paired(folder, size)]
        processes += [*self._troubled(folder), *self._large(folder)]
        return replace(found, processes=processes, start=start)

    def _virtual(self) -> list[Measured]:
        """Carry out runs in virtual time, one on each core: in their processes, so that this one stays small."""
        cases = [
            Case(vms=vms, lengths=lengths, transport=transport, throttled=throttled)
            for vms in self.sizes.virtual
            for lengths in LENGTHS
            for transport in ("action", "managed")
            for throttled in (True, False)
            if throttled or vms < LARGE  # without limits Fleet does the same: it keeps to ARM's pace in any case
        ]
        self._say(f"virtual time: {len(cases)} cases, each as a first and a later run")
        found: list[Measured] = []
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            for case, task in [(case, pool.submit(_in_virtual_time, case)) for case in cases]:
                if self._is_late() and task.cancel():
                    self.skipped.append(f"virtual time, {case.vms:,} VMs, {case.lengths}, {case.transport}: no time")
                    continue
                found += task.result()
                self._say(f"{case.vms:,} VMs, {case.lengths}, {case.transport}, ARM's limits {_on(case)}")
        return found

    def _paired(self, folder: Path, vms: int) -> Iterator[Measured]:
        """Fleet and the hand-written client, one after the other over one service, so that both meet the same machine."""
        cases = [
            Case(),
            Case(client=MINIMAL),
            Case(later=True),
            Case(client=MINIMAL, later=True),
            Case(transport="managed"),
        ]
        if vms == self.sizes.sdk:
            cases.append(Case(client=SDK))
        with serving(folder / f"service{vms}", vms, self.sizes.seconds) as server:
            for throttled in (True, False):
                client = Client(server, folder / f"clients{vms}{throttled}")
                for case in cases:
                    yield from self._tried(replace(case, vms=vms, throttled=throttled), client.run)

    def _troubled(self, folder: Path) -> Iterator[Measured]:
        """Fleet under ARM's limits while its process is stopped, and with a twin on the same state store."""
        if vms := self.sizes.troubled:
            with serving(folder / "troubled", vms, self.sizes.seconds) as server:
                for number, trouble in enumerate((SUSPENDED, STARVED)):
                    run = Client(server, folder / f"troubled{number}").run
                    yield from self._tried(Case(vms=vms, trouble=trouble), run)
        if vms := self.sizes.twins:
            with serving(folder / "twins", vms, self.sizes.seconds) as server:
                run = Client(server, folder / "twin").run_two
                yield from self._tried(Case(vms=vms, trouble=TWO), run)

    def _large(self, folder: Path) -> Iterator[Measured]:
        if self.sizes.large:
            with serving(folder / "large", self.sizes.large, self.sizes.seconds, output=3500) as server:
                yield from self._tried(Case(vms=self.sizes.large), Client(server, folder / "largest").run)

    def _tried(self, case: Case, run: Callable[[Case], Measured]) -> Iterator[Measured]:
        name = f"{case.vms:,} VMs, {case.name}, ARM's limits {_on(case)}"
        if case.client == SDK and sdk_python() is None:
            self.skipped.append(f"{name}: FLEET_PEERS_DIR names no folder with Microsoft's SDK (see tests/peers)")
        elif self._is_late():
            self.skipped.append(f"{name}: no time")
        else:
            self._say(name)
            try:
                yield run(case)
            except RuntimeError as error:
                self.skipped.append(f"{name}: {error}")

    def _faults(self) -> Faults | None:
        """Try simulated runs full of faults; each holds every invariant of ``tests.verification``, or has failed."""
        if self._is_late():
            self.skipped.append("runs full of faults: no time")
            return None
        self._say("simulated runs full of faults")
        words = [sys.executable, "-m", "tests.verification", "seeds", str(self.sizes.seeds)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
        told = re.search(r"^([\d,]+) seeds, ([\d,]+) failed$", done.stdout, re.MULTILINE)
        if told is None:
            self.skipped.append(f"runs full of faults: {done.stderr[-500:]}")
            return None
        runs, failed = (int(count.replace(",", "")) for count in told.groups())
        return Faults(runs, failed)

    def _is_late(self) -> bool:
        return time.monotonic() - self._began > self.sizes.longest_s

    def _say(self, what: str) -> None:
        print(f"{time.monotonic() - self._began:6.0f} s  {what}", file=sys.stderr, flush=True)


def _on(case: Case) -> str:
    return "on" if case.throttled else "off"


def _in_virtual_time(case: Case) -> tuple[Measured, Measured]:
    from tests.bench.speed.virtual import measure  # not above: it brings the engine

    return measure(case)
