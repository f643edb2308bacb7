"""The verbs that make something happen: run, plan, resume, rerun."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleet import app
from fleet.app import Connection, Narrowing, OpenRun, Stopping
from fleet.cli import given as parameter_values
from fleet.cli import options
from fleet.cli.choosing import warn_about
from fleet.cli.options import ReportFile
from fleet.cli.rendering import check_writable, render, render_plan, reports_of_playbook, write_reports
from fleet.cli.screen import colour_on, counted, emit, label, say, settings
from fleet.clock import Clock
from fleet.config import Config
from fleet.errors import AzureUnusable, ExitCode, FleetError, InvalidInput, Problem, Refused
from fleet.plan.build import Settings
from fleet.plan.model import Plan
from fleet.playbook.model import ParameterValue, Playbook, Transport
from fleet.report.aggregate import aggregate
from fleet.report.model import Report
from fleet.report.safe import terminal
from fleet.run.events import Event
from fleet.run.model import Status
from fleet.run.state import Run

if TYPE_CHECKING:
    from fleet.cli.progress import Progress
    from fleet.cli.streaming import Stream

FORMATS = ("table", "json", "jsonl", "csv", "md")


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
@options.reporting
@options.showing(*FORMATS)
@options.connecting
def run(playbook: str, dry_run: bool, **flags: Any) -> int:
    """Run PLAYBOOK over its targets: plan, ask, carry out, report.

    On a terminal the plan is shown and you are asked before anything is sent; elsewhere -y is needed. Interrupt once to
    stop launching, twice to cancel as well; `fleet resume` goes on later. The exit code is 0 only if every target
    ended well, with proof.
    """
    if dry_run:
        return _planned(playbook, flags)
    config = _config(flags)
    loaded = app.load_playbook(Path(playbook))
    values, secrets = parameter_values.parameters(loaded, flags["given"], os.environ)

    async def go() -> int:
        async with app.connect(config, flags["lab"], os.environ) as connection:
            _notes(connection, flags)
            plan = await _plan(connection, config, loaded, values, flags)
            _confirm(plan, flags)
            return await _carry_out(config, connection, plan, secrets, flags)

    return asyncio.run(go())


@click.command(
    epilog="""\b
Examples:
  fleet plan patch.yaml
  fleet plan patch.yaml -l 'tag.env == "dev"' -o json
  fleet plan patch.yaml -o md        for a pull request
"""
)
@click.argument("playbook", type=click.Path())
@options.values
@options.narrowing
@options.launching
@options.showing("table", "json", "md")
@options.connecting
def plan(playbook: str, **flags: Any) -> int:
    """Show the targets, waves, calls and time of a run of PLAYBOOK. Nothing is sent to any VM."""
    return _planned(playbook, flags)


def _planned(playbook: str, flags: dict[str, Any]) -> int:
    config = _config(flags)
    loaded = app.load_playbook(Path(playbook))
    values, _ = parameter_values.parameters(loaded, flags["given"], os.environ)

    async def go() -> int:
        async with app.connect(config, flags["lab"], os.environ) as connection:
            _notes(connection, flags)
            made = await _plan(connection, config, loaded, values, flags)
        emit(render_plan(made, flags["output_format"] or "table", colour=colour_on(flags["colour"])))
        return ExitCode.OK

    return asyncio.run(go())


@click.command(
    epilog="""\b
Examples:
  fleet resume last
  fleet resume 20260301-0203 --lab=http://127.0.0.1:8080
