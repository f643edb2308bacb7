"""The one HTTP session: what leaves, what comes back, and what is never sent twice."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import io
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aioresponses import aioresponses

from fleet import logs
from fleet.azure.credentials import StaticTokens
from fleet.azure.transport import Timeouts, Transport, environment_proxy
from fleet.azure.wire.http import NoResponse, Request, Response, Silence
from fleet.errors import InvalidInput
from tests.wire.replay import Script, arm, serving

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[bool]]


class Tokens:
    """Hands out token-1, token-2 ... and counts; keeps the claims it was asked for."""

    def __init__(self) -> None:
        self.issued = 0
        self.current = ""
        self.claims: list[str] = []

    async def token(self, *, tenant: str | None = None, claims: str | None = None) -> str:
        if claims:
            self.claims.append(claims)
            self.current = ""
        if not self.current:
            self.issued += 1
            self.current = f"token-{self.issued}"
        return self.current

    def forget(self, token: str) -> None:
        if token == self.current:
            self.current = ""


@asynccontextmanager
async def raw(handle: Handler) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve bytes: the handler answers each request read whole, and says whether to go on reading."""
    heads: list[bytes] = []

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                heads.append(head)
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        await reader.readexactly(int(line.split(b":")[1]))
                if not await handle(reader, writer, len(heads)):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}", heads
    finally:
        server.close()
        await server.wait_closed()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


async def dies_on_the_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> bool:
    """Answer the first request on a kept-alive connection, and close after reading the second."""
    if count == 2:
        return False
    writer.write(OK)
    return True


@pytest.mark.asyncio
@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
async def test_a_submission_is_never_sent_twice_by_the_library(method: str) -> None:
    """A kept-alive connection that dies after the request was read gives an answer lost, and one request
    only.
    """
    async with raw(dies_on_the_second) as (base, heads), Transport(base, StaticTokens("t")) as transport:
        await transport.send(Request("GET", "/warm?a=1"))
        answer = await transport.send(Request(method, "/x?a=1", {"k": 1}))
    assert isinstance(answer, NoResponse)
    assert answer.kind is Silence.RESET
    assert [head.split(b" ")[0] for head in heads] == [b"GET", method.encode()]


@pytest.mark.asyncio
async def test_a_read_survives_a_dead_kept_alive_connection() -> None:
    """Reads are free to repeat: the library's second try is welcome there."""
    async with raw(dies_on_the_second) as (base, heads), Transport(base, StaticTokens("t")) as transport:
        await transport.send(Request("GET", "/warm?a=1"))
        answer = await transport.send(Request("GET", "/x?a=1"))
    assert isinstance(answer, Response)
    assert len(heads) == 3


@pytest.mark.asyncio
async def test_never_connected_is_told_from_reset() -> None:
    """A closed port means that nothing was asked; a reset after the request does not."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> bool:
        return False

    async with raw(hang_up) as (base, _), Transport(base, StaticTokens("t")) as transport:
        reset = await transport.send(Request("PUT", "/x?a=1", {}))
    async with Transport(base, StaticTokens("t")) as transport:
        refused = await transport.send(Request("PUT", "/x?a=1", {}))
    assert isinstance(reset, NoResponse)
    assert reset.kind is Silence.RESET
    assert isinstance(refused, NoResponse)
    assert refused.kind is Silence.NOT_CONNECTED


@pytest.mark.asyncio
async def test_a_silent_service_is_a_timeout() -> None:
    """Once the request has left, no answer in time means: not known whether it was done."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> bool:
        await reader.read()
        return False

    limits = Timeouts(connect=5, total=0.1)
    async with raw(silent) as (base, heads), Transport(base, StaticTokens("t"), timeouts=limits) as transport:
        answer = await transport.send(Request("POST", "/x?a=1", {}))
    assert isinstance(answer, NoResponse)
    assert answer.kind is Silence.TIMEOUT
    assert len(heads) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("limits", [Timeouts(connect=0.1, total=5), Timeouts(connect=5, total=0.1)])
async def test_time_spent_on_connecting_is_no_lost_answer(limits: Timeouts) -> None:
    """Whichever limit ends a connection that never comes about, nothing was asked."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):  # fill the queue of connections, which nobody accepts
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with Transport(base, StaticTokens("t"), timeouts=limits) as transport:
            answer = await transport.send(Request("POST", "/x?a=1", {}))
    assert isinstance(answer, NoResponse)
    assert answer.kind is Silence.NOT_CONNECTED


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", Silence.MALFORMED),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{", Silence.RESET),
        (
            b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
            Silence.MALFORMED,
        ),
        (b"", Silence.RESET),
    ],
)
async def test_torn_and_foreign_answers_are_told_apart(answer: bytes, kind: Silence) -> None:
    """What is no HTTP is malformed; what breaks off is a reset. Neither raises."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> bool:
        writer.write(answer)
        return False

    async with raw(say) as (base, _), Transport(base, StaticTokens("t")) as transport:
        got = await transport.send(Request("GET", "/x?a=1"))
    assert isinstance(got, NoResponse)
    assert got.kind is kind


