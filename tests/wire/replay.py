"""Plays recorded exchanges as a local server, and small scripted servers for everything nobody recorded.

A recording is ``{"exchanges": [{"request": {method, uri, headers, body}, "response": {status, headers,
body}}]}``; a header is a text or a list of texts, a JSON body may be decoded or a text, and the host may be that of any
cloud. Each request takes the first exchange that fits and was not played yet.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from aiohttp import web

from fleet.azure.wire.http import Json

AZURE = "https://management.azure.com"
HOP = {"content-length", "transfer-encoding", "content-encoding", "connection", "date", "content-type"}


@dataclass(slots=True)
class Exchange:
    """One request and its answer, as recorded."""

    method: str
    target: str
    sent: Json
    status: int
    headers: dict[str, str]
    body: Json
    played: bool = False

    @property
    def path(self) -> str:
        return urlsplit(self.target).path.casefold()

    def headers_of(self, name: str) -> str:
        """A recorded header, whatever its case."""
        return next((value for key, value in self.headers.items() if key.lower() == name), "")

    @property
    def query(self) -> list[str]:
        """The query without the api-version, which the client chooses for its own requests."""
        return [pair for pair in urlsplit(self.target).query.split("&") if not pair.startswith("api-version=")]


def load(file: Path) -> list[Exchange]:
    """Read a recording; hosts are dropped, so that it can be played anywhere."""
    text = _ANY_CLOUD.sub(AZURE, file.read_text(encoding="utf-8"))
    return [
        Exchange(
            method=item["request"]["method"].upper(),
            target=item["request"]["uri"].removeprefix(AZURE),
            sent=_decoded(item["request"].get("body")),
            status=int(item["response"]["status"]),
            headers={name: _joined(value) for name, value in (item["response"].get("headers") or {}).items()},
            body=_decoded(item["response"].get("body")),
        )
        for item in json.loads(text)["exchanges"]
    ]


_ANY_CLOUD = re.compile(
    r"https://management\.(azure\.com|usgovcloudapi\.net|chinacloudapi\.cn)(:443)?(?=[/\"])", re.IGNORECASE
)


def _joined(value: str | list[str]) -> str:
    return value if isinstance(value, str) else ", ".join(value)


def _decoded(body: Json) -> Json:
    """A body as data, whether the recorder decoded it or kept the text."""
    if isinstance(body, str) and body.lstrip()[:1] in ("{", "["):
        return cast("Json", json.loads(body))
    return body


@dataclass(slots=True)
class Replay:
    """A recording being played at ``base``; ``seen`` are the raw targets asked for, ``strange`` those
    without an answer.
    """

    exchanges: list[Exchange]
    base: str = ""
    seen: list[str] = field(default_factory=list)
    bodies: list[Json] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append(request.raw_path)
        text = await request.text()
        self.bodies.append(json.loads(text) if text else None)
        exchange = self.match(request.method, request.raw_path)
        if exchange is None:
            self.strange.append(f"{request.method} {request.raw_path}")
            return web.Response(status=599, text="nothing like this was recorded")
        exchange.played = True
        body = exchange.body
        text = "" if body in (None, "") else self.local(json.dumps(body))
        headers = {k: self.local(v) for k, v in exchange.headers.items() if k.lower() not in HOP}
        return web.Response(status=exchange.status, text=text, headers=headers, content_type="application/json")

    def match(self, method: str, target: str) -> Exchange | None:
        asked = Exchange(method, target, None, 0, {}, None)
        left = [e for e in self.exchanges if not e.played and e.method == method and e.path == asked.path]
        return next((e for e in left if e.query == asked.query), None)

    def local(self, text: str) -> str:
        return text.replace(AZURE, self.base)


@asynccontextmanager
async def playing(exchanges: list[Exchange]) -> AsyncIterator[Replay]:
    """Play a recording at a port of this machine."""
    replay = Replay(exchanges)
    async with serving(replay.answer) as base:
        replay.base = base
        yield replay


@asynccontextmanager
async def serving(
    answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    """Serve one handler at a port of this machine and yield its base URL."""
    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@dataclass(slots=True)
class Script:
    """A server that gives prepared answers in turn and keeps what was asked."""

    answers: list[web.Response]
    asked: list[tuple[str, str, dict[str, str], Json]] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        text = await request.text()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append((request.method, request.raw_path, headers, json.loads(text) if text else None))
        return self.answers.pop(0) if self.answers else web.Response(status=599, text="no more answers")


def arm(status: int, body: Json = None, **headers: str) -> web.Response:
    """Prepare an answer; underscores in header names become dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    text = "" if body is None else json.dumps(body)
    return web.Response(status=status, text=text, headers=named, content_type="application/json")
