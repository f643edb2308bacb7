"""Verdicts on refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.run.answers import AWAY, EXTENSIONS_OFF, LEASED, NO_AGENT, Lost, LostReason, Refusal, Refused
from fleet.run.model import CauseCode
from fleet.run.retry import (
    Again,
    Bounds,
    GiveUp,
    backoff,
    busy_pause,
    is_full,
    is_passing_status,
    is_unreadable,
    judge_refusal,
    not_connected,
    read_pause,
)

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


def test_a_machine_that_another_run_holds_is_waited_for_if_that_was_asked() -> None:
    """With a wait the submission goes again at that moment or after our own pause; without one it is given up."""
    waits = judge_refusal(Refusal(0, LEASED, "held by run r2", 90.0), now=100.0, tries=1, salt="x")
    assert waits == Again(190.0, waits.cause)
    short = judge_refusal(Refusal(0, LEASED, "held by run r2", 0.1), now=100.0, tries=9, salt="x")
    assert short == Again(100.0 + backoff(9, "x"), short.cause)
    given_up = judge_refusal(Refusal(0, LEASED, "held by run r2"), now=100.0, tries=1, salt="x")
    assert given_up == GiveUp(waits.cause)
    assert (waits.cause.code, waits.cause.message) == (CauseCode.LEASED_BY_OTHER_RUN, "held by run r2")
    assert "--lease none" in waits.cause.hint


def test_a_machine_that_is_away_is_given_up() -> None:
    """What its service says is not connected is not tried again; the same code from Azure itself is a plain refusal."""
    away = judge_refusal(Refusal(0, AWAY, "disconnected since noon", 9.0), now=0.0, tries=1, salt="x")
    assert (type(away), away.cause.code, away.cause.message) == (
        GiveUp,
        CauseCode.DISCONNECTED,
        "disconnected since noon",
    )
    for code in (AWAY, LEASED):
        other = judge_refusal(Refusal(400, code, "odd", 9.0), now=0.0, tries=1, salt="x")
        assert (type(other), other.cause.code) == (GiveUp, CauseCode.REFUSED)


def test_a_vm_whose_agent_is_not_ready_is_given_up() -> None:
    """Nothing was sent to it; the same code from Azure itself is a plain refusal."""
    ours = judge_refusal(Refusal(0, NO_AGENT, "not sent: Not Ready", 9.0), now=0.0, tries=1, salt="x")
    assert (type(ours), ours.cause.code, ours.cause.message) == (
        GiveUp,
        CauseCode.AGENT_NOT_READY,
        "not sent: Not Ready",
    )
    assert "outbound access" in ours.cause.hint
    other = judge_refusal(Refusal(400, NO_AGENT, "odd", 9.0), now=0.0, tries=1, salt="x")
    assert (type(other), other.cause.code) == (GiveUp, CauseCode.REFUSED)


def test_a_vm_without_extension_operations_has_the_cause_of_its_agent() -> None:
    """Azure's refusal (seen) means that no agent may act: the hint says what to switch on."""
    text = (
        "This operation cannot be performed when extension operations are disallowed. To allow, please ensure VM Agent is "
        "installed on the VM and the osProfile.allowExtensionOperations property is true."
    )
    off = judge_refusal(Refusal(409, "OperationNotAllowed", text), now=0.0, tries=1, salt="x")
    assert (type(off), off.cause.code) == (GiveUp, CauseCode.AGENT_NOT_READY)
    assert off.cause.message == f"OperationNotAllowed: {text}"
    assert "osProfile.allowExtensionOperations" in off.cause.hint
    other = judge_refusal(Refusal(409, "OperationNotAllowed", "disallowed"), now=0.0, tries=1, salt="x")
    assert other.cause.code is CauseCode.REFUSED


def test_a_full_vm_is_waited_for_only_if_the_service_says_how_long() -> None:
    """25 managed commands lie on the VM: without a moment from the service only a person can make room."""
    again = judge_refusal(Refusal(400, "BadRequest", FULL, 30.0), now=100.0, tries=1, salt="x")
    assert again == Again(130.0, again.cause)
    assert again.cause.code is CauseCode.NO_SLOT
    later = judge_refusal(Refusal(400, "BadRequest", FULL, 0.5), now=100.0, tries=9, salt="x")
    assert later == Again(100.0 + backoff(9, "x"), later.cause)


