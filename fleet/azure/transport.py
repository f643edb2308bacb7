"""The one HTTP session to Azure: sends a request once and says what came back, or how it failed.

It never waits, paces or sends again, with three exceptions that belong to the wire: a call refused with 401
was not executed and is sent once more with a fresh token, one that a principal of a pool has no right to make
was not executed either and goes to the next, and a GET whose kept-alive connection turns out to be dead goes
out on a new one.
"""

from __future__ import annotations

import json
import re
import ssl
import uuid
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import SimpleNamespace, TracebackType
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from fleet.azure.clouds import url_problem
from fleet.azure.credentials import TokenSource
from fleet.azure.principals import Principals, lacks_rights, place_of
from fleet.azure.trust import trusting
from fleet.azure.wire.arm import claims_challenge
from fleet.azure.wire.http import LIMIT_HEADERS, READ_HEADERS, NoResponse, Request, Response, Silence
from fleet.azure.wire.links import check_link, problem_of
from fleet.azure.wire.redaction import redact_text, redact_url
from fleet.azure.wire.versions import Versions, asked_with
from fleet.clock import Clock, SystemClock
from fleet.config.loopback import is_loopback
from fleet.errors import InvalidInput
from fleet.logs import Log

log = Log("fleet.azure")

CONNECTIONS = 100
"""Kept-alive connections carry thousands of polls a second; more of them are slower (measured), and TLS ones
cost 300 KiB each."""

_HEADER_LIMIT = 32 * 1024
"""Two signed operation URLs of 3.4 KB come with every accepted request (recorded), and they have grown
before.
"""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to connect, and seconds for a whole request with its answer."""

    connect: float = 10.0
    total: float = 60.0


class _SentOnce(aiohttp.ClientError):
    """A request failed that must not be sent again. Its text is already in words."""


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a PUT or DELETE twice.

    It counts them as idempotent and sends them again, unasked, when a kept-alive connection breaks before
    the answer (``IDEMPOTENT_METHODS`` in its client). To Fleet that is an answer lost, about which a
    journalled decision is due.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _SentOnce(_described(error)) from error


class _Connected:
    """What holds a session while it is used as an async context manager."""

    def __init__(self, ca_file: str | None, timeouts: Timeouts | None) -> None:
        self._timeouts = timeouts or Timeouts()
        self._ssl: ssl.SSLContext | bool = trusting(ca_file) if ca_file else True
        self._session: aiohttp.ClientSession | None = None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


class Transport(_Connected):
    """Sends requests to one Azure Resource Manager, and the token nowhere else. Use as an async context
    manager.

    ``ca_file`` adds certificate authorities to the system's. Proxies come from the environment, read once on
    entry. ``tokens`` may be a pool of principals, who sign in turn. ``versions`` are api-versions other than the default
    ones. Raises InvalidInput for a base URL or a CA
    file that cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        tokens: TokenSource | tuple[TokenSource, ...],
        *,
        ca_file: str | None = None,
        timeouts: Timeouts | None = None,
        clock: Clock | None = None,
        versions: Versions | None = None,
    ) -> None:
        if problem := url_problem(base_url, "resource_manager"):
            raise InvalidInput([problem])
        super().__init__(ca_file, timeouts)
        self.base_url = base_url.rstrip("/")
        self.clock = clock or SystemClock()
        self.versions: Versions = versions or {}
        self.principals = Principals(tokens if isinstance(tokens, tuple) else (tokens,))

    async def __aenter__(self) -> Transport:
        self._session = _session(self._ssl, self._timeouts, environment_proxy(self.base_url), "application/json")
        return self

    async def send(self, request: Request, *, principal: int | None = None) -> Response | NoResponse:
        """Send a request and return its answer, whatever its status, or say why none came.

        ``principal`` is the number of who must sign it; else whose turn it is. A link to any other host is not
        followed. Raises :class:`fleet.errors.AzureUnusable` if there is no token.
        """
        request = asked_with(request, self.versions)
        url = self.base_url + request.target if request.target.startswith("/") else request.target
        if not check_link(self.base_url, url):
            return NoResponse(Silence.MALFORMED, f"a link {problem_of(self.base_url, url)}: not followed")
        place = place_of(url)
        turns = self.principals.turns(request.method, place) if principal is None else iter((principal,))
        refused: list[tuple[int, Response | NoResponse]] = []
        for number in turns:
            answer = await self._signed(request, url, number, place.subscription)
            if answer is None:
                continue
            if principal is not None or not lacks_rights(answer):
                for without, _ in refused:
                    self.principals.keep_out(without, place)
                return answer
            refused.append((number, answer))
        return refused[0][1] if refused else NoResponse(Silence.NOT_CONNECTED, "the principal cannot sign in")

    async def _signed(self, request: Request, url: str, number: int, subscription: str) -> Response | NoResponse | None:
        """Send a request in the name of a principal; None if it cannot sign in while others can."""
        token = await self.principals.token(number, subscription)
        if token is None:
            return None
        answer = await self._exchange(request, url, token)
        if not isinstance(answer, Response) or answer.status != 401:
            return answer
        # Refused with 401 means not executed: expired in mid-run, revoked, or claims are asked for.
        claims = claims_challenge(answer)
        self.principals.forget(number, token)
        fresh = await self.principals.token(number, subscription, claims=claims)
        return None if fresh is None else await self._exchange(request, url, fresh)

    async def _exchange(self, request: Request, url: str, token: str) -> Response | NoResponse:
        started = self.clock.now()
        identity = request.id or str(uuid.uuid4())
        answer = await self.attempt(request, url, _headers(request, token, identity))
        if log.is_detailed:
            log.debug(
                "azure_request",
                method=request.method,
                url=redact_url(url),
                status=answer.status if isinstance(answer, Response) else answer.kind.value,
                seconds=round(self.clock.now() - started, 3),
                request_id=identity,
            )
        return answer

    async def attempt(self, request: Request, url: str, headers: dict[str, str]) -> Response | NoResponse:
        """Put one request on the wire, once. The seam at which a simulation has a network of its own."""
        assert self._session is not None, "the transport is used as an async context manager"
        progress = _Progress()
        try:
            # aiohttp's own limits of time, not scopes of anyio: they say how far a request had come, which decides between
            # not sent and unknown, and aiohttp runs on asyncio alone.
            async with self._session.request(
                request.method,
                # As text the URL would be normalised, and a signed link must go out byte for byte.
                URL(url, encoded=True),
                data=None if request.body is None else json.dumps(request.body).encode("ascii"),
                headers=headers,
                allow_redirects=False,
                middlewares=() if request.method == "GET" else (_send_once,),
                trace_request_ctx=progress,
            ) as response:
                return await _read(response, request.cap)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return _silence(error, progress, self._timeouts)


