"""Help, completion and lists come at once, and a run asks Azure before it loads what only later steps need."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.system.cli import SHIPPED, Machine

LIBRARIES = ("aiohttp", "azure", "cryptography", "jinja2", "pydantic", "re2", "rich", "structlog", "yaml")
"""What the list of runs does not need, where no setting is written."""
PARTS = (
    "fleet.azure",
    "fleet.engine.loop",
    "fleet.inspection",
    "fleet.lab",
    "fleet.plan.model",
    "fleet.playbook",
    "fleet.run.state",
)
WORK = ("asyncio", "sqlite3", "fleet.config", "fleet.store", *LIBRARIES, *PARTS)
"""What only the work of a verb needs."""
LATER = (
    *("azure", "cryptography", "jinja2", "rich", "sqlite3", "structlog"),
    *("fleet.config.schema", "fleet.engine.loop", "fleet.inspection", "fleet.lab", "fleet.plan.build"),
    *("fleet.preflight.doctor", "fleet.report.aggregate", "fleet.run.command", "fleet.run.events", "fleet.run.state"),
)
"""What no search for VMs needs, where no setting is written and the token is at hand."""
PROGRAM = """
import contextlib, io, json, os, sys
from fleet.cli.main import VERBS, invoke
with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())):
    lines = json.loads(sys.argv[1]) or [[verb, "--help"] for verb in VERBS]
    codes = [invoke(line) for line in lines]
print(json.dumps([codes, sorted(sys.modules)]))
"""
UNTIL_CONNECTED = """
import json, os, sys
from fleet.cli.main import invoke
def noted(event, args):
    if event == "socket.connect":
        os.write(1, json.dumps(sorted(sys.modules)).encode())
        os._exit(0)
sys.addaudithook(noted)
invoke(sys.argv[1:])
"""


def imported(machine: Machine, lines: list[list[str]], **more: str) -> tuple[list[int], list[str]]:
    """Run command lines in one process; return their exit codes, and every module that is loaded in the end."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(lines)]
    environment = {**machine.environment(), **more}
    done = subprocess.run(command, cwd=machine.cwd, env=environment, capture_output=True, text=True, check=True)
    codes, modules = json.loads(done.stdout.splitlines()[-1])
    return codes, modules


def before_connected(machine: Machine, *args: str) -> list[str]:
    """Run a command line up to its first connection; return every module that is loaded by then."""
    command = [sys.executable, "-c", UNTIL_CONNECTED, *args]
    done = subprocess.run(
        command, cwd=machine.cwd, env=machine.environment(), capture_output=True, text=True, check=True
    )
    modules: list[str] = json.loads(done.stdout)
    return modules


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
    ("args", "without"),
    [
        (["run", "-y", str(SHIPPED / "linux-health.yaml")], LATER),
        (["plan", str(SHIPPED / "linux-health.yaml")], LATER),
        (["exec", "all", "-y", "--", "uname"], (*LATER, "pydantic", "yaml")),
        (["targets", "all"], (*LATER, "pydantic", "yaml")),
    ],
    ids=lambda value: value[0],
)
def test_a_verb_asks_for_vms_before_it_loads_what_follows(
    machine: Machine, args: list[str], without: tuple[str, ...]
) -> None:
    """Before its first connection a verb has loaded nothing that only what it does with the VMs needs."""
    modules = before_connected(machine, args[0], "--lab=http://127.0.0.1:9", *args[1:])
    assert "fleet.azure.transport" in modules
    assert [name for name in without if name in modules] == []


def test_the_command_looks_for_garbage_seldom_and_for_plugins_never() -> None:
    """Loading makes no garbage, and no installed package may add itself to the reading of documents."""
    program = "import gc, os; from fleet.__main__ import main"
    ended = (
        "import atexit; atexit.register(lambda: print(gc.get_threshold()[0], os.environ['PYDANTIC_DISABLE_PLUGINS']))"
    )
    command = [sys.executable, "-c", f"{program}; {ended}; main()", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "150000 __all__"


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
