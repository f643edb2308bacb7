"""The verbs that go on with a run, or begin another one on some of its targets: resume, rerun."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from fleet.cli import options
from fleet.cli.approvals import refuse_unapproved
from fleet.cli.execute import (
    Ended,
    carry_out,
    command_line,
    conduct,
    config_to_carry,
    confirm,
    drive,
    show_report,
    tell_notes,
    write_files,
)
from fleet.cli.options import Carry
from fleet.cli.signals import Stopping
from fleet.cli.terminal import say
from fleet.cli.verbs.doctor import warn_of_patchers
from fleet.cli.verbs.run import FORMATS
from fleet.cli.verbs.runs import tell_damage
from fleet.clock import SystemClock
from fleet.errors import InvalidInput, Problem
from fleet.run.model import Status

if TYPE_CHECKING:
    from fleet.config.load import Config
    from fleet.run.kept import SavedRun


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
    from fleet.app.stores import durations_of, open_store
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
            store = open_store(config)
            opened = await runs.take_over(store, kept.run_id, clock, durations_of(store, config))
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
