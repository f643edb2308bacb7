"""Gates on what was found: whether a wave's targets are healthy, and whether their facts are right.

Both look back at a wave that has ended, and count all of its targets, whatever became of them: one that could not be
reached, or that tells less than the gate asks for, is never taken for a good one. Their decisions are journalled with
what they rest on, so that a run that is resumed decides nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from fleet.plan.model import Gate, Plan
from fleet.playbook.model import FactsCheck, HealthCheck
from fleet.run import events as e
from fleet.run.effects import JudgeGate
from fleet.run.facts import is_certain
from fleet.run.job_state import JobState
from fleet.run.model import CauseCode, Status
from fleet.run.steps import known_of

NAMED = 10
"""Targets that a judgement names at most."""


class Findings:
    """Every such gate of a plan, and what was decided. Written by :class:`fleet.run.state.Run` alone."""

    def __init__(self, plan: Plan) -> None:
        self._after: dict[int, list[int]] = {}
        for number, gate in enumerate(plan.gates):
            if gate.check is not None:
                self._after.setdefault(gate.wave - 1, []).append(number)
        self._asked = [frozenset(step.id for step in plan.health_steps(wave.index)) for wave in plan.waves]
        self.judged: dict[int, e.GateJudged] = {}
        self.begun: set[int] = set()
        """Waves on whose targets the steps of gates have begun."""

    def asks(self, wave: int, step: str) -> bool:
        """Whether a gate after the wave asks for the step."""
        return step in self._asked[wave]

    def needs_health(self, wave: int) -> bool:
        """Whether a gate after the wave asks for any step."""
        return bool(self._asked[wave])

    def undecided(self, wave: int) -> int | None:
        """The first gate after the wave that was not decided; None if the wave is behind all of them."""
        return next((number for number in self._after.get(wave, ()) if number not in self.judged), None)

    def take(self, event: e.HealthBegun | e.GateJudged) -> None:
        """Take over what was begun or decided. The only place where any of this changes."""
        if isinstance(event, e.HealthBegun):
            self.begun.add(event.wave)
        else:
            self.judged[event.gate] = event


def judge(plan: Plan, number: int, jobs: Sequence[JobState]) -> JudgeGate:
    """Decide about a gate; every job of the wave that it looks at has ended."""
    gate, steps = plan.gates[number], len(plan.steps)
    targets = plan.waves[gate.wave - 1].targets
    missed = [
        plan.targets[target].name
        for target in targets
        if not _is_good(plan, gate, jobs[target * steps : (target + 1) * steps])
    ]
    met, of = len(targets) - len(missed), len(targets)
    return JudgeGate(number, _suffices(gate, met, of), met, of, tuple(missed[:NAMED]))


def _is_good(plan: Plan, gate: Gate, jobs: Sequence[JobState]) -> bool:
    if gate.facts is not None:
        return is_certain(gate.facts.condition, jobs[0].job.target, known_of(jobs))
    assert gate.health is not None, "a gate that looks back looks at facts or at health"
    outcome = next(state.outcome for state in jobs if state.job.step.id == gate.health.step)
    assert outcome is not None
    spared = outcome.status is Status.SKIPPED and outcome.cause.code is CauseCode.WHEN_FALSE
    return outcome.status is Status.SUCCEEDED or spared


def _suffices(gate: Gate, met: int, of: int) -> bool:
    """Exact, and never rounded in favour: 95% of ten targets are all ten."""
    if gate.facts is not None:
        return met * 100 >= Fraction(repr(gate.facts.min_share.value)) * of
    assert gate.health is not None
    return of - met <= gate.health.max_failed.of(of)


def cause(gate: Gate) -> CauseCode:
    """Why a run stops that does not come past the gate."""
    return CauseCode.GATE_FACTS if gate.facts is not None else CauseCode.GATE_HEALTH


def judgement(plan: Plan, event: e.GateJudged) -> str:
    """Say in one line what was decided, and what it rests on."""
    gate = plan.gates[event.gate]
    head = f"Gate after wave {gate.wave} {'passed' if event.go else 'not passed'}"
    match gate.check:
        case FactsCheck(condition, share):
            percent = 100 * event.met * 10 // max(event.of, 1) / 10  # floored: nothing short of all is 100%
            what = f"{condition} on {event.met} of {event.of} targets ({percent:g}%), {share} needed"
        case HealthCheck(step, most):
            bad = event.of - event.met
            what = f"{step} not ok on {bad} of {event.of} targets, {most.of(event.of)} allowed"
        case None:
            raise AssertionError("only gates on what was found are judged")
    return f"{head}: {what}{_named(event)}"


def _named(event: e.GateJudged) -> str:
    if not event.missed:
        return ""
    more = event.of - event.met - len(event.missed)
    return f"; not on {', '.join(event.missed)}" + (f" and {more} more" if more else "")
