"""The verbs that plan a playbook and carry it out: run, plan."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleet import codec
from fleet.app.reports import write_plan
from fleet.cli import options
from fleet.cli.approvals import refuse_unapproved
from fleet.cli.execute import (
    Ended,
    carry_out,
    conduct,
    config_of,
    config_to_carry,
    confirm,
    narrowing_of,
    settings_of,
    tell_notes,
)
from fleet.cli.options import Access, Carry, Launch, Narrow, Output
from fleet.cli.signals import Stopping, run_interruptible
from fleet.cli.terminal import colour_on, emit, say
from fleet.cli.verbs.doctor import warn_of_patchers
from fleet.cli.verbs.targets import warn_about
from fleet.documents.files import read_text
from fleet.errors import ExitCode
from fleet.report.safe import terminal_line
from fleet.report.words import plural

if TYPE_CHECKING:
    from fleet.app.connect import Connection
    from fleet.app.search import Found
    from fleet.config.load import Config
    from fleet.plan.compare import Difference
    from fleet.plan.model import Plan
    from fleet.playbook.model import ParameterValue, Playbook
    from fleet.preflight.doctor import Finding

FORMATS = ("table", "json", "jsonl", "csv", "md")
PLAN_FORMATS = ("table", "json", "md")


@dataclass(frozen=True, slots=True)
class PlanFiles:
    """The file that a plan is frozen into, and the one that it is compared with."""

    out: Path | None = None
    diff: Path | None = None
    detailed_exitcode: bool = False


freezing = options.fill(
    PlanFiles,
    click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Also freeze the plan into this file."),
    click.option(
        "--diff", type=click.Path(path_type=Path), metavar="FILE", help="Show how it differs from this plan file."
    ),
    click.option("--detailed-exitcode", is_flag=True, help="With --diff: exit 10 if there are differences."),
)


@click.command(
    epilog="""\b
Examples:
  fleet run playbooks/linux-health.yaml --lab -y
  fleet run patch.yaml -l 'web*' -e scope=security --max-failures 2%
  fleet run patch.yaml -y -o json > report.json
  fleet run patch.yaml --report html=patch.html --report junit=patch.xml
"""
)
@click.argument("playbook", type=click.Path())
@options.values
@options.narrowing
@options.launching
@options.confirming
@click.option("--dry-run", "--check", is_flag=True, help="Plan and stop, as `fleet plan` does.")
@options.carrying_out(*FORMATS)
def run(
    carry: Carry,
    launch: Launch,
    narrow: Narrow,
    *,
    playbook: str,
    given: tuple[str, ...],
    yes: bool,
    dry_run: bool,
) -> int:
    """Run PLAYBOOK over its targets: plan, ask, carry out, report.

    On a terminal the plan is shown and you are asked before anything is sent; elsewhere -y is needed. The exit code is 0
    only if every target ended well, with proof.

    The first interrupt (Ctrl-C, or SIGTERM) stops launching and waits for what runs. The second cancels what can be
    cancelled and leaves, within seconds if Azure does not answer. The third leaves at once. The last line printed is
    then the command that continues the run.
    """
    from fleet.app import connect
    from fleet.app.parameters import parameters
    from fleet.app.playbooks import load_playbook

    if dry_run:
        return _planned(playbook, given, narrow, launch, carry, carry.output, PlanFiles())
    carry = replace(carry, given=given)
    config = config_to_carry(carry)
    refuse_unapproved(config)
    loaded = load_playbook(Path(playbook))
    values, secrets = parameters(loaded, carry.given, os.environ)

    async def go(stopping: Stopping) -> Ended:
        async with connect.connect(config, carry.lab, os.environ) as connection:
            tell_notes(connection, carry.quiet)
            plan = await _plan(connection, config, loaded, values, narrow, launch)
            await warn_of_patchers(connection, plan)
            confirm(plan, yes=yes)
            return await carry_out(config, connection, plan, secrets, carry, stopping)

    return conduct(go).code


@click.command(
    epilog="""\b
