"""Where the tests of this folder get their PowerShell from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fleet.lab.windows.powershell import VARIABLE, find

NEEDED = "FLEET_NEEDS_POWERSHELL"
"""Set to 1 where a PowerShell must be there: then its absence is a failure and no skip."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder."""
    here = Path(__file__).parent
    for item in items:
        if here in Path(item.path).parents:
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
