"""The PowerShell that these tests run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from fleet.lab.windows.powershell import QUIET, VARIABLE, find


def test_it_runs(pwsh: str) -> None:
    """The program found is PowerShell 7, or Windows PowerShell 5."""
    words = [pwsh, "-NoLogo", "-NoProfile", "-NonInteractive", "-Command", "$PSVersionTable.PSVersion.Major"]
    done = subprocess.run(words, env=os.environ | QUIET, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) in ((0, "7"), (0, "5")), done.stderr


def test_the_variable_goes_before_the_path(tmp_path: Path) -> None:
    """What ``FLEET_PWSH`` names is taken, else ``pwsh`` on the PATH, else nothing."""
    for name in ("pwsh", "other"):
        (tmp_path / name).touch(0o700)
    path = {"PATH": str(tmp_path)}
    assert find(path) == str(tmp_path / "pwsh")
    assert find(path | {VARIABLE: str(tmp_path / "other")}) == str(tmp_path / "other")
    assert find({"PATH": "/nowhere"}) is None
