"""What differs between VMs of a run, and between runs."""

from __future__ import annotations

import json

import pytest

from tests.system.cli import LABS, PLAYBOOKS, Here, LabUp

pytestmark = pytest.mark.slow


def test_between_the_vms_of_a_run(here: Here) -> None:
    """Five hundred VMs on three kernels: two groups differ from the majority, and the exit code says so."""
    assert here("exec", "all", f"--lab={LABS / 'kernels.yaml'}", "-y", "-q", "--", "uname", "-r").code == 0
    done = here("diff", "last")
    assert done.code == 10
    assert done.out.count("of 500)") == 2
    assert "-6.8.0-1003" in done.out and "+5.15.0-1001" in done.out
    told = json.loads(here("diff", "last", "-o", "json").out)
    assert sum(item["count"] for item in told) < 250


def test_names_are_left_out_of_account(kept: Here, lab: LabUp) -> None:
    """VMs that only print their own names do not differ; byte for byte they do."""
    rerun = kept("rerun", "last:succeeded", lab.flag, "-y", "-q")
    assert rerun.code == 0
    assert kept("diff", "last").code == 0
    assert kept("diff", "last", "--exact").code == 10


def test_between_two_runs(kept: Here, lab: LabUp) -> None:
    """A run compared with an earlier one tells what is new, fixed and changed; with itself, nothing."""
    first = json.loads(kept("runs", "-o", "json").out)[0]["id"]
    assert kept("diff", first, first).code == 0
    kept("run", PLAYBOOKS / "fails.yaml", lab.flag, "-y", "-q")
    done = kept("diff", first, "last")
    assert done.code == 10
    assert kept("diff", first, "nothing").code == 2
