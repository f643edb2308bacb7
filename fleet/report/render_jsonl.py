"""A run as JSON lines: typed objects while it goes on, a job's row when it ends, the summary at the end.

No event's line carries an operation's URL, a signature or raw output: the output comes with the job's row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache

from fleet.clock import iso
from fleet.plan.model import JobId, Plan
from fleet.report import document, safe
from fleet.report.document import Json
from fleet.report.model import JobRow, Report
from fleet.run import events as e
from fleet.run.answers import Refusal
from fleet.run.gates.checks import judgement


def line(event: e.Event, plan: Plan) -> str:
    """Return one event as one line of ASCII JSON: ``event`` (its name), ``at``, then what it says; waves from 1."""
    said: dict[str, Json] = {"event": snake_case(type(event).__name__), "at": iso(event.at)}
    job = getattr(event, "job", None)
    if isinstance(job, int):
        said |= _job(JobId(job), plan)
    return _line({**said, **_details(event, plan)})


def row_line(row: JobRow, *, at: float | None = None) -> str:
    """Return an ended job as one line: the event ``job_ended`` and the fields of the report's row."""
    moment = row.ended if at is None else at
    return _line({"event": "job_ended", "at": None if moment is None else iso(moment), **document.job(row)})


def report_line(report: Report) -> str:
    """Return the last line: the event ``report`` with the run's counts and exit code, without rows."""
    whole = document.document(report, rows=False)
    kept = (
        "schema",
        "run",
        "playbook",
        "started",
        "ended",
        "exit_code",
        "counts",
        "stopped",
        "unread",
        "notes",
    )
    return _line({"event": "report", "at": whole["ended"], **{key: whole[key] for key in kept}})


def _line(said: Mapping[str, Json]) -> str:
    return json.dumps(said, ensure_ascii=True, allow_nan=False, separators=(",", ":")) + "\n"


def _job(job: JobId, plan: Plan) -> dict[str, Json]:
    target = plan.targets[plan.target_index(job)]
    return {"job": job, "target": target.id, "name": target.name, "step": plan.steps[plan.step_index(job)].id}


def _gate(event: e.GateAsked | e.GateAnswered | e.GateSilent | e.GateJudged, plan: Plan) -> dict[str, Json]:
    said: dict[str, Json] = {"wave": plan.gates[event.gate].wave + 1, "gate": event.gate}
    match event:
        case e.GateJudged():
            found: dict[str, Json] = {"go": event.go, "met": event.met, "of": event.of, "missed": list(event.missed)}
            return {**said, "wave": plan.gates[event.gate].wave, **found, "why": judgement(plan, event)}
        case e.GateAsked():
            return {**said, "ask": event.ask}
        case e.GateAnswered():
            return {**said, "go": event.go, "why": safe.without_query(event.why)}
        case e.GateSilent():
            return {**said, "detail": safe.without_query(event.detail)}


def _refusal(refusal: Refusal) -> dict[str, Json]:
    return {"status": refusal.status, "code": refusal.code, "message": safe.without_query(refusal.message)}


def _details(event: e.Event, plan: Plan) -> dict[str, Json]:  # noqa: C901  one case per kind of event
    match event:
        case e.RunOpened():
            return {"epoch": event.epoch}
        case e.WaveApproved() | e.WaveRejected():
            return {"wave": event.wave + 1, "who": event.who, "why": event.why}
        case e.WaveOpened() | e.ApprovalAwaited() | e.HealthBegun():
            return {"wave": event.wave + 1}
        case e.GateAsked() | e.GateAnswered() | e.GateSilent() | e.GateJudged():
            return _gate(event, plan)
        case e.SubmissionIntended():
            return {"attempt": event.attempt, "retry": event.retry}
        case e.SubmissionAccepted() | e.CommandFound():
            operation = event.operation
            return {"transport": operation.transport.value, "command": operation.resource.rsplit("/", 1)[-1]}
        case e.SubmissionRefused():
            until = event.refusal.until
            lease: dict[str, Json] = {"holder": event.refusal.holder, "until": None if until is None else iso(until)}
            return {**_refusal(event.refusal), **lease}
        case e.ResultUnreadable():
            return _refusal(event.refusal)
        case e.SubmissionLost():
            return {"reason": event.reason.value, "detail": safe.without_query(event.detail)}
        case e.AnswerUnusable():
            return {"detail": safe.without_query(event.detail)}
        case e.ResultReceived():
            return {"execution_state": event.answer.execution_state, "exit_code": event.answer.exit_code}
        case e.ResultFailed():
            message = safe.without_query(event.message)
            return {"code": event.code, "message": message, "cancelled": event.cancelled}
        case e.StopRequested():
            return {"kind": event.kind.value, "who": event.who}
        case e.RunPaused() | e.RunUnpaused():
            return {"who": event.who, "why": event.why}
        case e.RunCancelled():
            return {"kind": event.kind.value, "who": event.who, "why": event.why}
        case e.LimitsChanged():
            changed = {name: getattr(event, name) for name in ("concurrency", "max_failures", "max_unreachable")}
            wave = None if event.wave is None else event.wave + 1
            return {**changed, "wave": wave, "who": event.who, "why": event.why}
        case e.JobUnstuck():
            said: dict[str, Json] = {"retry": event.retry, "how": str(event.how), "stage": str(event.stage)}
            return {**said, "who": event.who, "why": event.why}
        case e.LaunchStopped():
            return {"cause": event.cause.value, "message": safe.without_query(event.message)}
        case e.CommandRemoved():
            return {"detail": safe.without_query(event.detail), "retry": event.retry}
        case e.JobExpired():
            return {"detail": safe.without_query(event.detail)}
        case e.AgentSeen():
            return {"ready": event.ready, "detail": safe.without_query(event.detail)}
        case e.SeenRunning():
            return {"retry_after": event.retry_after}
        case e.RemovalFailed():
            said = {"status": event.status, "code": event.code, "message": safe.without_query(event.message)}
            return {**said, "retry_after": event.retry_after}
        case e.LookFailed():
            detail = safe.without_query(event.detail)
            return {"status": event.status, "detail": detail, "retry_after": event.retry_after}
        case e.QuotaSeen():
            quota = event.quota
            return {
                "subscription": quota.subscription,
                "location": quota.location,
                "remaining": dict(quota.remaining),
            }
        case _:
            return {}


@cache
def snake_case(name: str) -> str:
    """Return ``SubmissionAccepted`` as ``submission_accepted``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