@pytest.mark.parametrize(
    ("refusal", "text"),
    [
        (Refusal(400, "Bad", "why"), "Bad: why"),
        (Refusal(400, "Bad", ""), "Bad"),
        (Refusal(400, "", ""), "HTTP 400"),
        (Refusal(400, "", "why"), ": why"),
    ],
)
def test_a_refusal_is_told_with_what_there_is_of_it(refusal: Refusal, text: str) -> None:
    """Code and message if there are both, else the code, else the status."""
    assert judge_refusal(refusal, now=0.0, tries=1, salt="x").cause.message == text


@pytest.mark.parametrize(
    ("refusal", "tries", "pause"),
    [
        (Refusal(429, "", ""), 3, backoff(3, "x")),
        (Refusal(429, "", "", 7.0), 3, 7.0),
        (Refusal(401, "", "", 7.0), 2, backoff(2, "x")),
        (Refusal(408, "", ""), 1, busy_pause(1, "x")),
        (Refusal(409, "Conflict", ""), 2, backoff(3, "x", 30.0)),
        (Refusal(409, "Conflict", ""), 9, backoff(10, "x", 30.0)),
        (Refusal(409, "Conflict", "", 7.0), 9, 7.0),
    ],
)
def test_when_a_refused_submission_goes_again(refusal: Refusal, tries: int, pause: float) -> None:
    """At the moment the service names, else after a pause that grows; a busy VM is asked every half minute at least."""
    verdict = judge_refusal(refusal, now=1000.0, tries=tries, salt="x")
    assert verdict == Again(1000.0 + pause, verdict.cause)


@pytest.mark.parametrize(
    "message",
    [
        "Another operation is in progress",
        "An ongoing operation is changing power state of the VM",
    ],
)
def test_some_texts_say_busy_whatever_the_code(message: str) -> None:
    """Texts of 409 that pass by themselves (reported, documented); any other 409 is final."""
    assert judge_refusal(Refusal(409, "X", message), now=0.0, tries=1, salt="").cause.code is CauseCode.BUSY
    assert judge_refusal(Refusal(400, "X", message), now=0.0, tries=1, salt="").cause.code is CauseCode.REFUSED
    assert judge_refusal(Refusal(409, "X", "odd"), now=0.0, tries=1, salt="").cause.code is CauseCode.REFUSED


@pytest.mark.parametrize("code", ["Conflict", "RetryableError", "AnotherOperationInProgress"])
def test_some_codes_say_busy_whatever_the_text(code: str) -> None:
    """Codes of 409 that pass by themselves."""
    assert judge_refusal(Refusal(409, code, "odd"), now=0.0, tries=1, salt="").cause.code is CauseCode.BUSY


@pytest.mark.parametrize("text", ["requires the VM to be running", "the VM is not running", "the VM is deallocated"])
def test_a_vm_that_is_off_is_given_up(text: str) -> None:
    """409 of a VM that is off does not pass by itself; the same words under another status prove nothing."""
    assert judge_refusal(Refusal(409, "X", text), now=0.0, tries=1, salt="").cause.code is CauseCode.VM_NOT_RUNNING
    assert judge_refusal(Refusal(400, "X", text), now=0.0, tries=1, salt="").cause.code is CauseCode.REFUSED


@pytest.mark.parametrize(("status", "full"), [(399, False), (400, True), (409, True), (499, True), (500, False)])
def test_only_a_clients_error_tells_of_a_full_vm(status: int, full: bool) -> None:
    """The text is known, its code and status are not; a server's error is not ours to make room for."""
    assert is_full(Refusal(status, "", FULL)) is full
    assert not is_full(Refusal(status, "", "something else"))


def test_a_gone_vm_is_given_up_for_good() -> None:
    """404 and 410 alike: the VM was deleted or moved. Without a code of Azure's they prove nothing about the VM."""
    for status in (404, 410):
        verdict = judge_refusal(Refusal(status, "ResourceNotFound", ""), now=0.0, tries=1, salt="")
        assert (type(verdict), verdict.cause.code) == (GiveUp, CauseCode.VM_NOT_FOUND)
        verdict = judge_refusal(Refusal(status, "", ""), now=0.0, tries=1, salt="")
        assert (type(verdict), verdict.cause.code) == (GiveUp, CauseCode.REFUSED)


