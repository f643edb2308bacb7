"""The verb that prints what scripts printed: what the report holds, and on request all of it."""

from __future__ import annotations

import fnmatch
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleet.app.reports import write_output
from fleet.cli import options
from fleet.cli.execute import config_of
from fleet.cli.options import Access
from fleet.cli.signals import run_interruptible
from fleet.cli.terminal import emit, emit_bytes, say, warn
from fleet.cli.verbs.runs import tell_state
from fleet.clock import SystemClock
from fleet.errors import ExitCode, Refused, RunNotFound, StateError
from fleet.report import safe
from fleet.report.words import CUT, plural
from fleet.run.model import Phase

if TYPE_CHECKING:
    from fleet.config.load import Config
    from fleet.report.model import JobRow
    from fleet.run.kept import SavedRun
    from fleet.run.state import Run


@dataclass(frozen=True, slots=True)
class Streams:
    """A row and its streams, byte for byte as far as they are known."""

    row: JobRow
    whole: Mapping[str, bytes]
    """Streams that were fetched whole, by name; the row has the text of the others."""

    def wanted(self, which: str) -> list[tuple[str, str | bytes]]:
        """The streams asked for, by name."""
        both: dict[str, str | bytes] = {"stdout": self.row.stdout, "stderr": self.row.stderr, **self.whole}
        return [(name, content) for name, content in both.items() if which in ("both", name)]


@dataclass(frozen=True, slots=True)
class Printing:
    """Which output is printed, how, and where to."""

    step: str | None
    stream: str
    full: bool
    follow: bool
    outdir: Path | None
    raw: bool


printing = options.fill(
    Printing,
    click.option("--step", metavar="ID", help="Only this step."),
    click.option(
        "--stream", type=click.Choice(["both", "stdout", "stderr"]), default="both", help="Which stream (default both)."
    ),
    click.option("--full", is_flag=True, help="Fetch, from the VMs or their blobs, what was too long for the channel."),
    click.option("--follow", is_flag=True, help="Show what one VM's script prints while it runs, until it has ended."),
    click.option("--outdir", type=click.Path(path_type=Path), help="Write files into this folder instead."),
    click.option("--raw", is_flag=True, help="Print what came, control characters included. Not on a terminal."),
)


@click.command(
    epilog="""\b
Examples:
  fleet output last web001
  fleet output last 'web*' --stream stderr
  fleet output last --outdir out/       one file per VM, step and stream
  fleet output last web001 --full       all of it, fetched from the VM
  fleet output last web001 --follow     as it comes, until the script has ended
  fleet output last web001 --follow -e sas=env:SAS    through the step's blobs
"""
)
@click.argument("run_id", metavar="RUN")
@click.argument("names", metavar="[VM]...", nargs=-1)
@printing
@options.values
@options.connecting
def output(access: Access, printing: Printing, *, run_id: str, names: tuple[str, ...], given: tuple[str, ...]) -> int:
    """Print what the scripts of RUN printed, VM by VM; VM is a name or a glob.

    Azure carries 4,096 bytes of each stream, which hold some 30 KB of packed text. A VM keeps longer output for seven
    days: --full fetches it, proves it by its digest and keeps it with the run. That takes one run command for about
    25 KB, some 20 seconds each.

    --follow asks a VM whose script is running what is new, with a managed run command beside it: a few times at once,
    then every 30 seconds, as often as Azure lets one. Its exit code is what a report of that row alone has. Ctrl-C ends
    the following, never the job.

    Where the step writes its output to blobs and -e gives the secret that signs their addresses, both read the blobs
    instead, and the VM is asked nothing.
    """
    from fleet.app import plans, runs
    from fleet.app.follow import row_to_follow
    from fleet.app.output import fetch_missing
    from fleet.app.stores import open_store
    from fleet.cli.kept_runs import saved
    from fleet.guest.spool import Stream
    from fleet.report.aggregate import aggregate

    if printing.follow and (printing.full or printing.outdir):
        raise click.UsageError("--follow goes with neither --full nor --outdir")
    config = config_of(access)
    kept = saved(config, run_id)
    run = runs.replay(kept)
    tell_state(kept, run, access.quiet)
    found = aggregate(run.record())
    chosen = [index for index, row in enumerate(found.jobs) if _is_meant(row, names, printing.step)]
    if not chosen:
        wanted = " ".join((*names, *((f"--step {printing.step}",) if printing.step else ())))
        raise RunNotFound(
            f"no row of run {found.run} fits {wanted or 'that'}",
            hint=f"fleet show {found.run} lists them",
            code="no_rows",
        )
    if printing.follow:
        return _follow(config, kept, run, row_to_follow(run, chosen, kept.live), access, printing, given)
    complete = True
    whole: Mapping[int, Mapping[str, bytes]] = {}
    if printing.full:
        streams = [stream for stream in Stream if printing.stream in ("both", stream)]
        telling = _Stderr(access.quiet)
        fetching = fetch_missing(
            config,
            open_store(config),
            kept,
            run,
            chosen,
            streams,
            telling,
            opening=plans.opening(kept.plan, config, access.lab, os.environ),
            given=given,
            environ=os.environ,
        )
        whole, complete = run_interruptible(fetching)
    rows = [Streams(found.jobs[index], whole.get(index, {})) for index in chosen]
    if printing.outdir:
        _write(rows, printing.outdir, access.quiet, printing.stream)
    else:
        for each in rows:
            _print(each, printing.stream, raw=printing.raw)
    return ExitCode.OK if complete else ExitCode.NOT_REACHED


