"""What every answer of Azure Resource Manager has in common: errors, limits, waiting, operations, links."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from urllib.parse import urlsplit

from fleet.azure.wire.http import Json, NoResponse, Response, Silence, as_list, as_object, as_text, dig
from fleet.run.answers import Lost, LostReason, OperationFailed, Quota, Refusal, Refused

_ARM_LIMIT = "x-ms-ratelimit-remaining-subscription-"
_TENANT_LIMIT = "x-ms-ratelimit-remaining-"
_COMPUTE_LIMIT = "x-ms-ratelimit-remaining-resource"
_NO_LIMIT = frozenset({"VmssQueuedVMOperations"})
"""A length of a queue, not what is left: recorded as 0 in healthy runs."""

_MESSAGE_CAP = 4000
_LOST_ANYWAY = frozenset({408})
"""Request Timeout is a 4xx that does not say whether anything was done."""

TERMINAL = frozenset({"succeeded", "failed", "canceled", "cancelled"})
"""Where an operation or a provisioning state ends (ARM RPC contract), compared without regard to case."""


@dataclass(frozen=True, slots=True)
class ArmError:
    """The service's error, flattened: the outer code and message, and what the details add."""

    code: str = ""
    message: str = ""
    details: tuple[str, ...] = ()
    """Codes of the details: a 429 is told from a state error by ``TooManyRequests`` here."""


def read_error(data: Json) -> ArmError:
    """Read an error with or without the ``error`` envelope; empty where there is none. Never raises.

    Compute's 429 is documented without the envelope, everything else recorded with it.
    """
    outer = as_object(data)
    error = as_object(outer.get("error")) or outer
    details = [as_object(item) for item in as_list(error.get("details"))]
    message = as_text(error.get("message"))
    code = as_text(error.get("code"))
    for detail in details:
        text = as_text(detail.get("message"))
        name = as_text(detail.get("code"))
        if text and text not in message:
            message = f"{message} {name}: {text}".strip() if name and name != text else f"{message} {text}".strip()
    inner = as_text(dig(error, "innererror", "errordetail")) or as_text(dig(error, "innererror", "message"))
    if inner and inner not in message:
        message = f"{message} {inner}".strip()
    codes = tuple(as_text(detail.get("code")) for detail in details if as_text(detail.get("code")))
    return ArmError(code, message[:_MESSAGE_CAP], codes)


def refusal(response: Response, now: float) -> Refusal:
    """Read a 4xx or 5xx answer; ``code`` is ``HTTP<status>`` where the body names none."""
    error = read_error(response.json())
    asked = retry_after(response, now)
    return Refusal(
        status=response.status,
        code=error.code or f"HTTP{response.status}",
        message=error.message or f"Azure answered HTTP {response.status} without a message",
        retry_after=_throttled_for(response, error) if asked is None and response.status == 429 else asked,
    )


def _throttled_for(response: Response, error: ArmError) -> float | None:
    """Read the wait of a 429 without ``Retry-After``: from Resource Graph's quota header or the text
    (recorded).
    """
    resets = re.fullmatch(r"(\d\d):(\d\d):(\d\d)", response.header("x-ms-user-quota-resets-after"), re.ASCII)
    if resets:
        hours, minutes, seconds = (int(part) for part in resets.groups())
        return float(hours * 3600 + minutes * 60 + seconds)
    told = re.search(r"try again after '(\d{1,6})' seconds", error.message, re.ASCII)
    return float(told.group(1)) if told else None


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
        error = read_error(answer.json())
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
    """Return the seconds that the service asks to wait, or None. Negative and unreadable values count as
    none.

    ``retry-after-ms`` and ``x-ms-retry-after-ms`` are known to Azure's SDK and more exact; ``Retry-After``
    holds seconds, or an HTTP date, which is taken relative to ``now``.
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        milliseconds = _number(response.header(name))
        if milliseconds is not None:
            return milliseconds / 1000
    text = response.header("retry-after")
    seconds = _number(text)
    return seconds if seconds is not None else _until(text, now)


_NUMBER = re.compile(r"\s*[0-9]{1,9}(\.[0-9]{1,9})?\s*", re.ASCII)


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _until(text: str, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, moment.timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


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
        elif name.startswith(_TENANT_LIMIT) and values and (count := _number(values[0])) is not None:
            left[name.removeprefix(_ARM_LIMIT).removeprefix(_TENANT_LIMIT)] = int(count)
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
    error: ArmError = ArmError()

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


@dataclass(frozen=True, slots=True)
class Links:
    """Where an accepted request says to ask further. One to another host is dropped, the host named."""

    status: str = field(default="", repr=False)
    location: str = field(default="", repr=False)
    refused: str = ""


def links(response: Response, base: str) -> Links:
    """Take ``Azure-AsyncOperation`` and ``Location`` of an answer, byte for byte, if they stay on the
    service's host.
    """
    found = [response.header(name) for name in ("azure-asyncoperation", "location")]
    status, location = (link if link and check_link(base, link) else "" for link in found)
    bad = {host_of(link) for link, kept in zip(found, (status, location), strict=True) if link and not kept}
    return Links(status, location, ", ".join(sorted(bad)))


_NEVER_IN_LINKS = re.compile(r"[^\x21-\x7e]|\\")
"""Links are percent-encoded (recorded); a character that is not ASCII could not be sent byte for byte."""


def check_link(base: str, link: str) -> bool:
    """Say whether a link stays on the configured service: scheme, host and port equal, and no user in it.

    The token is only ever sent there, so a ``nextLink`` or ``Location`` elsewhere must not be followed.
    """
    if _NEVER_IN_LINKS.search(link):
        return False
    theirs = _origin(link)
    return theirs is not None and theirs == _own_origin(base)


@lru_cache(maxsize=16)
def _own_origin(base: str) -> tuple[str, str, int] | None:
    """The origin of an address of ours. Links are not kept: they are signed."""
    return _origin(base)


def _origin(url: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        return None
    if "@" in parts.netloc or not parts.hostname or not port:
        return None
    return parts.scheme, parts.hostname.lower(), port


def host_of(url: str) -> str:
    """Return the host of a link for a message, or ``?``."""
    try:
        return urlsplit(url).hostname or "?"
    except ValueError:
        return "?"


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
