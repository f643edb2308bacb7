"""Runs seeds, kills and the reference model, and reports on the terminal: progress, failures, sums."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click

from fleet.cli.terminal import emit, say
from fleet.errors import ExitCode
from fleet.rehearsal.faults import Fault
from fleet.report.words import duration, number, plural
from tests.verification import seeds
from tests.verification.agreement import Disagreement, walk
from tests.verification.labs import SIZES, Sizes
from tests.verification.revision import revision
from tests.verification.scenario import draw, twenty
from tests.verification.seeds import Tally, Verdict
from tests.verification.trace import trace

CORPUS = Path(__file__).with_name("corpus.txt")
"""The seeds that ever failed: one a line, and after it what it found."""

LINE_EVERY = 1000
"""Seeds between two lines of progress in a log."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What many scenarios have in common."""

    item: str = "seed"
    """What is counted: seeds, or writes to a journal that are killed."""
    rates: Mapping[Fault, float] = field(default_factory=dict)
    """Rates of faults instead of those that a seed draws; empty for the seed's own."""
    sizes: Sizes | None = None
    quiet: bool = False

    @property
    def options(self) -> str:
        """The options that give the same scenarios again."""
        rates = ",".join(f"{kind.value}={rate * 100:g}%" for kind, rate in self.rates.items())
        sizes = " --vms {}..{}".format(*self.sizes) if self.sizes else ""
        return (f" --fault {rates}" if rates else "") + sizes


def try_seeds(trial: Trial, count: int, first: int, corpus: Path, jobs: int | None) -> int:
    """Try the seeds of the corpus and then so many others. Returns the exit code."""
    known = seeds.read_corpus(corpus) if corpus.exists() else ()
    wanted = [*known, *range(first, first + count)]
    found = seeds.judge_all(wanted, jobs, trial.rates or None, trial.sizes or SIZES)
    return report(found, trial, len(wanted), corpus)


def try_kills(trial: Trial, jobs: int | None) -> int:
    """Kill one run at every write to its journal. Returns the exit code."""
    return report(seeds.judge_kills(twenty(trial.rates), jobs), trial)


def report(verdicts: Iterator[Verdict], trial: Trial, expected: int = 0, corpus: Path | None = None) -> int:
    """Report verdicts as they come, then their sums; add seeds that failed to the corpus, also after an interrupt.

    ``expected`` is the number of verdicts, 0 where it is unknown. Returns the exit code.
    """
    tally = Tally()
    try:
        say(f"trying {plural(expected, 'seed') if expected else 'every write'}", quiet=trial.quiet)
        for verdict in verdicts:
            tally.add(verdict)
            if verdict.breaches:
                _clear_progress(trial)
                _show_failure(verdict, trial)
            _show_progress(tally, expected, trial)
    finally:  # an interrupt ends the trials, and loses nothing that they found
        _clear_progress(trial)
        if tally.failed and corpus is not None and not (trial.rates or trial.sizes):
            seeds.keep(corpus, tally.failed)
            say(f"kept in {corpus}", quiet=trial.quiet)
        emit("".join(f"{line}\n" for line in _sums(tally, "kill" if trial.item == "write" else trial.item)))
    return ExitCode.INTERNAL if tally.failed else ExitCode.OK


def _show_failure(verdict: Verdict, trial: Trial) -> None:
    again = f"replay {verdict.seed} -v" if trial.item == "seed" else "kills"
    click.echo(f"{trial.item} {verdict.seed} failed:", err=True)
    for breach in verdict.breaches:
        click.echo(f"  {breach}", err=True)
    click.echo(f"  python -m tests.verification {again}{trial.options}  # in {revision()}", err=True)


def _show_progress(tally: Tally, expected: int, trial: Trial) -> None:
    """On a terminal show a number that counts up; elsewhere a line now and then, so that a log shows that it goes on."""
    if trial.quiet:
        return
    of = f" of {number(expected)}" if expected else ""
    line = f"{number(tally.seeds)}{of}, {len(tally.failed)} failed"
    if sys.stderr.isatty():
        if tally.seeds % 20 == 0:
            click.echo(f"\r{line}", err=True, nl=False)
    elif tally.seeds % LINE_EVERY == 0:
        click.echo(line, err=True)


def _clear_progress(trial: Trial) -> None:
    """Clear the line of progress, for what stays on the screen."""
    if sys.stderr.isatty() and not trial.quiet:
        click.echo("\r\033[K", err=True, nl=False)


def _sums(tally: Tally, item: str) -> Iterator[str]:
    yield f"{plural(tally.seeds, item)}, {number(len(tally.failed))} failed"
    yield f"{duration(tally.seconds)} of virtual time"
    for name, count in sorted(tally.counts.items()):
        if count:
            yield f"{number(count)} {name}"


def replay(seed: int, trial: Trial, *, events: bool) -> int:
    """Show the scenario of one seed, with or without each event. Returns the exit code."""
    shown, breaches = trace(draw(seed, trial.rates or None, trial.sizes or SIZES), events=events)
    emit(shown)
    for breach in breaches:
        click.echo(f"failed: {breach}", err=True)
    return ExitCode.INTERNAL if breaches else ExitCode.OK


def compare(events: int) -> int:
    """Drive the engine beside the reference model for so many events. Returns the exit code."""
    done = seed = 0
    while done < events:
        try:
            done += walk(seed, min(2000, events - done))
        except Disagreement as found:
            click.echo(f"failed: {found}", err=True)
            return ExitCode.INTERNAL
        seed += 1
    emit(f"{number(done)} events in {plural(seed, 'run')}: engine and reference model agree\n")
    return ExitCode.OK
