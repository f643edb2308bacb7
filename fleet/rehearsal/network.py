"""The wire between Fleet's real client and the lab's control plane, in memory: latency, and everything that can go wrong.

A request that has left goes on by itself: whether the process that sent it is alive makes no difference to it.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from typing import Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from fleet.azure.credentials import TokenSource
from fleet.azure.transport import Transport
from fleet.azure.wire.http import NoResponse, Request, Response, Silence
from fleet.clock import Clock
from fleet.lab import wire as lab
from fleet.lab.arm.control import ControlPlane
from fleet.lab.arm.faults import expired, instead
from fleet.lab.arm.throttle import too_many
from fleet.lab.wire import Fate
from fleet.lab.world.spec import FaultSpec
from fleet.rehearsal.faults import Fault

BASE = "https://lab.invalid"
TIMEOUT = 60.0
"""Seconds after which the client gives an answer up, as the real transport does."""

LATEST = 55.0
"""Seconds by which a late request is late at most. Documented limit: for a script that goes unwrapped, one that is on its
way for longer than the minute between two looks for it may arrive beside its second sending."""


_BUSY = FaultSpec(request="submit", kind=409)


@dataclass(frozen=True, slots=True)
class _InFlight:
    """One request on its way, and who waits for the answer: until then, and only for the first."""

    number: int
    request: lab.Request
    fault: Fault | None
    answer: asyncio.Future[Response | NoResponse]
    until: float

    def tell(self, answer: Response | NoResponse) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)


class Listener(Protocol):
    """Who is told of what passes the wire."""

    def departed(self, request: lab.Request, at: float) -> int:
        """A request leaves; returns its number."""
        ...

    def answered(self, number: int, answer: lab.Answer, own: bool) -> None:
        """The lab carried it out and answered; ``own``: refused by its own buckets."""
        ...


class Network:
    """The wire of one world, shared by every process that lives in it."""

    def __init__(
        self,
        plane: ControlPlane,
        clock: Clock,
        rng: random.Random,
        rates: Mapping[Fault, float],
        latency: tuple[float, float],
        grid: float,
        listener: Listener,
    ) -> None:
        plane.base = BASE
        self.plane = plane
        self.clock = clock
        self.listener = listener
        self._rng = rng
        self._latency = latency
        self._grid = grid
        self.met: Counter[Fault] = Counter()
        """How many requests met each fault."""
        self.set_rates(rates)

    def set_rates(self, rates: Mapping[Fault, float]) -> None:
        """Let requests meet these faults from now on."""
        self._rates = [(fault, rate) for fault, rate in rates.items() if rate > 0]
        self._rng.shuffle(self._rates)  # a request meets one fault at most: no kind is to come first always

    def fault(self, method: str) -> Fault | None:
        """Draw what happens to a request."""
        for fault, rate in self._rates:
            if self._rng.random() < rate and not (fault is Fault.BUSY and method == "GET"):
                return fault
        return None

    def delay(self) -> float:
        """Draw how long one way takes."""
        drawn = self._rng.uniform(*self._latency)
        return drawn if not self._grid else max(round(drawn / self._grid) * self._grid, self._grid)

    async def carry(self, request: lab.Request) -> Response | NoResponse:
        """Put a request on the wire; what comes back, or not, is for the process that waits."""
        loop = asyncio.get_running_loop()
        fault = self.fault(request.method)
        if fault is not None:
            self.met[fault] += 1
        if fault is Fault.UNCONNECTED:
            await asyncio.sleep(self.delay())
            return NoResponse(Silence.NOT_CONNECTED, "connection refused")
        now = self.clock.now()
        number = self.listener.departed(request, now)
        flight = _InFlight(number, request, fault, loop.create_future(), now + TIMEOUT)
        there = self.delay()
        match fault:
            case Fault.RESET:
                loop.call_later(there, flight.tell, NoResponse(Silence.RESET, "connection reset"))
            case Fault.LATE:
                gone = NoResponse(self._rng.choice((Silence.RESET, Silence.TIMEOUT)), "given up")
                loop.call_later(there, flight.tell, gone)
                loop.call_later(there + self._rng.uniform(0.0, LATEST), self._arrive, flight)
            case _:
                loop.call_later(there, self._arrive, flight)
        return await flight.answer

    def _arrive(self, flight: _InFlight) -> None:
        """The request has come to the lab: carry it out, or refuse it, and send the answer on its way."""
        now, fault = self.clock.now(), flight.fault
        if (refusal := self._instead(fault, now)) is not None:
            answer, own = refusal, False
        else:
            before = self.plane.throttle.refused
            answer = self.plane.handle(flight.request, now)
            own = self.plane.throttle.refused > before
        self.listener.answered(flight.number, answer, own)
        if answer.fate is not Fate.DELIVERED:
            flight.tell(NoResponse(Silence.RESET, "connection reset"))
            return
        back = self.delay() + answer.delay
        told: Response | NoResponse = _response(answer)
        match fault:
            case Fault.HANG:
                back = TIMEOUT
            case Fault.LOST:
                told = NoResponse(Silence.RESET, "connection reset")
            case Fault.ERROR_AFTER:
                told = Response(self._rng.choice((500, 502, 503, 504)))
            case Fault.TORN:
                told = self._torn(answer)
            case Fault.SLOW:
                back += self._rng.uniform(2.0, 40.0)
            case _:
                pass
        if now + back > flight.until:
            back, told = flight.until - now, NoResponse(Silence.TIMEOUT, f"no answer in {TIMEOUT:g} s")
        asyncio.get_running_loop().call_later(max(back, 0.0), flight.tell, told)

    def _instead(self, fault: Fault | None, now: float) -> lab.Answer | None:
        """What comes instead of carrying the request out."""
        match fault:
            case Fault.ERROR:
                return lab.Answer(self._rng.choice((500, 502, 503, 504)), b"upstream connect error")
            case Fault.THROTTLED:
                return self._throttled(now)
            case Fault.BUSY:
                return instead(_BUSY, now)
            case Fault.UNAUTHORIZED:
                return expired()
            case _:
                return None

    def _throttled(self, now: float) -> lab.Answer:
        """A 429, with each form of ``Retry-After`` there is: seconds, a date, nothing, nonsense."""
        wait = self._rng.choice((0, 1, 5, 60))
        answer = too_many("UpdateVMSubscriptionMaximum", 1500, wait, now)
        form = self._rng.choice(("seconds", "seconds", "date", "none", "nonsense"))
        forms = {
            "seconds": str(wait),
            "date": formatdate(now + wait, usegmt=True),
            "nonsense": self._rng.choice(("soon", "-5", "1e9", "")),
        }
        answer.headers.pop("Retry-After", None)
        if form in forms:
            answer.headers["Retry-After"] = forms[form]
        return answer

    def _torn(self, answer: lab.Answer) -> Response | NoResponse:
        """An answer that breaks off or is garbled. One without a body cannot be: its head is lost."""
        if not answer.body:
            return NoResponse(Silence.RESET, "the answer broke off in its head")
        if self._rng.random() < 0.5:
            return NoResponse(Silence.RESET, "the answer broke off")
        whole = _response(answer)
        return Response(whole.status, whole.headers, answer.body[: self._rng.randrange(len(answer.body))])


class MemoryTransport(Transport):
    """The real transport, with signing, renewal of tokens and its pool, over a :class:`Network`.

    ``gate`` is awaited before a request leaves: a dead process never comes past it, a frozen one stands there.
    """

    def __init__(self, network: Network, tokens: tuple[TokenSource, ...], gate: Callable[[], Gate]) -> None:
        super().__init__(BASE, tokens, clock=network.clock)
        self._network = network
        self._gate = gate

    async def attempt(self, request: Request, url: str, headers: dict[str, str]) -> Response | NoResponse:
        """Carry one request over the memory's wire."""
        await self._gate().passed()
        parts = urlsplit(url)
        body = b"" if request.body is None else json.dumps(request.body).encode("ascii")
        asked = lab.Request(
            request.method,
            unquote(parts.path),
            f"{parts.path}?{parts.query}",
            _query(parts.query),
            {name.lower(): value for name, value in headers.items()},
            body,
        )
        answer = await self._network.carry(asked)
        await self._gate().passed()
        return answer


class Gate(Protocol):
    """What a process must pass to touch the world."""

    async def passed(self) -> None:
        """Return when it may; never, if the process is dead."""
        ...


@lru_cache(maxsize=4096)
def _query(text: str) -> Mapping[str, str]:
    return dict(parse_qsl(text, keep_blank_values=True))


def _response(answer: lab.Answer) -> Response:
    return Response(answer.status, {name.lower(): (value,) for name, value in answer.headers.items()}, answer.body)
