"""Reads before a run exists: here, and only here, the adapter itself waits and reads again, as ``run/retry`` decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from fleet.azure.principals import place_of
from fleet.azure.wire import compute
from fleet.azure.wire.arm import not_done, quota
from fleet.azure.wire.certificates import fault_of
from fleet.azure.wire.http import Json, NoResponse, Request, Response
from fleet.azure.wire.links import resolve
from fleet.azure.wire.versions import is_wrong_version, version_hint
from fleet.clock import Clock
from fleet.engine.gather import gather
from fleet.engine.turns import Pause, SharedRates, Turns
from fleet.run.answers import Lost, LostReason, Refused
from fleet.run.retry import READ, read_pause

MAX_PAGES = 10_000

AT_ONCE = 24
"""Reads of single VMs on the wire at one time."""

A = TypeVar("A")
B = TypeVar("B")


class Sender(Protocol):
    """A transport, whoever signs."""

    @property
    def clock(self) -> Clock: ...

    @property
    def base_url(self) -> str: ...

    async def send(self, request: Request) -> Response | NoResponse: ...


@dataclass(frozen=True, slots=True)
class Unread:
    """A read that failed for good: HTTP status (0 for none), the service's code, and its message."""

    status: int
    code: str
    message: str
    api: str = ""
    """What was asked, by its key in ``azure.api_versions``."""
    wait: float | None = None
    """Seconds that the service asked to wait, where that is longer than a read may take."""

    @property
    def is_gone(self) -> bool:
        """Whether what was asked for is not there; an api-version that the cloud does not have is answered with 404 too."""
        return self.status == 404 and not is_wrong_version(self.code)

    @property
    def is_throttled(self) -> bool:
        """Whether the service had too many requests."""
        return self.status == 429

    @property
    def is_unavailable(self) -> bool:
        """Whether the service itself could not answer: nothing is wrong with rights or the request."""
        return self.status >= 500 or (self.status == 0 and self.code in _SERVICE_REASONS)


_SERVICE_REASONS = frozenset({LostReason.TIMEOUT.value, LostReason.RESET.value, LostReason.SERVER_ERROR.value})


@dataclass(slots=True)
class Rows:
    """What a list gave, page by page and as it came, and why it broke off if it did."""

    rows: list[Json] = field(default_factory=list)
    unread: Unread | None = None


async def read(transport: Sender, request: Request, pause: Pause, attempts: int = READ.tries) -> Response | Unread:
    """Send a read until it is answered, at most ``attempts`` times; ``Retry-After`` is honoured.

    A request sent before that time is refused again (documented), so a longer wait than a read may take is not begun.
    """
    waited, attempt = 0.0, 0
    while True:
        attempt += 1
        answer = await transport.send(request)
        failed = not_done(answer, transport.clock.now())
        if failed is None:
            assert isinstance(answer, Response)
            return answer
        wait = read_pause(failed, attempt) if attempt < attempts and not _is_distrusted(failed) else None
        if wait is None:
            return _unread(failed, request)
        if waited + wait > READ.patience:
            return replace(_unread(failed, request), wait=wait)
        waited += wait
        await pause(wait)


def _is_distrusted(failed: Refused | Lost) -> bool:
    """Say whether the service's certificate is at fault, which no repetition changes."""
    return isinstance(failed, Lost) and fault_of(failed.detail) is not None


def _unread(failed: Refused | Lost, request: Request) -> Unread:
    if isinstance(failed, Refused):
        return Unread(failed.refusal.status, failed.refusal.code, failed.refusal.message, request.api)
    return Unread(0, failed.reason.value, failed.detail or "no usable answer", request.api)


