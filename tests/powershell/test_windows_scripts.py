"""The shipped scripts for Windows as programs: what they are written in, and a run in a process of their own."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from fleet.lab.guests.windows.powershell import SWITCHES, environment
from fleet.lab.guests.windows.state import VARIABLE
from tests.powershell.system import ON_WINDOWS
from tests.powershell.windows import PARTS, SCRIPTS, PowerShell, Windows, update

pytestmark = pytest.mark.slow

Make = Callable[..., Windows]
SHIPPED = sorted(SCRIPTS.glob("*.ps1"))
PARSE = """
$tokens = $null
$errors = $null
$tree = [System.Management.Automation.Language.Parser]::ParseFile($env:WHAT, [ref]$tokens, [ref]$errors)
$errors | ForEach-Object { "error: $($_.Message)" }
$newer = 'QuestionMark', 'QuestionQuestion', 'QuestionQuestionEquals', 'QuestionDot', 'QuestionLBracket', 'AndAnd', 'OrOr'
$tokens | Where-Object { "$($_.Kind)" -in $newer } | ForEach-Object { "newer: $($_.Text)" }
$parts = 'PipelineChainAst', 'TernaryExpressionAst', 'TypeDefinitionAst', 'UsingStatementAst'
$tree.FindAll({ param($part) $part.GetType().Name -in $parts }, $true) | ForEach-Object { "newer: $($_.Extent.Text)" }
exit 0
"""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_it_is_written_for_windows_powershell(path: Path, powershell: PowerShell, tmp_path: Path) -> None:
    """PowerShell parses it, and it has nothing that came after 5.1: no ``??``, ``?:``, ``?.``, ``&&`` or ``||``."""
    script = tmp_path / "parse.ps1"
    script.write_text(PARSE, encoding="ascii")
    assert powershell.run("", script, {"WHAT": str(path)}).stdout == ""


def start(pwsh: str, machine: Windows, **given: str) -> subprocess.Popen[str]:
    """Start the patch script in a process of its own, on the machine."""
    words = [pwsh, *SWITCHES, "-File", str(PARTS / "run.ps1"), str(SCRIPTS / "windows-patch.ps1")]
    given = {VARIABLE: str(machine.folder)} | ({} if ON_WINDOWS else {"SystemDrive": "C:"}) | given
    return subprocess.Popen(
        words,
        env=environment(os.environ, **given),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def test_its_exit_code_is_that_of_its_last_line(pwsh: str, windows: Make) -> None:
    """As a process: the code, the line, and what failed on standard error."""
    process = start(pwsh, windows(update(1), update(2, throws={"Install": "0x80070643"})))
    out, err = process.communicate(timeout=180)
    assert process.returncode == 82, (out, err)
    assert out.splitlines()[-1].startswith("FLEET-RESULT code=82 state=partial ")
    assert err.splitlines()[0] == "KB2 Update 2: install:0x80070643 (the installer failed)"


def test_one_that_is_cut_off_has_named_the_update(pwsh: str, windows: Make) -> None:
    """Killed inside an installation it has printed which, and the playbook has it as a fact; else there is no such fact."""
    process = start(pwsh, windows(update(1), update(2, hangs=True), clock=None))
    assert process.stdout
    seen = ""
    for line in process.stdout:
        seen += line
        if line.startswith("installing: KB2"):
            break
    process.kill()
    seen += process.communicate(timeout=180)[0]
    steps = yaml.safe_load((SCRIPTS.parent / "windows-patch.yaml").read_text(encoding="utf-8"))["steps"]
    pattern = steps[0]["collect"]["installing"]["regex"]
    found = re.search(pattern, seen)
    assert found and found.group(1) == "KB2 Update 2 (50 MiB)", seen
    assert re.search(pattern, "installing: KB1\nupdated: KB1\nFLEET-RESULT code=0\n") is None
