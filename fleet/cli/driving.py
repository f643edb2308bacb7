"""What the verbs that send something share: ask, drive a run under the eyes of whoever watches, tell how it ended."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from fleet import app, connecting
from fleet.app import Narrowing, OpenRun, Stopping
from fleet.cli.options import ReportFile
from fleet.cli.rendering import check_writable, pieces, render_plan, reports_of_playbook, write_reports
from fleet.cli.screen import colour_on, emit_pieces, label, report_form, say, settings
from fleet.clock import Clock, SystemClock
from fleet.config import Config
from fleet.connecting import Connection
from fleet.errors import AzureUnusable, ExitCode, FleetError, Refused
from fleet.plan.build import Settings
from fleet.plan.model import Plan
from fleet.playbook.model import Lease, Transport
from fleet.report.aggregate import aggregate
from fleet.report.model import Report
from fleet.report.safe import terminal
from fleet.report.words import plural
from fleet.run.events import Event
from fleet.run.state import Run

if TYPE_CHECKING:
    from fleet.cli.progress import Progress
    from fleet.cli.streaming import Stream


def config_of(flags: Mapping[str, Any]) -> Config:
    """Load the settings, and find out before anything is sent whether reports can be written where flags say."""
    config, _ = settings(flags["config_file"], flags["verbose"], flags["quiet"], azure__tenant=flags["tenant"])
    check_writable(flags.get("report_files", ()))
    return config


def narrowing_of(flags: Mapping[str, Any]) -> Narrowing:
    """What the flags of ``options.narrowing`` ask for."""
    return Narrowing(
        subscriptions=flags["subscriptions"],
        limit=flags["limit"],
        exclude=flags["exclude"],
        pick=flags["pick"],
        seed=flags["seed"],
        max_targets=flags["max_targets"],
    )


def settings_of(config: Config, flags: Mapping[str, Any]) -> Settings:
    """What the config says about runs, with the flags of ``options.launching`` on top."""
    base = app.settings_of(config)
    return replace(
        base,
        transport=Transport(flags["transport"]) if flags["transport"] else base.transport,
        override_concurrency=flags["concurrency"],
        override_max_failures=flags["max_failures"],
        override_max_unreachable=flags["max_unreachable"],
        override_timeout=flags["timeout"],
        override_lease=Lease(flags["lease"]) if flags["lease"] else None,
        override_slow_start=flags["slow_start"],
    )


def tell_notes(connection: Connection, flags: Mapping[str, Any]) -> None:
    """Say what the cloud has to say about itself."""
    for note in connection.notes:
        say(f"note: {note}", quiet=flags["quiet"])


def confirm(plan: Plan, flags: Mapping[str, Any]) -> None:
    """Show the plan and ask, where there is somebody to ask; elsewhere ``-y`` is the answer."""
    what = f"run {plan.playbook.name} on {plural(len(plan.targets), 'target')}"
    agree(what, lambda: render_plan(plan, "table", colour=False), flags)


def agree(what: str, picture: Callable[[], str], flags: Mapping[str, Any]) -> None:
    """Show what is about to be done and ask. Raises Refused where it is not wanted, or nobody is there to say so."""
    if flags["yes"]:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Refused(
            f"nobody is here to confirm: {what}", hint="add -y (--yes) to run without asking", code="unconfirmed"
        )
    say(picture())
    if not click.confirm(f"{what[0].upper()}{what[1:]}?", err=True):
        raise Refused("not confirmed; nothing was sent", code="unconfirmed")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run that was driven here ended: its report, and the command's exit code."""

    report: Report
    code: int


Show = Callable[[Report], None]
"""Puts a report on stdout."""


async def carry_out(
    config: Config,
    connection: Connection,
    plan: Plan,
    secrets: Mapping[str, str],
    flags: Mapping[str, Any],
    show: Show | None = None,
) -> Ended:
    """Begin a new run of a plan and drive it."""
    clock = SystemClock()
    return await drive(app.begin(config, plan, secrets, clock), connection, secrets, flags, clock, show)


