"""Where PowerShell is found, and the environment that it is started in."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

VARIABLE = "FLEET_PWSH"
"""The environment variable that names the program, for where ``pwsh`` is not on the ``PATH``."""

QUIET: Mapping[str, str] = {
    "POWERSHELL_TELEMETRY_OPTOUT": "1",
    "POWERSHELL_UPDATECHECK": "Off",
    "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1",
    "DOTNET_CLI_TELEMETRY_OPTOUT": "1",
}
"""What a started PowerShell gets: it sends nothing, looks for no newer version and needs no libicu."""


def find(environ: Mapping[str, str]) -> str | None:
    """Return the absolute path of PowerShell 7: what ``FLEET_PWSH`` names, else ``pwsh`` on the ``PATH``, else None."""
    return shutil.which(environ.get(VARIABLE) or "pwsh", path=environ.get("PATH"))
