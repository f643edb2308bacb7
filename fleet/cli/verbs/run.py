"""The verbs that make something happen: run, plan, apply, resume, rerun."""

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
from fleet.cli.approvals import BESIDE, check_approval, refuse_unapproved
from fleet.cli.execute import (
    Ended,
    carry_out,
    command_line,
    conduct,
    config_of,
    config_to_carry,
    confirm,
    drive,
    narrowing_of,
    settings_of,
    show_report,
    tell_notes,
    write_files,
)
from fleet.cli.option_types import AmountType
from fleet.cli.options import Access, Carry, Launch, Narrow, Output
from fleet.cli.signals import Stopping, run_interruptible
from fleet.cli.terminal import colour_on, emit, say
from fleet.cli.verbs.doctor import warn_of_patchers
from fleet.cli.verbs.runs import tell_damage
from fleet.cli.verbs.targets import warn_about
from fleet.clock import SystemClock
from fleet.documents.files import read_text
from fleet.errors import ExitCode, InvalidInput, Problem, Refused
from fleet.report.safe import terminal_line
from fleet.report.words import plural
from fleet.run.model import Status

if TYPE_CHECKING:
    from fleet.app.connect import Connection
    from fleet.config.load import Config
    from fleet.plan.compare import Difference
    from fleet.plan.model import Plan
    from fleet.playbook.model import Amount, ParameterValue, Playbook
    from fleet.preflight.doctor import Finding
    from fleet.run.kept import SavedRun

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
    from fleet.app import connect, plans
    from fleet.app.parameters import parameters

    if dry_run:
        return _planned(playbook, given, narrow, launch, carry, carry.output, PlanFiles())
    carry = replace(carry, given=given)
    config = config_to_carry(carry)
    refuse_unapproved(config)
    loaded = plans.load_playbook(Path(playbook))
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
    from fleet.app import connect, plans
    from fleet.app.parameters import parameters

    options.check_form(output.form, PLAN_FORMATS, "a plan")
    if files.diff:
        options.check_form(output.form, ("table", "json"), "a list of differences")
    config = config_of(access)
    loaded = plans.load_playbook(Path(playbook))
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
    found = differences(_plan_file(files.diff), made)
    emit(json.dumps(codec.encode(found), indent=1) if output.form == "json" else _listed(found))
    say(f"{plural(len(found), 'difference')} to {files.diff}", quiet=quiet)
    return ExitCode.DIFFERENCES if found and files.detailed_exitcode else ExitCode.OK


def _listed(found: tuple[Difference, ...]) -> str:
    return "".join(f"{terminal_line(str(item))}\n" for item in found)


def _plan_file(path: Path) -> Plan:
    from fleet.plan.file import MAX_BYTES, load

    return load(read_text(path, "the plan file", most=MAX_BYTES), file=str(path))


@click.command(
    epilog="""\b
Examples:
  fleet apply patch.plan
  fleet apply patch.plan --tolerance 2% -y
  fleet apply patch.plan --approved --by-other
"""
)
@click.argument("plan_file", metavar="PLANFILE", type=click.Path(path_type=Path))
@options.values
@click.option("--tolerance", type=AmountType(), help="Differences of targets that are still fine (default 0).")
@click.option(
    "--approved",
    is_flag=False,
    flag_value=BESIDE,
    metavar="[=FILE]",
    help="Refuse a plan that nobody approved with `fleet approve`; FILE if it is not PLANFILE.approval.",
)
@click.option("--by-other", is_flag=True, help="Refuse a plan that no other user than you approved.")
@options.confirming
@options.carrying_out(*FORMATS)
def apply(
    carry: Carry,
    *,
    plan_file: Path,
    given: tuple[str, ...],
    tolerance: Amount | None,
    approved: str | None,
    by_other: bool,
    yes: bool,
) -> int:
    """Carry out exactly what PLANFILE froze: its targets, scripts, parameters and waves.

    Before anything is sent, the targets are selected again. If more of them came, went or changed than the tolerance
    allows, the plan is refused with the list of differences. Within the tolerance a VM that is no longer selected is not
    run, and its rows are `skipped` (`left_selection`); one that is new is not run either.
    """
    from fleet.app import connect, plans, search
    from fleet.app.parameters import secrets_of
    from fleet.plan.compare import drift

    carry = replace(carry, given=given)
    config = config_to_carry(carry)
    frozen = _plan_file(plan_file)
    check_approval(frozen, plan_file, config, approved=approved, by_other=by_other)
    plans.check_cloud(frozen, config, carry.lab)
    secrets = secrets_of(frozen.declared, carry.given, os.environ)

    async def go(stopping: Stopping) -> Ended:
        async with connect.connect(config, carry.lab, os.environ) as connection:
            tell_notes(connection, carry.quiet)
            present = await search.find_again(connection, frozen)
            _check_drift(frozen, drift(frozen.targets, present.chosen.targets), tolerance)
            plan = search.without_left(frozen, present)
            await warn_of_patchers(connection, plan)
            confirm(plan, yes=yes)
            return await carry_out(config, connection, plan, secrets, carry, stopping)

    return conduct(go).code


