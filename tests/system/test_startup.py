"""Help and completion come at once."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.system.cli import Machine

HEAVY = ("aiohttp", "azure", "cryptography", "jinja2", "pydantic", "rich", "structlog", "yaml", "sqlite3")
PROGRAM = """
import contextlib, io, json, sys
from fleet.cli.main import invoke
with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())):
    code = invoke(json.loads(sys.argv[1]))
print(json.dumps([code, sorted(sys.modules)]))
"""


@pytest.mark.parametrize(
    ("args", "without"),
    [
        (["--help"], HEAVY),
        (["version"], HEAVY),
        (["rum"], HEAVY),
        (["runs"], ("aiohttp", "azure", "cryptography", "jinja2", "rich", "structlog")),
        (["validate", "--help"], ("aiohttp", "azure", "cryptography", "jinja2", "rich", "structlog")),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_is_not_needed_is_not_imported(machine: Machine, args: list[str], without: tuple[str, ...]) -> None:
    """A command that needs no network, no YAML and no table imports none of the libraries for it."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(args)]
    done = subprocess.run(
        command, cwd=machine.cwd, env=machine.environment(), capture_output=True, text=True, check=True
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == (2 if args == ["rum"] else 0)
    assert [name for name in without if name in modules] == []
