"""The stream of events."""

from __future__ import annotations

import dataclasses
import json
from typing import get_args

import pytest

from fleet.plan.model import Gate, JobId
from fleet.playbook.model import Amount, HealthCheck, Transport
from fleet.report.aggregate import aggregate
from fleet.report.render_jsonl import line, report_line, row_line
from fleet.run import events as e
from fleet.run.answers import Answer, LostReason, Operation, Quota, Refusal
from fleet.run.model import CauseCode

from . import factory as f

CANARY = "S3CR3T"
URL = f"https://management.azure.com/subscriptions/x/operations/1?t=1&c={CANARY}&s={CANARY}"
SAMPLES: dict[str, object] = {
    "at": f.START,
    "job": JobId(1),
    "epoch": 1,
    "wave": 0,
    "gate": 0,
    "ask": 1,
    "go": False,
    "ready": False,
    "met": 1,
    "of": 2,
    "missed": ("web002",),
    "why": "an incident is open",
    "attempt": 1,
    "operation": Operation(Transport.MANAGED, URL, URL, "/subscriptions/s/runCommands/fleet-1"),
    "refusal": Refusal(409, "Conflict", f"see {URL}"),
    "reason": LostReason.RESET,
    "answer": Answer("Succeeded", "", 0, stdout=CANARY, stderr=CANARY),
    "code": "Failed",
    "message": f"see {URL}",
    "kind": e.StopKind.SOFT,
    "cause": CauseCode.DEADLINE,
    "detail": f"see {URL}",
    "quota": Quota("s", "westeurope", {"writes": 7}),
}


def sample(kind: type[e.Event]) -> e.Event:
    names = [field.name for field in dataclasses.fields(kind)]
    return kind(**{name: SAMPLES[name] for name in names if name in SAMPLES})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", get_args(e.Event))
def test_every_event_is_one_safe_line(kind: type[e.Event]) -> None:
    """Each kind of event is one line of JSON with its name, time and job, and no signature or raw output."""
    check = HealthCheck("patch", Amount(0)) if kind is e.GateJudged else None
    text = line(sample(kind), dataclasses.replace(f.plan(f.fleet(2)), gates=(Gate(1, health=check),)))
    assert text.count("\n") == 1 and text.endswith("\n") and text.isascii()
    assert CANARY not in text
    said = json.loads(text)
    assert said["at"] == "2026-03-01T02:03:04.000Z"
    if "job" in {field.name for field in dataclasses.fields(kind)}:
        assert (said["job"], said["name"], said["step"]) == (1, "web002", "patch")


def test_names_are_snake_case() -> None:
    """The event's name is its class in snake_case, with its facts beside it."""
    said = json.loads(line(sample(e.SubmissionRefused), f.plan(f.fleet(2))))
    assert said["event"] == "submission_refused"
    assert (said["status"], said["code"]) == (409, "Conflict")


def test_the_last_line_is_the_summary() -> None:
    """The report's line has counts and exit code and no rows; a row's line has the report's fields."""
    report = aggregate(f.mixed())
    last = json.loads(report_line(report))
    assert (last["event"], last["exit_code"], last["counts"]["failed"]) == ("report", 5, 3)
    assert "jobs" not in last and "groups" not in last
    ended = json.loads(row_line(report.jobs[4]))
    assert (ended["event"], ended["status"], ended["stderr"]) == (
        "job_ended",
        "failed",
        "E: could not get lock\n",
    )
