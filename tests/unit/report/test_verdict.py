"""One exit code for a whole run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import ExitCode
from fleet.report.model import JobRow
from fleet.report.verdict import PRECEDENCE, exit_code
from fleet.run.model import FINE_SKIPS, Cause, CauseCode, Status

OK = JobRow("t", "s", "g", "n", "l", "linux", "p", 0, Status.SUCCEEDED, Cause(CauseCode.COMPLETED), 0, verified=True)


def row(status: Status, code: CauseCode = CauseCode.EXIT_CODE, *, verified: bool = True) -> JobRow:
    return replace(OK, status=status, cause=Cause(code), verified=verified)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (Status.SUCCEEDED, CauseCode.COMPLETED, 0),
        (Status.FAILED, CauseCode.EXIT_CODE, 3),
        (Status.TIMED_OUT, CauseCode.GUEST_TIMEOUT, 3),
        (Status.CANCELLED, CauseCode.CANCELLED, 3),
        (Status.UNREACHABLE, CauseCode.VM_NOT_RUNNING, 4),
        (Status.UNVERIFIED, CauseCode.NO_RECEIPT, 4),
        (Status.UNKNOWN, CauseCode.ANSWER_LOST, 4),
        (Status.SKIPPED, CauseCode.EARLIER_STEP, 4),
        (Status.NOT_STARTED, CauseCode.BUDGET_FAILURES, 5),
        (Status.NOT_STARTED, CauseCode.BUDGET_UNREACHABLE, 5),
        (Status.NOT_STARTED, CauseCode.DEADLINE, 8),
        (Status.NOT_STARTED, CauseCode.AZURE_UNUSABLE, 7),
        (Status.NOT_STARTED, CauseCode.STOPPED_BY_USER, 130),
    ],
)
def test_each_status_has_its_code(status: Status, code: CauseCode, expected: int) -> None:
    """One row of each kind beside a good one decides the exit code as documented."""
    assert exit_code([OK, row(status, code)]) == expected


def test_success_without_proof_is_not_zero() -> None:
    """A succeeded row that nothing verifies never gives exit code 0."""
    assert exit_code([OK, row(Status.SUCCEEDED, verified=False)]) == ExitCode.NOT_REACHED


def test_unread_scopes_are_not_zero() -> None:
    """A subscription that could not be read makes the run incomplete even when all rows are good."""
    assert exit_code([OK], unread=1) == ExitCode.NOT_REACHED
    assert exit_code([], unread=1, allow_empty=True) == ExitCode.NOT_REACHED


def test_an_empty_run_is_zero_only_when_allowed() -> None:
    """No target at all is refused unless the caller said that this is fine."""
    assert exit_code([]) == ExitCode.REFUSED
    assert exit_code([], allow_empty=True) == ExitCode.OK


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (CauseCode.AZURE_UNUSABLE, 7),
        (CauseCode.BUDGET_FAILURES, 5),
        (CauseCode.BUDGET_UNREACHABLE, 5),
        (CauseCode.DEADLINE, 8),
        (CauseCode.STOPPED_BY_USER, 130),
    ],
)
def test_an_early_stop_wins_over_failures(cause: CauseCode, expected: int) -> None:
    """Why launching stopped is told before what the scripts did."""
    assert exit_code([OK, row(Status.FAILED), row(Status.UNKNOWN)], stop_cause=cause) == expected


def test_precedence_is_the_documented_one() -> None:
    """The order among the codes of a run is 1 7 5 8 3 4 10, and an interruption comes before them."""
    assert [int(code) for code in PRECEDENCE] == [130, 1, 7, 5, 8, 3, 4, 10]


@given(st.lists(st.tuples(st.sampled_from(Status), st.sampled_from(CauseCode), st.booleans()), min_size=1))
def test_zero_means_all_proven(kinds: list[tuple[Status, CauseCode, bool]]) -> None:
    """Exit code 0 and "every row succeeded with proof, or was not to run" are the same statement, in any mixture."""
    rows = [row(status, code, verified=verified) for status, code, verified in kinds]
    assert (exit_code(rows) == 0) == all(
        (status is Status.SUCCEEDED and verified) or (status is Status.SKIPPED and code in FINE_SKIPS)
        for status, code, verified in kinds
    )
