"""The verbs that read what is kept: runs, show, report, verify."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from fleet.app.reports import ReportFile, check_writable, write_reports
from fleet.cli import options
from fleet.cli.options import Common, Output
from fleet.cli.terminal import colour_on, emit, emit_pieces, report_form, say, settings, table, warn, width
from fleet.clock import iso, wall_time
from fleet.errors import ExitCode, StateError
from fleet.report.words import plural

if TYPE_CHECKING:
    from fleet.report.model import Report
    from fleet.run.kept import RunSummary, SavedRun
    from fleet.run.state import Run

STRAGGLERS_SHOWN = 9

FORMATS = ("table", "json", "jsonl", "csv", "md")


@click.command(epilog="\b\nExamples:\n  fleet runs\n  fleet runs -o json\n")
@options.showing("table", "json")
@options.keeping
def runs(common: Common, output: Output) -> int:
    """List the runs kept here, newest first."""
    from fleet.cli.kept_runs import listed

    config, _ = settings(common.config_file, common.verbose, common.quiet)
    kept = listed(config)
    if output.form == "json":
        emit(json.dumps([_run_document(run) for run in kept], indent=1))
        return ExitCode.OK
    if not kept:
        say("no runs yet; `fleet run PLAYBOOK` begins one", quiet=common.quiet)
        return ExitCode.OK
    rows = [(run.id, run.state.value, run.playbook, str(run.targets), _when(run.created), run.detail) for run in kept]
    emit(table(("run", "state", "playbook", "targets", "begun", ""), rows))
    return ExitCode.OK


def _run_document(run: RunSummary) -> dict[str, object]:
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
@click.option("--all", "everything", is_flag=True, help="Every group and every line of output, nothing left out.")
@options.showing(*FORMATS)
@options.keeping
def show(common: Common, output: Output, *, run_id: str, everything: bool) -> int:
    """Show RUN (an id, a unique prefix, or `last`): how it stands, or how it ended.

    The exit code is that of the run's report.
    """
    from fleet.report.render import pieces

    found = report_of(run_id, common)
    form, colour = report_form(output.form), colour_on(output.colour)
    emit_pieces(pieces(found, form, width=width(), colour=colour, whole=everything))
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
@options.keeping
def report(common: Common, output: Output, *, run_id: str, report_files: tuple[ReportFile, ...]) -> int:
    """Render the report of RUN again. With --report and no -o, only the files are written."""
    from fleet.report.render import pieces

    check_writable(report_files)
    found = report_of(run_id, common)
    for path in write_reports(found, report_files):
        say(f"wrote {path}", quiet=common.quiet)
    if output.form or not report_files:
        form = report_form(output.form)
        emit_pieces(pieces(found, form, width=width(), colour=colour_on(output.colour)))
    return ExitCode.OK


@click.command(epilog="\b\nExamples:\n  fleet verify last\n  fleet verify 20260301-0203\n")
@click.argument("run_id", metavar="RUN")
@options.keeping
def verify(common: Common, *, run_id: str) -> int:
    """Check that the journal of RUN is whole: each event is chained to the one before by its hash.

    A changed, missing or cut-off event is named, and the exit code is 1. The chain is not signed: it shows damage and
    careless edits, not the work of somebody who computes it anew.
    """
    from fleet.cli.kept_runs import saved

    config, _ = settings(common.config_file, common.verbose, common.quiet)
    kept = saved(config, run_id)
    if kept.damage:
        hint = f"what lies before it can still be read: fleet show {kept.run_id}"
        raise StateError(kept.damage, hint=hint, code="journal_damaged")
    state = " so far: it is going on" if kept.live else ""
    emit(f"run {kept.run_id}: {plural(len(kept.events), 'event')}, unbroken{state}; plan {kept.plan.digest}")
    return ExitCode.OK


def report_of(run_id: str, common: Common) -> Report:
    """Read a kept run and aggregate it, and say on stderr what is unusual about it."""
    from fleet.app.runs import replay
    from fleet.cli.kept_runs import saved
    from fleet.report.aggregate import aggregate

    config, _ = settings(common.config_file, common.verbose, common.quiet)
    kept = saved(config, run_id)
    run = replay(kept)
    tell_state(kept, run, common.quiet)
    return aggregate(run.record())


def tell_state(kept: SavedRun, run: Run, quiet: int) -> None:
    """Say on stderr what is unusual about a kept run."""
    from fleet.cli.progress import slow_jobs, waiting_jobs

    tell_damage(kept)
    if not run.finished:
        state = "is going on" if kept.live else f"was left unfinished; fleet resume {kept.run_id} goes on"
        say(f"run {kept.run_id} {state}", quiet=quiet)
        for line in waiting_jobs(run):
            say(line, quiet=quiet)
        if kept.live and (slow := slow_jobs(run, wall_time())):
            say(" · ".join(slow[:STRAGGLERS_SHOWN]), quiet=quiet)


def tell_damage(kept: SavedRun) -> None:
    """Say on stderr what is wrong with a kept run's journal."""
    if kept.damage:
        warn(f"{kept.damage}; what follows is what can still be read")
