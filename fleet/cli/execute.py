"""What the verbs that send something share: ask, drive a run under the eyes of whoever watches, tell how it ended."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from fleet.app.reports import check_writable, keep_reports, write_reports
from fleet.cli.options import Access, Carry, Launch, Narrow
from fleet.cli.signals import Stopping
from fleet.cli.terminal import colour_on, emit_pieces, label, report_form, run_loop, say, settings, show_notes, width
from fleet.clock import Clock, SystemClock
from fleet.errors import AzureUnusable, FleetError, Refused
from fleet.report.safe import terminal
from fleet.report.words import plural

if TYPE_CHECKING:
    from fleet.app.connect import Connection
    from fleet.app.runs import OpenRun
    from fleet.app.search import Narrowing
    from fleet.cli.jsonl import Stream
    from fleet.config.load import Config
    from fleet.plan.build import Settings
    from fleet.plan.model import Plan
    from fleet.report.model import Report
    from fleet.run.events import Event
    from fleet.run.state import Run


def config_of(access: Access) -> Config:
    """Load the settings, with the tenant that was asked for."""
    return settings(access.config_file, access.verbose, access.quiet, access.tenant)[0]


def config_to_carry(carry: Carry) -> Config:
    """Load the settings, and find out before anything is sent whether reports can be written where options say."""
    config = config_of(carry)
    check_writable(carry.report_files)
    return config


def narrowing_of(narrow: Narrow) -> Narrowing:
    """What a selection is narrowed to."""
    from fleet.app.search import Narrowing

    return Narrowing(
        subscriptions=narrow.subscriptions,
        limit=narrow.limit,
        exclude=narrow.exclude,
        pick=narrow.pick,
        seed=narrow.seed,
        max_targets=narrow.max_targets,
    )


def settings_of(config: Config, launch: Launch) -> Settings:
    """What the config says about runs, with the options on top."""
    from fleet.app import plans
    from fleet.playbook.model import Lease, Transport

    base = plans.settings_of(config)
    return replace(
        base,
        transport=Transport(launch.transport) if launch.transport else base.transport,
        override_concurrency=launch.concurrency,
        override_max_failures=launch.max_failures,
        override_max_unreachable=launch.max_unreachable,
        override_timeout=launch.timeout,
        override_lease=Lease(launch.lease) if launch.lease else None,
        override_slow_start=launch.slow_start,
    )


def tell_notes(connection: Connection, quiet: int) -> None:
    """Say what the cloud has to say about itself."""
    for note in connection.notes:
        say(f"note: {note}", quiet=quiet)


def confirm(plan: Plan, *, yes: bool) -> None:
    """Show the plan and ask, where there is somebody to ask; elsewhere ``-y`` is the answer."""
    from fleet.cli.render_plan import no_budget, render_plan

    what = f"run {plan.playbook.name} on {plural(len(plan.targets) - len(plan.left), 'target')}"
    agree(what, lambda: render_plan(plan, "table", colour=False), yes=yes, warning=no_budget(plan))


def agree(what: str, picture: Callable[[], str], *, yes: bool, warning: str = "") -> None:
    """Show what is about to be done, and last a warning, and ask.

    Raises Refused where it is not wanted, or where no person can answer.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Refused(
            f"nobody is here to confirm: {what}", hint="add -y (--yes) to run without asking", code="unconfirmed"
        )
    say(picture())
    if warning:
        say(warning)
    if not click.confirm(f"{what[0].upper()}{what[1:]}?", err=True):
        raise Refused("not confirmed; nothing was sent", code="unconfirmed")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a verb that carries a run out ended: the run's report, None where it came to none, and the exit code."""

    report: Report | None
    code: int


Show = Callable[["Report"], None]
"""Puts a report on stdout."""


NOTHING_BEGUN = "interrupted: no run was started, and nothing was sent"


def conduct(verb: Callable[[Stopping], Coroutine[Any, Any, Ended]], last_words: str = NOTHING_BEGUN) -> Ended:
    """Carry a verb out from its preparation to its end, under the terminal's signals.

    ``last_words`` is what is said where an interrupt ends it before a run is in its hands.
    """
    stopping = Stopping(lambda: last_words)
    with stopping.listening():
        try:
            return run_loop(verb, stopping)
        except (KeyboardInterrupt, click.Abort):
            if not stopping.asked:
                raise
            click.echo(last_words, err=True)
            stopping.finished(stopping.code)
            return Ended(None, stopping.code)


async def carry_out(
    config: Config,
    connection: Connection,
    plan: Plan,
    secrets: Mapping[str, str],
    carry: Carry,
    stopping: Stopping,
    show: Show | None = None,
) -> Ended:
    """Begin a new run of a plan and drive it."""
    from fleet.app import runs
    from fleet.app.stores import durations_of, open_store

    clock = SystemClock()
    stopping.hold()
    store = open_store(config)
    opened = await runs.begin(store, plan, secrets, clock, os.environ, durations_of(store, config))
    return await drive(opened, connection, secrets, carry, stopping, clock, show)


