"""The script that reads the state of a Windows machine: its facts, its findings, and what it cannot find out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.powershell.system import plays
from tests.powershell.windows import Ended, Windows

pytestmark = [pytest.mark.slow, plays("disks, services, the registry and WMI")]
Make = Callable[..., Windows]
WINDOWS = r"SOFTWARE\Microsoft\Windows\CurrentVersion"
CONTROL = r"SYSTEM\CurrentControlSet"
RECENT = [{"title": "u", "id": "1", "operation": 1, "result": 2, "date": "2100-01-01T00:00:00Z"}]
OLD = [{**RECENT[0], "date": "2020-01-01T00:00:00Z"}]
FAILED = [{**RECENT[0], "result": 4}]
SERVICES = {
    "Dhcp": {"status": "Running", "start": "Automatic"},
    "WinDefend": {"status": "Running", "start": "Automatic"},
    "Manual": {"status": "Stopped", "start": "Manual"},
}


def facts(done: Ended) -> dict[str, str]:
    """What was printed, without findings."""
    assert done.code == 0, done
    return dict(line.split(": ", 1) for line in done.lines if not line.startswith("finding: "))


def found(windows: Windows, **given: str) -> list[str]:
    """Run the script, and return its findings; their number must be right, and the last line."""
    done = windows.run("windows-health.ps1", **given)
    findings = done.named("finding")
    assert done.lines[-1] == f"findings: {len(findings)}", done
    return findings


def well(windows: Make, **world: Any) -> Windows:
    """A machine with nothing wrong, but for what is given."""
    return windows(**{"history": RECENT, "services": SERVICES, **world})


def test_a_machine_that_is_well_has_no_finding(windows: Make) -> None:
    """Every fact has a value."""
    done = well(windows).run("windows-health.ps1")
    said = facts(done)
    assert said["findings"] == "0", done
    assert said["disk_used_percent C:"] == said["system_used_percent"] == "24"
    assert (said["restart_pending"], said["restart_reasons"], said["stopped_services"]) == ("no", "none", "none")
    assert (said["defender"], said["time_source"]) == ("Normal", "VM IC Time Synchronization Provider")
    assert (said["memory_total_mib"], said["memory_available"]) == ("8192", "70% or more")
    assert "unknown" not in said.values()


def disk(free: int, **more: Any) -> dict[str, Any]:
    return {"size_mib": 1000, "free_mib": free, **more}


@pytest.mark.parametrize(
    ("world", "finding"),
    [
        ({"disks": {"C:": disk(50)}}, ["C: is 95 % full"]),
        ({"disks": {"C:": disk(500), "E:": disk(99)}}, ["E: is 91 % full"]),
        ({"disks": {"C:": disk(500), "D:": disk(0, kind="CDRom"), "Z:": disk(0, kind="Network")}}, []),
        ({"disks": {"C:": disk(500), "F:": disk(0, throws=True)}}, ["F: cannot be read"]),
        ({"disks": {"C:": disk(500), "F:": disk(0, ready=False)}}, ["F: cannot be read"]),
        ({"disks": {}}, ["how full the drives are cannot be found out"]),
        ({"registry": {rf"{WINDOWS}\Component Based Servicing\RebootPending": {}}}, ["a restart is pending: CBS"]),
        (
            {"registry": {rf"{WINDOWS}\WindowsUpdate\Auto Update\RebootRequired": {"x": 1}}},
            ["a restart is pending: WindowsUpdate"],
        ),
        ({"restart": {"wanted": True}}, ["a restart is pending: UpdateAgent"]),
        (
            {"system_info": {"throws": {"RebootRequired": "0x80070005"}}},
            ["whether a restart is pending cannot be found out: UpdateAgent"],
        ),
        ({"system_info": {"members": False}}, ["whether a restart is pending cannot be found out: UpdateAgent"]),
        (
            {"registry": {rf"{CONTROL}\Control\Session Manager": {"throws": True}}},
            ["whether a restart is pending cannot be found out: PendingFileRenameOperations"],
        ),
        ({"registry": {rf"{CONTROL}\Control\Session Manager": {"PendingFileRenameOperations": ["a", ""]}}}, []),
        (
            {"services": SERVICES | {"web": {"status": "Stopped", "start": "Automatic"}}},
            ["services that start with Windows do not run: web"],
        ),
        ({"services": SERVICES | {"web": {"status": "StartPending", "start": "Automatic"}}}, []),
        (
            {
                "services": SERVICES | {"late": {"status": "Stopped", "start": "Automatic"}},
                "registry": {rf"{CONTROL}\Services\late": {"DelayedAutostart": 1}},
            },
            [],
        ),
        (
            {
                "services": SERVICES | {"by event": {"status": "Stopped", "start": "Automatic"}},
                "registry": {rf"{CONTROL}\Services\by event\TriggerInfo\0": {"Type": 1}},
            },
            [],
        ),
        ({"services": SERVICES | {"odd": {"status": "Stopped", "throws": "access"}}}, ["services cannot be read: 1"]),
        ({"service_manager": {"throws": {"Get-Service": "0x80070005"}}}, ["which services", "what Defender does"]),
        ({"history": OLD}, ["the last update was installed"]),
        ({"history": FAILED, "hotfixes": []}, ["no update was ever installed"]),
        ({"history": [], "hotfixes": [{"id": "KB1", "on": "2020-02-03"}]}, ["the last update was installed"]),
        ({"history": [], "hotfixes": [{"id": "KB1", "on": "2099-02-03"}]}, []),
        (
            {"session": {"throws": {"QueryHistory": "0x80070005"}}},
            ["when the last update was installed cannot be found out"],
        ),
        ({"time": {"source": "Local CMOS Clock"}}, ["the clock has no source of time"]),
        ({"time": {"source": "time.windows.com,0x8"}}, []),
        (
            {"time": {"result": "0x80070426", "message": "The service has not been started."}},
            ["where the time comes from cannot be found out: 0x80070426"],
        ),
        (
            {"defender": {"mode": "Normal", "enabled": True, "real_time": False, "signature_days": 0}},
            ["Defender does not protect"],
        ),
        (
            {"defender": {"mode": "Normal", "enabled": True, "real_time": True, "signature_days": 30}},
            ["Defender's signatures are 30"],
        ),
        ({"defender": {"mode": "Passive Mode", "enabled": False, "real_time": False, "signature_days": 30}}, []),
        ({"defender": None}, ["what Defender does cannot be found out"]),
        ({"defender": None, "services": {"Dhcp": SERVICES["Dhcp"]}}, []),
    ],
)
def test_what_a_machine_is_at_fault_for(world: dict[str, Any], finding: list[str], windows: Make) -> None:
    """And what never is: a drive that is not fixed, a service that starts late or by an event, files to be renamed."""
    findings = found(well(windows, **world))
    assert len(findings) == len(finding), findings
    assert all(is_.startswith(wanted) for is_, wanted in zip(findings, finding, strict=True)), findings


@pytest.mark.parametrize("cim", ["broken", "hangs"])
def test_wmi_that_fails_hides_nothing_that_does_not_need_it(cim: str, windows: Make) -> None:
    """Its two questions end within their limits and are findings; all other facts are there."""
    done = well(windows, cim=cim).run("windows-health.ps1")
    said = facts(done)
    assert [line.split(" cannot")[0] for line in done.named("finding")] == ["what Defender does", "memory and uptime"]
    assert (said["defender"], said["memory_available"]) == ("unknown", "unknown")
    assert (said["system_used_percent"], said["restart_pending"], said["stopped_services"]) == ("24", "no", "none")
    assert (said["time_source"], said["last_update_days"][0]) == ("VM IC Time Synchronization Provider", "-")


def test_every_reason_for_a_restart_is_named(windows: Make) -> None:
    """Those of updates decide; the others are only said."""
    registry = {
        rf"{WINDOWS}\Component Based Servicing\RebootPending": {},
        rf"{WINDOWS}\Component Based Servicing\RebootInProgress": {},
        rf"{WINDOWS}\Component Based Servicing\PackagesPending": {},
        rf"{WINDOWS}\WindowsUpdate\Auto Update\RebootRequired": {},
        rf"{WINDOWS}\WindowsUpdate\Auto Update\PostRebootReporting": {},
        rf"{CONTROL}\Control\Session Manager": {"PendingFileRenameOperations2": ["a"]},
        rf"{CONTROL}\Control\ComputerName\ActiveComputerName": {"ComputerName": "old"},
        rf"{CONTROL}\Control\ComputerName\ComputerName": {"ComputerName": "new"},
        rf"{CONTROL}\Services\Netlogon": {"JoinDomain": "x"},
        r"SOFTWARE\Microsoft\Updates": {"UpdateExeVolatile": 2},
        r"SOFTWARE\Microsoft\ServerManager\CurrentRebootAttempts": {},
    }
    machine = well(windows, registry=registry)
    said = facts(machine.run("windows-health.ps1", RESTART_FAILS="false"))
    assert said["restart_reasons"] == (
        "CBS,WindowsUpdate,CBSInProgress,CBSPackages,PostRebootReporting,PendingFileRenameOperations,"
        "ComputerName,DomainJoin,UpdateExeVolatile,ServerManager"
    )
    assert (said["restart_pending"], said["findings"]) == ("yes", "0")


def test_its_limits_are_given(windows: Make) -> None:
    """What may be used, how old an update may be, which services need not run; a limit that is no number is refused."""
    services = SERVICES | {"edgeupdate": {"status": "Stopped", "start": "Automatic"}}
    machine = well(windows, disks={"C:": disk(50)}, history=OLD, services=services)
    assert len(found(machine)) == 3
    assert found(machine, MAX_USED="95", MAX_UPDATE_DAYS="0", IGNORE_SERVICES="Edge*, x y") == []
    assert machine.run("windows-health.ps1", MAX_USED="most").code == 64
