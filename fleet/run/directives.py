"""What people asked of a run while it went on: pause, cancel, other limits, from another terminal of the same machine.

A directive is journalled with who asked and why, so that it holds after a crash, and for whoever takes the run over.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import assert_never

from fleet.plan.model import Limits, Plan
from fleet.run import events as e

NONE = -1
"""In :class:`fleet.run.events.LimitsChanged`: no limit any more."""


@dataclass(slots=True)
class Control:
    """Every directive that was given, and what holds now."""

    limits: Limits
    waves: dict[int, Limits] = field(default_factory=dict)
    """The budgets of each wave, by its index."""
    paused: e.RunPaused | None = None
    cancelled: e.RunCancelled | None = None
    approved: set[int] = field(default_factory=set)
    """Waves, counted from 0."""
    given: list[e.Directive] = field(default_factory=list)

    def has(self, directive: str) -> bool:
        """Whether the directive of this id was taken up already."""
        return bool(directive) and any(event.directive == directive for event in self.given)

    def take(self, event: e.Directive) -> None:
        """Take a directive over. The only place where any of this changes."""
        self.given.append(event)
        match event:
            case e.RunPaused():
                self.paused = event
            case e.RunUnpaused():
                self.paused = None
            case e.RunCancelled():
                self.cancelled = event
            case e.LimitsChanged() if event.wave is not None:
                self.waves[event.wave] = changed(self.waves[event.wave], event)
            case e.LimitsChanged():
                self.limits = changed(self.limits, event)
            case e.WaveApproved():
                self.approved.add(event.wave)
            case e.WaveRejected() | e.JobUnstuck():
                pass  # the run itself does what these ask for
            case _:
                assert_never(event)


def budgets(plan: Plan) -> dict[int, Limits]:
    """The budgets that a plan gives each wave, by its index."""
    strict = plan.limits.strict
    return {
        wave.index: Limits(max_failures=wave.max_failures, max_unreachable=wave.max_unreachable, strict=strict)
        for wave in plan.waves
    }


def changed(limits: Limits, event: e.LimitsChanged) -> Limits:
    """Return the limits as they are after a change."""
    return replace(
        limits,
        concurrency=limits.concurrency if event.concurrency is None else event.concurrency,
        max_failures=_either(limits.max_failures, event.max_failures),
        max_unreachable=_either(limits.max_unreachable, event.max_unreachable),
    )


def _either(before: int | None, after: int | None) -> int | None:
    if after is None:
        return before
    return None if after == NONE else after


def sentence(event: e.Directive) -> str:
    """Say in one line what was asked, by whom, and why."""
    who = event.who or "somebody"
    why = f": {event.why}" if event.why else ""
    match event:
        case e.RunPaused():
            return f"Paused by {who}{why}"
        case e.RunUnpaused():
            return f"Unpaused by {who}{why}"
        case e.RunCancelled():
            hard = ", and what could be cancelled was" if event.kind is e.StopKind.HARD else ""
            return f"Cancelled by {who}{hard}{why}"
        case e.LimitsChanged():
            return f"{_changes(event)}, by {who}{why}"
        case e.JobUnstuck():
            return freeing(event, event.vm)
        case e.WaveApproved():
            return f"Wave {event.wave + 1} approved by {who}{why}"
        case e.WaveRejected():
            return f"Wave {event.wave + 1} rejected by {who}{why}"
    assert_never(event)


def freeing(event: e.JobUnstuck, names: str) -> str:
    """Say in one line that a person ends the scripts on these VMs, and how far that has come."""
    who = event.who or "somebody"
    why = f": {event.why}" if event.why else ""
    how = "its managed command is deleted" if event.how is e.Freeing.DELETED else "in the VM"
    match event.stage:
        case e.FreeingStage.ASKED:
            return f"End of the script on {names} asked for by {who}, {how}{why}"
        case e.FreeingStage.DONE:
            return f"Script on {names} ended by {who}, {how}{why}"
        case _:
            return f"Script on {names} could not be ended by {who}, {how}{why}"


def _changes(event: e.LimitsChanged) -> str:
    named = (
        ("concurrency", event.concurrency),
        ("max_failures", event.max_failures),
        ("max_unreachable", event.max_unreachable),
    )
    of_wave = "" if event.wave is None else f"wave {event.wave + 1}: "
    return of_wave + ", ".join(
        f"{name} set to {'none' if value == NONE else value}" for name, value in named if value is not None
    )
