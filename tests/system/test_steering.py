"""Steering a run from another terminal: pause, unpause, cancel, tune; answered, journalled, and kept over a crash."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.system.cli import PLAYBOOKS, Done, Here, LabUp, Machine, counted, ended, kill, read_until, wait_for

pytestmark = pytest.mark.slow

SLOW, ENDLESS = PLAYBOOKS / "slow.yaml", PLAYBOOKS / "endless.yaml"


def started(machine: Machine, lab: LabUp, *args: object, after: int = 2) -> subprocess.Popen[str]:
    """A run in a process of its own, with so many submissions accepted."""
    process = machine.start("run", *args, lab.flag, "-y", "-o", "jsonl")
    read_until(process, lambda events: counted(events, "submission_accepted") == after)
    return process


def shown(here: Here) -> Done:
    return here("show", "last", "-o", "json")


def test_a_paused_run_launches_nothing_until_it_is_unpaused(machine: Machine, lab: LabUp, here: Here) -> None:
    """From another terminal: what is in flight ends, nothing begins; then all the rest does, and the report says who."""
    before = lab.executions()
    process = started(machine, lab, SLOW, "-f", 2)
    paused = here("pause", "last", "--why", "the database is slow", "--as", "Jo")
    assert paused.code == 0
    assert "Paused by Jo (" in paused.out and "the database is slow" in paused.out
    wait_for(lambda: "0 in flight" in here("tune", "last", "-f", "2").out)
    ran = len(lab.executions(before))
    assert here("tune", "last", "-f", "3").code == 0
    assert len(lab.executions(before)) == ran
    assert here("unpause", "last").code == 0
    done = ended(process)
    assert done.code == 0
    assert [line["event"] for line in done.lines].count("run_paused") == 1
    assert len(lab.executions(before)) > ran
    notes = shown(here).report["notes"]
    assert any("Paused by Jo" in note and "the database is slow" in note for note in notes)
    assert any("Unpaused by" in note for note in notes)


@pytest.mark.parametrize(("kind", "status", "code"), [("--soft", "succeeded", 5), ("--hard", "cancelled", 5)])
def test_a_cancelled_run_ends(machine: Machine, lab: LabUp, kind: str, status: str, code: int, here: Here) -> None:
    """What has not begun is not started; soft awaits what is in flight, hard ends it; the run has ended, with code 5."""
    play = SLOW if kind == "--soft" else ENDLESS
    process = started(machine, lab, play, "-f", 2, "-l", "dev*" if kind == "--hard" else "*")
    told = here("cancel", "last", kind, "--why", "wrong version")
    assert told.code == 0 and "Cancelled by" in told.out
    done = ended(process)
    assert done.code == code
    report = shown(here).report
    assert report["ended"] is not None
    assert {row["status"] for row in report["jobs"]} == {status, "not_started"}
    assert report["stopped"]["cause"] == "cancelled_by_user"
    assert "wrong version" in report["stopped"]["message"]


def test_a_cancelled_run_that_nobody_carries_out_launches_nothing_when_it_is_resumed(
    machine: Machine, lab: LabUp, here: Here
) -> None:
    """After a kill, cancel is journalled at once; a resume awaits what was in flight and begins nothing."""
    before = lab.executions()
    process = started(machine, lab, SLOW, "-f", 2)
    kill(process)
    told = here("cancel", "last")
    assert told.code == 0 and "no process carries the run out" in told.out
    assert "Cancelled by" in shown(here).report["stopped"]["message"]
    done = here("resume", "last", lab.flag, "-o", "jsonl")
    assert done.code == 5
    assert counted(done.lines, "submission_intended") == 0
    ended_here = {line["target"]: line["status"] for line in done.lines if line["event"] == "job_ended"}
    assert len(lab.executions(before)) < 12
    assert set(ended_here.values()) <= {"succeeded", "not_started"}
    assert here("pause", "last").code == 6


def test_a_paused_run_that_is_resumed_stays_paused(machine: Machine, lab: LabUp, here: Here) -> None:
    """A pause outlives the process: who goes on polls what was in flight, launches nothing, and can be unpaused."""
    process = started(machine, lab, SLOW, "-f", 2)
    kill(process)
    assert "no process carries the run out" in here("pause", "last").out
    again = machine.start("resume", "last", lab.flag, "-o", "jsonl")
    wait_for(lambda: "0 in flight" in here("tune", "last", "-f", "9").out)
    assert here("unpause", "last").code == 0
    done = ended(again)
    assert done.code == 0
    events = [line["event"] for line in done.lines]
    assert "submission_intended" not in events[: events.index("run_unpaused")]


def test_limits_are_changed_while_a_run_goes_on(machine: Machine, lab: LabUp, here: Here) -> None:
    """A higher concurrency takes hold at once, a budget below what failed stops the run, and both are in the report."""
    process = started(machine, lab, ENDLESS, "-f", 1, after=1)
    told = here("tune", "last", "-f", "3", "--max-unreachable", "50%", "--why", "night")
    assert told.code == 0 and "concurrency set to 3" in told.out
    read_until(process, lambda events: counted(events, "submission_accepted") == 2)
    here("cancel", "last", "--hard")
    done = ended(process)
    assert done.code == 5
    assert any("max_unreachable set to" in note and "night" in note for note in shown(here).report["notes"])


WAVED = """
apiVersion: fleet/v1
kind: Playbook
metadata: {name: waved, version: 1.0.0}
targets: {where: power == "running"}
rollout: {waves: [1, 100%], per_wave: {max_failures: 0}, gates: [{before_wave: 2, approve: true}], concurrency: 1}
steps:
  - {id: fail, run: {inline: "exit 3"}, ok: {exit: [0, 3]}, failed_when: 'name != "dev01"'}
