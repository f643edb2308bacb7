"""What a large run costs the client: CPU for each VM, and memory.

    python -m tests.bench.core [--vms 10000] [--lanes 4] [--output 3500] [--errors 0]

``--output`` and ``--errors`` are the bytes that each VM prints on its two streams, no two VMs the same; beyond 4,096 they
travel packed, 65,536 of both together at most.

The whole core runs, the journal on disk and the JSON report included, against a cloud in memory that answers in virtual
time: nothing waits, so what is measured is work. The cloud's own share is part of the figure.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from secrets import token_hex

from fleet.engine.loop import Engine
from fleet.engine.ports import Reply
from fleet.plan.model import JobId
from fleet.rehearsal.virtual import LoopClock, VirtualLoop
from fleet.rehearsal.virtual import run as run_virtually
from fleet.report import render_json
from fleet.report.aggregate import aggregate
from fleet.run.answers import Command, RemoveAnswer
from fleet.run.events import Event
from fleet.run.state import Run
from fleet.store.sqlite import journal as journals
from fleet.store.sqlite.files import write_private
from fleet.store.sqlite.journal import Journal
from fleet.targets.model import Target
from fleet.testing import Behaviour, ScriptedCloud
from tests.unit.run.factory import plan

RUN_ID = "20260101-000000-core"


class _Forgetful(ScriptedCloud):
    """Keeps nothing of what was read and removed: the VMs' own memory is not the client's."""

    def __init__(self, behave: Callable[[Command, int], Behaviour]) -> None:
        super().__init__(behave)
        self._contents: dict[str, str] = {}

    def _run(self, command: Command, behaviour: Behaviour) -> None:
        self._contents[f"{command.target.key}/{command.name}"] = f"{command.target.key}/{command.name}/{command.source}"
        super()._run(command, behaviour)

    async def remove(self, target: Target, name: str) -> Reply[RemoveAnswer]:
        self._ran.pop(self._contents.pop(f"{target.key}/{name}"))
        return await super().remove(target, name)


class _Awaited:
    """A journal whose commits stop the clock."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def append(self, events: Sequence[Event]) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        with loop.outside():
            await self._journal.append(events)

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        with loop.outside():
            await self._journal.close()


def printed(vm: str, size: int) -> str:
    """What a VM prints: lines with its name in each."""
    line = f"{vm}: {'x' * 50}\n"
    return (line * (size // len(line) + 1))[:size]


def peak() -> float:
    """The most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def carry_out(vms: int, lanes: int, folder: Path, output: int, errors: int) -> tuple[int, float]:
    """Carry out a run of this size. Returns how many targets succeeded, and the peak of memory before the report."""
    frozen = plan(vms, subscriptions=lanes)
    run = Run(frozen, RUN_ID)

    def behave(command: Command, number: int) -> Behaviour:
        name = command.target.name
        return Behaviour(stdout=printed(name, output), stderr=printed(name, errors), duration=20.0)

    cloud = _Forgetful(behave)
    journal = _Awaited(journals.create(folder, run_id=RUN_ID, plan=frozen, owner="bench", now=time.time()))

    def command(job: JobId) -> Command:
        return run.command(job, {})

    engine = Engine(run, cloud, journal, LoopClock(0.0), command, lambda event: None, nonces=lambda: token_hex(16))
    await engine.drive(1, "bench")
    await journal.close()
    before = peak()
    report = aggregate(run.record())
    write_private(folder / "report.json", render_json.pieces(report))
    return sum(row.status == "succeeded" for row in report.jobs), before


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--vms", type=int, default=10_000)
    parser.add_argument("--lanes", type=int, default=4, help="subscriptions")
    parser.add_argument("--output", type=int, default=3500, help="bytes on each VM's standard output")
    parser.add_argument("--errors", type=int, default=0, help="bytes on its standard error")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        before = time.process_time()
        place = Path(folder) / RUN_ID
        succeeded, carried_out = run_virtually(carry_out(asked.vms, asked.lanes, place, asked.output, asked.errors))
        spent = time.process_time() - before
    print(f"{succeeded:,} of {asked.vms:,} VMs succeeded, in {asked.lanes} lanes")
    print(
        f"CPU: {1000 * spent / asked.vms:.2f} ms a VM; peak memory: {carried_out:.0f} MiB, {peak():.0f} with the report"
    )


if __name__ == "__main__":
    main()
