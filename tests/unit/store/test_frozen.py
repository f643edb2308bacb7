"""A real process is frozen, loses its run to another, and is thawed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.plan.model import JobId
from fleet.run.events import SubmissionIntended
from fleet.store.sqlite import journal
from tests.unit.store.own_loop import finish

OWNER = """
import asyncio, os, sys
from pathlib import Path
from fleet.errors import StateError
from fleet.plan.model import JobId, Plan, PlaybookRef
from fleet.plan.model import JobId
from fleet.run.events import SubmissionIntended
from fleet.store.sqlite import journal

async def main():
    plan = Plan(PlaybookRef("p", "1", "d"), (), (), ())
    kept = journal.create(Path(sys.argv[1]), run_id="r1", plan=plan, owner="victim", now=1.0)
    job = 0
    while True:
        try:
            await kept.append([SubmissionIntended(1.0, JobId(job), 1)])
        except StateError as error:
            os.write(1, b"%s\\n" % error.code.encode())
            break
        os.write(1, b"%d\\n" % job)
        os.read(0, 1)  # frozen between two commits, not in one: then SQLite's own lock would keep the heir out
        job += 1
    await kept.close()

asyncio.run(main())
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGSTOP")
@pytest.mark.parametrize("lines", [1, 57])
def test_a_thawed_owner_writes_nothing_more(tmp_path: Path, lines: int) -> None:
    """An owner frozen by SIGSTOP whose run is taken over is told so when SIGCONT wakes it, and adds no event."""
    folder = tmp_path / "r1"
    words = [sys.executable, "-c", OWNER, str(folder)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as owner:
        assert owner.stdin is not None and owner.stdout is not None
        for number in range(lines):
            assert owner.stdout.readline() == b"%d\n" % number
            if number + 1 < lines:
                owner.stdin.write(b".")
        owner.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, owner.pid, os.WSTOPPED | os.WNOWAIT)
        with pytest.raises(journal.StateError) as refused:
            journal.open_for_writing(folder, owner="heir", now=2.0)
        assert refused.value.code == "run_is_live"
        # The lock went with the machine that died, as a shared disk's may; only the epoch is left to tell owners apart.
        (folder / journal.LOCK).unlink()
        opened = journal.open_for_writing(folder, owner="heir", now=2.0)
        owner.send_signal(signal.SIGCONT)
        owner.stdin.write(b".")
        said = owner.stdout.read().split()
        assert owner.wait() == 0
    assert said == [b"lease_lost"]
    assert opened.journal.epoch == 2
    finish(opened.journal.append([SubmissionIntended(9.0, JobId(7), 2)]))
    finish(opened.journal.close())
    found = journal.read(folder)
    assert found.damage == ""
    assert found.events == (*opened.events, SubmissionIntended(9.0, JobId(7), 2))
