"""A request and an answer as plain values, and the JSON of ARM and of Compute. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from pydantic_core import PydanticSerializationError, to_json

Json = Mapping[str, object]
JSON_TYPE = "application/json; charset=utf-8"


class Fate(StrEnum):
    """What becomes of an answer on its way."""

    DELIVERED = "delivered"
    DROPPED = "dropped"
    TRUNCATED = "truncated"
    """Half of the body, then the connection is gone."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. Header names are lower case; ``raw`` is path and query byte for byte as sent."""

    method: str
    path: str
    raw: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""

    def json(self) -> object:
        """Return the decoded body. Raises ValueError if it is not JSON."""
        return json.loads(self.body or b"null")


@dataclass(slots=True)
class Answer:
    """One HTTP answer. ``delay`` is how many seconds late it is sent."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    fate: Fate = Fate.DELIVERED
    delay: float = 0.0


def compute(status: int, data: Json, headers: Mapping[str, str] | None = None) -> Answer:
    """Answer as Compute does: JSON indented by two, lines ended by CRLF (recorded)."""
    return Answer(
        status, _encoded(data, indent=2).replace(b"\n", b"\r\n"), {"Content-Type": JSON_TYPE, **(headers or {})}
    )


def gateway(status: int, data: Json, headers: Mapping[str, str] | None = None) -> Answer:
    """Answer as ARM's gateway does: compact JSON (recorded)."""
    return Answer(status, _encoded(data), {"Content-Type": JSON_TYPE, **(headers or {})})


def refusal(code: str, message: str, **more: object) -> Json:
    """Return ARM's error envelope."""
    return {"error": {"code": code, "message": message, **more}}


def denied(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Refuse as the gateway does, which marks its own refusals (recorded: x-ms-failure-cause)."""
    return gateway(status, refusal(code, message), {"x-ms-failure-cause": "gateway", **(headers or {})})


def not_found(resource: str, group: str, provider: str = "Microsoft.Compute") -> Answer:
    """Refuse a resource that is not there, named by type and name below its provider (recorded text)."""
    text = (
        f"The Resource '{provider}/{resource}' under resource group '{group}' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix"
    )
    return denied(404, "ResourceNotFound", text)


def stamp(moment: float) -> str:
    """Render a time as Compute does: a fraction without trailing zeros, offset ``+00:00`` (recorded)."""
    text = datetime.fromtimestamp(moment, UTC).replace(tzinfo=None).isoformat()
    return f"{text.rstrip('0') if '.' in text else text}+00:00"


def whole_stamp(moment: float) -> str:
    """Render a time in whole seconds, as instance views of commands have it (recorded)."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def _encoded(data: Json, indent: int | None = None) -> bytes:
    try:
        return to_json(data, indent=indent)
    except PydanticSerializationError:  # half a surrogate pair, which a request's JSON may have brought
        separators = (",", ":") if indent is None else None
        text = json.dumps(data, indent=indent, separators=separators, ensure_ascii=False)
        return text.encode("utf-8", errors="surrogatepass")
