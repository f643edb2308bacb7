"""The verbs that steer a run from another terminal of the same machine: pause, unpause, cancel, tune."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from fleet.cli import options
from fleet.cli.option_types import ConcurrencyType
from fleet.cli.options import Common
from fleet.cli.signals import run_interruptible
from fleet.cli.terminal import emit, settings
from fleet.cli.verbs.runs import tell_damage
from fleet.errors import ExitCode, InvalidInput, Problem, Refused

if TYPE_CHECKING:
    from fleet.playbook.model import Amount
    from fleet.run.events import Directive
    from fleet.run.state import Run

NOBODY = "no process carries the run out: it is kept, and holds for whoever goes on with it"


@dataclass(frozen=True, slots=True)
class Reason:
    """Who asks, and why."""

    name: str | None
    why: str


steering = options.fill(
    Reason,
    click.option("--why", default="", metavar="TEXT", help="Why; kept with the run and shown in its report."),
    click.option("--as", "name", metavar="TEXT", help="Who asks, beside the name of the user."),
)


def steer(run_id: str, common: Common, reason: Reason, make: Callable[[Run, str], Directive]) -> int:
    """Give a run a directive and say what became of it."""
    from fleet.app import runs
    from fleet.app.steer import asker, direct
    from fleet.app.stores import open_store
    from fleet.cli.kept_runs import saved

    config, _ = settings(common.config_file, common.verbose, common.quiet)
    kept = saved(config, run_id)
    tell_damage(kept)
    run = runs.replay(kept)
    if run.finished:
        raise Refused(f"run {kept.run_id} has ended", hint=f"fleet show {kept.run_id} shows how", code="run_has_ended")
    event = make(run, asker(reason.name))
    answer = run_interruptible(direct(open_store(config), kept.run_id, event))
    emit(f"run {kept.run_id}: {answer.text}" + ("" if answer.live else f"\n{NOBODY}: fleet resume {kept.run_id}"))
    return ExitCode.OK


@click.command(
    epilog="""\b
Examples:
  fleet pause last --why 'the database is slow'
  fleet pause 20260301-0203 --as 'Jo, on call'
"""
)
@click.argument("run_id", metavar="RUN")
@steering
@options.keeping
def pause(common: Common, reason: Reason, *, run_id: str) -> int:
    """Launch nothing more in RUN until it is unpaused. What is in flight goes on and is awaited.

    Works from any terminal of the machine that carries the run out. If no process does, it holds for whoever resumes it.
    """
    from fleet.app.steer import new_directive
    from fleet.run.events import RunPaused

    def make(run: Run, who: str) -> Directive:
        return RunPaused(0.0, who, reason.why, new_directive())

    return steer(run_id, common, reason, make)


@click.command(
    epilog="""\b
Examples:
  fleet unpause last
"""
)
@click.argument("run_id", metavar="RUN")
@steering
@options.keeping
def unpause(common: Common, reason: Reason, *, run_id: str) -> int:
    """Let a paused RUN launch again."""
    from fleet.app.steer import new_directive
    from fleet.run.events import RunUnpaused

    def make(run: Run, who: str) -> Directive:
        if run.control.paused is None:
            raise Refused(f"run {run.run_id} is not paused", code="not_paused")
        return RunUnpaused(0.0, who, reason.why, new_directive())

    return steer(run_id, common, reason, make)


@click.command(
    epilog="""\b
Examples:
  fleet cancel last --soft
  fleet cancel last --hard --why 'wrong version'
"""
)
@click.argument("run_id", metavar="RUN")
@click.option("--soft", "kind", flag_value="soft", default="soft", help="Await what is in flight (the default).")
@click.option("--hard", "kind", flag_value="hard", help="Also end the scripts of managed commands in their VMs.")
@steering
@options.keeping
def cancel(common: Common, reason: Reason, *, run_id: str, kind: str) -> int:
    """End RUN: launch nothing more; every job that has not begun is `not_started`.

    Unlike an interrupt this is for good: a resume awaits what is in flight and launches nothing. The exit code of the run
    is 5. What travels by the action cannot be cancelled and is awaited.
    """
    from fleet.app.steer import new_directive
    from fleet.run.events import RunCancelled, StopKind

    def make(run: Run, who: str) -> Directive:
        return RunCancelled(0.0, StopKind(kind), who, reason.why, new_directive())

    return steer(run_id, common, reason, make)


class MaximumType(click.ParamType["Amount | None"]):
    """A count, a percent of the run's targets, or ``none``."""

    name = "N|N%|none"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Amount | None:
        from fleet.cli.option_types import AmountType
        from fleet.playbook.model import Amount
        from fleet.run.directives import NONE

        return Amount(NONE) if value == "none" else AmountType().convert(value, param, ctx)


