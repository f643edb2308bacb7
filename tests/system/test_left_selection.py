"""Plans that are applied when some of their VMs are no longer selected."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.system.cli import Done, Here, LabUp, Machine, kill, lab_up, read_until

pytestmark = pytest.mark.slow

SUBSCRIPTION = "11111111-1111-4111-8111-111111111111"
VM = {"guest": "scripted", "tags": {"env": "prod"}}

Vms = dict[str, dict[str, Any]]
Change = Callable[[Vms], object]


def lab_file(path: Path, vms: Vms, duration: int = 0) -> Path:
    """Write a lab of one subscription; a VM is in ``rg-a`` unless it says otherwise."""
    groups: dict[str, list[dict[str, Any]]] = {"rg-a": [], "rg-b": []}
    for name, vm in vms.items():
        own = {key: value for key, value in vm.items() if key != "group"}
        groups[vm.get("group", "rg-a")].append({"name": name, **own})
    document = {
        "apiVersion": "fleet/v1",
        "kind": "Lab",
        "speed": 500,
        "rules": [{"stdout": "state=fine\n", "duration": duration}],
        "subscriptions": [
            {"name": "prod", "id": SUBSCRIPTION, "groups": [{"name": n, "vms": m} for n, m in groups.items() if m]}
        ],
    }
    path.write_text(json.dumps(document))
    return path


def playbook(path: Path, targets: dict[str, Any], rollout: dict[str, Any] | None = None) -> Path:
    steps = [
        {"id": "patch", "run": {"inline": "true"}, "collect": {"state": {"key": "state"}}},
        {"id": "check", "run": {"inline": "true"}},
        {"id": "undo", "turn": "rescue", "run": {"inline": "true"}},
    ]
    document = {"apiVersion": "fleet/v1", "kind": "Playbook", "metadata": {"name": "left", "version": "1.0.0"},
                "targets": targets, "rollout": {"slow_start": False, **(rollout or {})}, "steps": steps}  # fmt: skip
    path.write_text(json.dumps(document))
    return path


class Scene:
    """A plan that was made of one lab and is applied to another, in which things have changed since."""

    def __init__(self, here: Here, folder: Path) -> None:
        self.here, self.folder, self.plan = here, folder, folder / "x.plan"
        self.vms: Vms = {f"web{number}": dict(VM) for number in range(1, 5)}

    def planned(self, targets: dict[str, Any], *flags: str, rollout: dict[str, Any] | None = None) -> Scene:
        book = playbook(self.folder / "left.yaml", targets, rollout)
        lab = lab_file(self.folder / "before.yaml", self.vms)
        assert self.here("plan", book, f"--lab={lab}", "--out", self.plan, "-q", *flags).code == 0
        return self

    def changed(self, change: Change) -> Path:
        change(self.vms)
        return lab_file(self.folder / "after.yaml", self.vms)

    def applied(self, change: Change, *flags: str) -> Done:
        return self.here("apply", self.plan, f"--lab={self.changed(change)}", "-y", "-q", *flags)

    def frozen(self) -> Any:
        return json.loads(self.plan.read_text())


@pytest.fixture
def scene(here: Here, tmp_path: Path) -> Scene:
    return Scene(here, tmp_path)


def retag(vms: Vms) -> None:
    vms["web3"] = {**VM, "tags": {"env": "dev"}}


ALL: dict[str, Any] = {"where": 'tag.env == "prod"'}
FREEZE: dict[str, Any] = {"exclude": ['tag.freeze == "yes"']}


@pytest.mark.parametrize(
    ("targets", "flags", "change", "differences", "why"),
    [
        (ALL, (), retag, 1, "tag.env"),
        (FREEZE, (), lambda vms: vms["web3"].update(tags={"freeze": "yes"}), 1, "excluded by"),
        ({}, ("-l", 'tag.env == "prod"'), retag, 1, "not within --limit"),
        ({}, ("-x", 'tag.env == "dev"'), retag, 1, "excluded by"),
        ({"resource_groups": ["rg-a"]}, (), lambda vms: vms["web3"].update(group="rg-b"), 1, "not found"),
        ({}, (), lambda vms: vms["web3"].update(group="rg-b"), 2, "not found"),
        ({}, (), lambda vms: vms.pop("web3"), 1, "not found"),
        ({}, (), lambda vms: vms["web3"].update(os="windows", image="windows-2022"), 1, "its OS changed"),
        ({"where": 'power == "running"'}, (), lambda vms: vms["web3"].update(power="deallocated"), 1, "power"),
    ],
)
def test_a_vm_that_left_the_selection_is_never_run(
    scene: Scene, targets: dict[str, Any], flags: tuple[str, ...], change: Change, differences: int, why: str
) -> None:
    """Whatever made it leave: within the tolerance it is left out, with a row for each step, a reason and a note."""
    scene.planned(targets, *flags)
    assert scene.applied(change).code == 6
    done = scene.applied(lambda vms: None, "--tolerance", str(differences), "-o", "json")
    assert done.code == 0, done.err
    rows = {(row["name"], row["step"]): row for row in done.report["jobs"]}
    assert len(rows) == 12
    for step in ("patch", "check", "undo"):
        row = rows["web3", step]
        assert (row["status"], row["cause"]["code"], row["attempts"]) == ("skipped", "left_selection", 0)
        assert why in row["cause"]["message"]
    assert {row["status"] for (name, step), row in rows.items() if name != "web3" and step != "undo"} == {"succeeded"}
    assert [note for note in done.report["notes"] if "1 target left the selection" in note and note.endswith("web3")]
    assert done.report["plan"] == scene.frozen()["digest"]


def test_every_form_shows_who_left(scene: Scene, tmp_path: Path) -> None:
    """Text, Markdown, HTML, CSV and JUnit have the rows, under a heading of their own; nothing reads as a failure."""
    scene.planned(ALL)
    files = [f"{form}={tmp_path / form}" for form in ("csv", "junit", "html", "md")]
    done = scene.applied(
        retag, "--tolerance", "1", "-o", "table", *(word for file in files for word in ("--report", file))
    )
    assert done.code == 0
    assert "LEFT THE SELECTION (3)" in done.out and "left_selection: no longer selected: tag.env" in done.out
    assert "note: 1 target left the selection" in done.out
    assert "### Left the selection (3)" in (tmp_path / "md").read_text()
    page = (tmp_path / "html").read_text()
    assert 'id="gone"' in page and "not proven</h1>" not in page and "left out on purpose</h1>" in page
    cells = list(csv.DictReader(io.StringIO((tmp_path / "csv").read_text())))
    assert sum(cell["cause"] == "left_selection" for cell in cells) == 3
    suite = next(s for s in ET.parse(tmp_path / "junit").getroot() if s.get("name") == "web3")
    assert [suite.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["3", "0", "0", "3"]


def test_a_vm_that_joined_is_not_run(scene: Scene) -> None:
    """What the plan did not freeze has no row, whatever the tolerance."""
    scene.planned(ALL)
    done = scene.applied(lambda vms: vms.update(web9=dict(VM)), "--tolerance", "100%", "-o", "json")
    assert done.code == 0 and "target web9 added" in done.err
    assert {row["name"] for row in done.report["jobs"]} == {"web1", "web2", "web3", "web4"}


@pytest.mark.parametrize(("tolerance", "code"), [((), 6), (("0",), 6), (("24%",), 6), (("25%",), 0), (("1",), 0)])
def test_no_tolerance_refuses_a_vm_that_left(scene: Scene, tolerance: tuple[str, ...], code: int) -> None:
    """One VM of four is a fourth: less than that, and nothing, is refused; the difference is named either way."""
    scene.planned(ALL)
    done = scene.applied(retag, *(("--tolerance", *tolerance) if tolerance else ()))
    assert done.code == code
    assert "target web3 removed" in done.err
    assert ("[plan_drift]" in done.err) is (code == 6)


def test_a_plan_that_everybody_left_is_refused(scene: Scene) -> None:
    """A run of nobody is never green."""
    scene.planned(ALL)
    done = scene.applied(lambda vms: [vm.update(tags={}) for vm in vms.values()], "--tolerance", "100%")
    assert done.code == 6 and "[no_targets]" in done.err


def test_a_vm_that_left_spends_no_budget_and_holds_no_wave(scene: Scene) -> None:
    """A wave of VMs that left ends at once; no failure and no unreachable VM is counted, under the strictest budgets."""
    scene.planned(ALL, rollout={"waves": [1, 2, "100%"], "max_failures": 0, "max_unreachable": 0})
    done = scene.applied(lambda vms: vms["web1"].update(tags={}), "--tolerance", "1", "-o", "json")
    assert done.code == 0 and done.report["stopped"] is None
    assert [wave["targets"] for wave in done.report["waves"]] == [1, 1, 2]
    assert done.report["counts"]["succeeded"] == 6


def test_a_gate_counts_a_vm_that_left_as_not_met(scene: Scene) -> None:
    """Nothing was found on it, so that a canary which left opens no wave."""
    gates = [{"after_wave": 1, "facts": 'facts.state == "fine"', "min_share": "100%"}]
    scene.planned(ALL, rollout={"waves": [1, "100%"], "gates": gates})
    done = scene.applied(lambda vms: vms["web1"].update(tags={}), "--tolerance", "1", "-o", "json")
    assert done.code == 5
    assert {row["cause"]["code"] for row in done.report["jobs"] if row["name"] == "web1"} == {"left_selection"}
    assert {row["cause"]["code"] for row in done.report["jobs"] if row["name"] == "web2"} == {"gate_facts"}


def test_a_vm_that_left_keeps_its_reason_when_the_run_stops(scene: Scene) -> None:
    """Where a budget ends the run before its wave, it is still one that left and not one that was not started."""
    gates = [{"after_wave": 1, "facts": 'facts.state == "odd"', "min_share": "100%"}]
    scene.planned(ALL, rollout={"waves": [1, "100%"], "gates": gates})
    done = scene.applied(retag, "--tolerance", "1", "-o", "json")
    assert done.code == 5
    assert {row["cause"]["code"] for row in done.report["jobs"] if row["name"] == "web3"} == {"left_selection"}


def test_a_rerun_leaves_out_who_had_left(scene: Scene, machine: Machine) -> None:
    """`RUN:skipped` does not bring it back, and neither does a VM's other outcome."""
    scene.planned(ALL)
    with lab_up(machine, scene.changed(retag)) as lab:
        assert scene.here("apply", scene.plan, lab.flag, "-y", "-q", "--tolerance", "1").code == 0
        before = lab.executions()
        rerun = scene.here("rerun", "last:skipped,succeeded", lab.flag, "-y", "-q", "-o", "json")
        assert {row["name"] for row in rerun.report["jobs"]} == {"web1", "web2", "web4"}
        assert not any(vm.endswith("/web3") for vm in lab.executions(before) | before)


