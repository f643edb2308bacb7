"""What a run of VMs that fail for different reasons says of each of them."""

from __future__ import annotations

import pytest

from tests.system.cli import Here, LabUp

REFUSED, GONE = "must also be allowed to read operations", "Azure no longer has its operation"


def test_two_reasons_under_one_code_are_two_groups(here: Here, lab: LabUp, monkeypatch: pytest.MonkeyPatch) -> None:
    """One VM's operation may not be read, another's is gone: each is shown with its own reason and its own hint."""
    lab.fault(
        {"request": "poll", "kind": 403, "machines": "web01"},
        *({"request": "submit", "kind": "operation_vanishes", "machines": name} for name in ("web02", "web03")),
    )
    monkeypatch.setenv("FLEET_RUN_RECEIPTS", "false")
    words = ("exec", 'name in ["web01", "web02", "web03"]', lab.flag, "--transport", "action", "-y", "-q")
    done = here(*words, "-o", "json", "--", "true")
    assert done.code == 4
    groups = {group["names"]: group["cause"] for group in done.report["groups"]}
    assert sorted(groups) == ["web01", "web[02-03]"]
    assert {cause["code"] for cause in groups.values()} == {"operation_gone"}
    assert REFUSED in groups["web01"]["hint"] and GONE in groups["web[02-03]"]["hint"]
    for form in ("table", "md"):
        shown = here("show", "last", "-q", "-o", form).out
        assert REFUSED in shown and GONE in shown
        assert "AuthorizationFailed" in shown and "NotFound" in shown
