"""A real process is killed in the middle of writing."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.plan.model import Plan
from fleet.run.events import Event, SubmissionIntended
from fleet.run.kept import RunState
from fleet.store.sqlite import journal
from fleet.store.sqlite.runs import RunsFolder
from tests.unit.store.own_loop import finish

OWNER = """
import asyncio, os, sys
from pathlib import Path
from fleet.plan.model import JobId, Plan, PlaybookRef
from fleet.run.events import SubmissionIntended
from fleet.store.sqlite import journal

async def one(kept, number):
    job = number
    while True:
        await kept.append([SubmissionIntended(1.0, JobId(job), 1), SubmissionIntended(1.0, JobId(job), 2)])
        os.write(1, b"%d\\n" % job)  # said only after it was acknowledged
        job += 10

async def main():
    plan = Plan(PlaybookRef("p", "1", "d"), (), (), ())
    kept = journal.create(Path(sys.argv[1]), run_id="r1", plan=plan, owner="victim", now=1.0)
    await asyncio.gather(*(one(kept, number) for number in range(10)))

asyncio.run(main())
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("lines", [1, 40, 333])
def test_keeps_what_was_acknowledged(tmp_path: Path, lines: int) -> None:
    """After SIGKILL every acknowledged batch is there, whole; the run is free, and the next owner goes on."""
    folder = tmp_path / "r1"
    with subprocess.Popen([sys.executable, "-c", OWNER, str(folder)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        said = [int(owner.stdout.readline()) for _ in range(lines)]
        assert journal.read(folder).live
        owner.send_signal(signal.SIGKILL)
        said += [int(line) for line in owner.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]
    found = journal.read(folder)
    assert (found.live, found.damage) == (False, "")
    pairs = [(event.job, event.attempt) for event in found.events if isinstance(event, SubmissionIntended)]
    assert {(job, attempt) for job in said for attempt in (1, 2)} <= set(pairs)
    assert pairs[::2] == [(job, 1) for job, _ in pairs[1::2]]
    opened = journal.open_for_writing(folder, owner="heir", now=2.0)
    assert (opened.events, opened.journal.epoch) == (found.events, 2)
    finish(opened.journal.close())


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_only_the_owner_may_read(tmp_path: Path, plan: Plan, life: tuple[Event, ...], umask: int) -> None:
    """Folders are 0700 and files 0600, the log and its index too, whatever the umask is."""
    state = tmp_path / "state"
    before = os.umask(umask)
    try:
        modes = finish(_modes_while_live(state, plan, life))
    finally:
        os.umask(before)
    folders = {state.name: 0o700, "runs": 0o700, "r1": 0o700}
    names = ("journal.db", "journal.db-wal", "journal.db-shm", "acknowledged", "lock")
    assert modes == folders | dict.fromkeys(names, 0o600)


async def _modes_while_live(state: Path, plan: Plan, life: tuple[Event, ...]) -> dict[str, int]:
    kept = journal.create(state / "runs" / "r1", run_id="r1", plan=plan, owner="me", now=1.0)
    await kept.append(life)
    modes = _modes(state)
    await kept.close()
    return modes


def _modes(state: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in [state, *state.rglob("*")]}


def test_planted_link_is_not_followed(tmp_path: Path, plan: Plan) -> None:
    """A run folder that is there already, even a link to an empty one, is never written into."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "r1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(journal.StateError, match="exists already"):
        journal.create(tmp_path / "r1", run_id="r1", plan=plan, owner="me", now=1.0)
    assert list((tmp_path / "elsewhere").iterdir()) == []


CREATOR = """
import os, signal, sqlite3, sys
from pathlib import Path
from fleet.plan.model import Plan, PlaybookRef
from fleet.store.sqlite import journal

class Deadly(sqlite3.Connection):
    def execute(self, *words):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().execute(*words)

def connect(uri):
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, factory=Deadly)

runs, left = Path(sys.argv[1]), 0
while True:
    child = os.fork()
    if not child:
        plan = Plan(PlaybookRef("p", "1", "d"), (), (), ())
        journal.create(runs / f"r{left}", run_id=f"r{left}", plan=plan, owner="victim", now=1.0, connect=connect)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(left, code, flush=True)
    left += 1
    if code == 0:
        break
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_run_is_there_whole_or_not_at_all(tmp_path: Path, plan: Plan) -> None:
    """Killed at any statement of its making, a run is not listed or can be resumed, and what is left is swept up later."""
    runs = RunsFolder(tmp_path)
    said = subprocess.run([sys.executable, "-c", CREATOR, str(runs.path)], stdout=subprocess.PIPE, check=True).stdout
    ends = [tuple(map(int, line.split())) for line in said.splitlines()]
    assert (ends[-1][1], {code for _, code in ends[:-1]}, len(ends) > 10) == (0, {-signal.SIGKILL}, True)
    listed = {run.id: run.state for run in runs.list()}
    assert set(listed.values()) == {RunState.UNFINISHED}
    assert 1 < len(listed) < len(ends)
    for run_id in listed:
        finish(journal.open_for_writing(runs.folder(run_id), owner="heir", now=2.0).journal.close())
    half_made = list(runs.path.glob(".*"))
    assert len(half_made) == len(ends) - len(listed)
    tomorrow = half_made[0].stat().st_mtime + 86_400
    finish(journal.create(runs.folder("new"), run_id="new", plan=plan, owner="me", now=tomorrow).close())
    assert list(runs.path.glob(".*")) == []
