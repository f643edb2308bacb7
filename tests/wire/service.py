"""A service in memory that takes one command on one VM, and gives a prepared answer at one place.

Everything else is answered as the real service was recorded to. The client is Fleet's own, down to the bytes of an answer.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from fleet.azure.cloud import AzureCloud
from fleet.azure.credentials import StaticTokens
from fleet.azure.transport import Transport
from fleet.azure.wire.http import NoResponse, Request, Response, Silence
from fleet.engine.loop import Engine
from fleet.plan.model import Plan
from fleet.rehearsal import virtual
from fleet.report.aggregate import aggregate
from fleet.report.model import Report
from fleet.run.state import Run
from fleet.store.sqlite import records
from fleet.testing import MemoryRuns

BASE = "https://management.invalid"
RUN_ID = "20260101-000000-text"
ORIGIN = 1_767_225_600.0

SUBMIT, OPERATION, RESULT, COMMAND, DELETE, AGENT = "submit", "operation", "result", "command", "delete", "agent"
"""The requests that a run makes: send the command, read its operation, the operation's result, the managed command or the
VM's agent, and delete the managed command.
"""

READY = {"properties": {"instanceView": {"vmAgent": {"statuses": [{"displayStatus": "Ready"}]}}}}
ENDED = {"executionState": "Succeeded", "exitCode": 0, "output": "hi", "endTime": "2026-01-01T00:00:09+00:00"}


@dataclass(frozen=True, slots=True)
class Prepared:
    """The answers that a case gives at one kind of request: the first ``times`` of them, 0 for each."""

    at: str
    answers: tuple[Response | NoResponse, ...]
    times: int = 0

    def answer(self, number: int) -> Response | NoResponse | None:
        """Return the answer to the ``number``-th request of this kind, counted from 1; None for the usual one."""
        if self.times and number > self.times:
            return None
        return self.answers[min(number, len(self.answers)) - 1]


@dataclass
class Service(Transport):
    """The real transport, over this service in place of a wire."""

    prepared: tuple[Prepared, ...]
    asked: Counter[str] = field(default_factory=Counter)
    moments: list[tuple[str, float]] = field(default_factory=list)
    """Each request and when it came, in seconds of the run."""

    def __post_init__(self) -> None:
        super().__init__(BASE, StaticTokens("t"), clock=virtual.LoopClock(ORIGIN))

    async def attempt(self, request: Request, url: str, headers: dict[str, str]) -> Response | NoResponse:
        """Answer one request."""
        kind = _kind(request.method, urlsplit(url).path)
        self.asked[kind] += 1
        self.moments.append((kind, self.clock.now() - ORIGIN))
        for prepared in self.prepared:
            if prepared.at == kind and (given := prepared.answer(self.asked[kind])) is not None:
                return given
        return _usual(kind, request.method, urlsplit(url).path)


def _kind(method: str, path: str) -> str:
    if method in ("PUT", "PATCH", "POST"):
        return SUBMIT
    if method == "DELETE":
        return DELETE
    if "/operations/" in path:
        return RESULT if path.endswith("/result") else OPERATION
    return COMMAND if "/runCommands/" in path else AGENT


def _usual(kind: str, method: str, path: str) -> Response:
    links = {"Azure-AsyncOperation": f"{BASE}/operations/o1", "Location": f"{BASE}/operations/o1/result"}
    match kind:
        case "submit":
            return response(202 if method == "POST" else 201, {"properties": {}}, links)
        case "operation":
            return response(200, {"status": "Succeeded"})
        case "result":
            message = "Enable succeeded: \n[stdout]\nhi\n\n[stderr]\n"
            return response(200, {"value": [{"code": "ProvisioningState/succeeded", "message": message}]})
        case "command":
            view = {"provisioningState": "Succeeded", "instanceView": ENDED}
            return response(200, {"name": path.rpartition("/")[2], "id": path, "properties": view})
        case "delete":
            return response(202)
    return response(200, READY)


def response(status: int, body: object = None, headers: Mapping[str, str] | None = None) -> Response:
    """Make an answer as it comes over the wire."""
    told = {name.lower(): (str(value),) for name, value in (headers or {}).items()}
    return Response(status, told, b"" if body is None else json.dumps(body).encode())


def lost(detail: str) -> NoResponse:
    """Make an answer that did not come."""
    return NoResponse(Silence.RESET, detail)


@dataclass(frozen=True, slots=True)
class Carried:
    """A run that was carried out: its report, and what the service was asked."""

    report: Report
    asked: Counter[str]
    moments: list[tuple[str, float]]

    @property
    def row(self) -> Any:
        """The report's only row."""
        (row,) = self.report.jobs
        return row


def carry_out(plan: Plan, *prepared: Prepared) -> Carried:
    """Run a plan over the service in virtual time. Its journal alone gives the same report."""

    async def carried() -> Carried:
        service = Service(prepared)
        run, runs = Run(plan, RUN_ID), MemoryRuns()
        cloud, journal = AzureCloud(service), await runs.create(RUN_ID, plan)
        draw = "0123456789abcdef0123456789abcdef"
        engine = Engine(
            run,
            cloud,
            journal,
            service.clock,
            lambda job: run.command(job, {}),
            lambda event: None,
            nonces=lambda: draw,
        )
        await engine.drive(1, "tester")
        report, replayed = aggregate(run.record()), Run(plan, RUN_ID)
        for event in (await runs.read(RUN_ID)).events:
            replayed.apply(records.from_row(records.to_row(event)))
        assert aggregate(replayed.record()) == report, "the journal gives the same report"
        return Carried(report, service.asked, service.moments)

    return virtual.run(carried())