@given(st.text(max_size=20))
def test_a_busy_vm_is_asked_again_soon_then_less_often(salt: str) -> None:
    """The first pause is between 1 and 2 s; the next are 4, 8, 16 s, and never more than 30, spread by an eighth."""
    assert 1.0 < busy_pause(1, salt) < 2.0
    assert busy_pause(0, salt) == busy_pause(1, salt)
    for tries, plain in ((2, 4.0), (3, 8.0), (4, 16.0), (5, 30.0), (99, 30.0)):
        assert plain * 0.875 <= busy_pause(tries, salt) < plain * 1.125


def test_what_never_left_goes_again_after_a_pause() -> None:
    """No connection is no answer: the reason is kept, or said in words where there is none."""
    again = not_connected("refused", now=100.0, tries=4, salt="x")
    assert (again.at, again.cause.code, again.cause.message) == (
        100.0 + backoff(4, "x"),
        CauseCode.NOT_CONNECTED,
        "refused",
    )
    assert not_connected("", now=0.0, tries=1, salt="").cause.message == "no connection"


def test_pauses_double_up_to_a_minute() -> None:
    """1, 2, 4, ... seconds and never more than a minute, each spread by an eighth to either side."""
    for tries, plain in ((0, 1), (1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (99, 60)):
        pauses = [backoff(tries, str(salt)) for salt in range(300)]
        assert plain * 0.875 <= min(pauses) < plain * 0.89
        assert plain * 1.11 < max(pauses) < plain * 1.125
    assert backoff(9, "x", 30.0) <= 30.0 * 1.125
    assert backoff(1, "a") != backoff(1, "b")
    assert backoff(1, "a") * 2 != backoff(2, "a")


def test_what_cannot_be_sent_at_all_is_refused() -> None:
    """A refusal of our own without a cause of its own: nothing left, and nothing of Azure's fits it."""
    verdict = judge_refusal(Refusal(0, "NotSendable", "not sent: why"), now=0.0, tries=1, salt="x")
    assert (type(verdict), verdict.cause.code, verdict.cause.hint) == (GiveUp, CauseCode.REFUSED, "")


def test_a_vm_that_was_found_without_extension_operations_is_told_what_to_switch_on() -> None:
    """The same hint as where Azure refuses the command itself."""
    ours = judge_refusal(Refusal(0, NO_AGENT, f"not sent: Not Ready; {EXTENSIONS_OFF}"), now=0.0, tries=1, salt="x")
    assert (type(ours), ours.cause.code) == (GiveUp, CauseCode.AGENT_NOT_READY)
    assert "set osProfile.allowExtensionOperations to true" in ours.cause.hint


def throttled(wait: float | None) -> Refused:
    return Refused(Refusal(429, "TooManyRequests", "later", wait))


@pytest.mark.parametrize(
    ("failed", "pauses"),
    [
        (throttled(None), [1.0, 2.0, 4.0, 8.0]),
        (throttled(0.0), [1.0, 2.0, 4.0, 8.0]),
        (throttled(7.0), [7.0] * 4),
        (Lost(LostReason.SERVER_ERROR, "", 3.0), [3.0] * 4),
        (Lost(LostReason.TIMEOUT), [1.0, 2.0, 4.0, 8.0]),
        (Lost(LostReason.NOT_CONNECTED), [1.0, 2.0, None, None]),
        (Lost(LostReason.MALFORMED), [None] * 4),
        (Refused(Refusal(403, "AuthorizationFailed", "no")), [None] * 4),
        (Refused(Refusal(404, "NotFound", "no")), [None] * 4),
    ],
)
def test_a_read_is_repeated_where_that_can_help(failed: Refused | Lost, pauses: list[float | None]) -> None:
    """After the time that the service names, else after pauses that double; what stays as it is is not read again."""
    assert [read_pause(failed, tries) for tries in range(1, 5)] == pauses


def test_bounds_end_what_is_tried_again() -> None:
    """Neither more tries than allowed, nor one after the time that is allowed in all."""
    bounds = Bounds(3, 10.0)
    assert [bounds.allows(tries, 0.0) for tries in (1, 2, 3)] == [True, True, False]
    assert [bounds.allows(1, seconds) for seconds in (9.9, 10.0)] == [True, False]


def test_which_answers_may_be_others_next_time() -> None:
    """No answer at all, a timeout, throttling and whatever is the server's fault may pass; the caller's fault stays."""
    assert [is_passing_status(status) for status in (0, 408, 429, 500, 503)] == [True] * 5
    assert not any(is_passing_status(status) for status in (200, 302, 400, 401, 403, 404, 409))