async def drive(
    opened: OpenRun,
    connection: Connection,
    secrets: Mapping[str, str],
    flags: Mapping[str, Any],
    clock: Clock,
    show: Show | None = None,
) -> Ended:
    """Carry a run out under the eyes of whoever watches, and report it however it ends."""
    from fleet.cli.progress import Progress

    run = opened.run
    say(
        f"run {run.run_id}: {plural(len(run.jobs), 'job')} in {plural(len(run.plan.waves), 'wave')}",
        quiet=flags["quiet"],
    )
    progress = Progress(run, enabled=_is_watched(flags))
    stream = _stream(run, flags)
    stopping = Stopping()
    stopping.listeners += [progress.interrupted, lambda times: _leave(times, progress, run, flags)]

    def observe(event: Event) -> None:
        progress.observe(event)
        if stream is not None:
            stream.observe(event)

    failure: FleetError | None = None
    try:
        with progress:
            await app.carry_out(opened, connection, secrets, clock, observe, stopping, waits=_waits(flags))
    except FleetError as error:
        failure, run = error, opened.run
    interrupted = stopping.asked > 0 and not run.finished
    report = aggregate(
        run.record(),
        interrupted=interrupted,
        allow_empty=flags.get("allow_empty", True),
        resumable=opened.is_resumable,
    )
    code = report.exit_code
    try:
        files = reports_of_playbook(run.plan.report, opened.folder) if run.finished and opened.is_resumable else ()
        tell(report, flags, stream, files, show)
    except FleetError as error:
        failure = failure or error
    if failure is not None:
        _say_failure(failure)
        code = failure.exit_code
    elif interrupted:
        code = ExitCode.TERMINATED if stopping.by == signal.SIGTERM else ExitCode.INTERRUPTED
    if not run.finished and opened.is_resumable:
        _say_how_to_resume(run, flags)
    return Ended(report, code)


def _waits(flags: Mapping[str, Any]) -> bool:
    """Whether to stay while a person is awaited: as asked, else where there is one to see it."""
    asked: bool | None = flags.get("wait")
    return sys.stderr.isatty() if asked is None else asked


def _is_watched(flags: Mapping[str, Any]) -> bool:
    """Whether a live picture can be drawn: on a terminal, with nothing else written to it meanwhile."""
    beside = flags["quiet"] or flags["verbose"] or (flags["output_format"] == "jsonl" and sys.stdout.isatty())
    return sys.stderr.isatty() and not beside and os.environ.get("TERM") != "dumb"


def _stream(run: Run, flags: Mapping[str, Any]) -> Stream | None:
    if flags["output_format"] != "jsonl":
        return None
    from fleet.cli.streaming import Stream

    return Stream(run)


def _leave(times: int, progress: Progress, run: Run, flags: Mapping[str, Any]) -> None:
    """The third interrupt ends the process: give the terminal back and say how to go on, while there is time."""
    if times >= 3:
        progress.stop()
        _say_how_to_resume(run, flags)


def _say_failure(failure: FleetError) -> None:
    what = "Azure cannot be used: " if isinstance(failure, AzureUnusable) else ""
    click.echo(f"{label('error', 'red')}: {terminal(f'{what}{failure}')} [{failure.code}]", err=True)
    if failure.hint:
        click.echo(f"  hint: {terminal(failure.hint)}", err=True)


def _say_how_to_resume(run: Run, flags: Mapping[str, Any]) -> None:
    """The last line on stderr is the exact command that goes on."""
    lab = flags["lab"]
    if lab is not None and not connecting.is_url(lab):
        say("note: this lab ended with the command, and what ran in it; `fleet lab up` serves one that stays")
    words = ["fleet", "resume" if run.awaiting is None else "approve", run.run_id]
    if lab is not None:
        words.append("--lab" if lab == connecting.DEFAULT_LAB else f"--lab={lab}")
    if flags["config_file"]:
        words += ["--config", flags["config_file"]]
    if flags["tenant"]:
        words += ["--tenant", flags["tenant"]]
    words += [word for item in flags["given"] if _is_of_secret(item, run.plan) for word in ("-e", item)]
    click.echo(shlex.join(words), err=True)


def _is_of_secret(item: str, plan: Plan) -> bool:
    """Whether a ``-e`` is needed again: those of secrets (by reference only), and files that may hold one."""
    return bool(plan.secrets) and (item.startswith("@") or item.partition("=")[0] in plan.secrets)


def tell(
    report: Report,
    flags: Mapping[str, Any],
    stream: Stream | None = None,
    files: Iterable[ReportFile] = (),
    show: Show | None = None,
) -> None:
    """The report on stdout first, then into ``files`` and those that flags ask for."""
    if stream is not None:
        stream.finish(report)
    elif show is not None:
        show(report)
    else:
        emit_pieces(pieces(report, report_form(flags["output_format"]), colour=colour_on(flags["colour"])))
    for path in write_reports(report, [*files, *flags["report_files"]]):
        say(f"wrote {path}", quiet=flags["quiet"])
