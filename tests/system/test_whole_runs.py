"""What the project must show, from end to end."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from tests.system.cli import LABS, PLAYBOOKS, ROOT, SHIPPED, Here, LabUp, Machine, ended, lab_up

pytestmark = pytest.mark.slow


@pytest.mark.sandbox
def test_the_shipped_health_check_over_the_default_lab(machine: Machine) -> None:
    """One command, no account: a row for every VM with what its script really printed, all proven."""
    done = machine.run("run", SHIPPED / "linux-health.yaml", "--lab", "-y", "-o", "json")
    assert done.code == 0, done.err
    rows = done.report["jobs"]
    assert len({row["target"] for row in rows}) == len(rows) == 120
    assert {(row["status"], row["verified"], row["exit_code"]) for row in rows} == {("succeeded", True, 0)}
    assert all("kernel: " in row["stdout"] and "disk_used_percent /" in row["stdout"] for row in rows)


def test_a_thousand_machines(machine: Machine) -> None:
    """A thousand rows, none missing and none twice, and the lab ran each script exactly once."""
    with lab_up(machine, ROOT / "tests/lab/labs/thousand.yaml") as lab:
        done = machine.run("run", PLAYBOOKS / "hello.yaml", lab.flag, "-y", "-o", "json", "-f", 1000)
        executions = lab.executions()
    assert done.code == 0, done.err
    rows = Counter(row["target"] for row in done.report["jobs"])
    assert len(rows) == 1000
    assert set(rows.values()) == set(executions.values()) == {1}
    assert {target.casefold() for target in rows} == {vm.casefold() for vm in executions}


def same_whatever_carried_it(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what the transport and the clock decide; the two transports refuse in words of their own."""
    moving = ("operation", "started", "ended", "duration_s")
    return {**{key: value for key, value in row.items() if key not in moving}, "cause": row["cause"]["code"]}


def test_a_failing_tenth_over_both_transports(machine: Machine) -> None:
    """A tenth fails with 3, the stopped ones are unreachable with a cause; action and managed give the same rows."""
    with lab_up(machine, ROOT / "tests/lab/labs/failing-tenth.yaml") as lab:
        command = ("run", PLAYBOOKS / "everything.yaml", lab.flag, "-y", "--lease", "none", "-o", "json", "--transport")
        started = [machine.start(*command, transport) for transport in ("managed", "action")]
        managed, action = map(ended, started)
    assert managed.code == action.code == 3
    rows = managed.report["jobs"]
    failed = [row for row in rows if row["status"] == "failed"]
    assert len(failed) == 10
    assert {row["exit_code"] for row in failed} == {3}
    assert all(row["stderr"] == f"{row['name']}: disk is full\n" for row in failed)
    unreachable = [row for row in rows if row["status"] == "unreachable"]
    assert sorted(row["name"] for row in unreachable) == [f"job{n:02}" for n in range(1, 7)] + [
        f"spare{n:02}" for n in range(1, 5)
    ]
    assert {row["cause"]["code"] for row in unreachable} == {"vm_not_running"}
    assert [same_whatever_carried_it(row) for row in rows] == [
        same_whatever_carried_it(row) for row in action.report["jobs"]
    ]


def test_ten_mistakes_are_ten_problems(here: Here, lab: LabUp) -> None:
    """All mistakes of a playbook are told at once, each with its line, and not one request leaves."""
    before = lab.requests()
    done = here("run", PLAYBOOKS / "ten-mistakes.yaml", lab.flag, "-y")
    lines = [int(found[1]) for found in re.finditer(r"error: \S+ten-mistakes\.yaml:(\d+):\d+: ", done.err)]
    assert done.code == 2
    assert lines == [2, 4, 4, 6, 7, 9, 11, 14, 15, 17]
    assert "10 problems found; nothing was sent" in done.err
    assert lab.requests() == before


@pytest.mark.parametrize("transport", ["managed", "action"])
def test_a_service_with_its_oddities(here: Here, transport: str) -> None:
    """Ids in another case, remembered names, a lagging Resource Graph and real limits change nothing for a reader."""
    words = ["exec", "all", f"--lab={LABS / 'odd.yaml'}", "-y", "-o", "json", "--transport", transport, "--", "true"]
    done = here(*words)
    assert done.code == 0, done.err
    assert {(row["status"], row["verified"], row["stdout"]) for row in done.report["jobs"]} == {
        ("succeeded", True, "ok\n")
    }
    assert len(done.report["jobs"]) == 40