class Bare(_Connected):
    """Reads addresses that carry their own right, with no token of ours. Use as an async context manager.

    Such an address is a secret: only its host is logged, and a redirect is an answer, not followed.
    """

    def __init__(self, *, ca_file: str | None = None, timeouts: Timeouts | None = None) -> None:
        super().__init__(ca_file, timeouts)

    async def __aenter__(self) -> Bare:
        self._session = _session(self._ssl, self._timeouts, None, "*/*")
        return self

    async def get(self, url: str, headers: dict[str, str], cap: int) -> Response | NoResponse:
        """GET an address once: over https, or from this machine itself; anything else is refused unsent."""
        assert self._session is not None, "used as an async context manager"
        host = _host_alone(url)
        if not host:
            return NoResponse(Silence.MALFORMED, "the address is neither https nor this machine's own")
        progress = _Progress()
        answer: Response | NoResponse
        try:
            async with self._session.get(
                URL(url, encoded=True),
                headers={**headers, "Accept-Encoding": "identity"},
                allow_redirects=False,
                proxy=environment_proxy(url),
                trace_request_ctx=progress,
            ) as response:
                answer = await _read(response, cap)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            answer = NoResponse(_silence(error, progress, self._timeouts).kind)
        status = answer.status if isinstance(answer, Response) else answer.kind.value
        log.debug("blob_request", host=host, status=status)
        return answer


def _host_alone(url: str) -> str:
    """The host of an address that may be asked, else an empty text."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return ""
    return host if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)) else ""


def _session(trust: ssl.SSLContext | bool, timeouts: Timeouts, proxy: str | None, accept: str) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        limit=CONNECTIONS,
        limit_per_host=CONNECTIONS,
        keepalive_timeout=60,
        ttl_dns_cache=300,
        ssl=trust,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"azfleet/{_version()}", "Accept": accept},
        timeout=aiohttp.ClientTimeout(total=timeouts.total, sock_connect=timeouts.connect),
        trace_configs=[_trace()],
        proxy=proxy,
        max_line_size=_HEADER_LIMIT,
        max_field_size=_HEADER_LIMIT,
    )


async def _read(response: aiohttp.ClientResponse, cap: int) -> Response | NoResponse:
    """Read a body up to its cap, counted after decompression; beyond it the connection is dropped."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > cap:
            response.close()
            return NoResponse(Silence.MALFORMED, f"HTTP {response.status} with more than {cap} bytes")
    return Response(response.status, _kept_headers(response), bytes(body))


