"""A run to keep: a plan with a little of everything, and the events of its life."""

from __future__ import annotations

import pytest

from fleet.plan.model import JobId, Plan, PlannedStep, PlaybookRef, Wave
from fleet.playbook.model import Script, Transport
from fleet.run.answers import Answer, Operation
from fleet.run.events import (
    Event,
    ResultReceived,
    RunEnded,
    RunOpened,
    SubmissionAccepted,
    SubmissionIntended,
    WaveOpened,
)
from fleet.targets.model import Os, Target

COUNT = 4


@pytest.fixture
def plan() -> Plan:
    targets = tuple(
        Target(
            f"/subscriptions/s/vm{number}",
            "s",
            "prod",
            "rg",
            f"vm{number}",
            "westeurope",
            Os.LINUX,
            tags={"é": "\ud800"},
        )
        for number in range(COUNT)
    )
    step = PlannedStep("patch", Script(text="echo hi\n"), "d" * 64, env={"A": "1"})
    return Plan(PlaybookRef("patch", "1.0.0", "abc"), targets, (step,), (Wave(0, "all", tuple(range(COUNT))),))


@pytest.fixture
def life() -> tuple[Event, ...]:
    operation = Operation(Transport.ACTION, "https://management.example/operations/1?t=1&c=2&s=3&h=4")
    events: list[Event] = [RunOpened(1.0, 1, "me"), WaveOpened(1.0, 0)]
    for job in map(JobId, range(COUNT)):
        events += [
            SubmissionIntended(2.0, job, 1),
            SubmissionAccepted(3.0, job, operation, 5.0),
            ResultReceived(4.0, job, Answer("Succeeded", exit_code=0, stdout="x" * 600 + "\x00\udcff")),
        ]
    return (*events, RunEnded(5.0))
