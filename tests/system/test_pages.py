"""The pages about the command line say what the program does, and all of it."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from typing import Any, get_args

import click

from fleet.cli.main import VERBS, cli
from fleet.errors import ExitCode
from fleet.plan.model import Gate, JobId
from fleet.playbook.model import Amount, HealthCheck, Transport
from fleet.report import render_jsonl
from fleet.run import events
from fleet.run.answers import Answer, LostReason, Operation, Quota, Refusal
from fleet.run.model import CauseCode
from tests.system import cli_page
from tests.system.cli import PLAYBOOKS, ROOT, Here, LabUp
from tests.system.codes import error_codes
from tests.unit.report.factory import fleet
from tests.unit.report.factory import plan as a_plan

DOCS = ROOT / "docs"


def rows(page: str) -> dict[str, list[str]]:
    """The tables of a page: first cell to the others."""
    found = (line.strip("|").split(" | ") for line in page.splitlines() if line.startswith("| `"))
    return {cells[0].strip(" `"): [cell.strip() for cell in cells[1:]] for cells in found}


def test_cli_page_is_the_command_tree() -> None:
    """docs/cli.md has every verb and every flag with its meaning, and no other."""
    assert (DOCS / "cli.md").read_text() == cli_page.page(), "python -m tests.system.cli_page > docs/cli.md"


def test_every_flag_says_what_it_does() -> None:
    """No verb is without help and examples, and no flag without a meaning."""
    root = click.Context(cli, info_name="fleet")
    for name, (_, summary) in VERBS.items():
        for context in cli_page.commands(name, root):
            command = context.command
            assert command.help, context.command_path
            assert isinstance(command, click.Group) or command.epilog or name == "version", context.command_path
            for parameter in command.get_params(context):
                if isinstance(parameter, click.Option):
                    assert parameter.help, (context.command_path, parameter.name)
        assert summary.endswith(".")


def test_exit_codes_page() -> None:
    """docs/exit-codes.md has each code with its name, and no other."""
    page = (DOCS / "exit-codes.md").read_text()
    told = {int(number): name for number, name in re.findall(r"^\| (\d+) \| `(\w+)` \|", page, re.MULTILINE)}
    assert told == {code.value: code.name for code in ExitCode}


def test_errors_page() -> None:
    """docs/errors.md has each code that a message can end with, once, and no other."""
    told = re.findall(r"^\| `(\w+)` \|", (DOCS / "errors.md").read_text(), re.MULTILINE)
    assert sorted(told) == sorted(error_codes())


def test_errors_end_with_their_code(here: Here) -> None:
    """What stands in brackets at the end of a message is what the page lists."""
    assert "[no_file]" in here("run", "absent.yaml").err.splitlines()[0]
    assert "[usage]" in here("rum").err
    assert "[run_not_found]" in here("show", "last").err


SAMPLES: dict[str, Any] = {
    "at": 1_700_000_000.0,
    "job": JobId(0),
    "operation": Operation(Transport.MANAGED, "https://x/y"),
    "refusal": Refusal(409, "Conflict", "busy"),
    "reason": LostReason.RESET,
    "answer": Answer(exit_code=0, execution_state="Succeeded"),
    "kind": events.StopKind.SOFT,
    "cause": CauseCode.DEADLINE,
    "quota": Quota("s", "l", {}),
    "missed": ("vm1",),
}


def test_events_page(here: Here, lab: LabUp) -> None:
    """docs/events.md has each event that is streamed with its fields, and no other."""
    told = rows((DOCS / "events.md").read_text())
    streamed = {}
    gate = Gate(1, health=HealthCheck("patch", Amount(0)))
    gated = replace(a_plan(fleet(1)), gates=(gate, gate))
    for kind in get_args(events.Event):
        if kind.durable:
            values = {field.name: SAMPLES.get(field.name, 1) for field in fields(kind)}
            values |= {name: "text" for name in values if name in ("detail", "message", "who", "why", "code")}
            line = json.loads(render_jsonl.line(kind(**values), gated))
            streamed[line["event"]] = [name for name in line if name not in ("event", "at")]
    done = here("run", PLAYBOOKS / "hello.yaml", lab.flag, "-y", "-o", "jsonl", "-l", "dev01")
    summary = done.lines[-1]
    streamed["report"] = [name for name in summary if name not in ("event", "at")]
    assert {name: re.findall(r"`(\w+)`", cells[0]) for name, cells in told.items()} == {**streamed, "job_ended": []}
    assert {line["event"] for line in done.lines} <= set(told)
