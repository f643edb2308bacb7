"""Help and completion come at once."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.system.cli import Machine

LIBRARIES = ("aiohttp", "azure", "cryptography", "jinja2", "re2", "rich", "structlog")
"""What neither settings nor the list of runs needs."""
PARTS = ("fleet.azure", "fleet.engine.loop", "fleet.inspection", "fleet.lab", "fleet.plan.model", "fleet.run.state")
WORK = ("asyncio", "pydantic", "sqlite3", "yaml", "fleet.config", "fleet.store", *LIBRARIES, *PARTS)
"""What only the work of a verb needs."""
PROGRAM = """
import contextlib, io, json, os, sys
from fleet.cli.main import VERBS, invoke
with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())):
    lines = json.loads(sys.argv[1]) or [[verb, "--help"] for verb in VERBS]
    codes = [invoke(line) for line in lines]
print(json.dumps([codes, sorted(sys.modules)]))
"""


def imported(machine: Machine, lines: list[list[str]], **more: str) -> tuple[list[int], list[str]]:
    """Run command lines in one process; return their exit codes, and every module that is loaded in the end."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(lines)]
    environment = {**machine.environment(), **more}
    done = subprocess.run(command, cwd=machine.cwd, env=environment, capture_output=True, text=True, check=True)
    codes, modules = json.loads(done.stdout.splitlines()[-1])
    return codes, modules


def in_order(said: str) -> list[str]:
    """Return the modules that ``-X importtime`` names."""
    return [row.rpartition("|")[2].strip() for row in said.splitlines() if row.startswith("import time:")]


@pytest.mark.parametrize(
    ("args", "without"),
    [
        (["--help"], WORK),
        (["version"], WORK),
        (["rum"], WORK),
        (["runs"], (*LIBRARIES, *PARTS)),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_is_not_needed_is_not_imported(machine: Machine, args: list[str], without: tuple[str, ...]) -> None:
    """A command that needs no network, no YAML and no table imports none of the libraries for it."""
    codes, modules = imported(machine, [args])
    assert codes == [2 if args == ["rum"] else 0]
    assert [name for name in without if name in modules] == []


def test_help_of_a_verb_loads_its_flags_only(machine: Machine) -> None:
    """The help of no verb imports what only the verb's work needs."""
    codes, modules = imported(machine, [])
    assert set(codes) == {0}
    assert [name for name in WORK if name in modules] == []


@pytest.mark.parametrize(
    ("line", "offered", "without"),
    [
        ("fleet ru", "plain,run\nplain,runs\n", ("fleet.cli.verbs", *WORK)),
        ("fleet run --conc", "plain,--concurrency\n", WORK),
    ],
)
def test_completion_loads_flags_only(machine: Machine, line: str, offered: str, without: tuple[str, ...]) -> None:
    """Completion offers verbs from the table, and flags of a verb, without what its work needs."""
    command = [sys.executable, "-X", "importtime", "-m", "fleet"]
    asked = {"_FLEET_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    environment = {**machine.environment(), **asked}
    done = subprocess.run(command, cwd=machine.cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == offered
    modules = in_order(done.stderr)
    assert "fleet.cli.main" in modules
    assert [name for name in without if name in modules] == []


def test_a_lab_that_is_only_read_tries_no_powershell(machine: Machine) -> None:
    """A verb that sends nothing to a VM does not find out whether the lab's Windows guests could run scripts."""
    program, started = machine.home / "pwsh", machine.home / "started"
    program.write_text(f"#!/bin/sh\ntouch {started}\necho PowerShell 7.0.0\n", encoding="utf-8")
    program.chmod(0o755)
    done = machine.run("targets", 'os == "windows"', "--lab", "-o", "names", env={"FLEET_PWSH": str(program)})
    assert done.code == 0 and done.out == "win[001-006]\n"
    assert not started.exists()
