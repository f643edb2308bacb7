"""Blobs by signed addresses: what leaves, what comes back, and what is logged of it."""

from __future__ import annotations

import io
import logging

import pytest

from fleet import logs
from fleet.azure.blobs import AzureBlobs
from fleet.azure.transport import Bare
from fleet.engine.ports import Added, Unread
from tests.wire.replay import Script, arm, serving

PATH = "/logs/runs/web01.out?sv=2021-08-06&sig=s3cret%2Bs"


@pytest.fixture
def log_lines(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What Fleet logs, in full detail."""
    lines = io.StringIO()
    root = logging.getLogger()
    for thing, name in ((root, "handlers"), (root, "level"), (logs, "_threshold"), (logs, "_stream")):
        monkeypatch.setattr(thing, name, getattr(thing, name))
    logs.set_up(verbose=3, stream=lines)
    return lines


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (arm(206, {}, **{"Content-Range": "bytes 2-3/4"}), Added(b"{}")),
        (arm(200, {}), Added(b"")),
        (arm(416, None), Added(b"")),
        (arm(403, {}, **{"x-ms-error-code": "AuthenticationFailed"}), Unread(403, "AuthenticationFailed")),
        (arm(404, {}, **{"x-ms-error-code": "BlobNotFound"}), Unread(404, "BlobNotFound")),
        (arm(206, {}, **{"Content-Range": "bytes 0-1/4"}), Unread(206, "")),
    ],
)
async def test_a_range_is_asked_for_without_a_token(
    answer: object, expected: Added | Unread, log_lines: io.StringIO
) -> None:
    """A signed address goes out byte for byte with a range and no token; the log names the host alone."""
    script = Script([answer])  # type: ignore[list-item]
    async with serving(script.answer) as base, Bare() as bare:
        assert await AzureBlobs(bare).added(base + PATH, 2, 100) == expected
    ((method, path, headers, _),) = script.asked
    assert (method, path, headers["range"]) == ("GET", PATH, "bytes=2-101")
    assert "authorization" not in headers
    (line,) = [line for line in log_lines.getvalue().splitlines() if "blob_request" in line]
    assert "127.0.0.1" in line and "s3cret" not in line and "web01" not in line


@pytest.mark.asyncio
async def test_a_blobs_redirect_is_not_followed() -> None:
    """A redirect is an answer that brings nothing: the signature goes to the host it was made for."""
    theirs = Script([arm(200, {})])
    async with serving(theirs.answer) as other:
        ours = Script([arm(307, None, Location=f"{other}{PATH}")])
        async with serving(ours.answer) as base, Bare() as bare:
            assert await AzureBlobs(bare).added(base + PATH, 0, 100) == Unread(307, "")
    assert not theirs.asked


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "url", ["http://logs.example/x?sig=s3cret", "ftp://127.0.0.1/x", "file:///etc/passwd", "x", "http://["]
)
async def test_only_https_and_this_machine_are_asked(url: str) -> None:
    """An address in the clear to another machine is refused before anything leaves."""
    async with Bare() as bare:
        answer = await AzureBlobs(bare).added(url, 0, 100)
    assert isinstance(answer, Unread)
    assert answer.status == 0 and "s3cret" not in answer.why and "neither https" in answer.why
