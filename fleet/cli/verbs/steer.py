"""The verbs that steer a run from another terminal of the same machine: pause, unpause, cancel, tune."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from fleet.cli import options
from fleet.cli.signals import run_interruptible
from fleet.cli.terminal import emit, settings
from fleet.cli.verbs.runs import keeping, tell_damage
from fleet.errors import ExitCode, InvalidInput, Problem, Refused
from fleet.playbook.model import Amount

if TYPE_CHECKING:
    from fleet.run.events import Directive
    from fleet.run.state import Run

NOBODY = "no process carries the run out: it is kept, and holds for whoever goes on with it"


def steering(command: Any) -> Any:
    """Who asks, and why."""
    for option in (
        click.option("--as", "name", metavar="TEXT", help="Who asks, beside the name of the user."),
        click.option("--why", default="", metavar="TEXT", help="Why; kept with the run and shown in its report."),
    ):
        command = option(command)
    return command


def steer(run_id: str, flags: dict[str, Any], make: Callable[[Run, str], Directive]) -> int:
    """Give a run a directive and say what became of it."""
    from fleet.app import runs
    from fleet.app.steer import asker, direct

    config, _ = settings(flags["config_file"], flags["verbose"], flags["quiet"])
    kept = runs.saved(config, run_id)
    tell_damage(kept)
    run = runs.replay(kept)
    if run.finished:
        raise Refused(f"run {kept.run_id} has ended", hint=f"fleet show {kept.run_id} shows how", code="run_has_ended")
    event = make(run, asker(flags["name"]))
    answer = run_interruptible(direct(config, kept.run_id, event))
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
@keeping
def pause(run_id: str, **flags: Any) -> int:
    """Launch nothing more in RUN until it is unpaused. What is in flight goes on and is awaited.

    Works from any terminal of the machine that carries the run out. If no process does, it holds for whoever resumes it.
    """
    from fleet.app.steer import new_directive
    from fleet.run.events import RunPaused

    def make(run: Run, who: str) -> Directive:
        return RunPaused(0.0, who, flags["why"], new_directive())

    return steer(run_id, flags, make)


@click.command(
    epilog="""\b
Examples:
  fleet unpause last
"""
)
@click.argument("run_id", metavar="RUN")
@steering
@keeping
def unpause(run_id: str, **flags: Any) -> int:
    """Let a paused RUN launch again."""
    from fleet.app.steer import new_directive
    from fleet.run.events import RunUnpaused

    def make(run: Run, who: str) -> Directive:
        if run.control.paused is None:
            raise Refused(f"run {run.run_id} is not paused", code="not_paused")
        return RunUnpaused(0.0, who, flags["why"], new_directive())

    return steer(run_id, flags, make)


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
@keeping
def cancel(run_id: str, **flags: Any) -> int:
    """End RUN: launch nothing more; every job that has not begun is `not_started`.

    Unlike an interrupt this is for good: a resume awaits what is in flight and launches nothing. The exit code of the run
    is 5. What travels by the action cannot be cancelled and is awaited.
    """
    from fleet.app.steer import new_directive
    from fleet.run.events import RunCancelled, StopKind

    def make(run: Run, who: str) -> Directive:
        return RunCancelled(0.0, StopKind(flags["kind"]), who, flags["why"], new_directive())

    return steer(run_id, flags, make)


class MaximumType(click.ParamType[Amount | None]):
    """A count, a percent of the run's targets, or ``none``."""

    name = "N|N%|none"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Amount | None:
        from fleet.run.directives import NONE

        return Amount(NONE) if value == "none" else options.AmountType().convert(value, param, ctx)


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
    type=options.ConcurrencyType("; fleet pause RUN holds a run"),
    help="How many VMs at a time, at least 1; `fleet pause` holds a run.",
)
@click.option("--max-failures", type=MaximumType(), help="Of the whole run, or the wave; none: never stop for them.")
@click.option("--max-unreachable", type=MaximumType(), help="Of the whole run, or the wave; none: never stop for them.")
@click.option("--wave", type=WaveType(), help="Change the budgets of this wave, beside the run's (`per_wave`).")
@steering
@keeping
def tune(run_id: str, **flags: Any) -> int:
    """Raise or lower the concurrency and the budgets of RUN while it goes on. Percents are of its targets.

    With --wave the budgets are those of one wave, and percents are of the wave's targets. A wave that is over, and one that
    there is not, are refused.

    A budget below what has failed already stops the run. What was in flight under a higher one may still overshoot it.
    """
    from fleet.app.steer import new_directive
    from fleet.run.events import LimitsChanged

    def make(run: Run, who: str) -> Directive:
        wave = _wave_of(run, flags["wave"])
        total = len(run.plan.targets if wave is None else run.plan.waves[wave].targets)
        values = {name: flags[name] for name in ("concurrency", "max_failures", "max_unreachable")}
        if all(value is None for value in values.values()):
            hint = "give --concurrency, --max-failures or --max-unreachable"
            raise InvalidInput([Problem("nothing_to_change", "nothing is to be changed", "tune", hint=hint)])
        numbers = {name: None if value is None else value.of(total) for name, value in values.items()}
        if numbers["concurrency"] is not None:
            numbers["concurrency"] = max(numbers["concurrency"], 1)
        if wave is not None and numbers["concurrency"] is not None:
            hint = "leave out --wave: it holds from now on, whatever the wave"
            raise InvalidInput([Problem("usage", "the concurrency is the run's, not a wave's", "--wave", hint=hint)])
        return LimitsChanged(0.0, **numbers, who=who, why=flags["why"], directive=new_directive(), wave=wave)

    return steer(run_id, flags, make)
