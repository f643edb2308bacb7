"""The verbs that read what is kept: runs, show, output, report."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from fleet import app
from fleet.cli import options
from fleet.cli.progress import slow_jobs
from fleet.cli.rendering import check_writable, render, write_reports
from fleet.cli.screen import colour_on, emit, report_form, say, settings, table, warn
from fleet.clock import iso, wall_time
from fleet.errors import ExitCode, RunNotFound, StateError
from fleet.report import safe
from fleet.report.aggregate import aggregate
from fleet.report.model import JobRow, Report
from fleet.report.words import plural
from fleet.store.files import write_private
from fleet.store.runs import RunsFolder

STRAGGLERS_SHOWN = 9

FORMATS = ("table", "json", "jsonl", "csv", "md")


def keeping(command: Any) -> Any:
    """The flags of a verb that reads kept runs only."""
    for option in (
        click.option("--config", "config_file", metavar="FILE", help="Settings to use instead of ./config.yaml."),
        click.option("-v", "--verbose", count=True, help="Say more on stderr."),
        click.option("-q", "--quiet", count=True, help="Say less on stderr."),
    ):
        command = option(command)
    return command


@click.command(epilog="\b\nExamples:\n  fleet runs\n  fleet runs -o json\n")
@options.showing("table", "json")
@keeping
def runs(**flags: Any) -> int:
    """List the runs kept here, newest first."""
    config, _ = settings(flags["config_file"], flags["verbose"], flags["quiet"])
    kept = RunsFolder(config.state_dir).list()
    if flags["output_format"] == "json":
        emit(json.dumps([_run_document(run) for run in kept], indent=1))
        return ExitCode.OK
    if not kept:
        say("no runs yet; `fleet run PLAYBOOK` begins one", quiet=flags["quiet"])
        return ExitCode.OK
    rows = [(run.id, run.state.value, run.playbook, str(run.targets), _when(run.created), run.detail) for run in kept]
    emit(table(("run", "state", "playbook", "targets", "begun", ""), rows))
    return ExitCode.OK


def _run_document(run: Any) -> dict[str, object]:
    return {
        "id": run.id,
        "state": run.state.value,
        "playbook": run.playbook,
        "targets": run.targets,
        "created": iso(run.created) if run.created else None,
        "detail": run.detail,
    }


def _when(moment: float) -> str:
    return iso(moment)[:19].replace("T", " ") + " UTC" if moment else ""


@click.command(
    epilog="""\b
Examples:
  fleet show last
  fleet show last --all
  fleet show 20260301-0203 -o json
  fleet show last -o csv > rows.csv
"""
)
@click.argument("run_id", metavar="RUN")
@click.option("--all", is_flag=True, help="Every group and every line of output, nothing left out.")
@options.showing(*FORMATS)
@keeping
def show(run_id: str, **flags: Any) -> int:
    """Show RUN (an id, a unique prefix, or `last`): how it stands, or how it ended.

    The exit code is that of the run's report.
    """
    found = report_of(run_id, flags)
    emit(render(found, report_form(flags["output_format"]), colour=colour_on(flags["colour"]), whole=flags["all"]))
    return found.exit_code


@click.command(
    epilog="""\b
Examples:
  fleet report last --report html=audit.html
  fleet report last --report junit=junit.xml --report csv=rows.csv
  fleet report last -o md >> "$GITHUB_STEP_SUMMARY"
"""
)
@click.argument("run_id", metavar="RUN")
@options.reporting
@options.showing(*FORMATS)
@keeping
def report(run_id: str, **flags: Any) -> int:
    """Render the report of RUN again. With --report and no -o, only the files are written."""
    check_writable(flags["report_files"])
    found = report_of(run_id, flags)
    for path in write_reports(found, flags["report_files"]):
        say(f"wrote {path}", quiet=flags["quiet"])
    if flags["output_format"] or not flags["report_files"]:
        emit(render(found, report_form(flags["output_format"]), colour=colour_on(flags["colour"])))
    return ExitCode.OK


@click.command(
    epilog="""\b
Examples:
  fleet output last web001
  fleet output last 'web*' --stream stderr
  fleet output last --outdir out/       one file per VM, step and stream
