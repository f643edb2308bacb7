"""Runs of several steps, told briefly: which step meets what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fleet.plan.model import Limits, Plan, PlannedStep
from fleet.playbook.model import Amount, Fact, Flow, Script, Strategy, Turn
from fleet.run.answers import Command
from fleet.run.record import RunRecord
from fleet.testing import Behaviour, ScriptedCloud
from tests.unit.engine.harness import Trial
from tests.unit.run.factory import plan

OK = Behaviour()
FAILS = Behaviour(exit_code=1, stdout="state=broken\n")


def step(name: str, turn: Turn = Turn.SUCCESS, **flow: object) -> PlannedStep:
    """A planned step of this turn; keywords are those of its flow."""
    script = Script(text=f"echo {name}\n")
    return PlannedStep(name, script, f"digest of {name}", timeout=600.0, flow=Flow(turn=turn, **flow))  # type: ignore[arg-type]


def found(*names: str) -> Mapping[str, Fact]:
    """Facts that stand behind ``NAME=``."""
    return {name: Fact(key=name) for name in names}


def stepped(
    steps: Sequence[PlannedStep],
    *,
    vms: int = 1,
    waves: tuple[Amount | str, ...] = (),
    strategy: Strategy = Strategy.NODE,
    limits: Limits | None = None,
) -> Plan:
    """A plan of these steps."""
    return replace(plan(vms, waves=waves, limits=limits), steps=tuple(steps), strategy=strategy)


def place(plan: Plan, command: Command) -> tuple[str, str, int]:
    """Tell which VM, step and try a command belongs to."""
    match = re.search(r"-(\d+)(?:-r(\d+))?$", command.name)
    assert match is not None
    return command.target.name, plan.steps[int(match[1]) % len(plan.steps)].id, int(match[2] or 0)


def trial(plan: Plan, meets: Mapping[str, Sequence[Behaviour]]) -> Trial:
    """A run in which a step, on every VM, meets these behaviours try by try; the last one stands for all that follow."""

    def behave(command: Command, n: int) -> Behaviour:
        _, name, retry = place(plan, command)
        behaviours = meets.get(name, (OK,))
        return behaviours[min(retry, len(behaviours) - 1)]

    return Trial(plan, ScriptedCloud(behave))


def told(record: RunRecord) -> dict[str, str]:
    """Say how each step of the first VM ended: its status, or the cause where it was not sent."""
    steps = len(record.plan.steps)
    return {
        job.job.step.id: job.outcome.status.value
        if job.started is not None
        else f"{job.outcome.status.value}: {job.outcome.cause.code.value}"
        for job in record.jobs[:steps]
        if job.outcome is not None
    }