Examples:
  fleet plan patch.yaml
  fleet plan patch.yaml -l 'tag.env == "dev"' -o json
  fleet plan patch.yaml -o md        for a pull request
  fleet plan patch.yaml --out patch.plan && fleet apply patch.plan
  fleet plan patch.yaml --diff patch.plan --detailed-exitcode
"""
)
@click.argument("playbook", type=click.Path())
@options.values
@options.narrowing
@options.launching
@freezing
@options.showing(*PLAN_FORMATS)
@options.connecting
def plan(
    access: Access,
    output: Output,
    files: PlanFiles,
    launch: Launch,
    narrow: Narrow,
    *,
    playbook: str,
    given: tuple[str, ...],
) -> int:
    """Show the targets, waves, calls and time of a run of PLAYBOOK. Nothing is sent to any VM.

    A plan file holds the frozen targets, scripts and parameters (never the value of a secret); `fleet apply` carries out
    exactly that.
    """
    return _planned(playbook, given, narrow, launch, access, output, files)


def _planned(
    playbook: str,
    given: Sequence[str],
    narrow: Narrow,
    launch: Launch,
    access: Access,
    output: Output,
    files: PlanFiles,
) -> int:
    from fleet.app import connect
    from fleet.app.parameters import parameters
    from fleet.app.playbooks import load_playbook

    options.check_form(output.form, PLAN_FORMATS, "a plan")
    if files.diff:
        options.check_form(output.form, ("table", "json"), "a list of differences")
    config = config_of(access)
    loaded = load_playbook(Path(playbook))
    values, _ = parameters(loaded, given, os.environ)

    async def go() -> int:
        async with connect.connect(config, access.lab, os.environ, runs_scripts=False) as connection:
            tell_notes(connection, access.quiet)
            made = await _plan(connection, config, loaded, values, narrow, launch)
            return _shown(made, await warn_of_patchers(connection, made), access.quiet, output, files)

    return run_interruptible(go())


def _shown(made: Plan, patchers: Sequence[Finding], quiet: int, output: Output, files: PlanFiles) -> int:
    """Freeze the plan where asked, and print it or what differs. Who else patches is no part of what is frozen."""
    from fleet.cli.render_plan import render_plan
    from fleet.plan.compare import differences

    if files.out:
        write_plan(made, files.out)
        say(f"wrote {files.out}", quiet=quiet)
    if not files.diff:
        emit(render_plan(made, output.form or "table", colour=colour_on(output.colour), patchers=patchers))
        return ExitCode.OK
    found = differences(read_plan_file(files.diff), made)
    emit(json.dumps(codec.encode(found), indent=1) if output.form == "json" else _listed(found))
    say(f"{plural(len(found), 'difference')} to {files.diff}", quiet=quiet)
    return ExitCode.DIFFERENCES if found and files.detailed_exitcode else ExitCode.OK


def _listed(found: tuple[Difference, ...]) -> str:
    return "".join(f"{terminal_line(str(item))}\n" for item in found)


def read_plan_file(path: Path) -> Plan:
    from fleet.plan.file import MAX_BYTES, load

    return load(read_text(path, "the plan file", most=MAX_BYTES), file=str(path))


async def _plan(
    connection: Connection,
    config: Config,
    loaded: Playbook,
    values: Mapping[str, ParameterValue],
    narrow: Narrow,
    launch: Launch,
) -> Plan:
    """Find the targets, warn of what looks like a slip, and freeze the plan."""
    from fleet.app import search

    found = await search.find_for(connection, loaded, narrowing_of(narrow))
    warn_about(found)
    return await _frozen(connection, config, loaded, found, values, narrow, launch)


async def _frozen(
    connection: Connection,
    config: Config,
    loaded: Playbook,
    found: Found,
    values: Mapping[str, ParameterValue],
    narrow: Narrow,
    launch: Launch,
) -> Plan:
    from fleet.app import plans
    from fleet.app.stores import durations_of, open_store

    durations = durations_of(open_store(config), config)
    known = await plans.with_times(settings_of(config, launch), durations, loaded, connection)
    plan = plans.make_plan(connection, loaded, found, values, known, allow_empty=narrow.allow_empty)
    return await plans.with_usual(plan, durations)
