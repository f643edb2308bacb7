"""Exit codes of Windows in a whole run: what installers and crashed programs end with, rehearsed against the lab."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.system.cli import Done, Here, Machine

RESTARTED = [
    {
        "when": "Asks this machine for one restart",
        "stdout": "FLEET-RESULT code=81 state=restart_scheduled\n",
        "exit": 81,
    },
    {
        "when": "Says whether this machine has restarted",
        "stdout": "FLEET-RESULT code=0 state=back boot_id=b uptime_s=0\n",
    },
]


def run(here: Here, machine: Machine, code: int, **step: Any) -> Done:
    """Run one step on a Windows VM whose script ends with a code."""
    vm = {"name": "win1", "os": "windows", "rules": [*RESTARTED, {"exit": code, "stdout": "done\n"}]}
    lab = {
        "kind": "Lab",
        "speed": 2000,
        "subscriptions": [{"name": "s", "groups": [{"name": "g", "vms": [vm]}]}],
    }
    play = {
        "apiVersion": "fleet/v1",
        "kind": "Playbook",
        "metadata": {"name": "install"},
        "steps": [{"id": "install", "run": {"inline": "Install-It"}, **step}],
    }
    Path(machine.cwd / "lab.yaml").write_text(json.dumps(lab))
    Path(machine.cwd / "play.yaml").write_text(json.dumps(play))
    return here("run", "play.yaml", "--lab=lab.yaml", "-y", "-o", "json")


@pytest.mark.parametrize("code", [3010, 1641])
def test_a_windows_installer_asks_for_a_restart(here: Here, machine: Machine, code: int) -> None:
    """Its exit code counts as success, and the VM restarts after it: both steps of the restart have their row."""
    done = run(here, machine, code, reboot="if_needed", reboot_timeout="10s")
    assert done.code == 0, done.err
    rows = [(row["step"], row["status"], row["exit_code"]) for row in done.report["jobs"]]
    assert rows == [
        ("install", "succeeded", code),
        ("install-reboot-windows", "succeeded", 81),
        ("install-back-windows", "succeeded", 0),
    ]


@pytest.mark.parametrize(("code", "shown"), [(3010, 3010), (2359302, 2359302), (-1073741819, -1073741819)])
@pytest.mark.parametrize("transport", ["managed", "action"])
def test_any_code_of_32_bits_reaches_the_report(
    here: Here, machine: Machine, code: int, shown: int, transport: str
) -> None:
    """Without a restart asked for, it is a failure, proven by the receipt, and `ok.exit` may make it a success."""
    failed = run(here, machine, code, transport=transport)
    (row,) = failed.report["jobs"]
    assert (failed.code, row["status"], row["cause"]["code"], row["exit_code"]) == (3, "failed", "exit_code", shown)
    assert row["verified"] is True
    fine = run(here, machine, code, transport=transport, ok={"exit": [code]})
    assert (fine.code, [row["status"] for row in fine.report["jobs"]]) == (0, ["succeeded"])
