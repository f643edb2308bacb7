"""What holds a plan's pace back most, and what would change it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from fleet.plan.estimate import estimate, soak_seconds, width
from fleet.plan.model import Limits, Plan, Wave

WORTH = 0.05
"""The part of a plan's time below which a limit is not worth naming."""


class Bound(StrEnum):
    """What a plan waits for."""

    BUDGET = "budget"
    SLOW_START = "slow start"
    CONCURRENCY = "concurrency"
    SPREAD = "spread"
    RATE = "rate"
    STEP = "step"
    """The concurrency of a step of its own."""
    WRITES = "writes"
    """Azure's limit of submissions, for each subscription."""
    SCRIPT = "script"


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """The limit without which a plan would be quickest, and how many seconds it costs."""

    bound: Bound
    seconds: float
    at_once: int
    """How many targets of the widest wave are under way at most."""
    wider: int
    """How many could be under way at most if the bound were lifted."""


def bottleneck(plan: Plan) -> Bottleneck:
    """Find the limit that costs most time; where none costs a twentieth of it, Azure's writes or the script itself."""
    seconds = estimate(plan).seconds
    widest = max(plan.waves, key=lambda wave: len(wave.targets), default=None)
    at_once = 0 if widest is None else min(width(plan.limits, widest), len(widest.targets))
    most = 0 if widest is None else len(widest.targets)
    found = Bottleneck(Bound.SCRIPT, 0.0, at_once, at_once)
    for bound, lifted in _lifted(plan):
        saved = seconds - estimate(lifted).seconds
        if saved > max(found.seconds, WORTH * seconds):
            wider = most if bound is not Bound.BUDGET else min(most, plan.limits.concurrency)
            found = Bottleneck(bound, saved, at_once, wider)
    if found.bound is Bound.SCRIPT and _waits_for_writes(plan, seconds):
        return replace(found, bound=Bound.WRITES)
    return found


def _lifted(plan: Plan) -> tuple[tuple[Bound, Plan], ...]:
    """The plan without each of its limits."""

    def with_limits(limits: Limits, waves: tuple[Wave, ...] = plan.waves) -> Plan:
        return replace(plan, limits=limits, waves=waves)

    limits = plan.limits
    wide = replace(plan, steps=tuple(replace(step, concurrency=None) for step in plan.steps))
    free = tuple(replace(wave, max_failures=None, max_unreachable=None) for wave in plan.waves)
    return (
        (Bound.BUDGET, with_limits(replace(limits, max_failures=None, max_unreachable=None), free)),
        (Bound.SLOW_START, with_limits(replace(limits, slow_start=False))),
        (Bound.CONCURRENCY, with_limits(replace(limits, concurrency=max(len(plan.targets), 1)))),
        (Bound.SPREAD, with_limits(replace(limits, spread=None))),
        (Bound.RATE, with_limits(replace(limits, rate=None))),
        (Bound.STEP, wide),
    )


def _waits_for_writes(plan: Plan, seconds: float) -> bool:
    """Whether submissions alone take half of the time or more."""
    return estimate(plan, 0.0).seconds - sum(soak_seconds(plan, wave) for wave in plan.waves) >= seconds / 2
