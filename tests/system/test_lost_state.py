"""The folder that a run is kept in goes away in mid-run: it is said, and nothing more is sent."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.patience import stretched
from tests.system.cli import PLAYBOOKS, Done, LabUp, Machine, counted, ended, read_until

NOTICED_WITHIN = 5.0
"""Seconds: half a second, on a machine that is busy with other tests."""


def _restored(state: Path) -> None:
    """As from a backup: the same content in other files."""
    shutil.copytree(state, state.with_name("backup"))
    shutil.rmtree(state)
    state.with_name("backup").rename(state)


def _renamed(state: Path) -> None:
    (folder,) = state.glob("runs/*")
    folder.rename(state.with_name("aside"))


LOSSES: dict[str, tuple[Callable[[Path], object], str]] = {
    "state folder removed": (shutil.rmtree, "state_lost"),
    "state folder restored": (_restored, "state_lost"),
    "run renamed": (_renamed, "state_lost"),
    "journal removed": (lambda state: next(state.glob("runs/*/journal.db")).unlink(), "state_lost"),
    "leases removed": (lambda state: (state / "leases.db").unlink(), "leases_lost"),
}


def lose(machine: Machine, lab: LabUp, loss: str) -> tuple[Done, str]:
    """Let what a run is kept in go while its scripts run and it only waits. Returns how the run ended, and its id."""
    words = ("run", PLAYBOOKS / "endless.yaml", lab.flag, "-y", "-o", "jsonl", "-l", "web*")
    process = machine.start(*words)
    read_until(process, lambda events: counted(events, "submission_accepted") == 8)
    (folder,) = machine.state.glob("runs/*")
    LOSSES[loss][0](machine.state)
    begun = time.monotonic()
    done = ended(process)
    assert time.monotonic() - begun < stretched(NOTICED_WITHIN)
    return done, folder.name


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_a_run_whose_folder_goes_is_stopped_and_keeps_others_out(machine: Machine, lab: LabUp, loss: str) -> None:
    """While it only waits: exit code 1, the folder by name, every row, and no other run on VMs where it may be at work."""
    done, run_id = lose(machine, lab, loss)
    code = LOSSES[loss][1]
    assert done.code == 1
    (error,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert error.endswith(f"[{code}]")
    assert str(machine.state) in error
    assert "hint: " in done.err
    report = done.lines[-1]
    assert report["counts"]["unknown"] == 8, "what was sent is known although its record is gone"
    if code == "state_lost":
        assert not done.last.startswith("fleet resume")
        assert "fleet resume" not in done.out
    else:
        assert done.last == f"fleet resume {run_id} {lab.flag}"
    hello = machine.run(
        "run", PLAYBOOKS / "hello.yaml", lab.flag, "-y", "-o", "json", "--lease", "refuse", "-l", "web*"
    )
    assert {row["cause"]["code"] for row in hello.report["jobs"]} == {"leased_by_other_run"}


def test_nothing_is_sent_once_the_folder_is_gone(machine: Machine, lab: LabUp) -> None:
    """One after the other: the VMs after the one in hand never hear of the run, and their rows say so."""
    before = lab.executions()
    words = ("run", PLAYBOOKS / "slow.yaml", lab.flag, "-y", "-o", "jsonl", "-l", "web*", "-f", 1)
    process = machine.start(*words)
    sent = counted(
        read_until(process, lambda events: counted(events, "submission_accepted") == 2), "submission_accepted"
    )
    shutil.rmtree(machine.state)
    done = ended(process)
    assert done.code == 1
    ran = lab.executions(before)
    assert len(ran) <= sent + 1
    counts = done.lines[-1]["counts"]
    assert counts["not_started"] == 8 - len(ran)
    assert counts["succeeded"] + counts["unknown"] == len(ran)


@pytest.mark.slow
def test_a_run_that_was_moved_goes_on_when_it_is_back(machine: Machine, lab: LabUp) -> None:
    """As its hint says: put back, it is resumed to a full report, and no script runs twice."""
    before = lab.executions()
    done, run_id = lose(machine, lab, "run renamed")
    assert f"fleet resume {run_id}" in done.err
    machine.state.with_name("aside").rename(machine.state / "runs" / run_id)
    resumed = machine.run("resume", run_id, lab.flag, "-o", "json")
    assert resumed.code == 0, resumed.err
    assert resumed.report["counts"]["succeeded"] == 8
    assert set(lab.executions(before).values()) == {1}
    assert machine.run("verify", run_id).code == 0
