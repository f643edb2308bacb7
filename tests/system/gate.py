"""A gate in front of a lab that refuses some requests, as Azure refuses a principal without rights."""

from __future__ import annotations

import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def gate(lab: str, refuse: Mapping[str, int]) -> Iterator[str]:
    """Serve the lab under another URL; a request whose ``METHOD path`` fits a pattern gets its status instead."""

    class Keeper(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            for pattern, status in refuse.items():
                if re.search(pattern, f"{self.command} {self.path}"):
                    return self._answer(status, {}, _refusal(status))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            request = urllib.request.Request(lab + self.path, body or None, headers, method=self.command)
            try:
                with urllib.request.urlopen(request) as answer:
                    return self._answer(answer.status, dict(answer.headers), answer.read())
            except urllib.error.HTTPError as error:
                return self._answer(error.code, dict(error.headers), error.read())

        def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            body = body.replace(lab.encode(), url.encode())
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                    self.send_header(name, value.replace(lab, url))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        do_GET = do_POST = do_PUT = do_DELETE = handle_one

    server = ThreadingHTTPServer(("127.0.0.1", 0), Keeper)
    url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield url
    finally:
        server.shutdown()
        server.server_close()


def _refusal(status: int) -> bytes:
    code = {401: "InvalidAuthenticationToken", 403: "AuthorizationFailed"}.get(status, "InternalServerError")
    return json.dumps({"error": {"code": code, "message": "The principal may not do this."}}).encode()
