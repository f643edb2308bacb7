"""From outcomes to one exit code. The rules are public: ``docs/report.md``."""

from __future__ import annotations

from collections.abc import Iterable

from fleet.errors import ExitCode
from fleet.report.model import JobRow
from fleet.run.model import FAILURES, FINE_SKIPS, CauseCode, Status

STOP_CODES = {
    CauseCode.AZURE_UNUSABLE: ExitCode.AZURE_UNUSABLE,
    CauseCode.BUDGET_FAILURES: ExitCode.STOPPED,
    CauseCode.BUDGET_UNREACHABLE: ExitCode.STOPPED,
    CauseCode.DEADLINE: ExitCode.DEADLINE,
    CauseCode.STOPPED_BY_USER: ExitCode.INTERRUPTED,
    CauseCode.CANCELLED_BY_USER: ExitCode.STOPPED,
    CauseCode.WAVE_REJECTED: ExitCode.STOPPED,
    CauseCode.APPROVAL_AWAITED: ExitCode.STOPPED,
    CauseCode.GATE_REFUSED: ExitCode.STOPPED,
    CauseCode.GATE_UNANSWERED: ExitCode.STOPPED,
    CauseCode.GATE_FACTS: ExitCode.STOPPED,
    CauseCode.GATE_HEALTH: ExitCode.STOPPED,
}
"""What it means that launching stopped early, by its cause."""

PRECEDENCE = (
    ExitCode.INTERRUPTED,
    ExitCode.INTERNAL,
    ExitCode.AZURE_UNUSABLE,
    ExitCode.STOPPED,
    ExitCode.DEADLINE,
    ExitCode.SCRIPT_FAILED,
    ExitCode.NOT_REACHED,
    ExitCode.DIFFERENCES,
)
"""When several apply, the first one wins. An interrupted run says so first: it can be resumed."""


def exit_code(
    jobs: Iterable[JobRow],
    *,
    stop_cause: CauseCode | None = None,
    unread: int = 0,
    interrupted: bool = False,
    allow_empty: bool = False,
) -> ExitCode:
    """Return the one exit code of a run.

    0 means that every step of every selected target ended ``succeeded`` with proof, or was not to run there, and that
    every selected scope could be read.
    An empty run is refused (6) unless ``allow_empty``.
    """
    rows = tuple(jobs)
    codes = {_of_row(row) for row in rows}
    if stop_cause is not None:
        codes.add(STOP_CODES.get(stop_cause, ExitCode.NOT_REACHED))
    if interrupted:
        codes.add(ExitCode.INTERRUPTED)
    if unread:
        codes.add(ExitCode.NOT_REACHED)
    if not rows and not codes and not allow_empty:
        return ExitCode.REFUSED
    return next((code for code in PRECEDENCE if code in codes), ExitCode.OK)


def _of_row(row: JobRow) -> ExitCode:
    if row.status is Status.SUCCEEDED:
        return ExitCode.OK if row.verified else ExitCode.NOT_REACHED
    if row.status in FAILURES:
        return ExitCode.SCRIPT_FAILED
    if row.status is Status.SKIPPED and row.cause.code in FINE_SKIPS:
        return ExitCode.OK
    if row.status is Status.NOT_STARTED:
        return STOP_CODES.get(row.cause.code, ExitCode.NOT_REACHED)
    return ExitCode.NOT_REACHED