@pytest.mark.asyncio
@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Le", "the connection ended within the head of the answer"),
        (b"HTTP/1.1 20", "the connection ended within the head of the answer"),
        (b"", "the connection ended before an answer came"),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", "Invalid status code"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n", "Invalid character in Content-Length"),
        (b"\x16\x03\x01\r\n\r\n", "Bad status line"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", "more than 32768 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "received 3 of 9 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", "gzip"),
    ],
)
async def test_a_broken_answer_is_described_in_words(answer: bytes, words: str, method: str) -> None:
    """No value of Python, no bytes in quotes and no new line: the sentence stands in rows and journals."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> bool:
        writer.write(answer)
        return False

    async with raw(say) as (base, _), Transport(base, StaticTokens("t")) as transport:
        got = await transport.send(Request(method, "/x?a=1"))
    assert isinstance(got, NoResponse)
    assert words in got.detail
    assert not set("<>\n^") & set(got.detail) and "b'" not in got.detail


@pytest.mark.asyncio
async def test_surprise_10_signed_urls_are_long() -> None:
    """Operation URLs of 3.4 KB, and twice as long ones, are read whole (surprise 10)."""
    link = "https://management.azure.com/x?c=" + "A" * 9_000
    script = Script([arm(202, None, Azure_AsyncOperation=link, Location=link)])
    async with serving(script.answer) as base, Transport(base, StaticTokens("t")) as transport:
        answer = await transport.send(Request("POST", "/x?a=1", {}))
    assert isinstance(answer, Response)
    assert answer.header("azure-asyncoperation") == answer.header("location") == link


@pytest.mark.asyncio
async def test_a_link_goes_out_byte_for_byte() -> None:
    """Percent-encoding, case and order of a signed link are not touched."""
    script = Script([arm(200, {})])
    odd = "/sub%2fx/operations/1?p=a%27b&%24skiptoken=Q%3D%3d&t=1&c=A-_b&monitor=true"
    async with serving(script.answer) as base, Transport(base, StaticTokens("t")) as transport:
        await transport.send(Request("GET", base + odd))
    assert script.asked[0][1] == odd


@pytest.mark.asyncio
async def test_the_token_never_goes_to_another_host() -> None:
    """A link to another server is refused: that server hears nothing at all."""
    ours, theirs = Script([arm(200, {})]), Script([arm(200, {})])
    async with (
        serving(ours.answer) as base,
        serving(theirs.answer) as other,
        Transport(base, StaticTokens("secret-token")) as transport,
    ):
        answer = await transport.send(Request("GET", f"{other}/operations/1?c=CERT"))
    assert isinstance(answer, NoResponse)
    assert answer.kind is Silence.MALFORMED
    assert "CERT" not in answer.detail
    assert not theirs.asked


@pytest.mark.asyncio
async def test_a_redirect_is_not_followed() -> None:
    """A 307 elsewhere is handed back as it is, and the token stays here."""
    theirs = Script([arm(200, {})])
    async with serving(theirs.answer) as other:
        ours = Script([arm(307, None, Location=f"{other}/x")])
        async with serving(ours.answer) as base, Transport(base, StaticTokens("t")) as transport:
            answer = await transport.send(Request("GET", "/x?a=1"))
    assert isinstance(answer, Response)
    assert answer.status == 307
    assert not theirs.asked


EXPIRED = {"error": {"code": "ExpiredAuthenticationToken", "message": "The access token expiry UTC time ..."}}


@pytest.mark.asyncio
async def test_an_expired_token_is_replaced_once_and_only_that_call_repeated() -> None:
    """A 401 was not executed, so that very call goes out again with a fresh token (surprise 11)."""
    script = Script([arm(200, {}), arm(401, EXPIRED), arm(202), arm(200, {})])
    tokens = Tokens()
    async with serving(script.answer) as base, Transport(base, tokens) as transport:
        for target in ("/a?x=1", "/b?x=1", "/c?x=1"):
            answer = await transport.send(Request("POST", target, {}))
            assert isinstance(answer, Response)
    assert [(path, headers["authorization"]) for _, path, headers, _ in script.asked] == [
        ("/a?x=1", "Bearer token-1"),
        ("/b?x=1", "Bearer token-1"),
        ("/b?x=1", "Bearer token-2"),
        ("/c?x=1", "Bearer token-2"),
    ]


@pytest.mark.asyncio
async def test_a_second_401_is_the_answer() -> None:
    """There is no loop: the refusal is handed on."""
    script = Script([arm(401, EXPIRED), arm(401, EXPIRED), arm(200, {})])
    async with serving(script.answer) as base, Transport(base, Tokens()) as transport:
        answer = await transport.send(Request("GET", "/a?x=1"))
    assert isinstance(answer, Response)
    assert answer.status == 401
    assert len(script.asked) == 2


@pytest.mark.asyncio
async def test_a_claims_challenge_is_answered_once() -> None:
    """The claims of the 401 are decoded and asked for with the next token."""
    claims = base64.urlsafe_b64encode(b'{"access_token":{"nbf":{"value":"1"}}}').decode().rstrip("=")
    header = f'Bearer authorization_uri="https://l/", error="insufficient_claims", claims="{claims}"'
    script = Script([arm(401, EXPIRED, WWW_Authenticate=header), arm(200, {})])
    tokens = Tokens()
    async with serving(script.answer) as base, Transport(base, tokens) as transport:
        answer = await transport.send(Request("GET", "/a?x=1"))
    assert isinstance(answer, Response)
    assert answer.status == 200
    assert tokens.claims == ['{"access_token":{"nbf":{"value":"1"}}}']


@pytest.mark.asyncio
async def test_a_body_over_its_cap_is_not_read_to_the_end() -> None:
    """The cap counts after decompression, so a gzip bomb is stopped and the next request still works."""
    bomb = web.Response(status=200, body=gzip.compress(b"0" * 50_000_000), headers={"Content-Encoding": "gzip"})
    script = Script([bomb, arm(200, {"a": 1})])
    async with serving(script.answer) as base, Transport(base, StaticTokens("t")) as transport:
        answer = await transport.send(Request("GET", "/a?x=1", cap=1_000_000))
        after = await transport.send(Request("GET", "/b?x=1"))
    assert isinstance(answer, NoResponse)
    assert answer.kind is Silence.MALFORMED
    assert isinstance(after, Response)
    assert after.json() == {"a": 1}


@pytest.mark.asyncio
async def test_repeated_headers_are_all_kept() -> None:
    """Several headers of one name, as documented for Compute's limits, are several values; what nobody reads is dropped."""

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> bool:
        writer.write(
            b"HTTP/1.1 200 OK\r\nX-MS-RateLimit-Remaining-Resource: A;1\r\n"
            b"x-ms-ratelimit-remaining-resource: B;2\r\nX-A: 1\r\nContent-Length: 0\r\n\r\n"
        )
        return True

    async with raw(twice) as (base, _), Transport(base, StaticTokens("t")) as transport:
        answer = await transport.send(Request("GET", "/x?a=1"))
    assert isinstance(answer, Response)
    assert answer.headers == {"x-ms-ratelimit-remaining-resource": ("A;1", "B;2")}


