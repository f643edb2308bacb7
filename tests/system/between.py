"""A service between Fleet and a lab, on loopback: it hands requests on, notes them, and may change what comes back."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Passing:
    """One request and its answer, which a rewrite changes in place; ``body`` is JSON, None if empty."""

    method: str
    path: str
    sent: bytes
    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Between:
    """One that is up."""

    url: str
    passed: list[Passing] = field(default_factory=list)

    @property
    def flag(self) -> str:
        return f"--lab={self.url}"

    def bodies(self, method: str, part: str) -> list[bytes]:
        """The bodies of the requests with this method whose path holds this part, in order."""
        return [each.sent for each in self.passed if each.method == method and part in each.path]


@contextmanager
def between(lab_url: str, rewrite: Callable[[Passing], None] = lambda passing: None) -> Iterator[Between]:
    """Serve until the block ends. Links of the lab's lead through here as well."""
    host = urlsplit(lab_url).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            return

        def carry(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            onward = http.client.HTTPConnection(host, timeout=60)
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in ("host", "accept-encoding")
            }
            passing = Passing(self.command, self.path, sent, 0, None)
            door.passed.append(passing)
            try:
                onward.request(self.command, self.path.replace(door.url, lab_url), sent, headers)
                answer = onward.getresponse()
                raw = answer.read()
            except OSError:  # the lab dropped it, so it is dropped here
                self.close_connection = True
                return
            finally:
                onward.close()
            passing.status = answer.status
            passing.body = json.loads(raw.replace(lab_url.encode(), door.url.encode())) if raw else None
            passing.headers = {name: value.replace(lab_url, door.url) for name, value in answer.getheaders()}
            rewrite(passing)
            back = b"" if passing.body is None else json.dumps(passing.body).encode()
            self.send_response(passing.status)
            for name, value in passing.headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(back)))
            self.end_headers()
            self.wfile.write(back)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = carry

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        door = Between(f"http://127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield door
        finally:
            server.shutdown()
