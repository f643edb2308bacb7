"""Requests and responses as values: what the wire modules build and read, and the transport carries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias
from urllib.parse import quote

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MIB = 1024 * 1024
DEPTH = 64
"""Deepest nesting of a JSON answer that is read; ARM's own answers stay under 20."""

READ_HEADERS = frozenset(
    {
        "azure-asyncoperation",
        "content-range",
        "location",
        "retry-after",
        "retry-after-ms",
        "www-authenticate",
        "x-ms-error-code",
        "x-ms-retry-after-ms",
        "x-ms-user-quota-resets-after",
    }
)
"""The headers of an answer that are read somewhere, in lower case. Others are not taken over: ARM sends about fifteen."""

LIMIT_HEADERS = "x-ms-ratelimit-remaining-"
"""How the names of those begin that tell what is left of a limit; they are read as well."""

_PATH_SAFE = "/()-._~!$&'*+,;=:@"
_QUERY_SAFE = "$,'()=/-._~"


@dataclass(frozen=True, slots=True)
class Request:
    """One call. ``target`` is a path below the configured service, or an absolute link that the service gave.

    A link is sent byte for byte. ``cap`` is the largest body, in bytes after decompression, that is read
    back.
    """

    method: str
    target: str = field(repr=False)
    body: Json = field(default=None, repr=False)
    cap: int = MIB
    id: str = ""
    """``x-ms-client-request-id``; the transport makes one up where it is empty."""
    api: str = ""
    """The key of ``azure.api_versions`` that it is asked with; empty for a link that the service gave."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. Header names are lower-case, of ``READ_HEADERS`` and ``LIMIT_HEADERS``, and may have several values.

    ``body`` is decompressed.
    """

    status: int
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str:
        """Return the first value of a header of ``READ_HEADERS``, or an empty text."""
        assert name in READ_HEADERS, f"{name} is not taken over from an answer"
        values = self.headers.get(name, ())
        return values[0] if values else ""

    def json(self) -> Json:
        """Return the body as JSON data, or None if it is empty, is no JSON or nests deeper than ``DEPTH``."""
        return parse_json(self.body)

    def object(self) -> dict[str, Json]:
        """Return the body as a JSON object, or an empty one."""
        return as_object(self.json())


class Silence(StrEnum):
    """Why no answer came."""

    NOT_CONNECTED = "not_connected"
    """No byte of the request left."""
    RESET = "reset"
    TIMEOUT = "timeout"
    MALFORMED = "malformed"
    """An answer came that is no HTTP, or is larger than the cap."""


@dataclass(frozen=True, slots=True)
class NoResponse:
    """No usable answer came; ``detail`` says more and holds no secret."""

    kind: Silence
    detail: str = ""


def path(text: str, query: Mapping[str, str]) -> str:
    """Join a resource path and its query, percent-encoded; ``$`` stays as it is, as recorded of Azure's own
    tools.
    """
    pairs = "&".join(f"{quote(key, safe=_QUERY_SAFE)}={quote(value, safe=_QUERY_SAFE)}" for key, value in query.items())
    return f"{quote(text, safe=_PATH_SAFE)}?{pairs}"


def parse_json(body: bytes) -> Json:
    """Read JSON text that a stranger wrote; None for anything that is none, or is nested too deeply. Never
    raises.
    """
    try:
        data: Json = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    nested = body.count(b"{") + body.count(b"[")
    return data if nested <= DEPTH or _shallow(data) else None


def as_object(data: object) -> dict[str, Json]:
    """Return ``data`` if it is a JSON object, else an empty one."""
    return data if isinstance(data, dict) else {}


def as_list(data: object) -> list[Json]:
    """Return ``data`` if it is a JSON array, else an empty one."""
    return data if isinstance(data, list) else []


def as_text(data: object) -> str:
    """Return ``data`` if it is a text, else an empty one."""
    return data if isinstance(data, str) else ""


def dig(data: object, *keys: str) -> Json:
    """Follow keys into nested objects; None where the way ends."""
    for key in keys:
        data = as_object(data).get(key)
    return data  # type: ignore[return-value]  # whatever stands in JSON data is JSON data


def _refuse(constant: str) -> Json:
    raise ValueError(f"{constant} is no JSON")


def _shallow(data: Json) -> bool:
    level: list[Json] = [data]
    for _ in range(DEPTH + 1):
        level = [child for item in level if isinstance(item, (dict, list)) for child in _children(item)]
        if not level:
            return True
    return False


def _children(item: dict[str, Json] | list[Json]) -> list[Json]:
    return list(item.values()) if isinstance(item, dict) else item
