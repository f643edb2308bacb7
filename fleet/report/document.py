"""The report as plain JSON data: the contract that scripts rely on, and its JSON Schema."""

from __future__ import annotations

from typing import TypeAlias

from fleet.clock import iso
from fleet.report.model import SCHEMA, GateKind, GateRow, GateState, Group, JobRow, Report, WaveRow
from fleet.run.model import Cause, CauseCode, Status
from fleet.targets.model import Kind

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"


def document(report: Report, *, rows: bool = True) -> dict[str, Json]:
    """Return the report as plain JSON data; without ``rows`` its list of jobs is empty."""
    book = report.playbook
    return {
        "schema": SCHEMA,
        "run": report.run,
        "playbook": {
            "name": book.name,
            "version": book.version,
            "digest": book.digest,
            "owner": book.owner,
            "file": book.file,
        },
        "started": iso(report.started),
        "ended": _time(report.ended),
        "exit_code": int(report.exit_code),
        "counts": {
            "total": report.counts.total,
            "targets": report.counts.targets,
            **{status.value: report.counts[status] for status in Status},
        },
        "groups": [_group(group) for group in report.groups],
        "jobs": [job(row) for row in report.jobs] if rows else [],
        "title": report.title,
        "stopped": None
        if report.stopped is None
        else {"cause": report.stopped.cause.value, "message": report.stopped.message},
        "unread": [
            {
                "subscription": scope.subscription,
                "name": scope.name,
                "code": scope.code,
                "message": scope.message,
                "subject": scope.subject,
            }
            for scope in report.unread
        ],
        "waves": [_wave(wave) for wave in report.waves],
        "steps": [{"id": step.id, "title": step.title, "digest": step.digest} for step in report.steps],
        "notes": list(report.notes),
        "leftovers": [
            {"target": item.target, "command": item.command, "cause": _cause(item.cause) if item.cause else None}
            for item in report.leftovers
        ],
        "gates": [_gate(gate) for gate in report.gates],
        "plan": report.plan,
        "subscriptions": dict(report.subscriptions),
    }


def job(row: JobRow) -> dict[str, Json]:
    """Return one row as plain JSON data."""
    return {
        "target": row.target,
        "subscription": row.subscription,
        "resource_group": row.resource_group,
        "name": row.name,
        "location": row.location,
        "os": row.os,
        "kind": row.kind,
        "step": row.step,
        "wave": row.wave + 1,
        "status": row.status.value,
        "cause": _cause(row.cause),
        "exit_code": row.exit_code,
        "stdout": row.stdout,
        "stderr": row.stderr,
        "truncated": row.truncated,
        "attempts": row.attempts,
        "verified": row.verified,
        "operation": row.operation,
        "started": _time(row.started),
        "ended": _time(row.ended),
        "duration_s": row.duration_s,
        "retries": row.retries,
        "rescued": row.rescued,
        "facts": dict(row.facts),
    }


def _group(group: Group) -> dict[str, Json]:
    return {
        "names": group.names,
        "count": group.count,
        "step": group.step,
        "status": group.status.value,
        "cause": _cause(group.cause),
        "exit_code": group.exit_code,
        "jobs": list(group.jobs),
    }


def _wave(wave: WaveRow) -> dict[str, Json]:
    return {
        "index": wave.index + 1,
        "label": wave.label,
        "targets": wave.targets,
        "started": _time(wave.started),
        "ended": _time(wave.ended),
    }


def _gate(gate: GateRow) -> dict[str, Json]:
    return {
        "kind": gate.kind.value,
        "wave": gate.wave + 1,
        "asks": gate.asks,
        "state": gate.state.value,
        "at": _time(gate.at),
        "why": gate.why,
        "met": gate.met,
        "of": gate.of,
        "missed": list(gate.missed),
    }


def _cause(cause: Cause) -> dict[str, Json]:
    return {"code": cause.code.value, "message": cause.message, "hint": cause.hint}


def _time(at: float | None) -> str | None:
    return None if at is None else iso(at)


