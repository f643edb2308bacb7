"""A run that is killed, again and again, and resumed: nothing twice, nothing missing."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.system.cli import PLAYBOOKS, Machine, counted, kill, read_until
from tests.system.conftest import Labs

pytestmark = pytest.mark.slow

MOMENTS = (("submission_intended", 1), ("submission_accepted", 25), ("result_received", 6))
"""The run is killed when its stream has told so many of these: at the start, while sending, while reading."""


@pytest.mark.parametrize("transport", ["managed", "action"])
def test_killed_at_several_moments(machine: Machine, labs: Labs, transport: str) -> None:
    """However often a run is killed, resuming it ends with one row per VM, and no script ran twice by the lab's count."""
    lab = labs("forty")
    before = lab.executions()
    command: tuple[object, ...] = ("run", PLAYBOOKS / "hello.yaml", "-y", "--transport", transport, "-f", 20)
    for name, times in MOMENTS:
        process = machine.start(*command, lab.flag, "-o", "jsonl")
        seen = read_until(process, lambda events, name=name, times=times: counted(events, name) >= times)
        assert counted(seen, name) >= times, "the run ended before it could be killed"
        kill(process)
        command = ("resume", "last")
    done = machine.run("resume", "last", lab.flag, "-o", "json")
    assert done.code == 0, done.err
    rows = Counter(row["target"].casefold() for row in done.report["jobs"])
    assert len(rows) == 40
    assert {vm.casefold(): count for vm, count in lab.executions(before).items()} == rows
    assert {(row["status"], row["verified"]) for row in done.report["jobs"]} == {("succeeded", True)}
    assert len(list(machine.state.joinpath("runs").iterdir())) == 1