"""
)
@click.argument("run_id", metavar="RUN")
@click.argument("names", metavar="[VM]...", nargs=-1)
@click.option("--step", metavar="ID", help="Only this step.")
@click.option(
    "--stream", type=click.Choice(["both", "stdout", "stderr"]), default="both", help="Which stream (default both)."
)
@click.option("--outdir", type=click.Path(path_type=Path), help="Write files into this folder instead.")
@click.option("--raw", is_flag=True, help="Print what came, control characters included. Not on a terminal.")
@keeping
def output(run_id: str, names: tuple[str, ...], **flags: Any) -> int:
    """Print what the scripts of RUN printed, VM by VM; VM is a name or a glob."""
    found = report_of(run_id, flags)
    rows = [row for row in found.jobs if _is_meant(row, names, flags["step"])]
    if not rows:
        wanted = " ".join((*names, *((f"--step {flags['step']}",) if flags["step"] else ())))
        raise RunNotFound(
            f"no row of run {found.run} fits {wanted or 'that'}",
            hint=f"fleet show {found.run} lists them",
            code="no_rows",
        )
    if flags["outdir"]:
        write_streams(rows, flags["outdir"], flags["quiet"], flags["stream"])
        return ExitCode.OK
    for row in rows:
        _print_streams(row, flags["stream"], raw=flags["raw"])
    return ExitCode.OK


@click.command(epilog="\b\nExamples:\n  fleet verify last\n  fleet verify 20260301-0203\n")
@click.argument("run_id", metavar="RUN")
@keeping
def verify(run_id: str, **flags: Any) -> int:
    """Check that the journal of RUN is whole: each event is chained to the one before by its hash.

    A changed, missing or cut-off event is named, and the exit code is 1. The chain is not signed: it shows damage and
    careless edits, not the work of somebody who computes it anew.
    """
    config, _ = settings(flags["config_file"], flags["verbose"], flags["quiet"])
    kept = app.saved(config, run_id)
    if kept.damage:
        hint = f"what lies before it can still be read: fleet show {kept.run_id}"
        raise StateError(kept.damage, hint=hint, code="journal_damaged")
    state = " so far: it is going on" if kept.live else ""
    emit(f"run {kept.run_id}: {plural(len(kept.events), 'event')}, unbroken{state}; plan {kept.plan.digest}")
    return ExitCode.OK


def _is_meant(row: JobRow, names: tuple[str, ...], step: str | None) -> bool:
    if step is not None and row.step != step:
        return False
    return not names or any(fnmatch.fnmatchcase(row.name.casefold(), name.casefold()) for name in names)


def _streams(row: JobRow, wanted: str) -> list[tuple[str, str]]:
    both = [("stdout", row.stdout), ("stderr", row.stderr)]
    return [(name, text) for name, text in both if wanted in ("both", name)]


def _print_streams(row: JobRow, wanted: str, *, raw: bool) -> None:
    head = safe.terminal_line(f"{row.name}  {row.step}  {row.status.value}")
    for name, text in _streams(row, wanted):
        if text or name == wanted:
            cut = " (its beginning was cut off by the channel)" if row.truncated else ""
            say(f"-- {head}  {name}{cut}")
            emit(text if raw else safe.terminal(text))


def write_streams(rows: Sequence[JobRow], folder: Path, quiet: int, wanted: str = "both") -> None:
    """One file per row and stream. The number in front keeps hostile and twin names apart; no path comes from a VM."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        hint = "name a folder that you may write to, or one that can be made"
        raise StateError(f"the folder {folder} cannot be made: {error.strerror}", hint=hint, code="outdir") from error
    for number, row in enumerate(rows, start=1):
        plain = "".join(char if char.isascii() and (char.isalnum() or char == "-") else "_" for char in row.name)[:80]
        for name, text in _streams(row, wanted):
            write_private(folder / f"{number:05}-{plain}-{row.step}.{name}", text)
    say(f"wrote the output of {plural(len(rows), 'row')} to {folder}", quiet=quiet)


def report_of(run_id: str, flags: dict[str, Any]) -> Report:
    """Read a kept run and aggregate it, and say on stderr what is unusual about it."""
    config, _ = settings(flags["config_file"], flags["verbose"], flags["quiet"])
    kept = app.saved(config, run_id)
    if kept.damage:
        warn(f"{kept.damage}; what follows is the part before it")
    run = app.replay(kept)
    if not run.finished:
        state = "is going on" if kept.live else f"was left unfinished; fleet resume {kept.run_id} goes on"
        say(f"run {kept.run_id} {state}", quiet=flags["quiet"])
        if kept.live and (slow := slow_jobs(run, wall_time())):
            say(" · ".join(slow[:STRAGGLERS_SHOWN]), quiet=flags["quiet"])
    return aggregate(run.record())
