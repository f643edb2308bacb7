"""What every answer of Azure Resource Manager has in common: limits, waiting, operations."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime

from fleet.azure.wire.cloud_error import ArmError, error_of, read_error
from fleet.azure.wire.http import LIMIT_HEADERS, Json, NoResponse, Response, Silence, as_object, as_text
from fleet.azure.wire.versions import is_wrong_version
from fleet.run.answers import Lost, LostReason, OperationFailed, Quota, Refusal, Refused

_ARM_LIMIT = f"{LIMIT_HEADERS}subscription-"
_COMPUTE_LIMIT = f"{LIMIT_HEADERS}resource"
_NO_LIMIT = frozenset({"VmssQueuedVMOperations"})
"""A length of a queue, not what is left: recorded as 0 in healthy runs."""

_LOST_ANYWAY = frozenset({408})
"""Request Timeout is a 4xx that does not say whether anything was done."""

TERMINAL = frozenset({"succeeded", "failed", "canceled", "cancelled"})
"""Where an operation or a provisioning state ends (ARM RPC contract), compared without regard to case."""


def refusal(response: Response, now: float) -> Refusal:
    """Read a 4xx or 5xx answer; ``code`` is ``HTTP<status>`` where the body names none."""
    error = error_of(response)
    asked = retry_after(response, now)
    return Refusal(
        status=response.status,
        code=error.code or f"HTTP{response.status}",
        message=error.message or f"Azure answered HTTP {response.status} without a message",
        retry_after=_throttled_for(response, error, now) if asked is None and response.status == 429 else asked,
    )


LONGEST_WINDOW = 1800.0
"""Seconds of the longest window over which Compute counts requests (documented: 3 and 30 minutes)."""


def _throttled_for(response: Response, error: ArmError, now: float) -> float | None:
    """Read the wait of a 429 without ``Retry-After``: from Resource Graph's quota header or the text (recorded), or from
    the end of the window in which Compute counted too many requests (reported).
    """
    resets = re.fullmatch(r"(\d\d):(\d\d):(\d\d)", response.header("x-ms-user-quota-resets-after"), re.ASCII)
    if resets:
        hours, minutes, seconds = (int(part) for part in resets.groups())
        return float(hours * 3600 + minutes * 60 + seconds) or None
    stated = re.search(r"try again after '(\d{1,6})' seconds", error.message, re.ASCII)
    if stated:
        return float(stated.group(1)) or None
    if error.window is None:
        return None
    start, end = error.window
    # A clock here that is behind the service's must not make the wait longer than the window itself.
    longest = LONGEST_WINDOW if start is None or start >= end else min(end - start, LONGEST_WINDOW)
    return min(end - now, longest) if end > now else None


def is_gone(answer: Response | NoResponse) -> bool:
    """Say whether what was asked for is not there. An api-version that the cloud does not have is a 404 as well."""
    return isinstance(answer, Response) and answer.status == 404 and not is_wrong_version(error_of(answer).code)


def not_done(answer: Response | NoResponse, now: float) -> Refused | Lost | None:
    """Sort everything that is not a 2xx: refused (4xx), or lost (5xx, a redirect, no answer). None for a
    2xx.
    """
    if isinstance(answer, NoResponse):
        return Lost(_REASONS[answer.kind], answer.detail)
    if 200 <= answer.status < 300:
        return None
    if 400 <= answer.status < 500 and answer.status not in _LOST_ANYWAY:
        return Refused(refusal(answer, now))
    if answer.status >= 500 or answer.status in _LOST_ANYWAY:
        error = error_of(answer)
        detail = " ".join(filter(None, [f"HTTP {answer.status}", error.code, error.message]))
        reason = LostReason.TIMEOUT if answer.status in _LOST_ANYWAY else LostReason.SERVER_ERROR
        return Lost(reason, detail, retry_after(answer, now))
    return Lost(LostReason.MALFORMED, f"HTTP {answer.status} is no answer of Azure Resource Manager")


_REASONS = {
    Silence.NOT_CONNECTED: LostReason.NOT_CONNECTED,
    Silence.RESET: LostReason.RESET,
    Silence.TIMEOUT: LostReason.TIMEOUT,
    Silence.MALFORMED: LostReason.MALFORMED,
}


def retry_after(response: Response, now: float) -> float | None:
    """Return the seconds that the service asks to wait, or None where it names no moment to come.

    Zero, a date that has passed, and negative and unreadable values name none: the pause is then the caller's own.

    ``retry-after-ms`` and ``x-ms-retry-after-ms`` are known to Azure's SDK and more exact; ``Retry-After``
    holds seconds, or an HTTP date, which is taken relative to ``now``.
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        milliseconds = _number(response.header(name))
        if milliseconds:
            return milliseconds / 1000
    text = response.header("retry-after")
    seconds = _number(text)
    return (seconds or None) if seconds is not None else _until(text, now)