@pytest.mark.asyncio
async def test_each_request_says_who_asks_and_carries_an_id() -> None:
    """User agent, request id (the caller's where given), and JSON content type."""
    script = Script([arm(200, {}), arm(200, {})])
    async with serving(script.answer) as base, Transport(base, StaticTokens("t")) as transport:
        await transport.send(Request("POST", "/x?a=1", {"ä": "\ud800"}, id="id-7"))
        await transport.send(Request("GET", "/x?a=1"))
    first, second = script.asked[0][2], script.asked[1][2]
    assert first["user-agent"].startswith("azfleet/")
    assert first["x-ms-client-request-id"] == "id-7"
    assert first["content-type"] == "application/json"
    assert script.asked[0][3] == {"ä": "\ud800"}
    assert len(second["x-ms-client-request-id"]) == 36


@pytest.fixture
def log_lines(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Collect every log line, debug included."""
    lines = io.StringIO()
    root = logging.getLogger()
    for thing, name in ((root, "handlers"), (root, "level"), (logs, "_threshold"), (logs, "_stream")):
        monkeypatch.setattr(thing, name, getattr(thing, name))
    logs.set_up(verbose=2, stream=lines)
    return lines


@pytest.mark.asyncio
async def test_the_log_line_holds_no_secret(log_lines: io.StringIO) -> None:
    """One debug line for each request, with a redacted URL and never the token or a body."""
    script = Script([arm(200, {"k": "answer-hidden"})])
    async with serving(script.answer) as base, Transport(base, StaticTokens("token-hidden")) as transport:
        await transport.send(Request("POST", f"{base}/x?t=1&c=cert-hidden&p=keep", {"k": "body-hidden"}))
    [line] = [line for line in log_lines.getvalue().splitlines() if "azure_request" in line]
    assert "status=200" in line
    assert "method='POST'" in line
    assert "hidden" not in line
    assert "p=keep" in line


@pytest.mark.asyncio
async def test_a_cancelled_request_lets_its_connection_go() -> None:
    """Cancelling passes through and leaves the session usable and closable."""
    asked = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> bool:
        if count == 1:
            asked.set()
            await reader.read()
            return False
        writer.write(OK)
        return True

    async with raw(slow) as (base, _), Transport(base, StaticTokens("t")) as transport:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(transport.send(Request("PUT", "/x?a=1", {})))
            await asked.wait()
            task.cancel()
        answer = await transport.send(Request("GET", "/x?a=1"))
    assert task.cancelled()
    assert isinstance(answer, Response)


@pytest.mark.parametrize("url", ["http://management.azure.com", "ftp://x", "", "https://u@h", "http://127.0.0.1.x"])
def test_a_base_that_would_show_the_token_is_refused(url: str) -> None:
    """Plain http is for this machine only."""
    with pytest.raises(InvalidInput):
        Transport(url, StaticTokens("t"))


def test_a_ca_file_that_is_none_is_named(tmp_path: Path) -> None:
    """A missing file and one without certificates are input mistakes, not tracebacks."""
    empty = tmp_path / "ca.pem"
    empty.write_text("nothing")
    for file in (str(empty), str(tmp_path / "absent.pem")):
        with pytest.raises(InvalidInput, match="ca_file"):
            Transport("https://management.azure.com", StaticTokens("t"), ca_file=file)


def test_the_environments_proxy_is_taken_but_never_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY and NO_PROXY count, and a lab on loopback is always asked directly."""
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "internal.example")
    assert environment_proxy("https://management.azure.com") == "http://proxy:3128"
    assert environment_proxy("https://internal.example") is None
    assert environment_proxy("http://127.0.0.1:8080") is None


