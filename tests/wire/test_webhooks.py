"""The webhooks of gates on the wire: what is sent, what counts as an answer, and where no token goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fleet.azure.webhooks import Webhooks, understood
from fleet.errors import InvalidInput
from fleet.playbook.model import Webhook
from fleet.run.answers import GateAnswer, Question, Said, Silent

BODY = {"schema": "fleet/gate/v1", "run": "r"}


@asynccontextmanager
async def serving(answer: bytes | None, heard: list[bytes]) -> AsyncIterator[str]:
    """A server that keeps what it hears and gives one answer, or none at all."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.lower().splitlines() if line.startswith(b"content-length")
        )
        heard.append(head + await reader.readexactly(length))
        if answer is None:
            await reader.read()  # until the other side gives up
        else:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/gate"


def reply(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n".encode() + body


async def ask(answer: bytes | None, heard: list[bytes], within: float = 20.0) -> GateAnswer:
    async with serving(answer, heard) as url:
        return await Webhooks({"GATE_TOKEN": "t0k3n"}).ask(Question(Webhook(url, "GATE_TOKEN"), BODY), within)


@pytest.mark.asyncio
async def test_a_question_is_one_post_with_its_own_token() -> None:
    """JSON in the body, the gate's token as a bearer, and nothing else that could be a secret."""
    heard: list[bytes] = []
    assert await ask(reply(b'{"go": true, "why": "fine"}'), heard) == Said(True, "fine")
    head, _, body = heard[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /gate HTTP/1.1")
    assert b"Authorization: Bearer t0k3n" in head and b"Cookie" not in head
    assert json.loads(body) == BODY


@pytest.mark.asyncio
async def test_a_redirect_is_not_followed() -> None:
    """Whoever may redirect would get the token."""
    heard: list[bytes] = []
    async with serving(reply(b'{"go": true}'), heard) as elsewhere:
        answer = await ask(reply(b"", "307 Temporary Redirect", f"Location: {elsewhere}\r\n"), [])
    assert answer == Silent("HTTP 307") and heard == []


@pytest.mark.asyncio
async def test_what_is_no_answer_is_silence() -> None:
    """An error, too long an answer, a cut one, none at all, nobody there: each is told in a few words."""
    assert await ask(reply(b'{"go": true}', "500 Oops"), []) == Silent("HTTP 500")
    assert await ask(reply(b'{"go": true}' + b" " * 20_000), []) == Silent("an answer of more than 16384 bytes")
    assert isinstance(await ask(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", []), Silent)
    assert await ask(None, [], within=0.2) == Silent("no answer within 0 s")
    async with serving(None, []) as url:
        pass
    assert isinstance(await Webhooks({}).ask(Question(Webhook(url), BODY), 5.0), Silent)


@pytest.mark.asyncio
async def test_a_missing_token_is_no_question() -> None:
    """Without its token nobody is asked."""
    with pytest.raises(InvalidInput, match="GATE_TOKEN"):
        await Webhooks({}).ask(Question(Webhook("http://127.0.0.1:9/", "GATE_TOKEN"), BODY), 1.0)


@pytest.mark.parametrize(
    "body", [b"", b"go", b"[]", b"{}", b'{"go": "true"}', b'{"go": 1}', b'{"go": null}', b"\xff", b"[" * 9000]
)
def test_only_true_and_false_are_answers(body: bytes) -> None:
    """Whatever else a body holds means that there is no answer yet."""
    assert isinstance(understood(body), Silent)


def test_a_reason_is_one_short_printable_line() -> None:
    """What a stranger writes reaches terminals and reports."""
    answer = understood(json.dumps({"go": False, "why": "\x1b[2Jno\n\u202enow" + "x" * 9999}).encode())
    assert isinstance(answer, Said) and not answer.go
    assert answer.why.startswith("[2Jno now") and answer.why.isprintable() and len(answer.why) == 300
