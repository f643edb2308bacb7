"""The verb for one command on many VMs: exec, with answers folded into groups."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleet import codec
from fleet.cli import options
from fleet.cli.approvals import refuse_unapproved
from fleet.cli.execute import (
    Ended,
    Show,
    carry_out,
    conduct,
    config_to_carry,
    confirm,
    narrowing_of,
    settings_of,
    tell_notes,
)
from fleet.cli.options import Carry, Launch, Narrow
from fleet.cli.signals import Stopping
from fleet.cli.terminal import colour_on, emit, say
from fleet.cli.verbs.output import write_streams
from fleet.cli.verbs.targets import selection_of, warn_about
from fleet.documents.files import read_text
from fleet.errors import InvalidInput, Problem
from fleet.report import safe, words
from fleet.run.model import Status

if TYPE_CHECKING:
    from fleet.app.connect import Connection
    from fleet.app.search import Found
    from fleet.config.load import Config
    from fleet.plan.build import Settings
    from fleet.plan.model import Plan
    from fleet.playbook.model import Playbook, Selection
    from fleet.report.model import Group, Report

RULE = "-" * 15


@click.command(
    name="exec",
    context_settings={"ignore_unknown_options": False},
    epilog="""\b
Examples:
  fleet exec 'tag.env == "dev"' -- uname -r
  fleet exec 'os == "linux"' --lab -y -- cat /etc/os-release
  fleet exec 'name matches "web*"' --diff -- 'systemctl is-active nginx; nginx -v'
  fleet exec 'os == "windows"' -- Get-HotFix
  fleet exec all --outdir out -y -- @collect.sh
""",
)
@click.argument("expression", metavar="EXPR")
@click.argument("words", metavar="-- COMMAND...|@SCRIPT", nargs=-1, required=True)
@options.narrowing
@options.launching
@click.option(
    "--shell", type=click.Choice(["auto", "bash", "sh", "pwsh", "pwsh7"]), default="auto", help="What runs it."
)
@click.option("--diff", is_flag=True, help="Show each group's differences to the largest one.")
@click.option("--outdir", type=click.Path(path_type=Path), help="Also write each VM's streams into this folder.")
@options.confirming
@options.carrying_out("table", "json", "jsonl", "csv", "md", waits=False)
def execute(
    carry: Carry,
    launch: Launch,
    narrow: Narrow,
    *,
    expression: str,
    words: tuple[str, ...],
    shell: str,
    diff: bool,
    outdir: Path | None,
    yes: bool,
) -> int:
    """Run COMMAND on the VMs that EXPR selects (`all` is every VM), and show equal answers once.

    One word is a line for the shell, several are a program and its arguments. It is a run like any other: journalled,
    proven by receipts, to be resumed and shown again.
    """
    from fleet.app import connect, search

    config = config_to_carry(carry)
    refuse_unapproved(config)
    playbook = _playbook(selection_of(expression, config.azure.subscriptions), words, shell)

    async def go(stopping: Stopping) -> Ended:
        async with connect.connect(config, carry.lab, os.environ) as connection:
            tell_notes(connection, carry.quiet)
            found = await search.find(connection, playbook.selection, narrowing_of(narrow))
            warn_about(found)
            plan = await _frozen(connection, config, playbook, found, settings_of(config, launch), narrow)
            confirm(plan, yes=yes)
            return await carry_out(config, connection, plan, {}, carry, stopping, _show(carry, diff=diff))

    ended = conduct(go)
    if outdir and ended.report is not None:
        write_streams(ended.report.jobs, outdir, carry.quiet)
    return ended.code


async def _frozen(
    connection: Connection, config: Config, playbook: Playbook, found: Found, settings: Settings, narrow: Narrow
) -> Plan:
    from fleet.app import plans
    from fleet.app.stores import durations_of, open_store

    plan = plans.make_plan(connection, playbook, found, {}, settings, allow_empty=narrow.allow_empty)
    return await plans.with_usual(plan, durations_of(open_store(config), config))


def _playbook(selection: Selection, command: Sequence[str], shell: str) -> Playbook:
    """A playbook of one step, as if somebody had written it."""
    from fleet.playbook.model import Playbook, Rollout, Script, Shell, Step

    text, file = _script(command)
    step = Step(id="exec", script=Script(text=text, file=file), shell=Shell(shell))
    return Playbook(
        name="exec",
        version="-",
        title=f"exec {shlex.join(command)}"[:200],
        owner="",
        description="",
        digest=codec.digest((selection, step)),
        file="",
        parameters=(),
        selection=selection,
        rollout=Rollout(slow_start=False),
        steps=(step,),
    )


def _script(command: Sequence[str]) -> tuple[str, str]:
    """The script's text, and the file it came from."""
    if command[0].startswith("@"):
        if len(command) > 1:
            hint = "arguments belong into the script, or into a playbook's `args`"
            raise InvalidInput([Problem("bad_command", "a script is run without arguments here", "exec", hint=hint)])
        return read_text(Path(command[0][1:]), "the script"), command[0][1:]
    return (command[0] if len(command) == 1 else shlex.join(command)) + "\n", ""


def _show(carry: Carry, *, diff: bool) -> Show | None:
    """How the report goes to stdout: folded groups, unless another form is asked for."""
    if carry.form not in (None, "table"):
        return None
    colour = colour_on(carry.colour)

    def show(report: Report) -> None:
        emit(folded(report, diff=diff, colour=colour))
        for note in report.notes:
            say(f"note: {note}", quiet=carry.quiet)

    return show


def folded(report: Report, *, diff: bool = False, colour: bool = False) -> str:
    """Render a report as groups of equal answers, the largest last, where a reader's eye rests; failures say why."""
    groups = sorted(report.groups, key=lambda group: group.count)
    majority = max(report.successes, key=lambda group: group.count, default=None)
    parts = []
    for group in groups:
        parts.append(_head(group, colour))
        if diff and majority is not None and group is not majority:
            parts.append(_cut(report, group) + _difference(majority, group))
        else:
            parts.append(_cut(report, group) + _body(group))
    return "".join(parts) or "no target\n"


def _head(group: Group, colour: bool) -> str:
    names = safe.terminal_line(f"{group.names} ({group.count})")
    state = "" if group.status is Status.SUCCEEDED else f"  {group.status.value}: {_why(group)}"
    style = "green" if group.status is Status.SUCCEEDED else "red"
    return (
        f"{RULE}\n{click.style(names, fg=style, bold=True) if colour else names}{safe.terminal_line(state)}\n{RULE}\n"
    )


def _why(group: Group) -> str:
    return group.cause.message or group.cause.code.value


def _cut(report: Report, group: Group) -> str:
    """Say, before output whose beginning is missing, that it is, and how to get it."""
    if not group.truncated:
        return ""
    vm = shlex.quote(group.names) if group.count == 1 else "VM"
    return safe.terminal_line(f"[{words.CUT}: {words.fetch_all(report.run, vm)}]") + "\n"


def _body(group: Group) -> str:
    text = group.stdout + ("" if not group.stdout or group.stdout.endswith("\n") else "\n")
    errors = "".join(f"stderr: {line}\n" for line in group.stderr.splitlines())
    return safe.terminal(text + errors)


def _difference(majority: Group, group: Group) -> str:
    lines = difflib.unified_diff(
        _body(majority).splitlines(), _body(group).splitlines(), f"{majority.count} others", "here", lineterm="", n=1
    )
    return "".join(f"{line}\n" for line in lines) or "(the same output)\n"
