"""The verbs for the time before a run, against a lab: what they find, print and exit with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.system.cli import PLAYBOOKS, SHIPPED, Here, Machine, lab_up

LAB = """
apiVersion: fleet/v1
kind: Lab
subscriptions:
  - name: prod
    groups:
      - name: rg-web
        vms:
          - {name: "web{n:02}", count: 8, guest: scripted}
          - {name: "off{n:02}", count: 2, guest: scripted, power: deallocated}
          - {name: "mute{n:02}", count: 3, guest: scripted, agent: not_ready}
"""

PLAY = """
apiVersion: fleet/v1
kind: Playbook
metadata: {name: everybody, version: 1.0.0}
targets: {subscriptions: [all]}
steps:
  - id: say
    run: {inline: "echo hello\\n"}
"""


@pytest.fixture
def play(tmp_path: Path) -> Path:
    file = tmp_path / "play.yaml"
    file.write_text(PLAY)
    return file


def test_the_doctor_finds_what_would_not_answer_and_sends_nothing(
    here: Here, machine: Machine, play: Path, tmp_path: Path
) -> None:
    """Stopped VMs and those whose agent is not ready are named, folded, with what to do; the guests hear nothing."""
    file = tmp_path / "lab.yaml"
    file.write_text(LAB)
    with lab_up(machine, file) as lab:
        table = here("doctor", play, lab.flag)
        told = here("doctor", play, lab.flag, "-o", "json")
        state = lab.state()
    assert table.code == told.code == told.report["exit_code"] == 4
    lines = [" ".join(line.split()) for line in table.out.splitlines()]
    assert "power unreachable off[01-02] (2) deallocated" in lines
    assert "agent unreachable mute[01-03] (3) agent not ready" in lines
    assert "agent ok web[01-08] (8) agent ready" in lines
    assert "8 of 13 targets would be reached" in lines
    assert "5 would not: mute[01-03],off[01-02]" in lines
    assert any(line.startswith("off[01-02] (2) start it") for line in lines)
    assert (told.report["targets"], told.report["reached"], len(told.report["not_reached"])) == (13, 8, 5)
    assert {item["check"] for item in told.report["findings"]} >= {"sign_in", "subscription", "power", "slots"}
    assert not state["executions"]


def test_the_doctor_is_content_with_those_that_answer(here: Here, machine: Machine, play: Path, tmp_path: Path) -> None:
    """Narrowed to healthy VMs it exits with 0; where permissions are not told it says so, and where agents are old."""
    file = tmp_path / "lab.yaml"
    file.write_text(LAB)
    with lab_up(machine, file) as lab:
        done = here("doctor", play, lab.flag, "-l", "web*")
        bash = here("doctor", PLAYBOOKS / "hello.yaml", lab.flag, "-l", "nobody")
    assert done.code == 0
    assert "8 of 8 targets would be reached" in done.out
    assert bash.code == 6


def test_rbac_prints_a_role_that_az_reads(here: Here) -> None:
    """JSON on stdout, with the actions of the transport asked for; nothing is asked of Azure."""
    done = here("rbac", SHIPPED / "linux-health.yaml", "--scope", "/subscriptions/1", "--doctor")
    role = json.loads(done.out)
    assert done.code == 0
    assert role["AssignableScopes"] == ["/subscriptions/1"]
    assert "Microsoft.Compute/virtualMachines/runCommands/write" in role["Actions"]
    assert "Microsoft.Authorization/permissions/read" in role["Actions"]
    action = here("rbac", SHIPPED / "linux-health.yaml", "--transport", "action", "-o", "table")
    assert "runCommand/action" in action.out
    assert "runCommands/" not in action.out


def test_rbac_says_where_a_scope_is_missing(here: Here, play: Path) -> None:
    """A subscription that is no id is warned of, and the place for its id marked."""
    done = here("rbac", play)
    assert "all: no subscription id" in done.err
    assert "<subscription id>" in done.out


def test_every_right_is_on_the_page(here: Here) -> None:
    """docs/rights.md names each action that a role can have, and no other of Compute's."""
    from fleet.playbook.model import Script, Step, Transport
    from fleet.preflight.rights import BUILT_IN, DOCTOR, LOCKS, PATCHERS, rights
    from fleet.targets.model import Kind

    step = Step("one", Script(text="true"))
    carried = [rights([step], transport, Kind) for transport in (Transport.MANAGED, Transport.ACTION)]
    page = (SHIPPED.parent / "docs" / "rights.md").read_text()
    told = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `Microsoft.")}
    assert told == {right.action for right in (*carried[0], *carried[1], BUILT_IN, DOCTOR, LOCKS, *PATCHERS)}


PATCHED = """
apiVersion: fleet/v1
kind: Lab
subscriptions:
  - name: prod
    groups:
      - name: rg-web
        vms:
          - {name: "web{n:02}", count: 3, guest: scripted, tags: {ring: [a, b]}}
          - {name: "auto{n:02}", count: 2, guest: scripted, patch_mode: AutomaticByPlatform}
          - {name: "plan{n:02}", guest: scripted, patch_mode: AutomaticByPlatform, patch_on_schedule: true}
          - {name: "win{n:02}", count: 2, os: windows}
          - {name: hand, os: windows, patch_mode: Manual}
        maintenance:
          - {name: sunday, vms: "plan*"}
          - {name: hosts, vms: "*", purpose: Host}
          - {name: ring-a, dynamic: {os: Linux, tags: {ring: a}}}
"""


def test_other_patchers_are_warned_of_before_a_run_that_patches(
    here: Here, machine: Machine, play: Path, tmp_path: Path
) -> None:
    """Plan and run of a playbook with purpose patching name each other patcher with its VMs; another is left in peace."""
    file, patches = tmp_path / "lab.yaml", tmp_path / "patches.yaml"
    file.write_text(PATCHED)
    patches.write_text(PLAY.replace("version: 1.0.0", "version: 1.0.0, labels: {purpose: patching}"))
    with lab_up(machine, file) as lab:
        planned = here("plan", patches, lab.flag)
        document = here("plan", patches, lab.flag, "-o", "json")
        page = here("plan", patches, lab.flag, "-o", "md")
        run = here("run", patches, lab.flag, "-y", "-l", "auto*")
        other = here("plan", play, lab.flag)
        looked = here("doctor", play, lab.flag)
    warnings = [line for line in planned.err.splitlines() if line.startswith("warning")]
    assert len(warnings) == 4
    assert "auto[01-02] (2): Azure also patches them" in warnings[0]
    assert "win[01-02] (2): Windows also patches itself" in warnings[1]
    assert "web[01,03] (2): maintenance configuration ring-a may also patch and restart them" in planned.err
    assert "plan01 (1): maintenance configuration sunday may also" in planned.err
    assert "hosts" not in planned.err
    assert "az maintenance configuration show -g rg-web -n sunday --subscription " in planned.err
    assert [len(item["targets"]) for item in document.report["patchers"]] == [2, 2, 2, 1]
    assert "Azure also patches them" in page.out
    assert run.code == 0
    assert "warning: auto[01-02] (2): Azure also patches them" in run.err
    assert "warning" not in other.err
    lines = [" ".join(line.split()) for line in looked.out.splitlines()]
    assert any(line.startswith("patching ok auto[01-02] (2) Azure also patches them") for line in lines)
    assert "patching ok hand (1) neither Azure nor Windows patches them (Manual)" in lines
    assert looked.code == 0


def test_a_patcher_that_cannot_be_asked_for_is_said(here: Here, machine: Machine, tmp_path: Path) -> None:
    """Where Resource Graph refuses, a playbook that patches says that it does not know, and runs all the same."""
    file, patches = tmp_path / "lab.yaml", tmp_path / "patches.yaml"
    file.write_text(PATCHED + "faults: [{request: query, kind: 403}]\n")
    patches.write_text(PLAY.replace("version: 1.0.0", "version: 1.0.0, labels: {purpose: patching}"))
    with lab_up(machine, file) as lab:
        planned = here("plan", patches, lab.flag, "-l", "web*")
    assert planned.code == 0
    assert "web[01-03] (3): whether they patch themselves is not known: HTTP 403" in planned.err
    assert "web[01-03] (3): whether a maintenance configuration is assigned is not known: HTTP 403" in planned.err
