"""Rights, locks and policies of the lab, as the command line meets them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.system.cli import Here, Machine

PLAY = {
    "apiVersion": "fleet/v1",
    "kind": "Playbook",
    "metadata": {"name": "check"},
    "steps": [{"id": "check", "run": {"inline": "hostname"}}],
}
WRITE = "Microsoft.Compute/virtualMachines/runCommands/write"


def lab(machine: Machine, subscription: dict[str, Any] | None = None, **groups: dict[str, Any]) -> str:
    """Write a lab with one VM for each group and a playbook; return the lab's flag."""
    made = [{"name": name, "vms": [{"name": f"{name}1", "guest": "scripted"}], **keys} for name, keys in groups.items()]
    text = {"kind": "Lab", "speed": 2000, "subscriptions": [{"name": "s", "groups": made, **(subscription or {})}]}
    (machine.cwd / "lab.yaml").write_text(json.dumps(text))
    (machine.cwd / "play.yaml").write_text(json.dumps(PLAY))
    return "--lab=lab.yaml"


@pytest.mark.parametrize("transport", ["managed", "action"])
def test_a_healthy_lab_is_green(here: Here, machine: Machine, transport: str) -> None:
    """Every check of the doctor can be made on the lab, rights included, and nothing is found."""
    done = here("doctor", "play.yaml", lab(machine, a={}, b={}), "--transport", transport, "-o", "json")
    assert done.code == 0, done.err
    found = {(finding["check"], finding["level"]) for finding in done.report["findings"]}
    assert {level for _, level in found} == {"ok"}
    assert ("rights", "ok") in found


def test_a_missing_right_is_named_before_and_in_the_run(here: Here, machine: Machine) -> None:
    """The doctor names the right and the VM that lacks it; the run's call is refused there, and succeeds elsewhere."""
    every = {"actions": ["Microsoft.Compute/*"]}
    flag = lab(
        machine,
        {"rights": {"actions": ["*/read"]}},
        a={"rights": every},
        b={"rights": {**every, "not_actions": [WRITE]}},
    )
    told = here("doctor", "play.yaml", flag)
    assert told.code == 7
    assert [f"lacks {WRITE}" in line for line in told.out.splitlines() if "b1 (1)" in line and "lacks" in line] == [
        True
    ]
    done = here("run", "play.yaml", flag, "-y", "-o", "json")
    assert {row["name"]: (row["status"], row["cause"]["code"]) for row in done.report["jobs"]} == {
        "a1": ("succeeded", "completed"),
        "b1": ("unreachable", "forbidden"),
    }
    assert any(WRITE in row["cause"]["message"] for row in done.report["jobs"])


def test_what_may_not_be_read_is_not_found(here: Here, machine: Machine) -> None:
    """VMs of a group without any right are not among the targets."""
    found = here("targets", "all", lab(machine, {}, a={"rights": {}}, b={}), "-o", "json")
    assert found.code == 0, found.err
    assert "a1" in found.out and "b1" not in found.out


@pytest.mark.parametrize("place", ["group", "subscription"])
def test_a_read_only_lock_refuses_the_run(here: Here, machine: Machine, place: str) -> None:
    """Nothing runs, and the row has Azure's sentence with the scope that is locked."""
    locked = {"lock": "ReadOnly"}
    flag = lab(machine, locked if place == "subscription" else {}, a=locked if place == "group" else {})
    done = here("run", "play.yaml", flag, "-y", "-o", "json")
    (row,) = done.report["jobs"]
    assert (done.code, row["status"]) == (4, "unreachable")
    assert row["cause"]["message"].startswith("ScopeLocked: The scope '/subscriptions/")
    assert "cannot perform write operation because following scope(s) are locked" in row["cause"]["message"]


def test_a_delete_lock_leaves_the_commands(here: Here, machine: Machine) -> None:
    """The script runs; the managed command stays and is listed as left over."""
    done = here("run", "play.yaml", lab(machine, a={"lock": "CanNotDelete"}), "-y", "-o", "json")
    assert [row["status"] for row in done.report["jobs"]] == ["succeeded"]
    assert len(done.report["leftovers"]) == 1


def test_a_policy_refuses_managed_commands_alone(here: Here, machine: Machine) -> None:
    """The row names the policy; by the action the same playbook runs."""
    flag = lab(machine, a={"policy": "no-scripts"})
    done = here("run", "play.yaml", flag, "-y", "-o", "json")
    (row,) = done.report["jobs"]
    assert (row["status"], "no-scripts" in row["cause"]["message"]) == ("unreachable", True)
    assert here("run", "play.yaml", flag, "-y", "-q", "--transport", "action").code == 0
