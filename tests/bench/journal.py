"""Print how many events a second the journal keeps: ``python tests/bench/journal.py [folder]``."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from fleet.plan.model import JobId, Plan, PlaybookRef
from fleet.playbook.model import Transport
from fleet.run.answers import Operation
from fleet.run.events import SubmissionAccepted
from fleet.store.sqlite import journal

SECONDS = 2.0
EVENT = SubmissionAccepted(1.5e9, JobId(1), Operation(Transport.ACTION, "https://example.test/" + "o" * 150))


async def measure(folder: Path, appenders: int, batch: int) -> float:
    """Return events per second while so many tasks append batches of this size, one after another."""
    plan = Plan(PlaybookRef("bench", "1", "0"), (), (), ())
    kept = journal.create(folder, run_id="bench", plan=plan, owner="bench", now=0.0)
    begun, count = perf_counter(), 0

    async def one() -> None:
        nonlocal count
        while perf_counter() - begun < SECONDS:
            await kept.append([EVENT] * batch)
            count += batch

    async with asyncio.TaskGroup() as group:
        for _ in range(appenders):
            group.create_task(one())
    elapsed = perf_counter() - begun
    await kept.close()
    return count / elapsed


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as root:
        for number, (appenders, batch) in enumerate([(1, 1), (10, 1), (50, 1), (200, 1), (500, 1), (1, 64), (8, 64)]):
            rate = asyncio.run(measure(Path(root) / str(number), appenders, batch))
            print(f"{appenders:4} appenders, batches of {batch:2}: {rate:9,.0f} events/s")


if __name__ == "__main__":
    main()
