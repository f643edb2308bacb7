"""What a plan will cost: calls to be made, and the time it cannot beat.

The bound is ARM's and Compute's documented limits for one principal: submission k of a subscription leaves no sooner than
max(0, (k - 200) / 10, (k - 1500) / 8.33) seconds, and jobs beyond what may be in flight wait for a slot: that is the
concurrency, what a strict budget leaves, and what slow start and spread let begin.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from fleet.plan.model import Limits, Plan, Wave
from fleet.plan.rights import is_action
from fleet.targets.model import Kind
from fleet.targets.traits import alike, trait

TYPICAL_SECONDS = 18.0
"""A run command's usual length in the real service (recorded median: 18 s for the action, 16 s managed)."""

TYPICAL_ARC_SECONDS = 135.0
"""The same on an Arc machine, whatever the script does (recorded: 2 min 15 s)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Calls by kind, and seconds from start to the last result if each script takes ``script_seconds``."""

    jobs: int
    submissions: int
    reads: int
    deletes: int
    script_seconds: float
    seconds: float
    slow_start: float = 0.0
    """How many of the seconds are the slow start's."""


def estimate(plan: Plan, script_seconds: float | None = None) -> Estimate:
    """Estimate a run without refusals: one submission and about one and a half reads a job, a delete where managed.

    A standing command is read once more, before it is sent, and not deleted. Without ``script_seconds`` each job takes as
    long as is usual on the slowest kind of machine in the plan.
    """
    arc = sum(target.kind is Kind.ARC for target in plan.targets)
    if script_seconds is None:
        script_seconds = TYPICAL_ARC_SECONDS if arc else TYPICAL_SECONDS
    jobs = len(plan)
    managed = [step for step in plan.steps if not is_action(step, plan.transport)]
    standing = sum(1 for step in managed if step.properties.command) * len(plan.targets)
    deletes = len(managed) * len(plan.targets) - standing
    seconds = _seconds(plan, script_seconds)
    at_full_width = _seconds(replace(plan, limits=replace(plan.limits, slow_start=False)), script_seconds)
    reads = jobs + jobs // 2 + standing + arc * len(plan.steps)  # an Arc machine is asked first whether it is connected
    return Estimate(jobs, jobs, reads, deletes, script_seconds, seconds, seconds - at_full_width)


def _seconds(plan: Plan, script_seconds: float) -> float:
    waves = [_wave_seconds(plan, wave, script_seconds) for wave in plan.waves]
    return sum(waves) + plan.limits.soak * max(len(waves) - 1, 0)


def _wave_seconds(plan: Plan, wave: Wave, script_seconds: float) -> float:
    steps = len(plan.steps)
    largest = max(Counter(plan.targets[index].subscription for index in wave.targets).values(), default=0)
    calls = largest * steps
    last_submission = max(0.0, (calls - 200) / 10, (calls - 1500) / (500 / 60))
    return max(last_submission + script_seconds, rounds(plan, wave) * steps * script_seconds)


def rounds(plan: Plan, wave: Wave) -> int:
    """How many times a script's length a wave takes at least, if all take as long and none fails."""
    at_once = width(plan.limits, wave)
    done = count = 0
    while plan.limits.slow_start and done < len(wave.targets) and 1 + done < at_once:
        done += 1 + done
        count += 1
    count += -(-max(len(wave.targets) - done, 0) // at_once)
    return max(count, _spread_rounds(plan, wave))


def width(limits: Limits, wave: Wave) -> int:
    """How many targets of a wave are under way at most: a strict budget lets no more begin than may fail, and one."""
    maxima = (wave.max_failures, wave.max_unreachable) if limits.strict else ()
    return min([limits.at_once, *(maximum + 1 for maximum in maxima if maximum is not None)])


def _spread_rounds(plan: Plan, wave: Wave) -> int:
    spread = plan.limits.spread
    if spread is None:
        return 0
    sizes = Counter(alike(trait(target, spread.per)) for target in plan.targets)
    here = Counter(alike(trait(plan.targets[index], spread.per)) for index in wave.targets)
    return max((-(-count // spread.of(sizes[value])) for value, count in here.items() if value), default=0)
