"""The playbooks that ship with Fleet load, and their scripts do what they say."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tree_sitter import Language, Parser

from fleet.playbook.load import load
from fleet.playbook.model import Playbook
from fleet.playbook.parameters import resolve

FOLDER = Path(__file__).parents[3] / "playbooks"
PLAYBOOKS = sorted(FOLDER.glob("*.yaml"))
SCRIPTS = sorted((FOLDER / "scripts").glob("*.sh"))
WINDOWS_SCRIPTS = sorted((FOLDER / "scripts").glob("*.ps1"))


def loaded(path: Path) -> Playbook:
    return load(path.read_text(), file=path.name, read_script=lambda name: (FOLDER / name).read_text())


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.name)
def test_it_loads(path: Path) -> None:
    """A shipped playbook is valid, and named like its file."""
    assert loaded(path).name == path.stem


def test_every_script_belongs_to_a_playbook() -> None:
    """No script lies about that no playbook runs."""
    used = {step.script.file for path in PLAYBOOKS for step in loaded(path).steps}
    assert {f"scripts/{path.name}" for path in (FOLDER / "scripts").iterdir()} == used


def test_the_restart_guards_its_parameter() -> None:
    """The service's name cannot carry anything but a name."""
    playbook = loaded(FOLDER / "rolling-restart.yaml")
    assert resolve(playbook, {"service": "nginx"})["wait"] == 30
    with pytest.raises(Exception, match="does not match"):
        resolve(playbook, {"service": "nginx; reboot"})


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_clean(path: Path) -> None:
    """shellcheck finds nothing in a shipped script."""
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    answer = subprocess.run([shellcheck, str(path)], capture_output=True, text=True, check=False)
    assert answer.stdout == ""


@pytest.mark.parametrize("path", WINDOWS_SCRIPTS, ids=lambda path: path.name)
def test_windows_scripts_parse(path: Path) -> None:
    """A shipped script for Windows is PowerShell, in ASCII, which every code page has."""
    powershell = pytest.importorskip("tree_sitter_powershell")
    parser = Parser(Language(powershell.language()))
    assert not parser.parse(path.read_bytes()).root_node.has_error
    assert path.read_bytes().isascii()


@pytest.mark.parametrize("path", WINDOWS_SCRIPTS, ids=lambda path: path.name)
def test_windows_scripts_call_what_is_there(path: Path) -> None:
    """Every function of its own that a script calls is defined in it, and each that is defined is called."""
    text = path.read_text()
    defined = set(re.findall(r"^function ([A-Za-z-]+)", text, re.MULTILINE))
    called = set(re.findall(r"\b[A-Z][a-z]+-[A-Z][A-Za-z]+", re.sub(r"#.*|function [A-Za-z-]+", "", text)))
    of_powershell = {"Get-CimInstance", "Get-Date", "Get-ItemProperty", "Get-Service", "New-Object", "Start-Sleep"}
    of_powershell |= {"ForEach-Object", "Select-Object", "Sort-Object", "Test-Path", "Where-Object"}
    assert called - of_powershell == defined


def test_health_prints_keys_and_volatile_values_last() -> None:
    """The health script prints one key: value line after the other, uptime behind all other facts, and succeeds anywhere."""
    answer = subprocess.run(
        ["/bin/sh", str(FOLDER / "scripts" / "linux-health.sh")], capture_output=True, text=True, check=True
    )
    keys = [line.split(": ")[0] for line in answer.stdout.splitlines() if not line.startswith("finding: ")]
    assert all(": " in line for line in answer.stdout.splitlines())
    assert keys[0] == "os" and keys[-1] == "uptime_days"
    assert {"kernel", "failed_units", "pending_updates", "memory_available"} <= set(keys)
    assert answer.stderr == ""
