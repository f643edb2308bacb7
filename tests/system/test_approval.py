"""Waiting for a person: durable, whatever becomes of the process."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from tests.system.cli import Here, LabUp, Machine, counted, ended, kill, read_until

pytestmark = pytest.mark.slow

PLAY = """
apiVersion: fleet/v1
kind: Playbook
metadata: {name: gated, version: 1.0.0}
targets: {where: power == "running"}
rollout:
  waves: [2]
  slow_start: false
  gates: [{before_wave: 2, approve: [NAMES]}]
steps:
  - {id: say, run: {inline: "echo hello"}}
"""


@pytest.fixture
def play(tmp_path: Path) -> Path:
    file = tmp_path / "play.yaml"
    file.write_text(PLAY.replace("NAMES", getpass.getuser()))
    return file


def test_a_run_that_waits_for_approval_survives_a_kill(machine: Machine, lab: LabUp, play: Path) -> None:
    """The waiting process is killed as by a power cut; `fleet approve` from a new one goes on, and nothing runs twice."""
    before = lab.executions()
    process = machine.start("run", play, lab.flag, "-y", "--wait", "-o", "jsonl")
    read_until(process, lambda events: counted(events, "approval_awaited") == 1)
    kill(process)
    assert len(lab.executions(before)) == 2
    shown = machine.run("show", "last", "-o", "json")
    assert shown.code == 5
    assert shown.report["stopped"] == {"cause": "approval_awaited", "message": "wave 2 waits for approval"}
    done = machine.run("approve", "last", lab.flag, "--why", "looks fine", "--as", "Jo", "-o", "json")
    assert done.code == 0
    ran = lab.executions(before)
    assert len(ran) == 12 and set(ran.values()) == {1}
    assert any("Wave 2 approved by Jo" in note and "looks fine" in note for note in done.report["notes"])


def test_without_a_terminal_the_process_ends_and_says_how_to_go_on(machine: Machine, lab: LabUp, play: Path) -> None:
    """Exit code 5, and the last line is the command that approves and goes on; that line works."""
    done = machine.run("run", play, lab.flag, "-y", "-o", "json")
    assert done.code == 5
    words = done.last.split()
    assert words[:2] == ["fleet", "approve"]
    assert machine.run(*words[1:]).code == 0
    again = machine.run(*words[1:])
    assert again.code == 6 and "[no_approval_awaited]" in again.err


def test_a_waiting_process_goes_on_when_another_terminal_approves(machine: Machine, lab: LabUp, play: Path) -> None:
    """The one that waits carries the run on; the one that approves only says so."""
    process = machine.start("run", play, lab.flag, "-y", "--wait", "-o", "jsonl")
    read_until(process, lambda events: counted(events, "approval_awaited") == 1)
    told = machine.run("approve", "last", lab.flag)
    assert told.code == 0 and "Wave 2 approved by" in told.err and told.out == ""
    assert ended(process).code == 0


def test_a_rejected_run_is_stopped(machine: Machine, lab: LabUp, play: Path) -> None:
    """Nothing more is sent, by whoever resumes it, and the report says who and why."""
    before = lab.executions()
    assert machine.run("run", play, lab.flag, "-y").code == 5
    assert "rejected by" in machine.run("reject", "last", "--why", "no").out
    done = machine.run("resume", "last", lab.flag, "-o", "json")
    assert done.code == 5
    assert done.report["stopped"]["cause"] == "wave_rejected"
    assert len(lab.executions(before)) == 2


def test_only_the_users_named_may_approve(here: Here, machine: Machine, lab: LabUp, play: Path) -> None:
    """Another user is told whom to ask, and the plan says it beforehand."""
    play.write_text(PLAY.replace("NAMES", "somebody-else"))
    assert "wave 2 (100%) must be approved by somebody-else" in here("plan", play, lab.flag).out
    assert machine.run("run", play, lab.flag, "-y").code == 5
    refused = machine.run("approve", "last", lab.flag)
    assert refused.code == 6
    assert "[not_an_approver]" in refused.err and "ask somebody-else" in refused.err
