"""What a plan will cost: calls to be made, and the time it cannot beat.

The bound is ARM's and Compute's documented limits for one principal: submission k of a subscription leaves no sooner than
max(0, (k - 200) / 10, (k - 1500) / 8.33) seconds, and jobs beyond the concurrency wait for a slot.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from fleet.plan.model import Plan
from fleet.playbook.model import Transport
from fleet.targets.model import Kind

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


def estimate(plan: Plan, script_seconds: float | None = None) -> Estimate:
    """Estimate a run without refusals: one submission and about one and a half reads a job, a delete where managed.

    Without ``script_seconds`` each job takes as long as is usual on the slowest kind of machine in the plan.
    """
    arc = sum(target.kind is Kind.ARC for target in plan.targets)
    if script_seconds is None:
        script_seconds = TYPICAL_ARC_SECONDS if arc else TYPICAL_SECONDS
    jobs = len(plan)
    managed = sum(1 for step in plan.steps if not step.script.command_id) * len(plan.targets)
    deletes = 0 if plan.transport is Transport.ACTION else managed
    reads = jobs + jobs // 2 + arc * len(plan.steps)  # an Arc machine is asked first whether it is connected
    return Estimate(jobs, jobs, reads, deletes, script_seconds, _seconds(plan, script_seconds))


def _seconds(plan: Plan, script_seconds: float) -> float:
    waves = [_wave_seconds(plan, wave.targets, script_seconds) for wave in plan.waves]
    return sum(waves) + plan.limits.soak * max(len(waves) - 1, 0)


def _wave_seconds(plan: Plan, targets: tuple[int, ...], script_seconds: float) -> float:
    steps = len(plan.steps)
    largest = max(Counter(plan.targets[index].subscription for index in targets).values(), default=0)
    calls = largest * steps
    last_submission = max(0.0, (calls - 200) / 10, (calls - 1500) / (500 / 60))
    rounds = -(-len(targets) // plan.limits.concurrency)
    return max(last_submission + script_seconds, rounds * steps * script_seconds)
