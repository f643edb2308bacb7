"""A wave of VMs that restart for good in the lab, while the controller is killed between asking and seeing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.system.cli import PLAYBOOKS, Machine, kill, read_until
from tests.system.conftest import Labs

pytestmark = pytest.mark.slow


def asked(events: list[Any], name: str) -> int:
    """How many events of this name are about asking for a restart."""
    return sum(event["event"] == name and event["step"] == "patch-reboot" for event in events)


@pytest.mark.sandbox
def test_every_vm_restarts_once_although_the_controller_is_killed(machine: Machine, labs: Labs) -> None:
    """Killed as the first request leaves, and again once two VMs have said that they will restart: by the lab's own count
    each of six guests restarted once, each report names a new boot, and what lay in memory is gone.
    """
    lab = labs("restarts")
    command: tuple[object, ...] = ("run", PLAYBOOKS / "restart.yaml", "-y")
    for name, times in (("submission_intended", 1), ("result_received", 2)):
        process = machine.start(*command, lab.flag, "-o", "jsonl")
        seen = read_until(process, lambda events, name=name, times=times: asked(events, name) >= times)
        assert asked(seen, name) >= times, "the run ended before it could be killed"
        kill(process)
        command = ("resume", "last")
    done = machine.run("resume", "last", lab.flag, "-o", "json")
    assert done.code == 0, done.err
    rows = {(row["name"], row["step"]): row for row in done.report["jobs"]}
    names = {name for name, _ in rows}
    assert {row["status"] for row in rows.values()} == {"succeeded"}
    assert sorted(lab.state()["boots"].values()) == [1] * 6
    assert len(names) == 6
    for name in names:
        before, back = rows[name, "patch"]["facts"]["before"], rows[name, "patch-back"]["facts"]
        assert back["boot_id"] not in ("", before)
        assert int(back["uptime_s"]) < 60
