"""Two processes that want the same VMs."""

from __future__ import annotations

from tests.system.cli import PLAYBOOKS, Machine, counted, kill, read_until
from tests.system.conftest import Labs


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
    first = sorted(folder.name for folder in machine.state.joinpath("runs").iterdir())[0]
    assert machine.run("resume", first, lab.flag, "-o", "json").code == 0
    assert machine.run(*hello).code == 0
