"""Runs, doctors and lists of commands over a service whose answers are of any shape, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from fleet import codec
from fleet.app import plans, search
from fleet.app.connect import Connection
from fleet.app.examine import examine
from fleet.app.search import Narrowing
from fleet.azure.cloud import AzureCloud
from fleet.azure.credentials import StaticTokens
from fleet.azure.inventory import AzureInventory
from fleet.azure.managed import AzureManaged
from fleet.azure.preflight import AzurePreflight
from fleet.azure.wire.http import NoResponse, Request, Response
from fleet.cli.command_tables import listing
from fleet.cli.render_plan import render_plan
from fleet.cli.verbs.doctor import render
from fleet.engine.loop import Engine
from fleet.engine.ports import CommandsOf
from fleet.errors import FleetError
from fleet.guest import envelope
from fleet.lab import wire, world
from fleet.lab.arm.control import ControlPlane
from fleet.plan.build import Settings
from fleet.plan.model import Plan
from fleet.playbook.load import load
from fleet.playbook.model import Transport
from fleet.preflight.doctor import Finding
from fleet.rehearsal import virtual
from fleet.rehearsal.network import MemoryTransport, Network
from fleet.report import render_csv, render_html, render_json, render_junit, render_markdown, render_text
from fleet.report.aggregate import aggregate
from fleet.report.model import Report
from fleet.run.answers import Command
from fleet.run.events import Event
from fleet.run.state import Run
from fleet.store.sqlite import records
from fleet.targets.expand import explain
from fleet.testing import MemoryRuns
from tests.system.odd_answers import LAB, PLAYBOOK, Tap

T = TypeVar("T")
ORIGIN = 1_767_225_600.0
LONGEST = 30 * 24 * 3600
"""Seconds after which a run is said not to end."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a run goes: over which Run Command, with receipts or without, with Resource Graph or by the lists alone."""

    transport: Transport = Transport.MANAGED
    receipts: bool = True
    graph: bool = True


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: its report, or the sentence instead; and which guests ran the script."""

    report: Report | None
    error: FleetError | None
    ran: frozenset[str]


class TooMuch(AssertionError):
    """A run does not end."""


MOST_REQUESTS = 3000


class _Listener:
    def departed(self, request: wire.Request, at: float) -> int:
        return 0

    def answered(self, number: int, answer: wire.Answer, own: bool) -> None:
        return


class _Open:
    async def passed(self) -> None:
        return


REFUSAL = b'{"error": {"code": "AuthorizationFailed", "message": "no right to query", "details": [{"code": "X"}]}}'


class TappedTransport(MemoryTransport):
    """The real transport over a network in memory, whose answers pass a tap."""

    def __init__(self, network: Network, tap: Tap, *, graph: bool) -> None:
        super().__init__(network, (StaticTokens("lab"),), _Open)
        self._tap = tap
        self._graph = graph
        self._requests = 0

    async def attempt(self, request: Request, url: str, headers: dict[str, str]) -> Response | NoResponse:
        self._requests += 1
        if self._requests > MOST_REQUESTS:
            raise TooMuch(f"more than {MOST_REQUESTS} requests")
        if not self._graph and "Microsoft.ResourceGraph" in url:
            answer: Response | NoResponse = Response(403, {}, REFUSAL)
        else:
            answer = await super().attempt(request, url, headers)
        if not isinstance(answer, Response):
            return answer
        given = {name: values[0] for name, values in answer.headers.items()}
        told, body = self._tap.passed(request.method, url, given, answer.body)
        return Response(answer.status, {name.lower(): (value,) for name, value in told.items()}, body)


@dataclass(frozen=True, slots=True)
class World:
    """A lab, the way to it, and the time there."""

    plane: ControlPlane
    connection: Connection
    clock: virtual.LoopClock

    @property
    def ran(self) -> frozenset[str]:
        """The ids of the machines whose guests ran a script, in lower case."""
        return frozenset(vm.casefold() for vm, count in self.plane.life.counts.items() if count)


def live(way: Way, tap: Tap, what: Callable[[World], Awaitable[T]], text: str = LAB) -> T:
    """Do something in a world of its own, in virtual time."""
    return virtual.run(_live(way, tap, what, text))


async def _live(way: Way, tap: Tap, what: Callable[[World], Awaitable[T]], text: str) -> T:
    clock = virtual.LoopClock(ORIGIN)
    spec = world.spec.load(text, file="lab.yaml")
    plane = ControlPlane(spec, sandboxed=False, envelope=envelope)
    network = Network(plane, clock, random.Random(1), {}, (0.05, 0.05), 0.0, _Listener())
    transport = TappedTransport(network, tap, graph=way.graph)
    ports = (AzureCloud(transport), AzureInventory(transport), AzurePreflight(transport), AzureManaged(transport))
    try:
        async with asyncio.timeout(LONGEST):
            return await what(World(plane, Connection(*ports, "lab"), clock))
    except TimeoutError:
        raise TooMuch("it has not ended after thirty days") from None


def run(way: Way, tap: Tap, *, text: str = LAB, book: str = PLAYBOOK) -> Ended:
    """Find targets, plan and carry out a run; what is not a sentence for people is raised."""

    async def carried_out(world: World) -> Ended:
        try:
            return Ended(await _carried_out(world, way, book), None, world.ran)
        except FleetError as error:
            return Ended(None, error, world.ran)

    return live(way, tap, carried_out, text)


def find(way: Way, tap: Tap, *, text: str = LAB, book: str = PLAYBOOK) -> Plan | FleetError:
    """Find targets and plan, show the plan, and send nothing."""

    async def found(world: World) -> Plan | FleetError:
        try:
            plan = await _plan(world, way, book)
        except FleetError as error:
            return error
        for form in ("text", "json", "md"):
            render_plan(plan, form).encode()
        return plan

    return live(way, tap, found, text)


async def _plan(world: World, way: Way, book: str) -> Plan:
    connection, playbook = world.connection, load(book, file="odd.yaml", read_script=lambda name: b"")
    found = await search.find_for(connection, playbook, Narrowing())
    for decision in explain(found.rows, found.wanted, found.partial):
        decision.reason.encode()
    return plans.make_plan(connection, playbook, found, {}, Settings(transport=way.transport, receipts=way.receipts))


async def _carried_out(world: World, way: Way, book: str) -> Report:
    connection, plan = world.connection, await _plan(world, way, book)
    codec.to_json(plan)
    made = Run(plan, "20260101-000000-oddy")
    journal = await MemoryRuns().create(made.run_id, plan)

    chance = random.Random(1)

    def draw() -> str:
        return f"{chance.getrandbits(128):032x}"

    def observe(event: Event) -> None:
        assert not event.durable or records.from_row(records.to_row(event)) == event

    engine = Engine(
        made,
        connection.cloud,
        journal,
        world.clock,
        lambda job: made.command(job, {}),
        observe,
        nonces=draw,
    )
    await engine.drive(1, "tester")
    return aggregate(made.record())


def doctor(tap: Tap, text: str = LAB) -> tuple[Finding, ...] | FleetError:
    """Examine a plan, and render what was found."""

    async def examined(world: World) -> tuple[Finding, ...] | FleetError:
        playbook = load(PLAYBOOK, file="odd.yaml", read_script=lambda name: b"")
        try:
            found = await search.find_for(world.connection, playbook, Narrowing())
            plan = plans.make_plan(world.connection, playbook, found, {}, Settings())
            findings = await examine(world.connection, plan, {})
        except FleetError as error:
            return error
        for form in ("table", "json"):
            render(plan, findings, form).encode()
        return findings

    return live(Way(), tap, examined, text)


def commands(tap: Tap, names: tuple[str, ...]) -> tuple[CommandsOf, ...] | FleetError:
    """Put managed commands on every VM, and list them once they have ended."""

    async def listed(world: World) -> tuple[CommandsOf, ...] | FleetError:
        playbook = load(PLAYBOOK, file="odd.yaml", read_script=lambda name: b"")
        try:
            found = (await search.find_for(world.connection, playbook, Narrowing())).chosen.targets
        except FleetError as error:
            return error
        for target in found:
            for name in names:
                await world.connection.cloud.submit(Command(target, Transport.MANAGED, name=name, script="true"))
        await asyncio.sleep(600.0)
        try:
            read = await world.connection.managed.commands(found, lambda: None)
        except FleetError as error:
            return error
        for form in ("table", "json", "jsonl", "csv"):
            listing([command for item in read for command in item.commands], form, world.clock.now()).encode()
        return read

    return live(Way(), tap, listed)


RENDERERS: tuple[Callable[[Report], object], ...] = (
    render_text.render,
    render_json.render,
    render_csv.render,
    render_junit.render,
    render_markdown.render,
    render_html.render,
)


def render_all(report: Report) -> None:
    """Write a report in every form, as bytes."""
    for renderer in RENDERERS:
        found = renderer(report)
        ("".join(found) if not isinstance(found, str) else found).encode()
