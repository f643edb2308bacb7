"""Gates on what was found, at the command line: facts and health of a wave's VMs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.cli import Here, LabUp, Machine, counted, kill, lab_up, read_until

pytestmark = pytest.mark.slow

LAB = """
apiVersion: fleet/v1
kind: Lab
speed: 100
rules:
  - {when: "echo look", stdout: "up\\n", duration: [2, 2]}
  - {stdout: "who={name} broken=0\\n", duration: [2, 2]}
subscriptions:
  - {name: one, groups: [{name: rg, vms: [{name: "web{n:02}", count: 6, guest: scripted}]}]}
"""

PLAY = """
apiVersion: fleet/v1
kind: Playbook
metadata: {name: found, version: 1.0.0}
rollout:
  waves: [2]
  slow_start: false
  soak: SOAK
  gates:
    - {after_wave: each, health: look}
    - {after_wave: 1, facts: 'facts.broken == "0" and facts.who != "NOT"', min_share: 95%}
steps:
  - {id: work, run: {inline: echo work}, collect: {broken: {key: broken}, who: {key: who}}}
  - {id: look, turn: gate, run: {inline: echo look}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lab.yaml").write_text(LAB)
    return tmp_path


@pytest.fixture
def up(machine: Machine, folder: Path) -> Iterator[LabUp]:
    with lab_up(machine, folder / "lab.yaml") as lab:
        yield lab


def play(folder: Path, *, soak: str = "0s", bad: str = "nobody") -> Path:
    file = folder / "play.yaml"
    file.write_text(PLAY.replace("SOAK", soak).replace("NOT", bad))
    return file


def test_facts_stop_a_run_at_the_command_line(here: Here, folder: Path) -> None:
    """Exit code 5, and report and summary name the gate, the share reached, and the VM; then everything at its gate."""
    lab = f"--lab={folder / 'lab.yaml'}"
    stopped = here("run", play(folder, bad="web02"), lab, "-y", "-o", "json")
    assert stopped.code == 5
    why = stopped.report["stopped"]
    assert why["cause"] == "gate_facts"
    assert why["message"].endswith("on 1 of 2 targets (50%), 95% needed; not on web02")
    gates = [(row["kind"], row["wave"], row["state"], row["met"], row["missed"]) for row in stopped.report["gates"]]
    assert gates == [
        ("health", 1, "passed", 2, []),
        ("facts", 1, "refused", 1, ["web02"]),
        ("health", 2, "open", None, []),
    ]
    counts = stopped.report["counts"]
    assert (counts["total"], counts["succeeded"], counts["not_started"]) == (12, 4, 8)
    shown = here("show", "last", "-o", "table")
    assert "Exit code 5" in shown.out and "not on web02" in " ".join(shown.out.split())

    rest = here("rerun", "last:not_started", lab, "-y", "-o", "json")
    assert rest.code == 0, "the gate after the second wave goes with it, the one after the first has nothing to look at"
    assert [(row["kind"], row["wave"], row["met"]) for row in rest.report["gates"]] == [("health", 1, 4)]

    done = here("run", play(folder), lab, "-y", "-o", "jsonl")
    assert done.code == 0
    judged = [
        (line["wave"], line["go"], line["met"], line["of"]) for line in done.lines if line["event"] == "gate_judged"
    ]
    assert judged == [(1, True, 2, 2), (1, True, 2, 2), (2, True, 4, 4)]
    assert counted(done.lines, "job_ended") == 12


def test_the_plan_tells_the_gates_in_absolute_numbers(here: Here, folder: Path) -> None:
    """As text and for a pull request: which wave, what is looked at, how many must be well; and slips are explained."""
    lab = f"--lab={folder / 'lab.yaml'}"
    told = " ".join(here("plan", play(folder), lab).out.split())
    assert "after wave 1 (2) look runs, and is not ok on at most 0 of 2 gate" in told
    assert 'after wave 1 (2) facts.broken == "0" and facts.who != "nobody" on at least 2 of 2 targets gate' in told
    assert "after wave 2 (100%) look runs, and is not ok on at most 0 of 4" in told
    assert "condition look: when a gate asks for it" in told
    assert "look runs, and is not ok on at most 0 of 2" in here("plan", play(folder), lab, "-o", "md").out
    slip = folder / "slip.yaml"
    slip.write_text(play(folder).read_text().replace("health: look", "health: lok"))
    refused = here("plan", slip, lab)
    assert refused.code == 2 and "did you mean 'look'?" in refused.err and "slip.yaml:10" in refused.err


def test_a_run_killed_before_its_health_step_goes_on_with_it(machine: Machine, up: LabUp, folder: Path) -> None:
    """Killed between a wave's end and its health step, and again while that runs: nothing runs twice, no row is missing."""
    before = up.executions()
    process = machine.start("run", play(folder, soak="2s"), up.flag, "-y", "-o", "jsonl")
    read_until(process, lambda events: counted(events, "result_received") == 2)
    kill(process)
    process = machine.start("resume", "last", up.flag, "-o", "jsonl")
    events = read_until(process, lambda events: counted(events, "health_begun") == 1)
    assert counted(events, "health_begun") == 1 and counted(events, "wave_opened") == 0
    kill(process)
    done = machine.run("resume", "last", up.flag, "-o", "jsonl")
    assert done.code == 0, done.err
    assert counted(done.lines, "health_begun") == 1, "only that of the second wave"
    report = machine.run("show", "last", "-o", "json").report
    assert len(report["jobs"]) == 12 and report["counts"]["succeeded"] == 12
    assert set(up.executions(before).values()) == {2}, "each VM: one work, one look"
