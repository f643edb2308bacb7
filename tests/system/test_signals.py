"""Interrupting a run: once, twice, three times; with pipes and on a terminal."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import time

import pytest

from fleet.cli.progress import NOTICES
from tests.system.cli import PLAYBOOKS, LabUp, Machine, counted, ended, read_until

ENDLESS = PLAYBOOKS / "endless.yaml"


def test_the_first_interrupt_keeps_what_arrives(machine: Machine, lab: LabUp) -> None:
    """Nothing more is launched, and the results of what runs are waited for and kept."""
    before = lab.executions()
    process = machine.start("run", PLAYBOOKS / "slow.yaml", lab.flag, "-y", "-f", 2, "-o", "jsonl")
    read_until(process, lambda events: counted(events, "submission_accepted") == 2)
    process.send_signal(signal.SIGINT)
    done = ended(process)
    assert done.code == 130
    assert NOTICES[0] in done.err
    assert done.lines[-1]["counts"]["succeeded"] == 2
    assert len(lab.executions(before)) == 2


def test_the_second_interrupt_cancels(machine: Machine, lab: LabUp) -> None:
    """Managed commands are deleted, which ends their scripts; their rows are cancelled, now and after a resume."""
    process = machine.start("run", ENDLESS, lab.flag, "-y", "-f", 2, "-l", "dev*", "-o", "jsonl")
    read_until(process, lambda events: counted(events, "submission_accepted") == 2)
    process.send_signal(signal.SIGINT)
    read_until(process, lambda events: counted(events, "stop_requested") == 1)
    process.send_signal(signal.SIGINT)
    done = ended(process)
    assert done.code == 130
    assert NOTICES[1] in done.err
    shown = machine.run("show", "last", "-o", "json")
    assert sorted(row["status"] for row in shown.report["jobs"]) == ["cancelled"] * 2 + ["not_started"] * 2
    assert shown.report["exit_code"] in (3, 130)
    again = machine.run("rerun", "last", lab.flag, "-y")
    assert again.code == 6
    assert "fleet resume" in again.err, "what has not ended is resumed, not run again beside itself"


def test_the_third_interrupt_leaves_at_once(machine: Machine, lab: LabUp) -> None:
    """Whoever insists is let go, and still told how to go on."""
    # The service takes its time with deleting, so that the second interrupt alone would not end the run.
    lab.fault({"request": "delete", "kind": "slow", "delay": 20})
    process = machine.start("run", ENDLESS, lab.flag, "-y", "-l", "dev*", "-o", "jsonl")
    read_until(process, lambda events: counted(events, "submission_accepted") == 4)
    for times in (1, 2, 3):
        process.send_signal(signal.SIGINT)
        if times < 3:
            read_until(process, lambda events: counted(events, "stop_requested") == 1)
    done = ended(process, limit=15)
    assert done.code == 130
    assert done.last.startswith("fleet resume ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_lab_ends_with_its_interrupt(machine: Machine, number: int) -> None:
    """Either signal ends it in order: exit code 0, and nothing on stderr."""
    process = machine.start("lab", "up", "-q")
    assert process.stdout is not None and process.stdout.readline().startswith("http://127.0.0.1:")
    process.send_signal(number)
    done = ended(process, 30)
    assert (done.code, done.err) == (0, "")


def test_a_person_at_a_terminal(machine: Machine, lab: LabUp) -> None:
    """A terminal shows the plan, asks, draws the run while it goes on, and gives the cursor back in the end."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*machine.start_words("run", PLAYBOOKS / "slow.yaml", lab.flag, "-f", 4)],
        cwd=machine.cwd,
        env=machine.environment(COLUMNS="60", LINES="20"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    said = _read_terminal(ours, until="[y/N]")
    assert "12 targets" in said
    os.write(ours, b"y\n")
    said = _read_terminal(ours, until="SUCCEEDED")
    _read_terminal(ours, until=None)
    assert process.wait(30) == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said)
    assert re.search(r"running .* \d+/12 \(\d+%\)", plain)
    assert re.search(r"\d+ succeeded · 0 failed · \d+ in flight", plain)
    assert said.rfind("\x1b[?25h") > said.rfind("\x1b[?25l") > -1
    assert all(
        len(line) <= 60 for line in plain.replace("\r", "\n").splitlines() if "in flight" in line or "jobs/s" in line
    )


def test_an_interrupt_at_the_question_is_enough(machine: Machine, lab: LabUp) -> None:
    """Ctrl-C where a person is asked whether to run ends the command at once; no run is begun."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*machine.start_words("run", PLAYBOOKS / "slow.yaml", lab.flag)],
        cwd=machine.cwd,
        env=machine.environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    _read_terminal(ours, until="[y/N]")
    process.send_signal(signal.SIGINT)
    said = _read_terminal(ours, until=None)
    os.close(ours)
    assert process.wait(20) == 130
    assert "interrupted: no run was started, and nothing was sent" in said


def _read_terminal(terminal: int, until: str | None, limit: float = 40) -> str:
    """Read what a terminal shows until a text comes, or it closes."""
    said, end = "", time.monotonic() + limit
    while until is None or until not in said:
        assert time.monotonic() < end, said
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # Linux's way to say that the other end was closed
            break
        if not chunk:
            break
        said += chunk.decode("utf-8", "replace")
    return said
