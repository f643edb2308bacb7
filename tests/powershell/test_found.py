"""The PowerShell that these tests run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fleet.lab.guests.windows.powershell import SWITCHES, VARIABLE, environment, find
from tests.powershell.system import ON_WINDOWS

pytestmark = pytest.mark.slow


def test_it_runs(pwsh: str) -> None:
    """The program found is PowerShell 7, or Windows PowerShell 5."""
    words = [pwsh, *SWITCHES, "-Command", "$PSVersionTable.PSVersion.Major"]
    done = subprocess.run(
        words, env=environment(os.environ), capture_output=True, text=True, encoding="utf-8", timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip()) in ((0, "7"), (0, "5")), done.stderr


def test_the_variable_goes_before_the_path(tmp_path: Path) -> None:
    """What ``FLEET_PWSH`` names is taken, else ``pwsh`` on the PATH, else nothing."""
    end = ".exe" if ON_WINDOWS else ""
    programs = [tmp_path / f"{name}{end}" for name in ("pwsh", "other")]
    for program in programs:
        program.touch(0o700)
    path = {"PATH": str(tmp_path)}
    assert Path(find(path) or "") == programs[0]
    assert Path(find(path | {VARIABLE: str(programs[1])}) or "") == programs[1]
    assert find({"PATH": "/nowhere"}) is None
