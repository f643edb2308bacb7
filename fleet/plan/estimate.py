"""What a plan will cost: calls to be made, and the time it cannot beat.

The bound is ARM's and Compute's documented limits for one principal: submission k of a subscription leaves no sooner than
max(0, (k - 200) / 10, (k - 1500) / 8.33) seconds, and jobs beyond what may be in flight wait for a slot: that is the
concurrency, what a strict budget leaves, and what slow start and spread let begin. Steps that only follow a failure are
left out: nothing fails in an estimate, but what is said of retries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fleet.plan.model import Limits, Plan, PlannedStep, Wave
from fleet.plan.transport import is_action
from fleet.playbook.model import Strategy, Turn
from fleet.targets.model import Kind
from fleet.targets.traits import alike, trait

TYPICAL_SECONDS = 18.0
"""A run command's usual length in the real service (recorded median: 18 s for the action, 16 s managed)."""

TYPICAL_ARC_SECONDS = 135.0
"""The same on an Arc machine, whatever the script does (recorded: 2 min 15 s)."""

Length = Callable[[PlannedStep], float]
"""How long a step takes on a target, in seconds."""


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
    most_submissions: int = 0
    """As many where every step that may be tried again takes all of its tries, on every target."""
    most_seconds: float = 0.0
    """The seconds if so."""


def estimate(plan: Plan, script_seconds: float | None = None) -> Estimate:
    """Estimate a run without refusals: one submission and about one and a half reads a job, a delete where managed.

    A standing command is read once more, before it is sent, and not deleted. Without ``script_seconds`` each job takes as
    long as is usual on the slowest kind of machine in the plan.
    """
    if script_seconds is None:
        is_slow = any(target.kind is Kind.ARC for target in plan.targets)
        script_seconds = TYPICAL_ARC_SECONDS if is_slow else TYPICAL_SECONDS
    once = float(script_seconds)
    runs = [(step, *_runs(plan, step)) for step in plan.steps]
    submissions = sum(count for _, count, _ in runs)
    managed = [(step, count) for step, count, _ in runs if not is_action(step, plan.transport)]
    standing = sum(count for step, count in managed if step.properties.command)
    arc = sum(on_arc for _, _, on_arc in runs)  # an Arc machine is asked first whether it is connected
    seconds = _seconds(plan, lambda step: once)
    at_full_width = _seconds(replace(plan, limits=replace(plan.limits, slow_start=False)), lambda step: once)
    return Estimate(
        jobs=len(plan),
        submissions=submissions,
        reads=submissions + submissions // 2 + standing + arc,
        deletes=sum(count for _, count in managed) - standing,
        script_seconds=script_seconds,
        seconds=seconds,
        slow_start=seconds - at_full_width,
        most_submissions=sum(count * (1 + step.flow.retries) for step, count, _ in runs),
        most_seconds=_seconds(plan, lambda step: once + step.flow.retries * (step.flow.retry_delay + once)),
    )


def expected(plan: Plan) -> tuple[PlannedStep, ...]:
    """The steps of a wave's own work that run where nothing fails."""
    return tuple(step for step in plan.steps if step.flow.turn not in (Turn.RESCUE, Turn.GATE))


def _runs(plan: Plan, step: PlannedStep) -> tuple[int, int]:
    """On how many targets a step runs where nothing fails, and how many of these are Arc machines."""
    on = list(plan.targets)
    if step.flow.turn is Turn.RESCUE:
        on = []
    elif step.flow.turn is Turn.GATE:
        looked_at = [wave for wave in plan.waves if step in plan.health_steps(wave.index)]
        on = [plan.targets[index] for wave in looked_at for index in wave.targets]
    return len(on), sum(target.kind is Kind.ARC for target in on)


def _seconds(plan: Plan, length: Length) -> float:
    return sum(wave_seconds(plan, wave, length) + soak_seconds(plan, wave) for wave in plan.waves)


def soak_seconds(plan: Plan, wave: Wave) -> float:
    """How long a wave settles, which it does where anything follows it."""
    followed = wave.index + 1 < len(plan.waves) or plan.health_steps(wave.index)
    return plan.limits.soak if followed else 0.0


def wave_seconds(plan: Plan, wave: Wave, length: Length) -> float:
    """How long a wave takes at least, if none of its steps fails: its own steps, then those that gates ask for."""
    return _body_seconds(plan, wave, length) + health_seconds(plan, wave, length)


def _body_seconds(plan: Plan, wave: Wave, length: Length) -> float:
    steps = expected(plan)
    started = _last_start(plan, wave)
    largest = _largest(plan, wave)
    turns = rounds(plan, wave)
    if plan.strategy is Strategy.NODE:
        chain = [length(step) for step in steps]
        narrowest = max((_turns(wave, step) * length(step) for step in steps), default=0.0)
        last = _last_submission(largest * len(steps)) + sum(chain[-1:])
        return max(last, turns * sum(chain), started + sum(chain), narrowest)
    end = 0.0
    for number, step in enumerate(steps, 1):  # each waits until the one before has ended everywhere
        end = max(
            end + max(turns, _turns(wave, step)) * length(step),
            _last_submission(largest * number) + length(step),
            started + length(step),
        )
    return end


def health_seconds(plan: Plan, wave: Wave, length: Length) -> float:
    """How long the steps take that gates ask for after a wave: no budget and no slow start holds them back."""
    steps: Sequence[PlannedStep] = plan.health_steps(wave.index)
    if not steps:
        return 0.0
    chain = [length(step) for step in steps]
    turns = -(-len(wave.targets) // plan.limits.concurrency)
    return max(_last_submission(_largest(plan, wave) * len(steps)) + chain[-1], turns * sum(chain))


def _largest(plan: Plan, wave: Wave) -> int:
    """How many of a wave's targets are in its largest subscription: limits are per subscription."""
    return max(Counter(plan.targets[index].subscription for index in wave.targets).values(), default=0)


def _last_submission(calls: int) -> float:
    return max(0.0, (calls - 200) / 10, (calls - 1500) / (500 / 60))


def _turns(wave: Wave, step: PlannedStep) -> int:
    """How many times a step's own length it takes at least, by its own concurrency."""
    return 1 if step.concurrency is None else -(-len(wave.targets) // step.concurrency)


def _last_start(plan: Plan, wave: Wave) -> float:
    """When the rate lets the last target of a wave start, if none started before."""
    rate = plan.limits.rate
    return 0.0 if rate is None else ((len(wave.targets) - 1) // rate.count) * rate.per


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
