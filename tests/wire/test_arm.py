"""What every ARM answer has in common: errors, limits, waits, operations, links."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.azure.wire import arm, cloud_error, compute, links, machines, resource_graph, run_command, subscriptions
from fleet.azure.wire.http import DEPTH, NoResponse, Response, Silence, parse_json
from fleet.run.answers import Lost, LostReason, Refused
from fleet.targets.model import Kind, Os, Subscription, Target

TARGET = Target("/subscriptions/s/resourceGroups/g/providers/x/y/v", "s", "one", "g", "v", "westus", Os.LINUX)
KEYS = [
    "error",
    "code",
    "message",
    "details",
    "innererror",
    "status",
    "properties",
    "output",
    "value",
    "instanceView",
    "executionState",
    "exitCode",
    "endTime",
    "provisioningState",
    "data",
    "id",
    "tags",
    "zones",
    "storageProfile",
    "imageReference",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS) | st.text(max_size=8),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)


def response(status: int = 200, body: object = None, **headers: str) -> Response:
    named = {name.replace("_", "-"): (value,) for name, value in headers.items()}
    return Response(status, named, b"" if body is None else json.dumps(body).encode())


def test_an_error_is_read_with_and_without_its_envelope() -> None:
    """Compute's 429 comes bare and everything else in an envelope; both give code, message, details."""
    bare = {
        "code": "OperationNotAllowed",
        "message": "Too many requests.",
        "details": [{"code": "TooManyRequests", "target": "HighCostGet", "message": '{"allowed": 800}'}],
    }
    for body in (bare, {"error": bare}):
        error = cloud_error.read_error(body)  # type: ignore[arg-type]
        assert (error.code, error.details) == ("OperationNotAllowed", ("TooManyRequests",))
        assert error.message == 'Too many requests. TooManyRequests: {"allowed": 800} (HighCostGet)'


def test_the_inner_error_is_part_of_the_message() -> None:
    """What only the inner error says is not lost."""
    body = {"error": {"code": "X", "message": "outer", "innererror": {"errordetail": "the real reason"}}}
    assert cloud_error.read_error(body).message == "outer the real reason"


def test_a_refusal_without_a_body_still_says_something() -> None:
    """An empty or unreadable 4xx has a code and a message for people."""
    for body in (b"", b"<html>", b"\xff\xfe"):
        refusal = arm.refusal(Response(403, {}, body), 0.0)
        assert refusal.code == "HTTP403"
        assert "403" in refusal.message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "17"}, 17.0),
        ({"retry_after_ms": "250", "retry_after": "17"}, 0.25),
        ({"x_ms_retry_after_ms": "1500"}, 1.5),
        ({"retry_after": "Thu, 01 Jan 1970 00:02:00 GMT"}, 20.0),
        ({"retry_after": "Thu, 01 Jan 1970 00:00:00 GMT"}, None),
        ({"retry_after": "0"}, None),
        ({"retry_after": "0.0"}, None),
        ({"retry_after_ms": "0"}, None),
        ({"retry_after_ms": "0", "retry_after": "17"}, 17.0),
        ({"retry_after": "-5"}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "٣"}, None),
        ({}, None),
    ],
)
def test_the_wait_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds and dates are understood, nonsense is not a wait."""
    assert arm.retry_after(response(**headers), now=100.0) == seconds


def test_a_throttling_answer_without_the_header_still_names_its_wait() -> None:
    """Where only the text or Resource Graph's quota header says how long, that is taken."""
    told = response(429, {"error": {"code": "X", "message": "Please try again after '306' seconds."}})
    assert arm.refusal(told, 0.0).retry_after == 306.0
    quota = response(429, {"error": {"code": "RateLimiting"}}, x_ms_user_quota_resets_after="00:00:05")
    assert arm.refusal(quota, 0.0).retry_after == 5.0


def test_every_quota_header_is_read() -> None:
    """ARM's counts, the global ones, the tenant's and Compute's policies all end up under their names."""
    headers = {
        "x-ms-ratelimit-remaining-subscription-writes": ("199",),
        "x-ms-ratelimit-remaining-subscription-global-writes": ("2999",),
        "x-ms-ratelimit-remaining-tenant-reads": ("14",),
        "x-ms-ratelimit-remaining-resource": (
            "Microsoft.Compute/UpdateVMSubscriptionMaximum;1498,Microsoft.Compute/UpdateVMResource;11",
            "Microsoft.Compute/HighCostGet30Min;0",
        ),
    }
    found = arm.quota(Response(202, headers), "sub", "westus")
    assert found is not None
    assert dict(found.remaining) == {
        "writes": 199,
        "global-writes": 2999,
        "tenant-reads": 14,
        "UpdateVMSubscriptionMaximum": 1498,
        "UpdateVMResource": 11,
        "HighCostGet30Min": 0,
    }
    assert (found.subscription, found.location) == ("sub", "westus")


def test_the_length_of_a_queue_is_no_budget() -> None:
    """VmssQueuedVMOperations is 0 in healthy runs and must not look like an empty bucket."""
    value = "Microsoft.Compute/VMScaleSetVMActionsResource;11,Microsoft.Compute/VmssQueuedVMOperations;0"
    found = arm.quota(response(x_ms_ratelimit_remaining_resource=value), "s", "l")
    assert found is not None
    assert dict(found.remaining) == {"VMScaleSetVMActionsResource": 11}