def test_a_resumed_run_leaves_out_who_had_left(scene: Scene, machine: Machine) -> None:
    """What was found when the plan was applied is in the run: a new owner does not run it either."""
    scene.planned(ALL, rollout={"waves": [1, "100%"]})
    retag(scene.vms)
    with lab_up(machine, lab_file(scene.folder / "slow.yaml", scene.vms, duration=500)) as lab:
        process = machine.start("apply", scene.plan, lab.flag, "-y", "--tolerance", "1", "-o", "jsonl")
        read_until(process, lambda events: any(event["event"] == "submission_accepted" for event in events))
        kill(process)
        early = scene.here("show", "last", "-o", "json").report["jobs"]
        assert {row["cause"]["code"] for row in early if row["name"] == "web3"} == {"left_selection"}
        done = scene.here("resume", "last", lab.flag, "-q", "-o", "json")
        assert done.code == 0, done.err
        assert {row["cause"]["code"] for row in done.report["jobs"] if row["name"] == "web3"} == {"left_selection"}
        assert ran(lab) == {"web1", "web2", "web4"}


def ran(lab: LabUp) -> set[str]:
    return {vm.rsplit("/", 1)[-1] for vm in lab.executions()}


def test_a_plan_file_that_says_who_left_is_refused(scene: Scene) -> None:
    """Who left is found when the plan is applied, and never read from a file that somebody could edit."""
    scene.planned(ALL)
    document = scene.frozen()
    document["plan"]["left"] = [{"target": 0, "why": "somebody says so"}]
    scene.plan.write_text(json.dumps(document))
    done = scene.applied(lambda vms: None)
    assert done.code == 2 and "was changed after it was written" in done.err
