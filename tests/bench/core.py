"""What a large run costs the client: CPU for each VM, and memory.

    python -m tests.bench.core [--vms 10000] [--lanes 4]

The whole core runs, the journal on disk and the JSON report included, against a cloud in memory that answers in virtual
time: nothing waits, so what is measured is work. The cloud's own share is part of the figure.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from fleet.engine.loop import Engine
from fleet.plan.model import JobId
from fleet.report.aggregate import aggregate
from fleet.report.render_json import render
from fleet.run.answers import Command
from fleet.run.command import build
from fleet.run.events import Event
from fleet.run.state import Run
from fleet.simulation.virtual import LoopClock, VirtualLoop
from fleet.simulation.virtual import run as run_virtually
from fleet.store import journal as journals
from fleet.store.journal import Journal
from fleet.testing import Behaviour, ScriptedCloud
from tests.unit.run.factory import plan

RUN_ID = "20260101-000000-core"
OUTPUT = "".join(f"line {number:03}: {'x' * 50}\n" for number in range(58))
"""3.5 KB, nearly as much as the channel carries."""


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


async def carry_out(vms: int, lanes: int, folder: Path) -> int:
    """Carry out a run of this size and return how many targets succeeded."""
    frozen = plan(vms, subscriptions=lanes)
    run = Run(frozen, RUN_ID)
    cloud = ScriptedCloud(lambda command, n: Behaviour(stdout=OUTPUT, duration=20.0))
    journal = _Awaited(journals.create(folder, run_id=RUN_ID, plan=frozen, owner="bench", now=time.time()))

    def command(job: JobId) -> Command:
        return build(frozen, RUN_ID, run.jobs[job].job, {})

    engine = Engine(run, cloud, journal, LoopClock(0.0), command, lambda event: None)
    await engine.drive(1, "bench")
    await journal.close()
    report = aggregate(run.record())
    (folder / "report.json").write_text(render(report), encoding="utf-8")
    return sum(row.status == "succeeded" for row in report.jobs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--vms", type=int, default=10_000)
    parser.add_argument("--lanes", type=int, default=4, help="subscriptions")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        before = time.process_time()
        succeeded = run_virtually(carry_out(asked.vms, asked.lanes, Path(folder) / RUN_ID))
        spent = time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{succeeded:,} of {asked.vms:,} VMs succeeded, in {asked.lanes} lanes")
    print(f"CPU: {1000 * spent / asked.vms:.2f} ms a VM; peak memory: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
