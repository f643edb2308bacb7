"""Where PowerShell is found, and the environment that it is started in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "FLEET_PWSH"
"""The environment variable that names the program, for where ``pwsh`` is not on the ``PATH``."""

QUIET: Mapping[str, str] = {
    "POWERSHELL_TELEMETRY_OPTOUT": "1",
    "POWERSHELL_UPDATECHECK": "Off",
    "DOTNET_CLI_TELEMETRY_OPTOUT": "1",
    "DOTNET_TieredPGO": "0",
    "DOTNET_TC_CallCountingDelayMs": "5000",
    **({} if sys.platform == "win32" else {"DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1"}),
}
"""What a started PowerShell gets: it sends nothing, looks for no newer version and needs no libicu.

It compiles no code a second time in its first seconds, which is how long most scripts run: a third of a wrapper's time.
"""

SWITCHES = ("-NoLogo", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass")
"""What a PowerShell is started with. Only Windows has policies that forbid scripts."""

_MODULE_PATH = "PSModulePath"


def find(environ: Mapping[str, str]) -> str | None:
    """Return the absolute path of PowerShell 7: what ``FLEET_PWSH`` names, else ``pwsh`` on the ``PATH``, else None."""
    return shutil.which(environ.get(VARIABLE) or "pwsh", path=environ.get("PATH"))


def environment(environ: Mapping[str, str], **more: str) -> dict[str, str]:
    """Return the environment of a PowerShell: the given one, and ``more`` in place of what has the same name.

    The module path is left out. With that of PowerShell 7, Windows PowerShell 5.1 finds modules that it cannot load.
    """
    inherited = {name: text for name, text in environ.items() if _same(name) != _same(_MODULE_PATH)}
    return merged(inherited, **QUIET, **more)


def merged(environ: Mapping[str, str], **more: str) -> dict[str, str]:
    """Return an environment in which ``more`` stands in place of what has the same name."""
    replaced = {_same(name) for name in more}
    return {name: text for name, text in environ.items() if _same(name) not in replaced} | more


def _same(name: str) -> str:
    """Return what the names of one environment variable have in common: on Windows case does not matter."""
    return name.upper() if sys.platform == "win32" else name


def trial_limit() -> float:
    """Return how many seconds a trial of a program may take: 20, and more where processes wait for a processor."""
    waiting = 0.0 if sys.platform == "win32" else os.getloadavg()[0]
    return 20.0 * (1.0 + waiting / (os.cpu_count() or 1))


@dataclass(frozen=True, slots=True)
class Installation:
    """Where a PowerShell lies on this machine: its folder, and that of the .NET it runs on if it does not bring its own."""

    folder: Path
    runtime: Path | None


def installation(program: str, environ: Mapping[str, str], limit: float) -> Installation:
    """Find the folders that a PowerShell needs. Raises OSError or SubprocessError if it does not start in so many seconds."""
    folder = Path(program).resolve().parent
    if (folder / "libcoreclr.so").exists():
        return Installation(folder, None)
    # What starts it searches in several places for a .NET; it names the one that it found.
    traced = {**environ, **QUIET, "COREHOST_TRACE": "1"}
    words = [program, "--version"]
    done = subprocess.run(words, env=traced, capture_output=True, timeout=limit, check=True)  # noqa: S603
    found = re.search(rb"\[(/[^\]\n]*)/host/fxr/[^/\]\n]+/libhostfxr\.so\]", done.stderr)
    return Installation(folder, Path(os.fsdecode(found[1])).resolve() if found else None)