def _kept_headers(response: aiohttp.ClientResponse) -> dict[str, tuple[str, ...]]:
    """Take over the headers that are read somewhere: of the fifteen that ARM sends, a third."""
    kept: dict[str, tuple[str, ...]] = {}
    for given, value in response.headers.items():
        name = given.lower()
        if name in READ_HEADERS or name.startswith(LIMIT_HEADERS):
            kept[name] = (*kept[name], value) if name in kept else (value,)
    return kept


@dataclass(slots=True)
class _Progress:
    """How far a request has come. ``waiting`` is only true while certainly no byte of it has left."""

    waiting: bool = False


def _trace() -> aiohttp.TraceConfig:
    """Watch when a request waits for a connection and when its head is about to be written."""
    trace = aiohttp.TraceConfig()

    async def waits(session: aiohttp.ClientSession, context: SimpleNamespace, parameters: object) -> None:
        context.trace_request_ctx.waiting = True

    async def leaves(session: aiohttp.ClientSession, context: SimpleNamespace, parameters: object) -> None:
        context.trace_request_ctx.waiting = False

    trace.on_connection_queued_start.append(waits)
    trace.on_connection_create_start.append(waits)
    trace.on_request_headers_sent.append(leaves)
    return trace


_QUOTED = re.compile(r"\s*[:.]?\s*b['\"].*", re.DOTALL)
"""Where the library begins to quote bytes."""

_VALUE = re.compile(r"<[A-Za-z_]\w*(?:\(|: | object at )")
"""Where it writes a value of Python."""


def _silence(error: Exception, progress: _Progress, timeouts: Timeouts) -> NoResponse:
    """Sort a failure. Only what certainly never left counts as not connected."""
    detail = redact_text(str(error) if isinstance(error, _SentOnce) else _described(error))
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return NoResponse(Silence.NOT_CONNECTED, f"no connection within {timeouts.connect:g} s")
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError)) or progress.waiting:
        return NoResponse(Silence.NOT_CONNECTED, detail)
    if isinstance(error, TimeoutError):
        return NoResponse(Silence.TIMEOUT, f"no answer within {timeouts.total:g} s")
    if isinstance(error, (_SentOnce, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError)):
        return NoResponse(Silence.RESET, detail)
    return NoResponse(Silence.MALFORMED, detail)


def _described(error: BaseException) -> str:
    """Say in one line what went wrong: the library's own texts hold values of Python and pieces of what came."""
    message = getattr(error, "message", None)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        # Its message is what the head held so far, where some of it had come.
        cut = message is not None and not isinstance(message, str)
        return f"the connection ended {'within the head of the answer' if cut else 'before an answer came'}"
    if isinstance(error, aiohttp.ClientPayloadError):
        cause = getattr(error.__cause__, "message", None)
        return f"the body of the answer cannot be read: {_line(cause if isinstance(cause, str) else str(error))}"
    if isinstance(error, aiohttp.ClientResponseError) and isinstance(message, str):
        return f"the answer is not HTTP as it should be: {_line(message)}"
    return _line(str(error)) or _name(error)


def _line(text: str) -> str:
    """Return a text in one line, without what it quotes."""
    plain = " ".join(_QUOTED.sub("", text).split()).rstrip(":. ")
    return _VALUE.split(plain)[0].rstrip(":. ") or "it says nothing more"


def _name(error: BaseException) -> str:
    """Return the name of an error's kind in words: ``ConnectionResetError`` is "connection reset"."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__.removesuffix("Error")).lower()
    return words or "the connection failed"


def _headers(request: Request, token: str, identity: str) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {token}", "x-ms-client-request-id": identity}
    if request.body is not None:
        headers["Content-Type"] = "application/json"
    return headers


def environment_proxy(url: str) -> str | None:
    """Return the proxy that the environment names for a URL, or None; never one for this machine itself.

    Looked up once: aiohttp's ``trust_env`` does so in a thread for each request, and refuses to work where a
    ``.netrc`` names the host.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)


def _version() -> str:
    try:
        return version("azfleet")
    except PackageNotFoundError:
        return "0"
