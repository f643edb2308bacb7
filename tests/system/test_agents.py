"""VMs whose agent is not ready, at the command line: they are told within seconds and hold nobody up."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.system.cli import Here, LabUp, Machine, lab_up

pytestmark = pytest.mark.slow

MUTE = """
apiVersion: fleet/v1
kind: Lab
speed: 500
rules: [{stdout: "hello from {name}\\n"}]
subscriptions:
  - name: prod
    groups:
      - name: rg-web
        vms:
          - {name: "web{n:02}", count: 20, guest: scripted}
          - {name: mute, guest: scripted, agent: not_ready}
          - {name: closed, guest: scripted, extensions: false}
"""

DYING = """
apiVersion: fleet/v1
kind: Lab
speed: 2
rules: [{stdout: "hello from {name}\\n"}]
subscriptions:
  - name: prod
    groups:
      - name: rg-web
        vms:
          - {name: "web{n}", count: 4, guest: scripted}
"""

PLAY = """
apiVersion: fleet/v1
kind: Playbook
metadata: {name: everybody, version: 1.0.0}
targets: {subscriptions: [all]}
rollout: {waves: [2, 100%], slow_start: false}
steps:
  - id: hello
    run: {inline: echo hello}
    timeout: 90m
"""


def written(machine: Machine, name: str, text: str) -> Path:
    path = machine.cwd / name
    path.write_text(text, encoding="utf-8")
    return path


def ends(rows: list[Any]) -> dict[str, str]:
    return {row["name"]: f"{row['status']} {row['cause']['code']}" for row in rows}


def asked(lab: LabUp, since: dict[str, int]) -> Counter[str]:
    """What the lab was asked since an earlier count, by kind of request."""
    return Counter(lab.state()["requests"]) - Counter(since)


@pytest.mark.parametrize("transport", ["managed", "action"])
def test_a_vm_that_cannot_take_a_command_holds_nobody_up(here: Here, machine: Machine, transport: str) -> None:
    """Nothing is sent where the agent is not ready, extension operations that are off are told by the same cause, and each
    wave costs one list of states beside its commands.
    """
    with lab_up(machine, written(machine, "lab.yaml", MUTE)) as lab:
        before = lab.state()["requests"]
        play = written(machine, "play.yaml", PLAY)
        done = here("run", play, lab.flag, "-y", "-o", "json", "--transport", transport, "--lease", "none")
        assert done.code == 4, done.err
        rows = done.report["jobs"]
        told = ends(rows)
        assert told.pop("mute") == told.pop("closed") == "unreachable agent_not_ready"
        assert set(told.values()) == {"succeeded completed"} and len(told) == 20
        mute, closed = (next(row for row in rows if row["name"] == name) for name in ("mute", "closed"))
        assert mute["attempts"] == 0
        assert mute["cause"]["message"].startswith("not sent: Azure says of the VM's agent: Not Ready")
        assert "osProfile.allowExtensionOperations" in closed["cause"]["hint"]
        assert set(lab.executions().values()) == {1} and len(lab.executions()) == 20
        sent = asked(lab, before)
        assert (sent["vms"], sent["vm"]) == (2, 1), "a list of states for each wave, and the VM that it calls not ready"
        assert sent["act"] + sent["command_put"] == 21


def test_a_run_on_one_vm_reads_that_vm(here: Here, machine: Machine) -> None:
    """It costs one read beside the command, and no list of the subscription."""
    with lab_up(machine, written(machine, "lab.yaml", MUTE)) as lab:
        for name, code in (("web01", 0), ("mute", 4)):
            before = lab.state()["requests"]
            assert here("exec", f"name == {name!r}".replace("'", '"'), lab.flag, "-y", "--", "hostname").code == code
            sent = asked(lab, before)
            assert (sent["vms"], sent["vm"], sent["command_put"]) == (0, 1, int(code == 0))


@pytest.mark.parametrize("kind", ["403", "429", "503", "malformed", "reset"])
def test_states_that_cannot_be_read_stop_nothing(here: Here, machine: Machine, kind: str) -> None:
    """Commands are sent as if nothing had been asked, and the log says once that the agents are not known."""
    with lab_up(machine, written(machine, "lab.yaml", MUTE.replace(", agent: not_ready", ""))) as lab:
        lab.fault({"request": "list", "kind": int(kind) if kind.isdigit() else kind, "after": 1})
        play = written(machine, "play.yaml", PLAY)
        done = here("run", play, lab.flag, "-y", "-o", "json", "-l", "web*", "--lease", "none")
        assert done.code == 0, done.err
        assert done.err.count("agents_unread") == 1


def test_an_agent_that_dies_after_acceptance_holds_no_wave(machine: Machine) -> None:
    """Its row is unknown once the time to start is over, the next wave opens, and its command is gone; VMs whose views lag
    behind that time are followed to a good end.
    """
    with lab_up(machine, written(machine, "lab.yaml", DYING)) as lab:
        play = written(machine, "play.yaml", PLAY)
        run = machine.start(
            *("run", play, lab.flag, "-y", "-o", "jsonl", "--transport", "managed"),
            env={"FLEET_RUN_START_TIMEOUT": "3s"},
        )
        assert run.stdout is not None
        dead, events = "", []
        for line in run.stdout:
            events.append(json.loads(line))
            if events[-1]["event"] == "submission_accepted" and not dead:
                dead = events[-1]["target"]
                lab.move(dead, agent="not_ready")
        assert run.wait(timeout=60) == 4
        run.communicate()
        rows = {event["target"]: event for event in events if event["event"] == "job_ended"}
        row = rows.pop(dead)
        assert (row["status"], row["cause"]["code"]) == ("unknown", "agent_not_ready")
        assert row["cause"]["message"].startswith(
            "accepted, its script had not started, and the VM's agent is not ready"
        )
        assert {other["status"] for other in rows.values()} == {"succeeded"}
        seen = {event["target"]: event["ready"] for event in events if event["event"] == "agent_seen"}
        assert seen.pop(dead) is False
        assert seen and all(seen.values())
        assert any(event["event"] == "command_removed" and event["target"] == dead for event in events)
        listed = machine.run("commands", "list", "all", lab.flag, "-o", "json")
        assert [left for left in json.loads(listed.out) if left["vm"] == row["name"]] == []
        lab.move(dead, agent="ready")
        assert {vm.casefold() for vm in lab.executions()} == {vm.casefold() for vm in rows}
