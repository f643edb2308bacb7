"""Asks the webhooks of gates: one POST, one short answer, and never a token of Azure.

It never waits, paces or asks again; ``fleet.run.gates.webhooks`` decides that.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING

import aiohttp

from fleet.azure.transport import environment_proxy
from fleet.azure.trust import trusting
from fleet.errors import InvalidInput, Problem
from fleet.logs import Log, conceal
from fleet.run.answers import GateAnswer, Question, Said, Silent

if TYPE_CHECKING:
    from fleet.plan.model import Plan

log = Log("fleet.azure.webhooks")

LONGEST_ANSWER = 16 * 1024
"""Bytes: a decision and a sentence."""

LONGEST_WHY = 300
"""Characters that are kept of the sentence."""

_TOKEN = re.compile(r"[!-~]+")


class Webhooks:
    """A gatekeeper over HTTP. ``environ`` holds the tokens; ``ca_file`` adds authorities to the system's."""

    def __init__(self, environ: Mapping[str, str], ca_file: str | None = None) -> None:
        self._environ = environ
        self._ca_file = ca_file

    async def ask(self, question: Question, within: float) -> GateAnswer:
        """Send the question once and read the answer.

        Raises :class:`fleet.errors.InvalidInput` if the token is missing or ``ca_file`` cannot be used.
        """
        hook = question.webhook
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "azfleet"}
        if hook.token_env:
            headers["Authorization"] = f"Bearer {_token(hook.token_env, self._environ)}"
        trust: ssl.SSLContext | bool = trusting(self._ca_file) if self._ca_file else True
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(ssl=trust),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    timeout=aiohttp.ClientTimeout(total=within),
                ) as session,
                session.post(
                    hook.url,
                    data=json.dumps(question.body).encode("ascii"),
                    headers=headers,
                    proxy=environment_proxy(hook.url),
                    allow_redirects=False,
                ) as response,
            ):
                answer = await _read(response)
        except TimeoutError:
            answer = Silent(f"no answer within {within:.0f} s")
        except (aiohttp.ClientError, OSError) as error:
            answer = Silent(_line(str(error)) or type(error).__name__)
        log.debug("gate_asked", url=hook.url, answer=type(answer).__name__)
        return answer


async def _read(response: aiohttp.ClientResponse) -> GateAnswer:
    if response.status != 200:
        return Silent(f"HTTP {response.status}")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > LONGEST_ANSWER:
            response.close()
            return Silent(f"an answer of more than {LONGEST_ANSWER} bytes")
    return understood(bytes(body))


def understood(body: bytes) -> GateAnswer:
    """Read ``{"go": true}`` or ``{"go": false, "why": "..."}``; whatever else it is means nothing."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return Silent("HTTP 200 without JSON")
    if not isinstance(said, dict) or not isinstance(said.get("go"), bool):
        return Silent("HTTP 200 without a go that is true or false")
    why = said.get("why")
    return Said(said["go"], _line(why) if isinstance(why, str) else "")


def _line(text: str) -> str:
    """One line of a stranger's text, without what a terminal might obey."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * LONGEST_WHY])
    return " ".join(plain.split())[:LONGEST_WHY]


def check_tokens(plan: Plan, environ: Mapping[str, str]) -> None:
    """See that every token is there before anything is sent, and keep it out of the logs. Raises InvalidInput."""
    for name in sorted({gate.webhook.token_env for gate in plan.gates if gate.webhook and gate.webhook.token_env}):
        conceal(_token(name, environ))


def _token(name: str, environ: Mapping[str, str]) -> str:
    token = environ.get(name, "").strip()
    if _TOKEN.fullmatch(token):
        return token
    what = "holds no token: letters, digits and marks only" if token else "is not set"
    message = f"the environment variable {name}, which a gate's webhook needs, {what}"
    raise InvalidInput([Problem("no_gate_token", message, hint=f"export {name}=... for this run and each resume")])