def _check_drift(frozen: Plan, found: tuple[Difference, ...], tolerance: Amount | None) -> None:
    """Tell the differences, and refuse the plan when there are more than the tolerance allows."""
    from fleet.playbook.model import Amount

    allowed = (tolerance or Amount(0)).of(len(frozen.targets))
    for item in found:
        say(str(item))
    if len(found) > allowed:
        message = f"the targets differ from the plan in {plural(len(found), 'place')}; {allowed} would be fine"
        raise Refused(message, hint="make a new plan, or allow more with --tolerance", code="plan_drift")


@click.command(
    epilog="""\b
Examples:
  fleet resume last
  fleet resume 20260301-0203 --lab=http://127.0.0.1:8080
"""
)
@click.argument("run_id", metavar="RUN")
@options.values
@options.carrying_out(*FORMATS)
def resume(carry: Carry, *, run_id: str, given: tuple[str, ...]) -> int:
    """Go on with RUN (an id, a unique prefix, or `last`) where it was left.

    What was on its way when the run was cut off is looked up, never blindly sent again. Secret parameters are not kept
    with a run and are given again.
    """
    from fleet.cli.kept_runs import saved

    carry = replace(carry, given=given)
    config = config_to_carry(carry)
    return go_on(config, saved(config, run_id), carry)


def go_on(config: Config, kept: SavedRun, carry: Carry) -> int:
    """Take a kept run over and drive it to its end."""
    from fleet.app import connect, plans, runs
    from fleet.app.parameters import secrets_of
    from fleet.app.stores import open_store
    from fleet.report.aggregate import aggregate

    plans.check_cloud(kept.plan, config, carry.lab)
    secrets = secrets_of(kept.plan.declared, carry.given, os.environ)
    finished = runs.replay(kept)
    if finished.finished:
        tell_damage(kept)
        say(f"run {kept.run_id} has ended; this is its report", quiet=carry.quiet)
        report = aggregate(finished.record())
        show_report(report, carry)
        write_files(report, carry)
        return report.exit_code
    plans.check_gates(kept.plan, os.environ)

    async def go(stopping: Stopping) -> Ended:
        async with connect.connect(config, carry.lab, os.environ) as connection:
            tell_notes(connection, carry.quiet)
            clock = SystemClock()
            stopping.hold()
            opened = await runs.take_over(open_store(config), kept.run_id, clock)
            return await drive(opened, connection, secrets, carry, stopping, clock)

    return conduct(go, command_line("resume", kept.run_id, kept.plan, carry)).code


@click.command(
    epilog="""\b
Examples:
  fleet rerun last                                   on those that failed or were not reached
  fleet rerun last:failed,timed_out -y
  fleet rerun 20260301-0203:not_started
"""
)
@click.argument("selection", metavar="RUN[:STATUS,...]")
@options.values
@options.confirming
@options.carrying_out(*FORMATS)
def rerun(carry: Carry, *, selection: str, given: tuple[str, ...], yes: bool) -> int:
    """Begin a new run of the same plan on the targets of RUN that ended with one of the statuses.

    Without statuses: failed, timed_out, unreachable, unverified, unknown, cancelled and not_started.
    """
    from fleet.app import connect, plans, runs
    from fleet.app.parameters import secrets_of
    from fleet.cli.kept_runs import saved

    carry = replace(carry, given=given)
    config = config_to_carry(carry)
    refuse_unapproved(config)
    text, statuses = _statuses(selection)
    kept = saved(config, text)
    plans.check_cloud(kept.plan, config, carry.lab)
    secrets = secrets_of(kept.plan.declared, carry.given, os.environ)
    tell_damage(kept)
    plan = runs.plan_again(kept, statuses)

    async def go(stopping: Stopping) -> Ended:
        async with connect.connect(config, carry.lab, os.environ) as connection:
            tell_notes(connection, carry.quiet)
            await warn_of_patchers(connection, plan)
            confirm(plan, yes=yes)
            return await carry_out(config, connection, plan, secrets, carry, stopping)

    return conduct(go).code


def _statuses(selection: str) -> tuple[str, tuple[Status, ...]]:
    from fleet.app import runs

    text, colon, names = selection.partition(":")
    if not colon:
        return text, runs.RERUN
    wanted = [name.strip().replace("-", "_") for name in names.split(",") if name.strip()]
    known = [status.value for status in Status]
    wrong = [name for name in wanted if name not in known]
    if wrong or not wanted:
        found = wrong[0] if wrong else names
        message = f"{found!r} is not a status"
        raise InvalidInput([Problem("bad_status", message, "RUN:STATUS", hint=f"statuses are: {', '.join(known)}")])
    return text, tuple(Status(name) for name in wanted)


async def _plan(
    connection: Connection,
    config: Config,
    loaded: Playbook,
    values: Mapping[str, ParameterValue],
    narrow: Narrow,
    launch: Launch,
) -> Plan:
    """Find the targets, warn of what looks like a slip, and freeze the plan."""
    from fleet.app import plans, search
    from fleet.app.stores import durations_in, open_store

    found = await search.find_for(connection, loaded, narrowing_of(narrow))
    warn_about(found)
    durations = durations_in(open_store(config))
    known = await plans.with_times(settings_of(config, launch), durations, loaded, connection)
    return plans.make_plan(connection, loaded, found, values, known, allow_empty=narrow.allow_empty)
