"""The report as CSV: one row per target and step, safe to open in a spreadsheet."""

from __future__ import annotations

import json

from fleet.clock import iso
from fleet.report import safe
from fleet.report.model import JobRow, Report

COLUMNS = (
    "target",
    "subscription",
    "resource_group",
    "name",
    "location",
    "os",
    "kind",
    "step",
    "wave",
    "status",
    "cause",
    "message",
    "hint",
    "exit_code",
    "stdout",
    "stderr",
    "truncated",
    "attempts",
    "verified",
    "operation",
    "started",
    "ended",
    "duration_s",
    "retries",
    "rescued",
    "facts",
)
"""The header: the fields of a job, with its cause in three columns (``cause`` is the code), facts as JSON."""


def render(report: Report) -> str:
    """Return RFC 4180 text with a header, every cell quoted; no text cell can be taken for a formula."""
    return safe.csv_text([COLUMNS, *map(_cells, report.jobs)])


def _cells(row: JobRow) -> tuple[str | int | float | bool | None, ...]:
    return (
        row.target,
        row.subscription,
        row.resource_group,
        row.name,
        row.location,
        row.os,
        row.kind,
        row.step,
        row.wave + 1,
        row.status.value,
        row.cause.code.value,
        row.cause.message,
        row.cause.hint,
        row.exit_code,
        row.stdout,
        row.stderr,
        row.truncated,
        row.attempts,
        row.verified,
        row.operation,
        None if row.started is None else iso(row.started),
        None if row.ended is None else iso(row.ended),
        row.duration_s,
        row.retries,
        row.rescued,
        json.dumps(dict(row.facts), sort_keys=True) if row.facts else "",
    )
