"""A service whose answers are of any shape: one field or header of one kind of answer is changed, the rest is the lab's."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path as File
from typing import Any
from urllib.parse import urlsplit

ABSENT: Any = object()
"""In place of a value: the field is not there."""

STRANGE: Mapping[str, Any] = {
    "null": None,
    "a list": [],
    "a number": 7,
    "a huge number": 10**400,
    "another text": "odd",
    "a huge text": "x" * 100_000,
    "an object": {"a": {"b": [1]}},
    "true": True,
    "a lone surrogate": "\ud800x",
    "absence": ABSENT,
}
"""What stands in place of each field, in turn."""

HEADERS = ("Retry-After", "Azure-AsyncOperation", "Location")
ODD_HEADERS = (
    "",
    "odd",
    "-1",
    "999999999",
    "1e999",
    "9" * 5000,
    "/odd",
    "https://elsewhere.example/x",
    "http://[",
    "\x7f",
)
"""What stands in place of each header that is read, in turn; none of them is a link to the service."""

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One change to every answer of one kind. ``path`` leads into the body; where there is a ``header``, it is that one."""

    answer: str
    path: Path
    name: str
    value: Any
    header: str = ""

    def __str__(self) -> str:
        place = self.header or ".".join(map(str, self.path)) or "the body"
        return f"{self.answer}: {place} is {self.name}"


def kind_of_answer(method: str, target: str) -> str:
    """Name the kind of an answer by its request, without what differs from run to run."""
    parts = urlsplit(target)
    path = re.sub(r"/runCommands/fleet-[^/?]+", "/runCommands/COMMAND", parts.path, flags=re.IGNORECASE)
    path = re.sub(r"/operations/[^/?]+", "/operations/OPERATION", path)
    flags = [word for word in ("statusOnly=true", "skiptoken", "monitor=true") if word in parts.query]
    return " ".join([method, path, *flags])


def paths(data: Any, at: Path = ()) -> Iterator[Path]:
    """Yield the way to every value; of the entries of a list, which are alike, the last stands for all."""
    yield at
    if isinstance(data, dict):
        for key, value in data.items():
            yield from paths(value, (*at, key))
    elif isinstance(data, list) and data:
        yield from paths(data[-1], (*at, len(data) - 1))


def changed(data: Any, path: Path, value: Any) -> Any:
    """Return the data with another value at the end of a path; as it is where the path leads nowhere."""
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(data, dict) and key in data:
        return _without(data, key) if value is ABSENT and not rest else {**data, key: changed(data[key], rest, value)}
    if isinstance(data, list) and isinstance(key, int) and key < len(data):
        if value is ABSENT and not rest:
            return [*data[:key], *data[key + 1 :]]
        return [*data[:key], changed(data[key], rest, value), *data[key + 1 :]]
    return data


def _without(data: dict[Any, Any], key: Any) -> dict[Any, Any]:
    return {name: value for name, value in data.items() if name != key}


@dataclass
class Tap:
    """Where answers pass: notes the shape of each kind, and makes changes."""

    made: tuple[Change, ...] = ()
    seen: dict[str, dict[Path, None]] = field(default_factory=dict)

    def passed(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[dict[str, str], bytes]:
        """Return headers and body as the client is to see them."""
        kind = kind_of_answer(method, target)
        try:
            data = json.loads(body) if body else ABSENT
        except ValueError:
            return headers, body
        known = self.seen.setdefault(kind, {})
        known.update(dict.fromkeys(paths(data) if data is not ABSENT else [()]))
        for change in (change for change in self.made if change.answer == kind):
            if change.header:
                other = {name: value for name, value in headers.items() if name.lower() != change.header.lower()}
                headers = {**other, change.header: change.value}
            elif data is not ABSENT:
                data = changed(data, change.path, change.value)
                body = b"" if data is ABSENT else json.dumps(data).encode()
        return headers, body

    def changes(self) -> Iterator[Change]:
        """Yield every change of what was seen, in an order that is always the same."""
        for kind in sorted(self.seen):
            for path in self.seen[kind]:
                for name, value in STRANGE.items():
                    yield Change(kind, path, name, value)
            for header in HEADERS:
                for value in ODD_HEADERS:
                    yield Change(kind, (), repr(value[:20]), value, header)


LAB = (File(__file__).parent / "labs" / "answers.yaml").read_text()

BAD = "bad"
PLAYBOOK = """
apiVersion: fleet/v1
kind: Playbook
metadata: {name: odd, version: 1.0.0}
steps:
  - {id: hello, run: {inline: echo hello}}
"""


class _Handler(BaseHTTPRequestHandler):
    """Carries a request to the lab, and its answer back through the tap."""

    protocol_version = "HTTP/1.1"
    server: TappedServer

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(length)
        far = http.client.HTTPConnection("127.0.0.1", self.server.lab_port, timeout=30)
        try:
            kept = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            far.request(self.command, self.path, sent, {**kept, "Host": f"127.0.0.1:{self.server.lab_port}"})
            answer = far.getresponse()
            body = answer.read().replace(self.server.theirs, self.server.ours)
            headers = {
                name: value.replace(self.server.theirs.decode(), self.server.url)
                for name, value in answer.headers.items()
            }
        finally:
            far.close()
        told, body = self.server.tap.passed(self.command, self.path, headers, body)
        self.send_response_only(answer.status)
        for name, value in told.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        return


class TappedServer(ThreadingHTTPServer):
    """A lab's door on loopback behind which answers pass a tap; ``tap`` may be changed at any time."""

    daemon_threads = True

    def __init__(self, lab_url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tap = Tap()
        self.lab_port = urlsplit(lab_url).port or 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.theirs, self.ours = lab_url.encode(), self.url.encode()

    @property
    def flag(self) -> str:
        return f"--lab={self.url}"


@contextmanager
def tapped(lab_url: str) -> Iterator[TappedServer]:
    """Serve the door until the block ends."""
    with TappedServer(lab_url) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(10)
