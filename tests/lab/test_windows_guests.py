"""Windows guests of the lab where no PowerShell is, and what they have when they begin."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.lab.arm.server import serve
from fleet.lab.guests import sandbox
from fleet.lab.guests.windows.kept import went_off
from fleet.lab.guests.windows.powershell import VARIABLE
from fleet.lab.guests.windows.stock import after_boot, initial
from fleet.lab.world.build import build
from fleet.lab.world.machine_spec import GuestKind
from fleet.lab.world.world import Machine
from tests.lab.desk import spec

KINDS = ["security", "critical", "rollups", "updates", "definitions", "drivers", "previews", "upgrades", "tools"]
OFFERED = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(KINDS),
        "restart": st.sampled_from(["no", "after", "before_others"]),
        "chance": st.sampled_from([0.0, 0.5, 1.0]),
        "undone": st.booleans(),
        "comes_again": st.booleans(),
    }
)
UPDATES = st.fixed_dictionaries(
    {
        "offered": st.dictionaries(st.sampled_from([f"KB500000{n}" for n in range(9)]), OFFERED),
        "pending_restart": st.sampled_from(["no", "wanted", "before_others", "stays"]),
    }
)


def machines(**more: Any) -> list[Machine]:
    """Twenty Windows machines of one class."""
    vms = {"name": "vm{n:02}", "count": 20, "os": "windows", "guest": "sandbox", **more}
    return list(build(spec(vms)).machines())


@pytest.mark.sandbox
@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("program", "said"),
    [("/nowhere/pwsh", "FLEET_PWSH names none"), ("/bin/false", "/bin/false does not start in a sandbox")],
)
async def test_without_a_powershell_they_are_scripted(monkeypatch: pytest.MonkeyPatch, program: str, said: str) -> None:
    """One line says why, Windows guests answer by rules, and Linux guests still run scripts."""
    monkeypatch.setenv(VARIABLE, program)
    windows = {"name": "win1", "os": "windows", "guest": "sandbox"}
    async with serve(spec(windows, {"name": "web1", "guest": "sandbox"})) as lab:
        (note,) = lab.notes
        kinds = {machine.name: machine.guest for machine in lab._plane.world.machines()}
    assert note.startswith("Windows guests are scripted, none of their scripts really runs") and said in note
    assert kinds == {"win1": GuestKind.SCRIPTED, "web1": GuestKind.SANDBOX}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell of POSIX")
def test_a_powershell_that_hangs_is_given_up(tmp_path: Path) -> None:
    """A program that never answers is given up after the limit, which the reason names."""
    program = tmp_path / "pwsh"
    program.write_text("#!/bin/sh\nexec sleep 1000\n", encoding="ascii")
    program.chmod(0o755)
    said, found = sandbox.powershell(str(program), limit=0.5)
    assert (said, found) == (f"{program} does not start in a sandbox (no answer within 0.5 seconds)", None)


def test_chance_is_drawn_from_the_machine() -> None:
    """Equal seeds give equal machines; an update by chance waits on some of them, one without on all."""
    offered = {"KB5000001": {"chance": 0.5, "takes": [10, 20]}, "KB5000002": {}}
    states = [initial(machine, 10.0, 0.0, 0.0) for machine in machines(updates={"offered": offered})]
    again = [initial(machine, 10.0, 0.0, 0.0) for machine in machines(updates={"offered": offered})]
    waits = [{update["kb"][0] for update in state["updates"]} for state in states]
    assert states == again
    assert all("5000002" in found for found in waits)
    assert 0 < sum("5000001" in found for found in waits) < 20
    seconds = {
        update["install_seconds"] for state in states for update in state["updates"] if update["kb"] == ["5000001"]
    }
    assert len(seconds) > 1 and all(1 <= each <= 2 for each in seconds)


def test_a_class_says_what_its_machines_have() -> None:
    """Disks, services, hot fixes and what goes wrong arrive in the state; C: is there without being named."""
    updates = {"offered": {"KB5000001": {"fails": "0x80070643"}}, "hotfixes": ["KB4000000"], "mirror": "gone"}
    more = {
        "disks": {"E:": {"size_gib": 10, "used": "90%"}},
        "services": {"W3SVC": {"status": "Stopped", "needs": ["WAS"]}},
    }
    state = initial(machines(updates=updates, **more)[0], 1.0, 1_767_225_600.0, 1_767_225_700.0)
    assert state["disks"]["E:"] == {"size_mib": 10240, "free_mib": 1024} and "C:" in state["disks"]
    assert (state["services"]["W3SVC"]["status"], state["services"]["W3SVC"]["needs"]) == ("Stopped", ["WAS"])
    assert [fix["id"] for fix in state["hotfixes"]] == ["KB4000000"]
    assert state["updates"][0]["install"] == {"result": "0x80070643"} and state["search"]["throws"].startswith("0x8024")
    assert state["system"]["booted"] == "2026-01-01T00:00:00Z"


def test_a_class_says_what_stands_in_the_way() -> None:
    """Searches that fail, something else that installs, CIM that is broken, an update that powers the machine off."""
    updates = {
        "offered": {"KB5000001": {"powers_off": True}},
        "search_fails": "0x80248007",
        "mirror": "gone",
        "locked": 90,
    }
    state = initial(machines(updates=updates, cim="broken")[0], 1.0, 0.0, 1000.0)
    assert state["search"] == {"throws": "0x80248007"} and state["installer"] == {"until": 1090.0}
    assert state["cim"] == "broken" and state["updates"][0]["powers_off"] is True
    free = initial(machines()[0], 1.0, 0.0, 1000.0)
    assert (free["search"], free["installer"], free["cim"]) == ({}, {}, "")


def test_a_guest_that_powers_off_says_so_once(tmp_path: Path) -> None:
    """Its word is taken, and is not followed where the guest put a link in its place."""
    outside = tmp_path / "outside"
    outside.write_text("kept")
    folder = tmp_path / "state"
    folder.mkdir()
    assert not went_off(folder)
    (folder / "off").symlink_to(outside)
    assert went_off(folder) and not went_off(folder) and outside.read_text() == "kept"


@given(updates=UPDATES, installed=st.sets(st.integers(0, 8)), boots=st.integers(1, 3))
def test_boots_settle_what_waits_for_them(updates: dict[str, Any], installed: set[int], boots: int) -> None:
    """Each boot is counted, and nothing is pending after it: what was is installed, or undone. A wish for a restart is
    gone unless it stays; the registry says the same.
    """
    state = initial(machines(updates=updates)[0], 1.0, 0.0, 0.0)
    count = next(values["BootId"] for values in state["registry"].values() if "BootId" in values)
    for at, update in enumerate(state["updates"]):
        update["pending"] = at in installed
    pending = {update["id"] for update in state["updates"] if update["pending"]}
    for turn in range(boots):
        state = after_boot(state, 60.0 * turn)
    assert next(values["BootId"] for values in state["registry"].values() if "BootId" in values) == count + boots
    assert not any(update.get("pending") for update in state["updates"])
    kept = {update["id"] for update in state["updates"] if update.get("installed")}
    assert kept == {update["id"] for update in state["updates"] if update["id"] in pending and not update.get("undone")}
    stays = updates["pending_restart"] == "stays"
    assert state["restart"]["wanted"] is stays
    assert any(key.endswith("RebootPending") for key in state["registry"]) is stays
