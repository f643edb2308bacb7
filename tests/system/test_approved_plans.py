"""Plans that somebody approved, and only those."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import pytest

from tests.system.cli import PLAYBOOKS, Here, LabUp

EVERYTHING = PLAYBOOKS / "everything.yaml"


@pytest.fixture
def plan(here: Here, lab: LabUp, tmp_path: Path) -> Path:
    file = tmp_path / "x.plan"
    assert here("plan", EVERYTHING, lab.flag, "--out", file, "-l", "web01", "-q").code == 0
    return file


def test_only_the_plan_that_was_approved_is_carried_out(here: Here, lab: LabUp, plan: Path, tmp_path: Path) -> None:
    """Without an approval, with a broken one or with that of another plan nothing is sent; with its own it runs."""
    before = lab.executions()
    refused = here("apply", plan, lab.flag, "-y", "--approved")
    assert refused.code == 6 and "[not_approved]" in refused.err and f"fleet approve {plan}" in refused.err
    beside = Path(f"{plan}.approval")
    for text in ("", "{}", '{"format": "fleet/approval/v1", "approval": {"plan": 1}}'):
        beside.write_text(text)
        assert "[not_approved]" in here("apply", plan, lab.flag, "-y", "--approved").err
    assert here("approve", plan, "--why", "reviewed").code == 0
    other = tmp_path / "other.plan"
    assert here("plan", EVERYTHING, lab.flag, "--out", other, "-l", "web02", "-q").code == 0
    refused = here("apply", other, lab.flag, "-y", f"--approved={beside}")
    assert refused.code == 6 and "[not_approved]" in refused.err
    assert lab.executions(before) == {}
    done = here("apply", plan, lab.flag, "-y", "--approved")
    assert done.code == 0 and "reviewed" in done.err
    assert len(lab.executions(before)) == 1


def test_an_approval_is_a_record(here: Here, plan: Path) -> None:
    """It says who, when, why and which digest, that it is no signature, and others may read it."""
    done = here("approve", plan, "--as", "Jo", "--why", "reviewed")
    assert "not a signature" in done.out
    beside = Path(f"{plan}.approval")
    assert beside.stat().st_mode & 0o400 and not beside.stat().st_mode & 0o133
    kept = json.loads(beside.read_text())["approval"]
    assert kept["plan"] == json.loads(plan.read_text())["digest"]
    assert kept["user"] == getpass.getuser() and kept["who"].startswith("Jo (") and kept["why"] == "reviewed"
    missing = here("approve", f"{plan}.plan")
    assert missing.code == 2 and "does not exist" in missing.err


def test_another_user_may_have_to_approve(here: Here, lab: LabUp, plan: Path) -> None:
    """With ``--by-other`` an approval of one's own is none."""
    here("approve", plan)
    own = here("apply", plan, lab.flag, "-y", "--by-other")
    assert own.code == 6 and "another user must" in own.err
    beside = Path(f"{plan}.approval")
    beside.write_text(beside.read_text().replace(f'"user": "{getpass.getuser()}"', '"user": "somebody-else"'))
    assert here("apply", plan, lab.flag, "-y", "--by-other", "-q").code == 0


def test_a_machine_may_require_approved_plans(
    here: Here, lab: LabUp, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then nothing else is carried out: no plan without approval, no playbook, no command."""
    monkeypatch.setenv("FLEET_RUN_REQUIRE_APPROVAL", "true")
    before = lab.executions()
    for words in (["apply", plan], ["run", EVERYTHING], ["exec", "web01"], ["rerun", "last"]):
        refused = here(*words, lab.flag, "-y", *(["--", "true"] if words[0] == "exec" else []))
        assert refused.code == 6 and "[not_approved]" in refused.err
    assert lab.executions(before) == {}
    here("approve", plan)
    assert here("apply", plan, lab.flag, "-y", "-q").code == 0