"""
)
@click.argument("run_id", metavar="RUN")
@options.values
@options.reporting
@options.showing(*FORMATS)
@options.connecting
def resume(run_id: str, **flags: Any) -> int:
    """Go on with RUN (an id, a unique prefix, or `last`) where it was left.

    What was on its way when the run was cut off is looked up, never blindly sent again. Secret parameters are not kept
    with a run and are given again.
    """
    config = _config(flags)
    kept = app.saved(config, run_id)
    app.check_cloud(kept.plan, flags["lab"])
    secrets = parameter_values.secrets_of(kept.plan.declared, flags["given"], os.environ)
    finished = app.replay(kept)
    if finished.finished:
        say(f"run {kept.run_id} has ended; this is its report", quiet=flags["quiet"])
        report = aggregate(finished.record())
        _report(report, flags)
        return report.exit_code

    async def go() -> int:
        async with app.connect(config, flags["lab"], os.environ) as connection:
            _notes(connection, flags)
            app.check_same_cloud(kept.plan, connection)
            clock = app.now_clock()
            opened = app.take_over(config, kept.run_id, secrets, clock)
            return await _drive(opened, connection, secrets, flags, clock)

    return asyncio.run(go())


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
@options.reporting
@options.showing(*FORMATS)
@options.connecting
def rerun(selection: str, **flags: Any) -> int:
    """Begin a new run of the same plan on the targets of RUN that ended with one of the statuses.

    Without statuses: failed, timed_out, unreachable, unverified, unknown, cancelled and not_started.
    """
    config = _config(flags)
    text, statuses = _statuses(selection)
    kept = app.saved(config, text)
    app.check_cloud(kept.plan, flags["lab"])
    secrets = parameter_values.secrets_of(kept.plan.declared, flags["given"], os.environ)
    plan = _narrowed(kept.plan, aggregate(app.replay(kept).record()), statuses)

    async def go() -> int:
        async with app.connect(config, flags["lab"], os.environ) as connection:
            _notes(connection, flags)
            app.check_same_cloud(plan, connection)
            _confirm(plan, flags)
            return await _carry_out(config, connection, plan, secrets, flags)

    return asyncio.run(go())


RERUN_BY_DEFAULT = tuple(status for status in Status if status not in (Status.SUCCEEDED, Status.SKIPPED))


def _statuses(selection: str) -> tuple[str, tuple[Status, ...]]:
    text, colon, names = selection.partition(":")
    if not colon:
        return text, RERUN_BY_DEFAULT
    wanted = [name.strip().replace("-", "_") for name in names.split(",") if name.strip()]
    known = [status.value for status in Status]
    wrong = [name for name in wanted if name not in known]
    if wrong or not wanted:
        found = wrong[0] if wrong else names
        message = f"{found!r} is not a status"
        raise InvalidInput([Problem("bad_status", message, "RUN:STATUS", hint=f"statuses are: {', '.join(known)}")])
    return text, tuple(Status(name) for name in wanted)


def _narrowed(plan: Plan, report: Report, statuses: tuple[Status, ...]) -> Plan:
    """The same plan over fewer targets, in the same waves."""
    ids = {row.target for row in report.jobs if row.status in statuses}
    places = [index for index, target in enumerate(plan.targets) if target.id in ids]
    if not places:
        names = ", ".join(status.value for status in statuses)
        raise Refused(
            f"no target of run {report.run} ended {names}", hint=f"fleet show {report.run} shows how they ended"
        )
    moved = {old: new for new, old in enumerate(places)}
    kept = [replace(wave, targets=tuple(moved[old] for old in wave.targets if old in moved)) for wave in plan.waves]
    waves = [wave for wave in kept if wave.targets]
    return replace(
        plan,
        targets=tuple(plan.targets[index] for index in places),
        waves=tuple(replace(wave, index=index) for index, wave in enumerate(waves)),
        unread=(),
    )


async def _plan(
    connection: Connection,
    config: Config,
    loaded: Playbook,
    values: Mapping[str, ParameterValue],
    flags: Mapping[str, Any],
) -> Plan:
    """Find the targets, warn of what looks like a slip, and freeze the plan."""
    found = await app.find(connection, loaded.selection, _narrowing(flags))
    warn_about(found)
    return app.make_plan(connection, loaded, found, values, _settings(config, flags), allow_empty=flags["allow_empty"])


def _config(flags: Mapping[str, Any]) -> Config:
    config, _ = settings(flags["config_file"], flags["verbose"], flags["quiet"])
    check_writable(flags.get("report_files", ()))
    return config


def _narrowing(flags: Mapping[str, Any]) -> Narrowing:
    return Narrowing(
        subscriptions=flags["subscriptions"],
        limit=flags["limit"],
        exclude=flags["exclude"],
        pick=flags["pick"],
        seed=flags["seed"],
        max_targets=flags["max_targets"],
        allow_empty=flags["allow_empty"],
    )


def _settings(config: Config, flags: Mapping[str, Any]) -> Settings:
    return app.settings_of(
        config,
        transport=Transport(flags["transport"]) if flags["transport"] else None,
        override_concurrency=flags["concurrency"],
        override_max_failures=flags["max_failures"],
        override_max_unreachable=flags["max_unreachable"],
        override_timeout=flags["timeout"],
    )


def _notes(connection: Connection, flags: Mapping[str, Any]) -> None:
    for note in connection.notes:
        say(f"note: {note}", quiet=flags["quiet"])


def _confirm(plan: Plan, flags: Mapping[str, Any]) -> None:
    """Show the plan and ask, where there is somebody to ask; elsewhere ``-y`` is the answer."""
    if flags["yes"]:
        return
    what = f"run {plan.playbook.name} on {counted(len(plan.targets), 'target')}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Refused(
            f"nobody is here to confirm: {what}", hint="add -y (--yes) to run without asking", code="unconfirmed"
        )
    say(render_plan(plan, "table", colour=False))
    if not click.confirm(f"{what[0].upper()}{what[1:]}?", err=True):
        raise Refused("not confirmed; nothing was sent", code="unconfirmed")


async def _carry_out(
    config: Config, connection: Connection, plan: Plan, secrets: Mapping[str, str], flags: Mapping[str, Any]
) -> int:
    clock = app.now_clock()
    return await _drive(app.begin(config, plan, secrets, clock), connection, secrets, flags, clock)


async def _drive(
    opened: OpenRun, connection: Connection, secrets: Mapping[str, str], flags: Mapping[str, Any], clock: Clock
) -> int:
    """Carry a run out under the eyes of whoever watches, and report it however it ends."""
    from fleet.cli.progress import Progress

    run = opened.run
    say(
        f"run {run.run_id}: {counted(len(run.jobs), 'job')} in {counted(len(run.plan.waves), 'wave')}",
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
            await app.carry_out(opened, connection, secrets, clock, observe, stopping)
    except FleetError as error:
        failure = error
    interrupted = stopping.asked > 0 and not run.finished
    report = aggregate(run.record(), interrupted=interrupted, allow_empty=flags.get("allow_empty", True))
    code = report.exit_code
    try:
        _report(report, flags, stream, reports_of_playbook(run.plan.report, opened.folder) if run.finished else ())
    except FleetError as error:
        failure = failure or error
    if failure is not None:
        _say_failure(failure)
        code = failure.exit_code
    elif interrupted:
        code = ExitCode.TERMINATED if stopping.by == signal.SIGTERM else ExitCode.INTERRUPTED
    if not run.finished:
        _say_how_to_resume(run, flags)
    return code


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
    if lab is not None and not app.is_url(lab):
        say("note: this lab ended with the command, and what ran in it; `fleet lab up` serves one that stays")
    words = ["fleet", "resume", run.run_id]
    if lab is not None:
        words.append("--lab" if lab == app.DEFAULT_LAB else f"--lab={lab}")
    if flags["config_file"]:
        words += ["--config", flags["config_file"]]
    words += [word for item in flags["given"] if _is_of_secret(item, run.plan) for word in ("-e", item)]
    click.echo(shlex.join(words), err=True)


def _is_of_secret(item: str, plan: Plan) -> bool:
    """Whether a ``-e`` is needed again: those of secrets (by reference only), and files that may hold one."""
    return bool(plan.secrets) and (item.startswith("@") or item.partition("=")[0] in plan.secrets)


def _report(
    report: Report, flags: Mapping[str, Any], stream: Stream | None = None, files: Iterable[ReportFile] = ()
) -> None:
    """The report on stdout first, then into ``files`` and those that flags ask for."""
    if stream is not None:
        stream.finish(report)
    else:
        emit(render(report, flags["output_format"] or "table", colour=colour_on(flags["colour"])))
    for path in write_reports(report, [*files, *flags["report_files"]]):
        say(f"wrote {path}", quiet=flags["quiet"])
