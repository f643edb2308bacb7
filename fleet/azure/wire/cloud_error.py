"""What an error body says, in each of the shapes that services answer with (``CloudError`` is the specified one).

Services in front of Azure Resource Manager, and older ones behind it, have shapes of their own. What any of them says is
shown: a message that is left out costs an operator more than one that is long.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fleet.azure.wire.http import Json, Response, as_list, as_object, as_text, parse_json
from fleet.clock import from_iso

MESSAGE_CAP = 4000
"""Characters of a message that are kept."""

_PART_CAP = 300
"""Characters of a part that only adds to the message: a target, a policy's name, a plain text."""

_PLAIN_CAP = 16 * 1024
"""Bytes of a body that is no JSON in which words are looked for."""

_WRITTEN = re.compile(r"<(?:script|style|head)\b.*?</(?:script|style|head)\s*>|<[^>]*>", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class ArmError:
    """The service's error, flattened: the outer code and message, and what the details add."""

    code: str = ""
    message: str = ""
    details: tuple[str, ...] = ()
    """Codes of the details: a 429 is told from a state error by ``TooManyRequests`` here."""
    window: tuple[float | None, float] | None = None
    """Start and end, in epoch seconds, of the window in which a throttling policy counted; the latest one."""


def error_of(response: Response) -> ArmError:
    """Read the error of an answer, a plain text included. Never raises."""
    data = response.json()
    if data is None and response.body:
        return ArmError(message=_plain(response.body[:_PLAIN_CAP].decode("utf-8", "ignore")))
    return read_error(data)


def read_error(data: Json) -> ArmError:
    """Read an error with or without the ``error`` envelope; empty where there is none. Never raises.

    Compute's 429 is documented without the envelope, everything else recorded with it.
    """
    if data is None:
        return ArmError()
    if isinstance(data, str):
        return ArmError(message=_plain(data[:_PLAIN_CAP]))
    error = _inside(as_object(data))
    details = [as_object(item) for item in as_list(_get(error, "details"))]
    message = _message(error)
    for detail in details:
        message = _joined(message, _detail(detail, message))
    inner = as_object(_get(error, "innererror"))
    message = _joined(message, as_text(_get(inner, "errordetail")) or as_text(_get(inner, "message")))
    for part in _parts(error, inner):
        if part not in message:
            message = f"{message} ({part})".strip()
    codes = tuple(as_text(_get(detail, "code")) for detail in details if as_text(_get(detail, "code")))
    windows = [window for detail in details if (window := _window(_policy(detail))) is not None]
    latest = max(windows, key=lambda window: window[1]) if windows else None
    return ArmError(as_text(_get(error, "code")), message[:MESSAGE_CAP], codes, latest)


def _get(data: dict[str, Json], name: str) -> Json:
    """Return a field by its name, whatever its case: some services write ``Message``, ``Code``."""
    if name in data:
        return data[name]
    return next((value for key, value in data.items() if key.lower() == name), None)


def _inside(outer: dict[str, Json]) -> dict[str, Json]:
    """Return the object that holds code and message: in an envelope, in OData's, or the body itself."""
    for name in ("error", "odata.error"):
        inner = _get(outer, name)
        if isinstance(inner, dict) and inner:
            return inner
        if isinstance(inner, str) and inner:  # as OAuth writes it: a code, and its words beside it
            words = as_text(_get(outer, "error_description")) or as_text(_get(outer, "message"))
            return {**outer, "code": inner, "message": words} if words else {**outer, "message": inner}
    return outer


def _message(error: dict[str, Json]) -> str:
    """Return the message, a text or an object with a ``value`` (OData); else ``title`` and ``detail`` (RFC 9457)."""
    found = _get(error, "message")
    text = as_text(found) or as_text(_get(as_object(found), "value"))
    if text:
        return text
    return ": ".join(part for name in ("title", "detail") if (part := as_text(_get(error, name))))


def _detail(detail: dict[str, Json], message: str) -> str:
    """Say what a detail adds to a message."""
    code, target = as_text(_get(detail, "code")), as_text(_get(detail, "target"))
    text = _counted(_policy(detail)) or _message(detail)
    if not text or text in message:
        # Its target may be all that is new.
        return f"({target[:_PART_CAP]})" if target and target not in message else ""
    text = f"{code}: {text}" if code and code != text else text
    named = target and target not in text and target not in message
    return f"{text} ({target[:_PART_CAP]})" if named else text


def _joined(message: str, more: str) -> str:
    return f"{message} {more}".strip() if more and more not in message else message


def _parts(error: dict[str, Json], inner: dict[str, Json]) -> Iterator[str]:
    """Yield what else says something to an operator: the target, the kind of the inner error, policies."""
    if target := as_text(_get(error, "target")):
        yield target[:_PART_CAP]
    for name in ("exceptiontype", "internalerrorcode"):
        if kind := as_text(_get(inner, name)):
            yield kind[:_PART_CAP]
    for owner in (error, *(as_object(item) for item in as_list(_get(error, "details")))):
        for item in as_list(_get(owner, "additionalinfo"))[:5]:
            yield from _policy_names(as_object(_get(as_object(item), "info")))


def _policy_names(info: dict[str, Json]) -> Iterator[str]:
    """Yield the names of the policy that refused a request, and of its assignment (``additionalInfo``)."""
    for what in ("definition", "assignment"):
        shown = as_text(_get(info, f"policy{what}displayname"))
        name = as_text(_get(info, f"policy{what}name")) or as_text(_get(info, f"policy{what}id")).rpartition("/")[2]
        if shown or name:
            yield f"policy {what} {_short(shown or name)}"


def _short(text: str) -> str:
    return text if len(text) <= _PART_CAP else f"{text[: _PART_CAP - 3]}..."


def _policy(detail: dict[str, Json]) -> dict[str, Json]:
    """Return what a detail of Compute's throttling says of its policy, which it writes as JSON in its message."""
    text = as_text(_get(detail, "message"))
    found = as_object(parse_json(text.encode("utf-8", "replace"))) if text.startswith("{") else {}
    return found if _get(found, "endtime") is not None else {}


def _counted(policy: dict[str, Json]) -> str:
    """Say in words what a throttling policy counted; empty where it does not say."""
    allowed, measured = _get(policy, "allowedrequestcount"), _get(policy, "measuredrequestcount")
    if not isinstance(allowed, int) or not isinstance(measured, int):
        return ""
    group = as_text(_get(policy, "operationgroup"))[:_PART_CAP]
    counted = f"{measured} requests counted until {as_text(_get(policy, 'endtime'))[:40]}, {allowed} allowed"
    return f"{group}: {counted}" if group else counted


def _window(policy: dict[str, Json]) -> tuple[float | None, float] | None:
    end = _moment(_get(policy, "endtime"))
    return None if end is None else (_moment(_get(policy, "starttime")), end)


def _moment(data: Json) -> float | None:
    try:
        return from_iso(as_text(data))
    except (ValueError, OverflowError):
        return None


def _plain(text: str) -> str:
    """Return the words of a plain text, of a page without its marks; empty where it holds none."""
    if "\0" in text:
        return ""
    title = re.search(r"<title\b[^>]*>(.*?)</title\s*>", text, re.IGNORECASE | re.DOTALL)
    words = " ".join((title[1] + " " if title else "").split() + _WRITTEN.sub(" ", text).split())
    return _short(words)
