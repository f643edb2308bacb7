"""Where the tests of this folder get their PowerShell from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.lab.guests.windows.powershell import VARIABLE, find
from tests.powershell.windows import PowerShell, Windows, fresh_instant

NEEDED = "FLEET_NEEDS_POWERSHELL"
"""Set to 1 where a PowerShell must be there: then its absence is a failure and no skip."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder."""
    here = str(Path(__file__).parent)
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.powershell)


@pytest.fixture(scope="session")
def pwsh() -> str:
    """The program. Skips where there is none, fails where there must be one."""
    found = find(os.environ)
    if found is None and os.environ.get(NEEDED) == "1":
        pytest.fail(f"{NEEDED}=1, and neither {VARIABLE} nor the PATH leads to a pwsh")
    if found is None:
        pytest.skip(f"no PowerShell: set {VARIABLE}, or put pwsh on the PATH")
    return found


@pytest.fixture(scope="session")
def powershell(pwsh: str) -> Iterator[PowerShell]:
    """One PowerShell that all tests share; each script gets a runspace of its own."""
    shell = PowerShell(pwsh)
    yield shell
    shell.close()


@pytest.fixture
def windows(powershell: PowerShell, tmp_path: Path) -> Callable[..., Windows]:
    """Make a played Windows: what differs from a fresh one is given by name."""

    def make(*updates: dict[str, Any], **given: Any) -> Windows:
        return Windows(powershell, tmp_path / "windows", fresh_instant(updates=list(updates), **given))

    return make
