"""Shipped scripts on a Windows of which only the Windows Update Agent is played."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.powershell.system import ON_WINDOWS
from tests.powershell.windows import Windows

Make = Callable[..., Windows]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ON_WINDOWS, reason="reads the disks, services and WMI of a real Windows"),
]


def test_the_health_script_reads_this_machine(windows: Make) -> None:
    """It ends with 0 and the number of its findings, and knows how full the system's disk is."""
    done = windows().run("windows-health.ps1")
    assert done.code == 0 and done.lines[-1] == f"findings: {len(done.named('finding'))}", done
    assert done.named("system_used_percent")[0].isdigit(), done


def test_the_health_of_a_service_is_read(windows: Make) -> None:
    """A service that always runs is no fault, and one that is not there is."""
    machine = windows()
    done = machine.run("after-patch.ps1", SERVICES="EventLog")
    if done.code == 83:
        pytest.skip("this Windows is still finishing updates of its own")
    assert done.state == (0, "healthy"), done
    assert machine.run("after-patch.ps1", SERVICES="NoSuchService").state == (89, "unhealthy")