@pytest.mark.asyncio
async def test_a_failing_connector_is_sorted_without_a_network() -> None:
    """Errors of the library that say where they happened are taken at their word."""
    url = "https://management.azure.com/x?a=1"
    key = aiohttp.client_reqrep.ConnectionKey("h", 443, True, True, None, None, None)
    for error, kind in (
        (aiohttp.ClientConnectorError(key, OSError(111, "refused")), Silence.NOT_CONNECTED),
        (aiohttp.ConnectionTimeoutError(f"to {url}&c=CERT"), Silence.NOT_CONNECTED),
        (aiohttp.ServerDisconnectedError(), Silence.RESET),
        (aiohttp.ServerTimeoutError(), Silence.TIMEOUT),
        (aiohttp.ClientPayloadError("cut"), Silence.RESET),
        (aiohttp.InvalidURL(f"{url}&c=CERT"), Silence.MALFORMED),
    ):
        with aioresponses() as mocked:
            mocked.get(url, exception=error)
            async with Transport("https://management.azure.com", StaticTokens("t")) as transport:
                answer = await transport.send(Request("GET", "/x?a=1"))
        assert isinstance(answer, NoResponse)
        assert answer.kind is kind
        assert "CERT" not in answer.detail


@pytest.mark.asyncio
async def test_an_answer_is_read_whole() -> None:
    """Status, headers and body of a plain answer come through."""
    with aioresponses() as mocked:
        mocked.get(
            "https://management.azure.com/x?a=1", status=404, payload={"error": {}}, headers={"Retry-After": "2"}
        )
        async with Transport("https://management.azure.com", StaticTokens("t")) as transport:
            answer = await transport.send(Request("GET", "/x?a=1"))
    assert isinstance(answer, Response)
    assert (answer.status, answer.header("retry-after"), answer.json()) == (404, "2", {"error": {}})


@pytest.mark.asyncio
async def test_the_shim_for_aioresponses_is_still_needed(unpatched_aioresponses: None) -> None:
    """Fails once aioresponses builds responses for this aiohttp by itself: then delete the shim in
    conftest.py.
    """
    with aioresponses() as mocked:
        mocked.get("https://management.azure.com/x", payload={})
        async with aiohttp.ClientSession() as session:
            with pytest.raises(TypeError, match="stream_writer"):
                await session.get("https://management.azure.com/x")