def test_no_quota_header_is_no_quota() -> None:
    """A 204 tells nothing, and nothing is made up."""
    assert arm.quota(response(204), "s", "l") is None
    assert arm.quota(NoResponse(Silence.RESET), "s", "l") is None


def test_answers_are_sorted_by_what_they_prove() -> None:
    """2xx done, 4xx refused, 5xx and silence lost, and a redirect is never taken for an answer."""
    assert arm.not_done(response(202), 0.0) is None
    assert isinstance(arm.not_done(response(409), 0.0), Refused)
    for answer, reason in (
        (response(503), LostReason.SERVER_ERROR),
        (response(504, {"error": {"code": "GatewayTimeout"}}), LostReason.SERVER_ERROR),
        (response(408), LostReason.TIMEOUT),
        (response(307), LostReason.MALFORMED),
        (NoResponse(Silence.NOT_CONNECTED), LostReason.NOT_CONNECTED),
        (NoResponse(Silence.RESET), LostReason.RESET),
        (NoResponse(Silence.TIMEOUT), LostReason.TIMEOUT),
        (NoResponse(Silence.MALFORMED), LostReason.MALFORMED),
    ):
        lost = arm.not_done(answer, 0.0)
        assert isinstance(lost, Lost)
        assert lost.reason is reason


def test_terminal_states_are_compared_without_case() -> None:
    """``SUCCEEDED`` ends an operation; a word nobody knows does not."""
    done = arm.read_operation({"status": "SUCCEEDED"})
    assert done is not None
    assert done.succeeded
    assert not arm.is_terminal("Polishing")


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/x",
        "http://management.azure.com/x",
        "https://management.azure.com:444/x",
        "https://management.azure.com.evil.example/x",
        "https://management.azure.com@evil.example/x",
        "https://user@management.azure.com/x",
        "https://management.azure.com\\@evil.example/x",
        "https://evil.example\n.management.azure.com/x",
        "//management.azure.com/x",
        "/subscriptions",
        "https://management.azure.com:99999/x",
        "https://[::1/x",
        "",
    ],
)
def test_a_link_elsewhere_is_refused(link: str) -> None:
    """Scheme, host and port must be the service's own, however the link is dressed up."""
    assert not links.check_link("https://management.azure.com", link)


def test_a_link_to_the_same_place_is_followed() -> None:
    """The default port and the case of the host make no difference."""
    assert links.check_link("https://management.azure.com", "https://Management.Azure.com:443/x?c=1")


@given(st.text(max_size=60))
def test_check_link_never_raises(link: str) -> None:
    """Whatever stands in a header, the check answers."""
    assert links.check_link("https://management.azure.com", link) in (True, False)


def test_the_claims_of_a_challenge_are_decoded() -> None:
    """Several challenges in one header, and base64 without padding, are both read."""
    header = 'Bearer realm="", error="invalid_token", Bearer error="insufficient_claims", claims="eyJhIjoxfQ"'
    assert arm.claims_challenge(response(401, www_authenticate=header)) == '{"a":1}'
    assert arm.claims_challenge(response(401, www_authenticate='Bearer error="invalid_token"')) is None
    assert arm.claims_challenge(response(401, www_authenticate='Bearer claims="/////w"')) is None


def test_json_that_nests_too_deeply_is_not_read() -> None:
    """The depth is capped, and a parser's own limit is no crash."""
    assert parse_json(b"[" * DEPTH + b"]" * DEPTH) is not None
    assert parse_json(b"[" * (DEPTH + 2) + b"]" * (DEPTH + 2)) is None
    assert parse_json(b"[" * 200_000) is None
    assert parse_json(b"NaN") is None
    assert parse_json(b"9" * 10_000) is None


@given(st.binary(max_size=200) | JSON.map(lambda data: json.dumps(data).encode()))
def test_no_parser_ever_raises(body: bytes) -> None:
    """Every reader of the wire gives an answer for every body a stranger can send."""
    data = parse_json(body)
    answer = Response(400, {"retry-after": (body[:20].decode("latin-1"),)}, body)
    arm.refusal(answer, 0.0)
    arm.not_done(Response(500, {}, body), 0.0)
    operation = arm.read_operation(data)
    if operation is not None:
        run_command.action_state(operation)
    run_command.action_result(data)
    run_command.managed_state(data)
    run_command.provisioning_failed(data, operation)
    run_command.read_missing(TARGET, cloud_error.read_error(data))
    run_command.names(data)
    compute.read_page(data)
    resource_graph.read_page(data)


@given(st.dictionaries(st.sampled_from(["id", "name", "tags", "zones", "properties", "location"]), JSON))
def test_no_row_ever_raises(row: dict[str, object]) -> None:
    """A row of any list becomes a target, or says what is not known of it."""
    owner = Subscription("s", "n")
    for kind in Kind:
        found = machines.read(row, owner, kind, 1)  # type: ignore[arg-type]
        assert isinstance(found, Target) or (found.unknown and found.reason and found.label)
    resource_graph.target(row, owner)  # type: ignore[arg-type]
    subscriptions.read_all([row])  # type: ignore[list-item]
    resource_graph.subscriptions_of(row)  # type: ignore[arg-type]
