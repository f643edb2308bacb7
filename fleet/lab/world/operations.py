"""Long-running operations: what was started, and how it ended. Pure; the time is handed in."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from fleet.lab.wire import Json
from fleet.lab.world.chance import named_uuid
from fleet.lab.world.world import Kind, Machine


class Phase(StrEnum):
    """Where an operation stands, in Azure's words."""

    RUNNING = "InProgress"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELED = "Canceled"


@dataclass(slots=True)
class Operation:
    """One operation. ``output`` are the statuses of an action's result; ``location`` says that it has a
    Location URL; ``delivered_at`` is when it reaches the machine, and ``command`` the name of the managed
    command it writes, if any. One that hangs never ends well; one that vanished cannot be found.
    """

    id: str
    machine: Machine
    version: str
    started: float
    location: bool
    phase: Phase = Phase.RUNNING
    ended: float = 0.0
    output: Sequence[Json] | None = None
    error: tuple[str, str] | None = None
    delivered_at: float = 0.0
    command: str = ""
    hangs: bool = False
    vanished: bool = False

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.phase is not Phase.RUNNING

    def succeed(self, now: float, output: Sequence[Json] | None = None) -> None:
        """End well, unless it hangs."""
        if self.hangs:
            return
        self.phase, self.ended, self.output = Phase.SUCCEEDED, now, output

    def fail(self, now: float, code: str, message: str, phase: Phase = Phase.FAILED) -> None:
        """End badly."""
        self.phase, self.ended, self.error = phase, now, (code, message)


class Operations:
    """All operations of a lab, and the URLs they are asked at."""

    def __init__(self, seed: int, tenant: str, url_length: int) -> None:
        self._seed = seed
        self._partition = named_uuid(seed, f"partition/{tenant}")
        self._length = url_length
        self._known: dict[str, Operation] = {}
        self._issued: dict[str, frozenset[str]] = {}

    def start(self, machine: Machine, version: str, now: float, *, location: bool) -> Operation:
        """Record a new operation."""
        id = named_uuid(self._seed, f"operation/{len(self._known)}")
        operation = self._known[id] = Operation(id, machine, version, now, location)
        return operation

    def find(self, id: str) -> Operation | None:
        """Find an operation."""
        operation = self._known.get(id.lower())
        return None if operation is None or operation.vanished else operation

    def urls(self, operation: Operation, base: str) -> dict[str, str]:
        """Return the headers that name the operation's URLs (recorded: t, s and h differ between the two)."""
        headers = {"Azure-AsyncOperation": self._url(operation, base, monitor=False)}
        if operation.location:
            headers["Location"] = self._url(operation, base, monitor=True)
        self._issued[operation.id] = frozenset(url.partition("?")[2] for url in headers.values())
        if operation.machine.kind is Kind.ARC:
            return headers
        return {**headers, "Azure-AsyncNotification": "Enabled"}

    def issued(self, operation: Operation, query: str) -> bool:
        """Say whether a query string is, byte for byte, one that was given out for this operation."""
        return query in self._issued.get(operation.id, frozenset())

    def _url(self, operation: Operation, base: str, *, monitor: bool) -> str:
        machine = operation.machine
        provider = f"{base}/subscriptions/{machine.group.subscription.id}/providers/{machine.provider}"
        version = f"api-version={quote(operation.version)}"
        if machine.kind is Kind.ARC:
            word, kept = "operationresults" if monitor else "operationstatus", f"?{version}"
        else:
            word, kept = "operations", f"?p={self._partition}{'&monitor=true' if monitor else ''}&{version}"
        path = f"{provider}/locations/{machine.location}/{word}/{operation.id}"
        ticks = int((operation.started + 62_135_596_800) * 10_000_000) + monitor  # .NET ticks, 18 digits
        signature = _letters(f"{self._seed}/s/{operation.id}/{monitor}", 342)
        digest = _letters(f"{self._seed}/h/{operation.id}/{monitor}", 43)
        ends = f"&s={signature}&h={digest}"
        certificate = self._length - len(path) - len(kept) - len(ends) - len(f"&t={ticks}&c=")
        chain = "MII" + _letters(f"{self._seed}/c", max(1, certificate - 3))
        return f"{path}{kept}&t={ticks}&c={chain}{ends}"


def _letters(label: str, length: int) -> str:
    raw = hashlib.shake_256(label.encode()).digest(length)
    return base64.urlsafe_b64encode(raw).decode("ascii")[:length]