async def drive(
    opened: OpenRun,
    connection: Connection,
    secrets: Mapping[str, str],
    carry: Carry,
    stopping: Stopping,
    clock: Clock,
    show: Show | None = None,
) -> Ended:
    """Carry a run out under the eyes of whoever watches, and report it however it ends."""
    from fleet.app import runs
    from fleet.cli.lease_notes import LeaseNotes
    from fleet.cli.progress import Progress
    from fleet.report.aggregate import aggregate

    run = opened.run
    stopping.last_words = lambda: _how_to_continue(run, carry, interrupted=True)
    say(
        f"run {run.run_id}: {plural(len(run.jobs), 'job')} in {plural(len(run.plan.waves), 'wave')}",
        quiet=carry.quiet,
    )
    watched = _is_watched(carry)
    progress = Progress(run, enabled=watched)
    notes = LeaseNotes(run, lambda line: say(line, quiet=carry.quiet or watched))
    stream = _stream(run, carry)
    stopping.listeners += [progress.interrupted, lambda times: progress.stop() if times >= 3 else None]

    def observe(event: Event) -> None:
        progress.observe(event)
        notes.observe(event)
        if stream is not None:
            stream.observe(event)

    failure: FleetError | None = None
    try:
        with progress:
            await runs.carry_out(opened, connection, secrets, clock, observe, stopping, waits=_waits(carry))
    except FleetError as error:
        failure, run = error, opened.run
    interrupted = stopping.asked > 0 and not run.finished
    # A plan without targets is refused before it comes here, unless that was allowed.
    report = aggregate(run.record(), interrupted=interrupted, allow_empty=True, resumable=opened.is_resumable)
    code = report.exit_code
    try:
        show_report(report, carry, stream, show)
        if run.finished and opened.is_resumable:
            async for place in keep_reports(opened.store, report, run.plan.report):
                say(f"wrote {place}", quiet=carry.quiet)
        write_files(report, carry)
    except FleetError as error:
        failure = failure or error
    if failure is not None:
        _say_failure(failure)
        code = failure.exit_code
    elif interrupted:
        code = stopping.code
    if not run.finished and opened.is_resumable:
        click.echo(_how_to_continue(run, carry, interrupted=interrupted), err=True)
    stopping.finished(code)
    return Ended(report, code)


def _waits(carry: Carry) -> bool:
    """Whether to stay while a person is awaited: as asked, else where there is one to see it."""
    return sys.stderr.isatty() if carry.wait is None else carry.wait


def _is_watched(carry: Carry) -> bool:
    """Whether a live picture can be drawn: on a terminal, with nothing else written to it meanwhile."""
    beside = carry.quiet or carry.verbose or (carry.form == "jsonl" and sys.stdout.isatty())
    return sys.stderr.isatty() and not beside and os.environ.get("TERM") != "dumb"


def _stream(run: Run, carry: Carry) -> Stream | None:
    if carry.form != "jsonl":
        return None
    from fleet.cli.jsonl import Stream

    return Stream(run)


def _say_failure(failure: FleetError) -> None:
    what = "Azure cannot be used: " if isinstance(failure, AzureUnusable) else ""
    click.echo(f"{label('error', 'red')}: {terminal(f'{what}{failure}')} [{failure.code}]", err=True)
    if failure.hint:
        click.echo(f"  hint: {terminal(failure.hint)}", err=True)
    show_notes(failure)


def _how_to_continue(run: Run, carry: Carry, *, interrupted: bool) -> str:
    """Say what ended with the command; the last line is the exact command that continues the run.

    A run that was left because nobody stays to approve a wave is continued by approving it.
    """
    from fleet.app import connect

    verb = "resume" if run.awaiting is None or interrupted else "approve"
    line = command_line(verb, run.run_id, run.plan, carry)
    if carry.lab is not None and not connect.is_url(carry.lab):
        return (
            f"note: this lab ended with the command, and what ran in it; `fleet lab up` serves one that stays\n{line}"
        )
    return line


def command_line(verb: str, run_id: str, plan: Plan, carry: Carry) -> str:
    """Return the command that continues a run as this one was carried out."""
    from fleet.app import connect

    words = ["fleet", verb, run_id]
    if carry.lab is not None:
        words.append("--lab" if carry.lab == connect.DEFAULT_LAB else f"--lab={carry.lab}")
    if carry.config_file:
        words += ["--config", carry.config_file]
    if carry.tenant:
        words += ["--tenant", carry.tenant]
    words += [word for item in carry.given if _is_of_secret(item, plan) for word in ("-e", item)]
    return shlex.join(words)


def _is_of_secret(item: str, plan: Plan) -> bool:
    """Whether a ``-e`` is needed again: those of secrets (by reference only), and files that may hold one."""
    return bool(plan.secrets) and (item.startswith("@") or item.partition("=")[0] in plan.secrets)


def show_report(report: Report, carry: Carry, stream: Stream | None = None, show: Show | None = None) -> None:
    """Put the report on stdout, in the form that was asked for."""
    from fleet.report.render import pieces

    if stream is not None:
        stream.finish(report)
    elif show is not None:
        show(report)
    else:
        emit_pieces(pieces(report, report_form(carry.form), width=width(), colour=colour_on(carry.colour)))


def write_files(report: Report, carry: Carry) -> None:
    """Write the report into the files that options ask for."""
    for path in write_reports(report, carry.report_files):
        say(f"wrote {path}", quiet=carry.quiet)