async def read_list(transport: Sender, first: Request, pause: Pause, attempts: int = READ.tries) -> Rows:
    """Read every page of a list, following each ``nextLink`` until there is none.

    An empty page with a link goes on (recorded). A link to another host, one that was followed before, or one that is not
    a text ends the list as unread, and so does a list that counts more rows than it has; the rows so far are kept.
    """
    found, counted = Rows(), 0
    request, seen = first, {_absolute(transport, first)}
    for _ in range(MAX_PAGES):
        answer = await read(transport, request, pause, attempts)
        if isinstance(answer, Unread):
            found.unread = answer
            return found
        page = compute.read_page(answer.json())
        if page is None:
            found.unread = Unread(answer.status, "malformed", "the answer is no list")
            return found
        found.rows.extend(page.rows)
        counted = max(counted, page.count)
        if page.odd_link:
            found.unread = Unread(0, "odd_link", f"its nextLink is {page.odd_link}, not a text")
            return found
        if not page.next_link:
            if len(found.rows) < counted:
                message = f"it has {len(found.rows):,} entries and says that it has {counted:,}"
                found.unread = Unread(0, "incomplete_list", message)
            return found
        link = resolve(transport.base_url, request.target, page.next_link)
        if link.problem:
            found.unread = Unread(0, "foreign_link", f"its nextLink {link.problem}: not followed")
            return found
        if link.url in seen:
            break
        seen.add(link.url)
        request = replace(first, target=link.url)
    found.unread = Unread(0, "endless_list", "the list does not end: its pages lead in a circle")
    return found


def _absolute(transport: Sender, request: Request) -> str:
    return transport.base_url + request.target if request.target.startswith("/") else request.target


class Paced:
    """A sender of reads that keeps to ARM's limit of each subscription, each page and each repetition counted.

    Whoever signs in alike shares the limit, so reading does not use up what a run needs. A moment that is farther away than
    a read may take is not waited for: then the service itself says no.
    """

    def __init__(self, sender: Sender, turns: Turns) -> None:
        self._sender = sender
        self._turns = turns

    @property
    def clock(self) -> Clock:
        return self._sender.clock

    @property
    def base_url(self) -> str:
        return self._sender.base_url

    async def send(self, request: Request) -> Response | NoResponse:
        """Send a read when it is its turn; one that belongs to no subscription goes at once."""
        subscription = place_of(request.target).subscription
        if not subscription:
            return await self._sender.send(request)
        await self._turns.read_anything(subscription, READ.patience)
        answer = await self._sender.send(request)
        now, arm = self._turns.now(), self._turns.rates.arm(subscription)
        if (left := quota(answer, subscription, "")) is not None:
            arm.note(now, left)
        failed = not_done(answer, self._sender.clock.now())
        if isinstance(failed, Refused) and failed.refusal.status == 429:
            arm.refused_read(now, failed.refusal.retry_after, failed.refusal.code)
        return answer


def paced(sender: Sender, shared: SharedRates | None, pause: Pause) -> Paced:
    """Return the sender, its reads paced by the shared rates; by its own where none are shared."""
    return Paced(sender, Turns(shared or SharedRates(clock=sender.clock), pause))


async def gathered(items: Sequence[A], work: Callable[[A], Awaitable[B]]) -> tuple[B, ...]:
    """Do the work for all items, ``AT_ONCE`` at a time, and return the results in their order."""
    return await gather(items, work, at_once=AT_ONCE)


def sentence(unread: Unread) -> str:
    """Say why a read failed: status, code and message, and what else there is to know."""
    status = f"HTTP {unread.status} " if unread.status else ""
    return f"{status}{unread.code}: {words(unread)}"


def words(unread: Unread) -> str:
    """Return the message of a failed read, with the wait that was asked for where that was too long, or the key to set
    where the cloud does not have the api-version.
    """
    if hint := version_hint(unread.code, unread.message, unread.api):
        return f"{unread.message}; {hint}" if unread.message else hint
    if unread.wait is None:
        return unread.message
    asked = f"the service asks to wait {unread.wait:.0f} s, and Fleet waits {READ.patience:.0f} s for a read at most"
    return f"{unread.message}; {asked}" if unread.message else asked
