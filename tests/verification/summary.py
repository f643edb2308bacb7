"""What a report says of itself (exit code, counts, groups, headline), worked out a second time from its rows. Pure.

The rules are written down here from the public contract, apart from ``fleet.report``: what is wrong there must not be
wrong here in the same way.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from fleet.report import render_json, render_text
from fleet.report.model import JobRow, Report
from fleet.run import events as e
from tests.verification.history import History

FIRST_WINS = (130, 143, 1, 7, 5, 8, 3, 4, 10)
"""Where several exit codes apply, the first of these is the run's."""

SCRIPT_FAILED = ("failed", "timed_out", "cancelled")
NOT_PROVEN = ("unreachable", "unverified", "unknown")
AS_MEANT = ("when_false", "not_needed")
"""Causes of a skipped step that is missing nowhere."""

STOPS = {
    "azure_unusable": 7,
    "deadline": 8,
    "stopped_by_user": 130,
    **dict.fromkeys(("budget_failures", "budget_unreachable", "cancelled_by_user"), 5),
    **dict.fromkeys(("wave_rejected", "approval_awaited"), 5),
    **dict.fromkeys(("gate_refused", "gate_unanswered", "gate_facts", "gate_health"), 5),
}
"""What it means that nothing more was launched, by the cause."""


def exit_code(rows: Sequence[JobRow], stops: Sequence[str], unread: bool, interrupted: bool) -> int:
    """Return the exit code of a run with these rows.

    ``stops`` holds the causes for which launching stopped, ``unread`` says that machines are missing from the plan,
    ``interrupted`` that a person left the run before its end.
    """
    codes = {_of_row(row) for row in rows} | {STOPS.get(cause, 4) for cause in stops}
    codes |= {4} if unread else set()
    codes |= {130} if interrupted else set()
    return next((code for code in FIRST_WINS if code in codes), 0)


def _of_row(row: JobRow) -> int:
    status, cause = row.status.value, row.cause.code.value
    if status == "succeeded" and row.verified:
        return 0
    if status == "skipped" and cause in AS_MEANT:
        return 0
    if status in SCRIPT_FAILED:
        return 3
    return STOPS.get(cause, 4) if status == "not_started" else 4


def exit_codes(history: History) -> Iterator[str]:
    """The run's exit code is what its rows, its stop and its lists say; so is that of a run which a person left."""
    if history.report is not None and history.finished:
        wanted = exit_code(history.rows, _stops(history), _is_partial(history), interrupted=False)
        if history.report.exit_code != wanted:
            yield f"exit code {history.report.exit_code:d}, and the rows say {wanted}: {_tally(history.rows)}"
    for left in history.left:
        if left.exit_code != 130:
            yield f"exit code {left.exit_code:d} of a run that a person stopped"


def _stops(history: History) -> list[str]:
    """Why launching stopped: by the first event on disk that says so."""
    for event in (kept.event for kept in history.kept):
        match event:
            case e.LaunchStopped(cause=cause):
                return [cause.value]
            case e.WaveRejected():
                return ["wave_rejected"]
            case e.GateAnswered(go=False):
                return ["gate_refused"]
            case e.GateJudged(go=False):
                return ["gate_facts"]
    return []


def _is_partial(history: History) -> bool:
    """Whether the world has machines that the lists named and nobody could read."""
    return bool(history.unlisted or history.plan.unread)


def sums(history: History) -> Iterator[str]:
    """Counts, groups and headline add up to the rows, in the value and in what is written of it."""
    for report in (*history.left, *([history.report] if history.report is not None else ())):
        yield from _counts(report)
        yield from _groups(report)
        yield from _written(report)
    if history.report is not None and history.report.jobs != history.rows:
        yield "the report's rows are not those of the run"


def _counts(report: Report) -> Iterator[str]:
    rows, counts = report.jobs, report.counts
    if (counts.total, counts.targets) != (len(rows), len({row.target for row in rows})):
        yield f"{counts.total} rows on {counts.targets} targets in the counts, {len(rows)} rows in the report"
    said = {status.value: count for status, count in counts.by_status.items() if count}
    if said != dict(Counter(row.status.value for row in rows)):
        yield f"counts {said}, rows {_tally(rows)}"


def _groups(report: Report) -> Iterator[str]:
    """Each row is in one group, and is like the others in it."""
    places = sorted(place for group in report.groups for place in group.jobs)
    if places != list(range(len(report.jobs))):
        yield f"the groups hold the rows {places}, and there are {len(report.jobs)}"
        return
    for group in report.groups:
        for row in (report.jobs[place] for place in group.jobs):
            same = row.status is group.status and row.cause.code is group.cause.code and row.step == group.step
            if not same or (row.exit_code, row.stdout) != (group.exit_code, group.stdout):
                yield f"{row.name} is {row.status.value} and stands with those that are {group.status.value}"


def _written(report: Report) -> Iterator[str]:
    """The numbers that scripts and people read."""
    data = json.loads(render_json.render(report))
    found = Counter(row["status"] for row in data["jobs"])
    named = {name: count for name, count in data["counts"].items() if name not in ("total", "targets") and count}
    if named != dict(found) or data["exit_code"] != report.exit_code or len(data["jobs"]) != len(report.jobs):
        yield f"the JSON form says {named}, exit code {data['exit_code']}, of {len(data['jobs'])} rows {dict(found)}"
    head = render_text.render(report, width=2000, limit=0).partition("\n\n")[0]
    shown = {status: int(count.replace(",", "")) for count, status in _SHOWN.findall(head)}
    wanted = {status.replace("_", " "): count for status, count in found.items()}
    if shown != wanted or f"Exit code {report.exit_code:d}:" not in head:
        yield f"the headline says {head!r}, and the rows are {wanted}"


_STATUSES = (*SCRIPT_FAILED, *NOT_PROVEN, "succeeded", "skipped", "not_started")
_SHOWN = re.compile(rf"([\d,]+) ({'|'.join(status.replace('_', ' ') for status in _STATUSES)})\b")


def _tally(rows: Sequence[JobRow]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(Counter(row.status.value for row in rows).items()))