_TEXT: dict[str, Json] = {"type": "string"}
_COUNT: dict[str, Json] = {"type": "integer", "minimum": 0}
_PLACE: dict[str, Json] = {"type": "integer", "minimum": 1}
"""Of a wave, counted from 1."""
_MAYBE_COUNT: dict[str, Json] = {"type": ["integer", "null"], "minimum": 0}
_FLAG: dict[str, Json] = {"type": "boolean"}
_NAMED: dict[str, Json] = {"type": "object", "additionalProperties": _TEXT}
_CODE: dict[str, Json] = {"type": ["integer", "null"]}
_STATUS: dict[str, Json] = {"enum": [status.value for status in Status]}
_CAUSE_CODE: dict[str, Json] = {"enum": [code.value for code in CauseCode]}
_WHEN: dict[str, Json] = {"type": "string", "format": "date-time", "pattern": "Z$"}
_MAYBE_WHEN: dict[str, Json] = {"type": ["string", "null"], "format": "date-time", "pattern": "Z$"}


def schema() -> dict[str, Json]:
    """Return the JSON Schema (2020-12) of the report. Readers must ignore keys they do not know."""
    cause = _object(code=_CAUSE_CODE, message=_TEXT, hint=_TEXT)
    playbook = _object(name=_TEXT, version=_TEXT, digest=_TEXT, owner=_TEXT, file=_TEXT)
    top = _object(
        schema={"const": SCHEMA},
        run=_TEXT,
        playbook=playbook,
        started=_WHEN,
        ended=_MAYBE_WHEN,
        exit_code=_COUNT,
        counts=_object(total=_COUNT, targets=_COUNT, **{status.value: _COUNT for status in Status}),
        groups=_array(_group_schema(cause)),
        jobs=_array(_job_schema(cause)),
        title=_TEXT,
        stopped={"anyOf": [{"type": "null"}, _object(cause=_CAUSE_CODE, message=_TEXT)]},
        unread=_array(_object(subscription=_TEXT, name=_TEXT, code=_TEXT, message=_TEXT, subject=_TEXT)),
        waves=_array(_object(index=_PLACE, label=_TEXT, targets=_COUNT, started=_MAYBE_WHEN, ended=_MAYBE_WHEN)),
        steps=_array(_object(id=_TEXT, title=_TEXT, digest=_TEXT)),
        notes=_array(_TEXT),
        leftovers=_array(_object(target=_TEXT, command=_TEXT, cause={"anyOf": [{"type": "null"}, cause]})),
        gates=_array(_gate_schema()),
        plan=_TEXT,
        subscriptions=_NAMED,
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA,
        "title": "Fleet report",
        **top,
    }


def _group_schema(cause: dict[str, Json]) -> dict[str, Json]:
    return _object(
        names=_TEXT,
        count={"type": "integer", "minimum": 1},
        step=_TEXT,
        status=_STATUS,
        cause=cause,
        exit_code=_CODE,
        jobs=_array(_COUNT),
    )


def _gate_schema() -> dict[str, Json]:
    return _object(
        kind={"enum": [kind.value for kind in GateKind]},
        wave=_PLACE,
        asks=_TEXT,
        state={"enum": [state.value for state in GateState]},
        at=_MAYBE_WHEN,
        why=_TEXT,
        met=_MAYBE_COUNT,
        of=_MAYBE_COUNT,
        missed=_array(_TEXT),
    )


def _job_schema(cause: dict[str, Json]) -> dict[str, Json]:
    return _object(
        target=_TEXT,
        subscription=_TEXT,
        resource_group=_TEXT,
        name=_TEXT,
        location=_TEXT,
        os={"enum": ["linux", "windows"]},
        kind={"enum": [kind.value for kind in Kind]},
        step=_TEXT,
        wave=_PLACE,
        status=_STATUS,
        cause=cause,
        exit_code=_CODE,
        stdout=_TEXT,
        stderr=_TEXT,
        truncated=_FLAG,
        attempts=_COUNT,
        verified=_FLAG,
        operation=_TEXT,
        started=_MAYBE_WHEN,
        ended=_MAYBE_WHEN,
        duration_s={"type": ["number", "null"], "minimum": 0},
        retries=_COUNT,
        rescued=_FLAG,
        facts=_NAMED,
    )


def _object(**properties: Json) -> dict[str, Json]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _array(items: Json) -> dict[str, Json]:
    return {"type": "array", "items": items}
