"""Verdicts on refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.run.answers import Refusal
from fleet.run.model import CauseCode
from fleet.run.retry import Again, GiveUp, backoff, is_unreadable, judge_refusal

BUSY = "Run command extension execution is in progress. Please wait for completion before invoking a run command."
OFF = "The operation requires the VM to be running (or set to run)."
OFF_MANAGED = "Cannot modify extensions in the VM when the VM is not running."
OTHER = "Operation 'x' is not allowed on VM 'y' since another operation is in progress."

FULL = "The maximum number of managed Run commands (max=25, current=25) has been exceeded. Use fewer Run commands."


@pytest.mark.parametrize(
    ("refusal", "code", "again"),
    [
        (Refusal(429, "OperationNotAllowed", "too many requests"), CauseCode.THROTTLED, True),
        (Refusal(409, "Conflict", BUSY), CauseCode.BUSY, True),
        (Refusal(409, "OperationNotAllowed", OTHER), CauseCode.BUSY, True),
        (Refusal(409, "OperationNotAllowed", OFF), CauseCode.VM_NOT_RUNNING, False),
        (Refusal(409, "OperationNotAllowed", OFF_MANAGED), CauseCode.VM_NOT_RUNNING, False),
        (Refusal(401, "ExpiredAuthenticationToken", ""), CauseCode.UNAUTHENTICATED, True),
        (Refusal(403, "AuthorizationFailed", ""), CauseCode.FORBIDDEN, False),
        (Refusal(404, "ResourceNotFound", ""), CauseCode.VM_NOT_FOUND, False),
        (Refusal(400, "InvalidParameter", "bad"), CauseCode.REFUSED, False),
        (Refusal(413, "", ""), CauseCode.REFUSED, False),
        (Refusal(409, "OperationNotAllowed", FULL), CauseCode.NO_SLOT, False),
    ],
)
def test_verdicts(refusal: Refusal, code: CauseCode, again: bool) -> None:
    """Each kind of refusal has its cause, and only what passes by itself is tried again."""
    verdict = judge_refusal(refusal, now=100.0, tries=1, salt="x")
    assert isinstance(verdict, Again if again else GiveUp)
    assert verdict.cause.code is code


def test_retry_after_is_kept_to_the_moment() -> None:
    """The service's ``Retry-After`` decides when, not our own backoff."""
    verdict = judge_refusal(Refusal(429, "TooManyRequests", "", 306.0), now=100.0, tries=9, salt="x")
    assert isinstance(verdict, Again)
    assert verdict.at == 406.0


def test_a_refused_credential_is_given_up_after_three_tries() -> None:
    """401 may be a token that just expired; the third in a row is not."""
    verdict = judge_refusal(Refusal(401, "InvalidAuthenticationToken", ""), now=0.0, tries=3, salt="x")
    assert isinstance(verdict, GiveUp)


@given(st.integers(0, 10_000), st.text(max_size=20))
def test_backoff_is_bounded_and_repeatable(tries: int, salt: str) -> None:
    """A pause lies between nearly a second and a little over a minute, and is the same when asked again."""
    assert 0.8 < backoff(tries, salt) <= 60 * 1.125
    assert backoff(tries, salt) == backoff(tries, salt)


@pytest.mark.parametrize(("status", "expected"), [(403, True), (404, True), (410, True), (429, False), (401, False)])
def test_which_reads_will_stay_refused(status: int, expected: bool) -> None:
    """A gone or forbidden operation stays so; throttling and an expired token pass."""
    assert is_unreadable(Refusal(status, "", "")) is expected
