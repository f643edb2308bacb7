"""A run driven event by event, by hand: for tests of single moments."""

from __future__ import annotations

from dataclasses import replace

from fleet.plan.model import JobId, Plan
from fleet.playbook.model import Properties, Transport
from fleet.run import effects as f
from fleet.run import events as e
from fleet.run import translate
from fleet.run.answers import Answer, Operation
from fleet.run.state import Run
from tests.unit.engine.harness import RUN_ID

OPERATION = Operation(Transport.MANAGED, resource="x")


def opened(plan: Plan, *, at: float = 0.0) -> Run:
    """A run that was just begun, with its first wave open."""
    run = Run(plan, RUN_ID)
    run.apply(e.RunOpened(at, 1))
    if plan.waves:
        run.apply(e.WaveOpened(at, 0))
    return run


def sent(run: Run, job: int, at: float) -> None:
    """A submission that was accepted at once."""
    run.apply(e.SubmissionIntended(at, JobId(job), run.jobs[job].attempt + 1))
    run.apply(e.SubmissionAccepted(at, JobId(job), OPERATION))


def ended(run: Run, job: int, at: float, exit_code: int = 0) -> None:
    """A look that found the end of an unwrapped managed command."""
    run.apply(e.LookBegun(at, JobId(job)))
    state = "Succeeded" if exit_code == 0 else "Failed"
    run.apply(e.ResultReceived(at, JobId(job), Answer(state, "", exit_code)))


def due(run: Run, now: float) -> list[f.Effect]:
    """Every effect that is due now, each begun; calls stay unanswered."""
    effects: list[f.Effect] = []
    while not isinstance(effect := run.next(now), f.WaitUntil | f.Halt) and not run.finished:
        effects.append(effect)
        begin(run, effect, now)
    return effects


def begin(run: Run, effect: f.Effect, now: float) -> None:
    """Apply the event by which an effect begins; what is asked of the cloud stays unanswered."""
    run.apply(translate.begun(effect, now))


def standing(made: Plan) -> Plan:
    """The plan, with a name of its own for the command of its first step: it stays on the VM."""
    return replace(made, steps=(replace(made.steps[0], properties=Properties(command="nightly")),))