CURRENT = "current"


class WaveType(click.ParamType[int | str]):
    """A wave's number, or ``current``."""

    name = f"N|{CURRENT}"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == CURRENT:
            return CURRENT
        if not re.fullmatch(r"[1-9][0-9]{0,8}", str(value)):
            self.fail(f"{value!r} is neither a wave's number nor {CURRENT}", param, ctx)
        return int(str(value))


def _wave_of(run: Run, asked: int | str | None) -> int | None:
    """The index of the wave that is meant. Raises Refused where its budgets change nothing any more."""
    if asked is None:
        return None
    wave = max(run.wave, 0) if isinstance(asked, str) else asked - 1
    count = len(run.plan.waves)
    if wave >= count:
        hint = f"its last wave is {count}" if count else "it has no waves"
        raise Refused(f"run {run.run_id} has no wave {wave + 1}", hint=hint, code="no_such_wave")
    if wave < run.wave or run.is_wave_over(wave):
        hint = "the budgets of the run: leave out --wave; those of the next wave: give its number"
        raise Refused(f"wave {wave + 1} of run {run.run_id} is over", hint=hint, code="wave_is_over")
    return wave


@click.command(
    epilog="""\b
Examples:
  fleet tune last -f 20
  fleet tune last --max-failures 5 --why 'known ones'
  fleet tune last --max-unreachable none
  fleet tune last --wave current --max-failures 10%
"""
)
@click.argument("run_id", metavar="RUN")
@click.option(
    "-f",
    "--concurrency",
    type=ConcurrencyType("; fleet pause RUN holds a run"),
    help="How many VMs at a time, at least 1; `fleet pause` holds a run.",
)
@click.option("--max-failures", type=MaximumType(), help="Of the whole run, or the wave; none: never stop for them.")
@click.option("--max-unreachable", type=MaximumType(), help="Of the whole run, or the wave; none: never stop for them.")
@click.option("--wave", type=WaveType(), help="Change the budgets of this wave, beside the run's (`per_wave`).")
@steering
@options.keeping
def tune(
    common: Common,
    reason: Reason,
    *,
    run_id: str,
    concurrency: Amount | None,
    max_failures: Amount | None,
    max_unreachable: Amount | None,
    wave: int | str | None,
) -> int:
    """Raise or lower the concurrency and the budgets of RUN while it goes on. Percents are of its targets.

    With --wave the budgets are those of one wave, and percents are of the wave's targets. A wave that is over, and one that
    there is not, are refused.

    A budget below what has failed already stops the run. What was in flight under a higher one may still overshoot it.
    """
    from fleet.app.steer import new_directive
    from fleet.run.events import LimitsChanged

    def make(run: Run, who: str) -> Directive:
        index = _wave_of(run, wave)
        total = len(run.plan.targets if index is None else run.plan.waves[index].targets)
        if concurrency is None and max_failures is None and max_unreachable is None:
            hint = "give --concurrency, --max-failures or --max-unreachable"
            raise InvalidInput([Problem("nothing_to_change", "nothing is to be changed", "tune", hint=hint)])
        if index is not None and concurrency is not None:
            hint = "leave out --wave: it holds from now on, whatever the wave"
            raise InvalidInput([Problem("usage", "the concurrency is the run's, not a wave's", "--wave", hint=hint)])
        return LimitsChanged(
            0.0,
            concurrency=None if concurrency is None else max(concurrency.of(total), 1),
            max_failures=None if max_failures is None else max_failures.of(total),
            max_unreachable=None if max_unreachable is None else max_unreachable.of(total),
            who=who,
            why=reason.why,
            directive=new_directive(),
            wave=index,
        )

    return steer(run_id, common, reason, make)
