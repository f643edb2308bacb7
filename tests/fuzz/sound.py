"""A sound journal for the fuzzer to damage: short, and with its last events still in the log."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path

from fleet.plan.model import JobId, Plan, PlaybookRef
from fleet.playbook.model import Transport
from fleet.run.answers import Answer, Operation
from fleet.run.events import Event, ResultReceived, RunEnded, RunOpened, SubmissionAccepted, SubmissionIntended
from fleet.store.sqlite import journal

JOB = JobId(0)
EVENTS: tuple[Event, ...] = (
    RunOpened(1.0, 1, "me"),
    SubmissionIntended(2.0, JOB, 1),
    SubmissionAccepted(3.0, JOB, Operation(Transport.ACTION, "https://management.azure.com/o?t=1&c=2&s=3&h=4"), 5.0),
    ResultReceived(4.0, JOB, Answer("Succeeded", exit_code=0, stdout="x" * 300 + "\x00\udcff")),
    RunEnded(5.0),
)


def make(root: Path, *, anew: bool = True) -> Path:
    """Keep the events and copy the folder before the journal is closed, as a kill would leave it.

    ``anew``: the log was begun anew in mid-run, and what it held before is in the file.
    """
    folder = root / "sound"

    async def live() -> None:
        plan = Plan(PlaybookRef("patch", "1.0.0", "abc"), (), (), ())
        kept = journal.create(root / "source", run_id="r1", plan=plan, owner="me", now=1.0)
        for event in EVENTS[:3]:  # one by one, so that this part of the log is the longer one
            await kept.append([event])
        if anew:
            fold = sqlite3.connect(root / "source" / journal.DATABASE)
            fold.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
            fold.close()
        await kept.append(EVENTS[3:])
        shutil.copytree(root / "source", folder)
        (folder / f"{journal.DATABASE}-shm").unlink(missing_ok=True)
        await kept.close()

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(live())
    finally:
        loop.close()
    return folder
