"""VMs, instances of uniform and flexible scale sets, and Arc machines: one playbook, one report."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.system.cli import PLAYBOOKS, Here, Machine, counted, kill, read_until
from tests.system.conftest import Labs

pytestmark = pytest.mark.slow

EVERY = 'kind in ["vm", "scale_set", "arc"]'
OFF = {"idle_0": "vm_not_running", "away1": "disconnected", "away2": "disconnected"}
KINDS = {"vm": 7, "scale_set": 6, "arc": 5}


def summed(rows: list[Any]) -> dict[str, int]:
    return dict(Counter(row["kind"] for row in rows))


def as_expected(row: Any) -> bool:
    """Whether a row of the step `hello` says what its machine is."""
    if row["name"] in OFF:
        sent = OFF[row["name"]] != "disconnected"  # who is not connected is sent nothing
        return (row["status"], row["cause"]["code"], row["attempts"]) == ("unreachable", OFF[row["name"]], int(sent))
    return (row["status"], row["verified"], row["stdout"]) == ("succeeded", True, f"hello from {row['name']}\n")


def test_one_playbook_over_every_kind(here: Here, labs: Labs, tmp_path: Path) -> None:
    """One row each with the right output; what is stopped or not connected is unreachable, says why, and ran nothing."""
    lab = labs("kinds")
    before = lab.executions()
    done = here("run", PLAYBOOKS / "kinds.yaml", lab.flag, "-y", "-o", "json", "--report", f"csv={tmp_path / 'r.csv'}")
    assert done.code == 4, done.err
    rows = [row for row in done.report["jobs"] if row["step"] == "hello"]
    assert summed(rows) == KINDS
    assert [row["name"] for row in rows if not as_expected(row)] == []
    assert {row["status"] for row in done.report["jobs"] if row["step"] == "again"} == {"succeeded", "skipped"}
    ran = lab.executions(before)
    assert set(ran.values()) == {2}
    assert {vm.casefold() for vm in ran} == {row["target"].casefold() for row in rows if row["name"] not in OFF}
    read = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text(encoding="utf-8"))))
    assert [line["kind"] for line in read] == [row["kind"] for row in done.report["jobs"]]


def test_the_action_carries_what_has_one(here: Here, labs: Labs) -> None:
    """VMs and instances give the same rows by the action; with Arc machines among them nothing is sent at all."""
    lab = labs("kinds")
    words = ("-y", "-o", "json", "--transport", "action", "--", "hostname")
    done = here("exec", 'kind != "arc"', lab.flag, *words)
    assert done.code == 4
    assert summed(done.report["jobs"]) == {"vm": 7, "scale_set": 6}
    assert [row["name"] for row in done.report["jobs"] if not as_expected(row)] == []
    before = lab.executions()
    refused = here("exec", EVERY, lab.flag, *words)
    assert (refused.code, refused.out) == (2, "")
    assert "5 of 18 targets are: arc[1-3],away[1-2]" in refused.err
    assert "[action_on_arc]" in refused.err
    assert lab.executions(before) == {}


def test_who_says_nothing_means_vms(here: Here, labs: Labs) -> None:
    """`all` is every VM, those of flexible sets included; the set's name finds its machines whatever they are."""
    lab = labs("kinds")
    flags = (lab.flag, "-o", "json", "-q")
    assert summed(json.loads(here("targets", "all", *flags).out)) == {"vm": 7}
    web = json.loads(here("targets", 'scale_set == "web"', *flags).out)
    flexible = json.loads(here("targets", 'scale_set == "flex"', *flags).out)
    assert (summed(web), summed(flexible)) == ({"scale_set": 5}, {"vm": 3})
    told = json.loads(here("targets", "all", "--explain", *flags).out)
    assert Counter((item["included"], item["rule"]) for item in told) == {(True, "where"): 7, (False, "kind"): 11}


def test_before_a_run(here: Here, labs: Labs, tmp_path: Path) -> None:
    """The plan counts kinds, the doctor names who is out of reach, the role has the rights of each kind."""
    lab = labs("kinds")
    file = tmp_path / "plan.json"
    planned = here("plan", PLAYBOOKS / "kinds.yaml", lab.flag, "--out", file)
    assert "7 VMs, 6 scale-set instances, 5 Arc machines" in planned.out
    checked = json.loads(here("doctor", PLAYBOOKS / "kinds.yaml", lab.flag, "-o", "json").out)
    assert sorted(identity.rpartition("/")[2] for identity in checked["not_reached"]) == ["0", "away1", "away2"]
    role = json.loads(here("rbac", PLAYBOOKS / "kinds.yaml", "-q").out)
    assert "Microsoft.HybridCompute/machines/runCommands/write" in role["Actions"]
    assert "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/runCommands/write" in role["Actions"]
    applied = here("apply", file, lab.flag, "-y", "-o", "json")
    assert (applied.code, len(applied.report["jobs"])) == (4, 36), applied.err


def test_killed_and_resumed(machine: Machine, labs: Labs) -> None:
    """A run over every kind that is killed in its midst ends with one row each, and nothing ran twice."""
    lab = labs("kinds")
    before = lab.executions()
    command: tuple[object, ...] = ("exec", EVERY, lab.flag, "-y", "-o", "jsonl", "-f", 6, "--", "hostname")
    process = machine.start(*command)
    seen = read_until(process, lambda events: counted(events, "submission_accepted") >= 6)
    assert counted(seen, "submission_accepted") >= 6, "the run ended before it could be killed"
    kill(process)
    done = machine.run("resume", "last", lab.flag, "-o", "json")
    assert done.code == 4, done.err
    assert summed(done.report["jobs"]) == KINDS
    assert [row["name"] for row in done.report["jobs"] if not as_expected(row)] == []
    assert set(lab.executions(before).values()) == {1}
    assert len(lab.executions(before)) == 15
