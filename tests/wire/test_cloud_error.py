"""Bodies of errors: what they say is shown, whatever their shape."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.azure.wire import arm
from fleet.azure.wire.cloud_error import MESSAGE_CAP, error_of, read_error
from fleet.azure.wire.http import Json, Response

WINDOW = {
    "operationGroup": "HighCostGetVMScaleSet3Min",
    "startTime": "2022-10-26T17:29:53.7226865+00:00",
    "endTime": "2022-10-26T17:30:30+00:00",
    "allowedRequestCount": 162,
    "measuredRequestCount": 191,
}


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"Message": "No HTTP resource was found"}, "", "No HTTP resource was found"),
        ({"error": {"code": "A", "message": {"lang": "en", "value": "words"}}}, "A", "words"),
        ({"odata.error": {"code": "A", "message": {"lang": "en", "value": "words"}}}, "A", "words"),
        ({"Error": {"Code": "A", "Message": "words"}}, "A", "words"),
        ({"error": "invalid_request", "error_description": "words"}, "invalid_request", "words"),
        ({"error": "words"}, "", "words"),
        ({"title": "Bad Request", "detail": "words"}, "", "Bad Request: words"),
        ("words", "", "words"),
    ],
)
def test_a_message_in_another_shape_is_shown(body: Json, code: str, message: str) -> None:
    """Gateways and older services have shapes of their own; none of them is "without a message"."""
    refusal = arm.refusal(Response(404, {}, json.dumps(body).encode()), 0.0)
    assert (refusal.code, refusal.message) == (code or "HTTP404", message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"The page was not found.\r\n", "The page was not found."),
        (b"<html><head><title>502 Bad Gateway</title></head><body>x</body></html>", "502 Bad Gateway x"),
        (b"<html>", "Azure answered HTTP 404 without a message"),
        (b"\xff\xfe", "Azure answered HTTP 404 without a message"),
        (b"\0\0", "Azure answered HTTP 404 without a message"),
        (b"", "Azure answered HTTP 404 without a message"),
    ],
)
def test_a_plain_text_is_a_message(body: bytes, message: str) -> None:
    """A text is shown in one line, a page without its marks."""
    assert arm.refusal(Response(404, {}, body), 0.0).message == message


def test_a_long_text_is_cut() -> None:
    """A page of a gateway does not fill the report."""
    assert len(error_of(Response(502, {}, b"word " * 100_000)).message) <= 300


def test_a_throttling_policy_is_named_with_what_it_counted() -> None:
    """The target, the counts and the end of the window are in words, and the inner error's code with them."""
    detail = {"code": "TooManyRequests", "target": "HighCostGetVMScaleSet3Min", "message": json.dumps(WINDOW)}
    body: Json = {
        "code": "OperationNotAllowed",
        "message": "The server rejected the request.",
        "details": [detail],  # type: ignore[list-item]
        "innererror": {"internalErrorCode": "TooManyRequestsReceived"},
    }
    error = read_error(body)
    assert error.details == ("TooManyRequests",)
    assert error.message == (
        "The server rejected the request. TooManyRequests: HighCostGetVMScaleSet3Min: 191 requests counted until "
        "2022-10-26T17:30:30+00:00, 162 allowed (TooManyRequestsReceived)"
    )
    start, end = error.window or (None, 0.0)
    assert start is not None and round(end - start) == 36


@pytest.mark.parametrize(
    ("now", "wait"),
    [(1666805400.0, 30.0), (0.0, 36.27731), (1666805430.0, None), (1999999999.0, None)],
)
def test_the_end_of_the_window_is_the_wait_of_a_refusal(now: float, wait: float | None) -> None:
    """A clock here that is behind waits no longer than the window lasts; a window that has ended names no moment."""
    low = {name.lower(): value for name, value in WINDOW.items()}
    body = {
        "error": {"code": "OperationNotAllowed", "details": [{"code": "TooManyRequests", "message": json.dumps(low)}]}
    }
    found = arm.refusal(Response(429, {}, json.dumps(body).encode()), now).retry_after
    assert found == (None if wait is None else pytest.approx(wait, abs=0.01))


def test_a_header_goes_before_the_window() -> None:
    """Retry-After is what the service asks; the window counts only without it."""
    body = {"error": {"code": "X", "details": [{"message": json.dumps(WINDOW)}]}}
    answer = Response(429, {"retry-after": ("7",)}, json.dumps(body).encode())
    assert arm.refusal(answer, 1666805400.0).retry_after == 7.0


def test_what_the_outer_message_does_not_say_is_added() -> None:
    """Target, kind of exception, and the policy and its assignment that refused a request."""
    info = {
        "policyDefinitionDisplayName": "No run commands",
        "policyDefinitionName": "deny-run",
        "policyAssignmentId": "/providers/Microsoft.Authorization/policyAssignments/lock-down",
    }
    body: Json = {
        "error": {
            "code": "RequestDisallowedByPolicy",
            "target": "vm1",
            "message": "Resource was disallowed by policy.",
            "innererror": {"exceptiontype": "DeniedException", "errordetail": "see the policy"},
            "additionalInfo": [{"type": "PolicyViolation", "info": info}],  # type: ignore[dict-item]
        }
    }
    assert read_error(body).message == (
        "Resource was disallowed by policy. see the policy (vm1) (DeniedException) "
        "(policy definition No run commands) (policy assignment lock-down)"
    )


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["error", "message", "details", "target", "innererror", "additionalInfo", "info", "value"]
                ),
                inner,
            )
        ),
    )
)
def test_no_body_of_an_error_raises(body: Json) -> None:
    """Any JSON is read, and what is kept is bounded."""
    assert len(read_error(body).message) <= MESSAGE_CAP
    error_of(Response(400, {}, json.dumps(body).encode()))


@given(st.binary(max_size=200))
def test_no_bytes_of_an_error_raise(body: bytes) -> None:
    """Any bytes are read."""
    arm.refusal(Response(429, {}, body), 1e9)
