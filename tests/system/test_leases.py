"""Two processes that want the same VMs."""

from __future__ import annotations

import re

import pytest

from tests.system.cli import PLAYBOOKS, Machine, counted, ended, kill, read_until
from tests.system.conftest import Labs

pytestmark = pytest.mark.slow


def test_a_held_vm_is_refused_then_free(machine: Machine, labs: Labs) -> None:
    """While a run is at work, also when it was killed, others are refused its VMs by name; once it is resumed they run."""
    lab = labs("small")
    slow = machine.start("run", PLAYBOOKS / "slow.yaml", lab.flag, "-y", "-o", "jsonl", "-l", "web*")
    read_until(slow, lambda events: counted(events, "submission_accepted") >= 8)
    kill(slow)
    hello = ("run", PLAYBOOKS / "hello.yaml", lab.flag, "-y", "-o", "json", "--lease", "refuse")
    refused = machine.run(*hello)
    assert refused.code == 4, refused.err
    rows = {(row["name"][:3], row["status"], row["cause"]["code"]) for row in refused.report["jobs"]}
    assert rows == {("web", "unreachable", "leased_by_other_run"), ("dev", "succeeded", "completed")}
    assert machine.run(*hello[:-1], "none").code == 0, "who does not heed leases goes ahead"
    first = machine.run("runs", "-o", "json").report[-1]["id"]  # newest first
    assert machine.run("resume", first, lab.flag, "-o", "json").code == 0
    assert machine.run(*hello).code == 0


def test_waiting_for_another_run_is_said_everywhere(machine: Machine, labs: Labs) -> None:
    """Plain progress, the stream of events and `fleet show` name the run that is waited for, and the time."""
    lab = labs("small")
    first = machine.start(
        "run", PLAYBOOKS / "endless.yaml", lab.flag, "-y", "-o", "jsonl", "-l", "dev01", "-l", "dev02"
    )
    read_until(first, lambda events: counted(events, "submission_accepted") == 2)
    kill(first)  # its leases stay until it is resumed
    holder = machine.run("runs", "-o", "json").report[0]["id"]
    second = machine.start("run", PLAYBOOKS / "hello.yaml", lab.flag, "-y", "-o", "jsonl", "-l", "dev*")
    seen = read_until(second, lambda events: counted(events, "submission_refused") == 4)
    refused = [line for line in seen if line["event"] == "submission_refused"]
    assert {line["holder"] for line in refused} == {holder}
    assert all(line["until"] > line["at"] for line in refused)
    shown = machine.run("show", "last", "-o", "json")
    line = rf"dev\[01-02\]: wait for run {holder} until \d\d:\d\d UTC"
    assert re.search(line, shown.err)
    rows = {row["name"]: row for row in shown.report["jobs"]}
    assert rows["dev01"]["cause"]["code"] == "leased_by_other_run" and holder in rows["dev01"]["cause"]["message"]
    assert machine.run("resume", holder, lab.flag, "-q").code == 0
    done = ended(second)
    assert (done.code, len(re.findall(line, done.err))) == (0, 1), done.err
