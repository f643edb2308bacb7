"""Fleet itself, tried under seeded faults, kills and beside its reference model, and told on the screen."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleet.cli.screen import emit, say
from fleet.errors import ExitCode
from fleet.report.words import duration, number, plural

if TYPE_CHECKING:
    from tests.verification.seeds import Tally, Verdict

CORPUS = Path(__file__).with_name("corpus.txt")
"""The seeds that ever failed: one a line, and after it what it found."""

LINE_EVERY = 1000
"""Seeds between two lines of progress in a log."""


def many(flags: Mapping[str, Any]) -> int:
    """Try many seeds, those that ever failed first. Returns the exit code."""
    from tests.verification import seeds
    from tests.verification.labs import SIZES

    corpus = flags["corpus"]
    known = seeds.read_corpus(corpus) if corpus.exists() else ()
    wanted = [*known, *range(flags["first"], flags["first"] + flags["seeds"])]
    return judged(
        seeds.judge_all(wanted, flags["jobs"], _rates(flags), flags["vms"] or SIZES), len(wanted), flags, corpus
    )


def kills(flags: Mapping[str, Any]) -> int:
    """Kill one run at every write to its journal. Returns the exit code."""
    from tests.verification import seeds
    from tests.verification.scenario import twenty

    return judged(seeds.judge_kills(twenty(_rates(flags) or {}), flags["jobs"]), 0, flags, None)


def _rates(flags: Mapping[str, Any]) -> dict[Any, float] | None:
    from fleet.rehearsal.faults import Fault

    if any(not isinstance(kind, Fault) for kind in flags["faults"]):
        raise click.UsageError("seeds have VMs of their own: --fault takes faults of requests here")
    return dict(flags["faults"]) or None


def judged(verdicts: Iterator[Verdict], expected: int, flags: Mapping[str, Any], corpus: Path | None) -> int:
    """Tell of verdicts as they come and of their sums, and keep the seeds that failed; also where it is interrupted.

    ``expected`` is how many there will be, 0 where nobody knows.
    """
    from tests.verification import seeds

    what, tally = "kill" if flags["kills"] else "seed", seeds.Tally()
    try:
        say(f"trying {plural(expected, 'seed') if expected else 'every write'}", quiet=flags["quiet"])
        for verdict in verdicts:
            tally.add(verdict)
            _tell_failure(verdict, flags)
            _tell_progress(tally, expected, flags)
    finally:  # an interrupt ends the trials, and loses nothing that they found
        _clear_progress(flags)
        if tally.failed and corpus is not None and not (flags["faults"] or flags["vms"]):
            seeds.keep(corpus, tally.failed)
            say(f"kept in {corpus}", quiet=flags["quiet"])
        emit("".join(f"{line}\n" for line in _sums(tally, what)))
    return ExitCode.INTERNAL if tally.failed else ExitCode.OK


def _tell_failure(verdict: Verdict, flags: Mapping[str, Any]) -> None:
    from tests.verification.revision import revision

    if not verdict.breaches:
        return
    _clear_progress(flags)
    again = "kills" if flags["kills"] else f"replay {verdict.seed} -v"
    click.echo(f"{'write' if flags['kills'] else 'seed'} {verdict.seed} failed:", err=True)
    for breach in verdict.breaches:
        click.echo(f"  {breach}", err=True)
    click.echo(f"  python -m tests.verification {again}{_again(flags)}  # in {revision()}", err=True)


def _tell_progress(tally: Tally, expected: int, flags: Mapping[str, Any]) -> None:
    """On a terminal a number that counts up; elsewhere a line now and then, so that a log shows that it goes on."""
    if flags["quiet"]:
        return
    of = f" of {number(expected)}" if expected else ""
    line = f"{number(tally.seeds)}{of}, {len(tally.failed)} failed"
    if sys.stderr.isatty():
        if tally.seeds % 20 == 0:
            click.echo(f"\r{line}", err=True, nl=False)
    elif tally.seeds % LINE_EVERY == 0:
        click.echo(line, err=True)


def _clear_progress(flags: Mapping[str, Any]) -> None:
    """Make room for what stays on the screen."""
    if sys.stderr.isatty() and not flags["quiet"]:
        click.echo("\r\033[K", err=True, nl=False)


def _again(flags: Mapping[str, Any]) -> str:
    rates = ",".join(f"{kind.value}={rate * 100:g}%" for kind, rate in flags["faults"].items())
    sizes = flags["vms"] and " --vms {}..{}".format(*flags["vms"])
    return (f" --fault {rates}" if rates else "") + (sizes or "")


def _sums(tally: Tally, what: str) -> Iterator[str]:
    yield f"{plural(tally.seeds, what)}, {number(len(tally.failed))} failed"
    yield f"{duration(tally.seconds)} of virtual time"
    for name, count in sorted(tally.counts.items()):
        if count:
            yield f"{number(count)} {name}"


def one(seed: int, flags: Mapping[str, Any]) -> int:
    """Tell the story of one seed, event by event with ``-v``. Returns the exit code."""
    from tests.verification.labs import SIZES
    from tests.verification.scenario import draw
    from tests.verification.trace import trace

    shown, breaches = trace(draw(seed, _rates(flags), flags["vms"] or SIZES), events=bool(flags["verbose"]))
    emit(shown)
    for breach in breaches:
        click.echo(f"failed: {breach}", err=True)
    return ExitCode.INTERNAL if breaches else ExitCode.OK


def model(steps: int) -> int:
    """Drive the engine beside the reference model for so many events. Returns the exit code."""
    from tests.verification.agreement import Disagreement, walk

    done = seed = 0
    while done < steps:
        try:
            done += walk(seed, min(2000, steps - done))
        except Disagreement as found:
            click.echo(f"failed: {found}", err=True)
            return ExitCode.INTERNAL
        seed += 1
    emit(f"{number(done)} events in {plural(seed, 'run')}: engine and reference model agree\n")
    return ExitCode.OK
