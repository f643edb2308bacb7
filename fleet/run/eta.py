"""How much longer a run takes: by what its own jobs took so far, for what is under way and for the waves to come.

A straggler's end nobody can tell: it holds no forecast up. It is counted instead, so that a reader knows what is left out.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import median

from fleet.plan import estimate
from fleet.plan.model import JobId, Plan, PlannedStep, Wave
from fleet.playbook.model import Turn
from fleet.run.job_state import JobState
from fleet.run.model import Phase
from fleet.run.stragglers import stragglers
from fleet.run.view import RunView


@dataclass(frozen=True, slots=True)
class Outlook:
    """How many seconds a run has left if nothing goes wrong, and how many stragglers that leaves out."""

    seconds: float
    stragglers: int = 0


def outlook(run: RunView, now: float) -> Outlook | None:
    """Say how long the run still takes; None while nothing is known yet, or nothing is left. Looks at every job."""
    lengths = _lengths(run)
    if not lengths or run.done == len(run.jobs) or run.wave < 0:
        return None
    usual = median(lengths.values())

    def length(step: PlannedStep) -> float:
        return lengths.get(step.id, usual)

    plan = replace(run.plan, limits=run.limits)
    slow = frozenset(straggler.job for straggler in stragglers(run.jobs, now))
    wave = plan.waves[run.wave]
    seconds = _rest_of_wave(run, plan, wave, lengths, usual, slow, now)
    if run.launch_stop is None:
        seconds += _after_wave(run, plan, wave, length, now)
        seconds += sum(
            estimate.wave_seconds(plan, later, length) + estimate.soak_seconds(plan, later)
            for later in plan.waves[run.wave + 1 :]
        )
    return Outlook(seconds, len(slow))


def _lengths(run: RunView) -> dict[str, float]:
    """How long each step took in the middle, where any has ended, by its id."""
    took: defaultdict[str, list[float]] = defaultdict(list)
    for state in run.jobs:
        if state.operation is not None and state.ended is not None and state.intended is not None:
            took[state.job.step.id].append(state.ended - state.intended)
    return {step: median(times) for step, times in took.items()}


def _rest_of_wave(
    run: RunView,
    plan: Plan,
    wave: Wave,
    lengths: Mapping[str, float],
    usual: float,
    slow: frozenset[JobId],
    now: float,
) -> float:
    """What the open wave's jobs still need: who waits takes the place of whoever is through first."""
    under_way, waiting = list[float](), list[float]()
    for target in wave.targets:
        jobs = [run.jobs[plan.job_id(target, place)] for place in range(len(plan.steps))]
        due = [state for state in jobs if state.job.id not in slow and _is_due(run, state)]
        if due:
            chain = sum(_left(state, lengths.get(state.job.step.id, usual), now) for state in due)
            (under_way if any(state.in_flight for state in due) else waiting).append(chain)
    at_once = plan.limits.concurrency if run.is_looked_at else estimate.width(plan.limits, wave)
    places = under_way + [0.0] * min(at_once - len(under_way), len(waiting))
    heapq.heapify(places)
    for chain in waiting:
        heapq.heappush(places, chain + (heapq.heappop(places) if places else 0.0))
    return max(places, default=0.0)


def _is_due(run: RunView, state: JobState) -> bool:
    """Whether a job of the open wave is under way, or will be if nothing goes wrong."""
    if state.phase is Phase.DONE:
        return False
    if state.released or state.phase is not Phase.WAITING:
        return True
    if run.launch_stop is not None or state.job.step.flow.turn is Turn.RESCUE:
        return False
    return not state.belongs_to_gate or (run.is_looked_at and run.findings.asks(state.job.wave, state.job.step.id))


def _left(state: JobState, length: float, now: float) -> float:
    if state.phase is Phase.RUNNING and state.intended is not None:
        return max(length - (now - state.intended), 0.0)
    return length + max(state.due - now, 0.0)


def _after_wave(run: RunView, plan: Plan, wave: Wave, length: estimate.Length, now: float) -> float:
    """What follows the open wave's own steps before the next one opens: it settles, and is looked at."""
    if run.is_looked_at:
        return 0.0
    until = run.settles_until
    soak = estimate.soak_seconds(plan, wave) if until is None else max(until - now, 0.0)
    return soak + estimate.health_seconds(plan, wave, length)
