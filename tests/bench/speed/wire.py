"""The least HTTP that a server of small JSON answers needs: one request at a time on a connection, each answered later."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_REASONS = {200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 404: "Not Found", 429: "Too Many Requests"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    method: str
    target: str
    body: Any = None


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """Return the bytes on the wire."""
        body = b"" if self.body is None else json.dumps(self.body).encode()
        lines = [f"HTTP/1.1 {self.status} {_REASONS[self.status]}", f"Content-Length: {len(body)}"]
        lines += ["Content-Type: application/json; charset=utf-8"] if body else []
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join((*lines, "", "")).encode() + body


Later = tuple[float, Callable[[], Answered]]
"""In how many seconds a request is answered, and what makes the answer then."""


class Connection(asyncio.Protocol):
    """One connection: hands each request to ``answer`` and writes what comes of it when its time has come."""

    def __init__(self, answer: Callable[[Asked], Later]) -> None:
        self._answer = answer
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (asked := self._next()) is not None:
            seconds, make = self._answer(asked)
            asyncio.get_running_loop().call_later(seconds, self._write, make)

    def _next(self) -> Asked | None:
        """Take a whole request out of the buffer; None if there is none yet."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        length = 0
        for line in lines:
            name, _, value = line.partition(":")
            if name.lower() == "content-length":
                length = int(value)
        whole = end + 4 + length
        if len(self._buffer) < whole:
            return None
        body = bytes(self._buffer[end + 4 : whole])
        del self._buffer[:whole]
        method, target, _ = first.split(" ")
        return Asked(method, target, json.loads(body) if body else None)

    def _write(self, make: Callable[[], Answered]) -> None:
        answer = make().encoded()
        if self._transport is not None:
            self._transport.write(answer)