@dataclass(frozen=True, slots=True)
class _Stderr:
    """Shows on stderr what is fetched."""

    quiet: int

    def say(self, text: str) -> None:
        """Show a note."""
        say(text, quiet=self.quiet)

    def warn(self, text: str) -> None:
        """Show a warning."""
        warn(text)

    def fetching(self, what: str, length: int, done: int, count: int) -> None:
        """Show the progress: a counter on a terminal, elsewhere one line when it starts."""
        if done == 1 and not sys.stderr.isatty():
            say(f"fetching {what}: {length:,} bytes in {count} pieces", quiet=self.quiet)
        elif sys.stderr.isatty() and not self.quiet:
            click.echo(f"\rfetching {what}: {done} of {count} pieces", nl=done == count, err=True)


def _follow(
    config: Config,
    kept: SavedRun,
    run: Run,
    row: int,
    access: Access,
    printing: Printing,
    given: Sequence[str],
) -> int:
    """Follow a row. Of one that has ended already, print what is kept."""
    from fleet.inspection.query import QueryFailed
    from fleet.report.aggregate import aggregate
    from fleet.report.verdict import exit_code

    found = aggregate(run.record()).jobs[row]
    if run.jobs[row].phase is Phase.DONE:
        say(f"{found.name} {found.step} has ended: {found.status.value}", quiet=access.quiet)
        _print(Streams(found, {}), printing.stream, raw=printing.raw)
        return exit_code([found])
    try:
        return run_interruptible(_followed(config, kept, run, row, access, printing, given))
    except KeyboardInterrupt:
        say(f"\nno longer following {found.name}; its job goes on", quiet=access.quiet)
        return ExitCode.INTERRUPTED
    except QueryFailed as error:
        message = f"{found.name} cannot be followed: {error.cause.message}"
        raise Refused(message, hint=error.cause.hint, code="not_followed") from error


async def _followed(
    config: Config, kept: SavedRun, run: Run, row: int, access: Access, printing: Printing, given: Sequence[str]
) -> int:
    from fleet.app import plans
    from fleet.app.follow import follow
    from fleet.app.stores import open_store
    from fleet.cli.follow import FollowScreen
    from fleet.guest.spool import Stream

    job = run.jobs[row].job
    streams = [stream for stream in Stream if printing.stream in ("both", stream)]
    head = safe.terminal_line(f"{job.target.name}  {job.step.id}")
    screen = FollowScreen(head, len(streams) > 1, printing.raw, access.quiet)
    followed = await follow(
        config,
        open_store(config),
        kept,
        run,
        row,
        streams,
        screen,
        SystemClock(),
        opening=plans.opening(kept.plan, config, access.lab, os.environ),
        given=given,
        environ=os.environ,
    )
    screen.finish(followed)
    return followed.code


def _is_meant(row: JobRow, names: tuple[str, ...], step: str | None) -> bool:
    if step is not None and row.step != step:
        return False
    return not names or any(fnmatch.fnmatchcase(row.name.casefold(), name.casefold()) for name in names)


def _print(streams: Streams, which: str, *, raw: bool) -> None:
    row = streams.row
    head = safe.terminal_line(f"{row.name}  {row.step}  {row.status.value}")
    for name, content in streams.wanted(which):
        if not content and name != which:
            continue
        cut = row.truncated and isinstance(content, str)
        say(f"-- {head}  {name}{f' ({CUT}: --full fetches all of it)' if cut else ''}")
        if isinstance(content, bytes):
            if raw:
                emit_bytes(content)
                continue
            content = content.decode("utf-8", "replace")
        emit(content if raw else safe.terminal(content))


def write_streams(rows: Sequence[JobRow], folder: Path, quiet: int) -> None:
    """One file per row and stream, of what the rows hold."""
    _write([Streams(row, {}) for row in rows], folder, quiet, "both")


def _write(rows: Sequence[Streams], folder: Path, quiet: int, which: str) -> None:
    """One file per row and stream. The number in front keeps hostile and twin names apart; no path comes from a VM."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        hint = "name a folder that you may write to, or one that can be made"
        raise StateError(f"the folder {folder} cannot be made: {error.strerror}", hint=hint, code="outdir") from error
    tidy = True
    for number, streams in enumerate(rows, start=1):
        row = streams.row
        plain = "".join(char if char.isascii() and (char.isalnum() or char == "-") else "_" for char in row.name)[:80]
        for name, content in streams.wanted(which):
            write_output(content, folder / f"{number:05}-{plain}-{row.step}.{name}", tidy=tidy)
            tidy = False
    say(f"wrote the output of {plural(len(rows), 'row')} to {folder}", quiet=quiet)