"""


def test_a_waves_budgets_are_changed_while_it_goes_on(lab: LabUp, tmp_path: Path, here: Here) -> None:
    """Two failures are allowed in the second wave, where the playbook allowed none: the third one stops the run."""
    play = tmp_path / "waved.yaml"
    play.write_text(WAVED)
    assert here("run", play, lab.flag, "-y").code == 5, "it waits for approval"
    over = here("tune", "last", "--wave", "current", "--max-failures", "2")
    assert over.code == 6 and "[wave_is_over]" in over.err
    assert "[no_such_wave]" in here("tune", "last", "--wave", "9", "--max-failures", "2").err
    assert "[usage]" in here("tune", "last", "--wave", "2", "-f", "2").err
    assert "neither a wave's number nor current" in here("tune", "last", "--wave", "two").err
    told = here("tune", "last", "--wave", "2", "--max-failures", "2", "--why", "known ones")
    assert told.code == 0 and "wave 2: max_failures set to 2" in told.out
    done = here("approve", "last", lab.flag, "-o", "json")
    assert done.code == 5 and done.report["counts"]["failed"] == 3
    assert done.report["stopped"]["message"] == "3 targets failed in wave 2; the budget allows 2"
    assert any("wave 2: max_failures set to 2" in note and "known ones" in note for note in done.report["notes"])


def test_what_cannot_be_steered_is_said(machine: Machine, lab: LabUp, here: Here) -> None:
    """A run that has ended, one that is not paused, and a change of nothing are refused with a sentence."""
    here("run", PLAYBOOKS / "hello.yaml", lab.flag, "-y", "-l", "dev*")
    assert "has ended [run_has_ended]" in here("pause", "last").err
    process = started(machine, lab, ENDLESS, "-f", 1, "-l", "dev*", after=1)
    kill(process)
    assert "is not paused [not_paused]" in here("unpause", "last").err
    nothing = here("tune", "last")
    assert nothing.code == 2 and "[nothing_to_change]" in nothing.err
    here("cancel", "last", "--hard")
    here("resume", "last", lab.flag)
