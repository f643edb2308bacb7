"""Fleet itself against Windows guests of the lab, by the real command line: what a person at a terminal does and sees."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleet.lab.guests.windows.powershell import VARIABLE
from tests.system.cli import Done, LabUp, Machine, ended, lab_up, wait_for
from tests.system.test_full_output import playbook

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.timeout(600),
]
LAB = """
apiVersion: fleet/v1
kind: Lab
speed: 60
subscriptions:
  - {name: prod, groups: [{name: rg-win, vms: [{name: "win{n:02}", count: 1, os: windows, guest: sandbox}]}]}
"""
_LIMIT = 300


class WithPowerShell(Machine):
    """A machine on which the lab finds a PowerShell."""

    def __init__(self, folder: Path, program: str) -> None:
        super().__init__(folder)
        self._program = program

    def environment(self, **more: str) -> dict[str, str]:
        return super().environment(**{VARIABLE: self._program, **more})

    def lab(self) -> Path:
        path = self.cwd / "lab.yaml"
        path.write_text(LAB)
        return path

    def does(self, *args: object) -> Done:
        return self.run(*args, limit=_LIMIT)


@pytest.fixture
def machine(pwsh: str, tmp_path: Path) -> WithPowerShell:
    return WithPowerShell(tmp_path, pwsh)


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["managed", "action"])
def test_exec(machine: WithPowerShell, transport: str) -> None:
    """A command of a person runs on a Windows VM, proven by its receipt; the lab says by what."""
    script = "$env:COMPUTERNAME + ' h\u00e9'; 1..600 | ForEach-Object { \"line $_ of many\" }; exit 3010"
    words = ("exec", "all", f"--lab={machine.lab()}", "-y", "-o", "json", "--transport", transport, "--", script)
    done = machine.does(*words)
    assert done.code == 3, done.err
    assert "note: Windows guests run scripts by PowerShell 7" in done.err
    (row,) = done.report["jobs"]
    assert (row["exit_code"], row["verified"], row["truncated"]) == (3010, True, False)
    lines = row["stdout"].splitlines()
    assert (lines[0], len(lines), lines[-1]) == ("WIN01 h\u00e9", 601, "line 600 of many")


@contextmanager
def running(machine: WithPowerShell, script: str, more: str = "") -> Iterator[tuple[LabUp, subprocess.Popen[str]]]:
    """A run of a script on one VM, from its start in the VM on. ``more`` is YAML for the step."""
    with lab_up(machine, machine.lab()) as lab:
        play = playbook(machine, script)
        play.write_text(play.read_text().rstrip() + more)
        run = machine.start("run", play, lab.flag, "-y", "-q", "-o", "json", "--transport", "managed")
        try:
            wait_for(lambda: bool(lab.executions()), _LIMIT)
            yield lab, run
        finally:
            run.kill()
            run.communicate()


@pytest.mark.slow
def test_a_hung_script_is_followed_seen_and_ended(machine: WithPowerShell) -> None:
    """From beside: its lines while it runs, its processes and output, and its end in the guest, which the receipt proves."""
    with running(machine, "'first h\u00e9'; & sleep 54321; 'never'") as (lab, run):
        follower = machine.start("output", "last", "win01", "--follow", lab.flag)
        try:
            assert follower.stdout is not None and follower.stdout.readline() == "first h\u00e9\n"
            asked = machine.does("probe", "last", "win01", lab.flag, "-o", "json")
            assert asked.code == 0, asked.err
            (found,) = asked.report
            assert (found["vm"], found["state"], found["stdout"].strip()) == ("win01", "alive", "first h\u00e9")
            assert any("sleep 54321" in each["command"] for each in found["processes"])
            freed = machine.does(
                "unstick", "last", "win01", lab.flag, "--in-guest", "-y", "--as", "Jo", "--why", "hangs"
            )
            assert freed.code == 0, freed.out + freed.err
            done = ended(run, _LIMIT)
            rest = ended(follower, _LIMIT)
        finally:
            follower.kill()
            follower.communicate()
    (row,) = done.report["jobs"]
    assert (done.code, row["exit_code"], row["verified"], row["stdout"]) == (3, 137, True, "first h\u00e9\n")
    assert row["status"] == "cancelled" and "ended by" in row["cause"]["message"]
    assert "never" not in rest.out


@pytest.mark.slow
def test_a_script_that_hangs_is_timed_out(machine: WithPowerShell) -> None:
    """The step's time limit ends it in the guest, with what it had printed; nothing of it is left."""
    with running(machine, "'first'; & sleep 65432; 'never'", "\n    timeout: 20s\n") as (lab, run):
        done = ended(run, _LIMIT)
        left = machine.does(
            "exec",
            "all",
            lab.flag,
            "-y",
            "-o",
            "json",
            "--",
            "(Get-Process sleep -ErrorAction Ignore | Measure-Object).Count",
        )
    (row,) = done.report["jobs"]
    assert (row["status"], row["verified"], row["stdout"]) == ("timed_out", True, "first\n")
    assert left.report["jobs"][0]["stdout"] == "0\n"
