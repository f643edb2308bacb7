"""The scripts that look at services: health after updates, and a restart that must hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.powershell.system import plays
from tests.powershell.windows import Windows

pytestmark = [pytest.mark.slow, plays("services and the registry")]
Make = Callable[..., Windows]
CBS = r"SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing"


def running(**more: Any) -> dict[str, Any]:
    return {"status": "Running", "start": "Automatic", "process": 100, **more}


def busy(value: object) -> dict[str, Any]:
    return {"registry": {rf"{CBS}\Interface": {"ServicingInProgress": value}}}


@pytest.mark.parametrize(
    ("services", "asked", "world", "code", "state", "bad"),
    [
        ({}, "", {}, 0, "healthy", "-"),
        ({"Spooler": running()}, "Spooler", {}, 0, "healthy", "-"),
        ({"Zabbix Agent": running(), "W32Time": running()}, "Zabbix Agent, W32Time", {}, 0, "healthy", "-"),
        ({"Spooler": running(status="Stopped")}, "Spooler", {}, 89, "unhealthy", "Spooler"),
        ({"Spooler": running(status="StartPending")}, "Spooler", {}, 89, "unhealthy", "Spooler"),
        ({"Spooler": running()}, "Spooler,Missing One", {}, 89, "unhealthy", "Missing_One"),
        ({"Spooler": running(throws="access")}, "Spooler", {}, 89, "unhealthy", "Spooler"),
        ({"Spooler": running(), "Spooler2": running()}, "Spool*", {}, 89, "unhealthy", "Spool_"),
        (
            {"Spooler": running()},
            "Spooler",
            {"service_manager": {"throws": {"Get-Service": "0x80070005"}}},
            89,
            "unhealthy",
            "Spooler",
        ),
        ({}, "", busy(2), 83, "starting", "-"),
        ({}, "", busy(1), 0, "healthy", "-"),
        ({}, "", busy(0), 0, "healthy", "-"),
        ({}, "", busy("odd"), 89, "unhealthy", "servicing_unknown"),
        ({}, "", {"registry": {rf"{CBS}\Interface": {"throws": True}}}, 89, "unhealthy", "servicing_unknown"),
        ({}, "", {"registry": {rf"{CBS}\Interface": {"Other": 1}}}, 0, "healthy", "-"),
        ({}, "", {"registry": {CBS: {"Other": 1}}}, 0, "healthy", "-"),
    ],
)
def test_a_vm_is_well_only_if_every_answer_says_so(
    services: dict[str, Any], asked: str, world: dict[str, Any], code: int, state: str, bad: str, windows: Make
) -> None:
    """A service that is missing, stopped or may not be asked for, and servicing that cannot be read, are no good answers."""
    done = windows(services=services, **world).run("after-patch.ps1", SERVICES=asked)
    assert (done.code, done.words["state"], done.words["bad"]) == (code, state, bad), done
    assert bool(done.stderr) == (code == 89)


def test_servicing_is_waited_for(windows: Make) -> None:
    """For as long as WAIT says, and then it is 83; a WAIT that is no number is refused."""
    machine = windows(**busy(2))
    assert machine.run("after-patch.ps1", WAIT="600").state == (83, "starting")
    assert machine.run("after-patch.ps1", WAIT="ten").state == (84, "refused")


@pytest.mark.parametrize(
    ("services", "asked", "code", "says"),
    [
        ({"web": running()}, "web", 0, "web: running"),
        ({"Web Server": running()}, "web server", 0, "Web Server: running"),
        ({"web": running(status="Stopped")}, "web", 0, "web: running"),
        ({"web": running(stop_looks=3, start_looks=4)}, "web", 0, "web: running"),
        ({"web": running(stop_looks=100)}, "web", 1, "not stopped within 20 seconds"),
        ({"web": running(start_looks=100)}, "web", 1, "not running within 20 seconds"),
        ({"web": running(start_fails=1069)}, "web", 1, "web: not started"),
        ({"web": running(stop_fails=5)}, "web", 1, "web: not stopped"),
        ({"web": running(start="Disabled")}, "web", 1, "disabled"),
        ({"web": running(crashes_after=4)}, "web", 1, "running, and then not any more"),
        ({"web": running(crashes_after=4, comes_back=True)}, "web", 1, "it restarts again and again"),
        ({"web": running()}, "db", 66, "there is no service db"),
        ({"web": running(), "web2": running()}, "web*", 66, "there is no service web*"),
        ({"web": running(throws="access")}, "web", 77, "Access is denied"),
        ({"web": running()}, "", 64, "set SERVICE"),
    ],
)
def test_a_service_must_stay_up(services: dict[str, Any], asked: str, code: int, says: str, windows: Make) -> None:
    """One look is not enough: what stops, or runs in another process, within the seconds after it came up has failed."""
    done = windows(services=services).run("restart-service.ps1", SERVICE=asked, WAIT="20", STABLE="5")
    assert (done.code, says in done.stdout + done.stderr) == (code, True), done


def test_services_that_depend_on_it_are_restarted_with_it(windows: Make) -> None:
    """The farthest is stopped first and started last; one that did not run stays as it was."""
    services = {
        "base": running(),
        "middle": running(needs=["base"]),
        "top": running(needs=["middle"]),
        "idle": running(needs=["base"], status="Stopped"),
    }
    machine = windows(services=services)
    done = machine.run("restart-service.ps1", SERVICE="base", WAIT="20", STABLE="2")
    assert done.code == 0, done
    changes = [call for call in machine.calls if call.split()[0] in ("stop", "start")]
    assert changes == ["stop top", "stop middle", "stop base", "start base", "start middle", "start top"]
    assert machine.state["services"]["idle"]["status"] == "Stopped"


def test_a_dependent_that_does_not_come_back_is_a_failure(windows: Make) -> None:
    """The service itself runs again, and what needs it does not."""
    services = {"base": running(), "top": running(needs=["base"], start_fails=1053)}
    done = windows(services=services).run("restart-service.ps1", SERVICE="base", WAIT="20", STABLE="2")
    assert (done.code, "top: not started" in done.stderr) == (1, True), done