_NUMBER = re.compile(r"\s*[0-9]{1,9}(\.[0-9]{1,9})?\s*", re.ASCII)


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _until(text: str, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        wait = moment.timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return wait if wait > 0 else None


def quota(response: Response | NoResponse, subscription: str, location: str) -> Quota | None:
    """Collect what the headers say is left, or None where they say nothing.

    ARM's headers give ``reads``, ``writes``, ``deletes``, ``global-reads`` ... and, for the tenant,
    ``tenant-reads``; Compute's give the policy names as sent. Compute sends one header with commas
    (recorded) or several (documented).
    """
    if isinstance(response, NoResponse):
        return None
    left: dict[str, int] = {}
    for name, values in response.headers.items():
        if name == _COMPUTE_LIMIT:
            left |= _policies(values)
        elif name.startswith(LIMIT_HEADERS) and values and (count := _number(values[0])) is not None:
            left[name.removeprefix(_ARM_LIMIT).removeprefix(LIMIT_HEADERS)] = int(count)
    return Quota(subscription, location, left) if left else None


def _policies(values: Iterable[str]) -> dict[str, int]:
    left = {}
    for entry in ",".join(values).split(","):
        policy, _, text = entry.strip().rpartition(";")
        name = policy.rpartition("/")[2]
        if name and name not in _NO_LIMIT and (count := _number(text)) is not None:
            left[name] = int(count)
    return left


def merge(first: Quota | None, second: Quota | None) -> Quota | None:
    """Join what two answers said, the second being the later."""
    if first is None or second is None:
        return second or first
    return Quota(second.subscription, second.location, {**first.remaining, **second.remaining})


def is_terminal(state: str) -> bool:
    """Say whether an operation's status or a provisioning state is one that never changes again."""
    return state.lower() in TERMINAL


@dataclass(frozen=True, slots=True)
class OperationStatus:
    """What an ``Azure-AsyncOperation`` URL says. ``properties`` come with success only."""

    status: str
    properties: Mapping[str, Json] = field(default_factory=dict)
    error: ArmError = field(default_factory=ArmError)

    @property
    def succeeded(self) -> bool:
        return self.status.lower() == "succeeded"

    def failure(self) -> OperationFailed | None:
        """Return the failure of an operation that ended ``Failed`` or ``Canceled``, else None."""
        if not is_terminal(self.status) or self.succeeded:
            return None
        cancelled = self.status.lower().startswith("cancel")
        code = self.error.code or ("OperationCanceled" if cancelled else "OperationFailed")
        message = self.error.message or f"the operation ended {self.status} without saying why"
        return OperationFailed(code, message, cancelled)


def read_operation(data: Json) -> OperationStatus | None:
    """Read an operation resource; None if it is none (no ``status``). Any unknown status means still
    running.
    """
    body = as_object(data)
    status = as_text(body.get("status"))
    if not status:
        return None
    return OperationStatus(status, as_object(body.get("properties")), read_error(body.get("error")))


def claims_challenge(response: Response) -> str | None:
    """Return the claims that a 401 asks the next token to carry, decoded; None if it asks for none.

    A header may hold several challenges, and the base64 may lack its padding (tests of azure-mgmt-core).
    """
    challenges = " ".join(response.headers.get("www-authenticate", ()))
    for encoded in re.findall(r'claims="([A-Za-z0-9+/=_-]+)"', challenges):
        text = encoded.rstrip("=").replace("+", "-").replace("/", "_")
        try:
            return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        except ValueError:
            continue
    return None
