"""What a script's end alone does not tell, at the command line: output that comes late, a full disk, want of memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.system.cli import Here, Machine, lab_up
from tests.system.conftest import Labs

PLAY = """\
apiVersion: fleet/v1
kind: Playbook
metadata: {name: p, version: 1.0.0}
targets: {}
steps:
  - {id: s, timeout: 1m, run: {file: s.sh}, MORE}
"""

SIX = """\
apiVersion: fleet/v1
kind: Lab
speed: 200
subscriptions: [{name: prod, groups: [{name: rg, vms: [{name: "vm{n}", count: 6, guest: sandbox}]}]}]
"""

STAMPED = """\
#!/bin/bash
exec > >(while IFS= read -r l; do printf '%s %s\\n' "$(date +%T)" "$l"; done) 2>&1
for i in $(seq 100); do echo line $i; done
echo result=done
"""
LOGGED = """\
#!/bin/bash
exec > >(tee /tmp/x.log) 2>&1
seq -f 'line %.0f' 20000
echo result=done
"""
NEEDS = 'collect: {result: {key: result}}, ok: {stdout: "result=done"}'

pytestmark = pytest.mark.sandbox


def play(machine: Machine, script: str, more: str = NEEDS) -> Path:
    (machine.cwd / "s.sh").write_text(script)
    file = machine.cwd / "p.yaml"
    file.write_text(PLAY.replace("MORE", more))
    return file


def the_row(here: Here, machine: Machine, labs: Labs, script: str, more: str = "turn: always") -> Any:
    done = here("run", play(machine, script, more), labs("real").flag, "-y", "-o", "json", "-l", "web01")
    (row,) = done.report["jobs"]
    return row


@pytest.mark.slow
@pytest.mark.parametrize("script", [STAMPED, LOGGED], ids=["stamped", "logged"])
def test_the_last_line_decides_on_every_vm(here: Here, machine: Machine, script: str) -> None:
    """Output that goes through a program is whole on six VMs at once, and its facts are found."""
    (machine.cwd / "lab.yaml").write_text(SIX)
    with lab_up(machine, machine.cwd / "lab.yaml") as lab:
        done = here("run", play(machine, script), lab.flag, "-y", "-o", "json", "--timeout", "1m")
        rows = done.report["jobs"]
        assert [(row["status"], row["facts"]) for row in rows] == [("succeeded", {"result": "done"})] * 6, rows
        if script == STAMPED:
            assert [row["truncated"] for row in rows] == [False] * 6
            assert {len(row["stdout"].splitlines()) for row in rows} == {101}
        else:
            whole = here("output", "last", "vm1", "--full", "--raw", lab.flag).out
            assert whole.splitlines() == [*(f"line {n}" for n in range(1, 20001)), "result=done"]


def test_a_process_that_holds_the_output_does_not_hold_the_row(here: Here, machine: Machine, labs: Labs) -> None:
    """The row is there within seconds, green, and says that its output may not be all."""
    row = the_row(here, machine, labs, "#!/bin/sh\nsleep 300 &\necho up\n")
    assert (row["status"], row["verified"], row["stdout"], row["truncated"]) == ("succeeded", True, "up\n", True)
    assert row["duration_s"] < 60


@pytest.mark.parametrize("removal", ["rm -rf /var/lib/fleet", "mount -t tmpfs none /var/lib"])
def test_a_script_that_removes_the_receipts_proves_nothing(
    here: Here, machine: Machine, labs: Labs, removal: str
) -> None:
    """The row is unverified, and has the script's output."""
    row = the_row(here, machine, labs, f"{removal}\necho gone\n")
    assert (row["status"], row["verified"], row["exit_code"], row["stdout"]) == ("unverified", False, None, "gone\n"), (
        row
    )


FULL = """\
d=${0%/*}; cp -a "$d" /tmp/kept
mount -t tmpfs -o size=200k,mode=700 none "$d"; cp -a /tmp/kept/. "$d"
head -c 1m /dev/zero >"$d/fill" 2>/dev/null
exit 0
"""


def test_a_full_disk_is_never_green(here: Here, machine: Machine, labs: Labs) -> None:
    """Exit code 0 on a disk that filled while the script ran is a failure with its own cause, and truncated."""
    row = the_row(here, machine, labs, FULL)
    assert (row["status"], row["cause"]["code"], row["exit_code"], row["truncated"]) == ("failed", "disk_full", 0, True)
    assert "the VM's disk was full when the script ended" in row["cause"]["message"]


KILLED = "sed 's/^oom_kill .*/oom_kill 4711/' /proc/vmstat >/tmp/v; mount --bind /tmp/v /proc/vmstat; kill -9 $$"


def test_want_of_memory_is_said(here: Here, machine: Machine, labs: Labs) -> None:
    """SIGKILL while the kernel's counter rose has its own cause, whatever exit codes the step accepts."""
    row = the_row(here, machine, labs, KILLED, "ok: {exit: [0, 137]}")
    assert (row["status"], row["cause"]["code"], row["exit_code"]) == ("failed", "out_of_memory", 137), json.dumps(row)
    assert "the kernel's out-of-memory killer ran while the script did" in row["cause"]["message"]
    plain = the_row(here, machine, labs, "kill -9 $$")
    assert (plain["status"], plain["cause"]["code"]) == ("failed", "signal")
