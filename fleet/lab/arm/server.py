"""The lab on loopback: HTTP in front of the control plane, and the tasks that run sandboxed scripts.

Besides ARM the server has pages of its own: ``/`` says what it is, ``/lab/...`` lets people and tests look
in and move things, ``/blobs/...`` are append blobs for outputs.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from email.utils import formatdate
from typing import TYPE_CHECKING, NoReturn

from aiohttp import web

from fleet.clock import Clock, SystemClock
from fleet.lab.arm import faults as fault_rules
from fleet.lab.arm.answers import os_names
from fleet.lab.arm.control import ControlPlane, fault_specs
from fleet.lab.arm.signin import SignIn, missing, wrong_secret
from fleet.lab.guests import sandbox
from fleet.lab.guests.namespaces import host_boot, host_time
from fleet.lab.guests.packages import stock
from fleet.lab.guests.template import Profile
from fleet.lab.guests.windows import powershell
from fleet.lab.guests.windows.guest import Windows
from fleet.lab.guests.windows.powershell import Installation
from fleet.lab.guests.windows.stock import initial
from fleet.lab.wire import Answer, Fate, Request, gateway, refusal
from fleet.lab.world.blobs import ROOT
from fleet.lab.world.machine_spec import GuestKind, System
from fleet.lab.world.orders import Boot, Kill, Look, Order, Start
from fleet.lab.world.scripted import NOT_EXECUTED, Envelope, Result
from fleet.lab.world.spec import FaultKind, FaultOn, LabSpec

if TYPE_CHECKING:
    from fleet.lab.arm.tls import TlsFiles

_LARGEST_BODY = 8 * 1024 * 1024


class Lab:
    """A running lab."""

    def __init__(self, plane: ControlPlane, signin: SignIn, clock: Clock, notes: tuple[str, ...], skew: float) -> None:
        self.url = ""
        self.ca_file: str | None = None
        self.notes = notes
        self.powershell: Installation | None = None
        self._plane = plane
        self._signin = signin
        self._clock = clock
        self._offset = skew
        self._wake = asyncio.Event()

    @property
    def executions(self) -> Counter[str]:
        """How often a script really ran, by VM id."""
        return self._plane.life.counts

    @property
    def requests(self) -> Counter[str]:
        """Requests by kind (act, command_put, operation, query ...)."""
        return self._plane.requests

    @property
    def statuses(self) -> Counter[int]:
        """Answers by HTTP status, before faults dropped any."""
        return self._plane.statuses

    @property
    def tenant(self) -> str:
        """The tenant of every subscription."""
        return self._plane.world.tenant

    def now(self) -> float:
        """The lab's time."""
        return self._clock.now() + self._offset

    def advance(self, seconds: float) -> None:
        """Move the lab's clock forward."""
        self._offset += max(0.0, seconds)
        self._wake.set()

    # -- requests ------------------------------------------------------------------------------------------

    def answer(self, request: Request) -> Answer:
        """Answer any request."""
        now = self.now()
        path = request.path
        if path == "/":
            return gateway(200, self._about())
        if path.startswith("/lab/"):
            return self._own(request, now)
        if path.startswith(ROOT):
            return self._plane.blobs.answer(request)
        answer = self._sign_in(request, now) or self._plane.handle(request, now)
        self._wake.set()
        return answer

    def _sign_in(self, request: Request, now: float) -> Answer | None:
        rule = self._plane.faults.strike(FaultOn.SIGN_IN, "") if self._signin.asks_for_a_token(request) else None
        if rule is None:
            return self._signin.answer(request, now)
        if rule.what is FaultKind.UNAUTHORIZED:
            return wrong_secret()
        if not fault_rules.executes(rule):
            return fault_rules.instead(rule, now)
        answer = self._signin.answer(request, now)
        return answer and fault_rules.spoiled(rule, answer)

    def _about(self) -> dict[str, object]:
        return {
            "what": "Fleet lab: a pretend Azure Resource Manager",
            "resourceManager": self.url,
            "tenant": self.tenant,
            "notes": list(self.notes),
            "see": ["/lab/state", "/lab/clock", "/lab/faults", "/lab/machines"],
        }

    def _own(self, request: Request, now: float) -> Answer:
        try:
            body = request.json()
            return self._moved(request, body if isinstance(body, Mapping) else {"rules": body}, now)
        except (ValueError, TypeError, KeyError) as problem:
            return gateway(400, refusal("InvalidParameter", str(problem)))

    def _moved(self, request: Request, body: Mapping[str, object], now: float) -> Answer:
        match request.method, request.path.rstrip("/"):
            case "GET", "/lab/state":
                self._plane.life.advance(now)
                return gateway(200, {**self._plane.state(), "now": now, "notes": list(self.notes)})
            case "GET", "/lab/sas":
                container = request.query["container"].strip("/")
                blobs = self._plane.blobs
                return gateway(200, {"container": f"{self.url}{ROOT}{container}", "sas": blobs.sas(container)})
            case "GET", "/lab/clock":
                return gateway(200, {"now": now, "moved": self._offset})
            case "POST", "/lab/clock":
                self.advance(float(str(body["advance"])))
                return gateway(200, {"now": self.now(), "moved": self._offset})
            case "POST", "/lab/faults":
                self._plane.faults.replace(fault_specs(body.get("rules", body)))
                return gateway(200, {"rules": len(self._plane.faults.rules)})
            case "POST", "/lab/machines":
                return self._machine(body, now)
        return missing(request.path)

    def _machine(self, body: Mapping[str, object], now: float) -> Answer:
        machine = self._plane.world.by_id(str(body["id"]))
        if machine is None:
            return missing(str(body["id"]))
        power, agent, tags = body.get("power"), body.get("agent"), body.get("tags")
        if tags is not None and not isinstance(tags, Mapping):
            raise ValueError("tags is not a mapping")
        self._plane.move(
            machine,
            now,
            power=None if power is None else str(power),
            agent=None if agent is None else str(agent),
            tags=None if tags is None else {str(key): str(value) for key, value in tags.items()},
        )
        self._wake.set()
        told = {"id": machine.id, "power": machine.power, "agent": machine.agent, "tags": machine.tags}
        return gateway(200, told)

    # -- sandboxed scripts ---------------------------------------------------------------------------------

    async def drive(self, sandboxes: sandbox.Sandboxes | None, tasks: asyncio.TaskGroup) -> NoReturn:
        """Let things happen when they are due, and carry out the control plane's orders."""
        life = self._plane.life
        while True:
            self._wake.clear()
            life.advance(self.now())
            for order in life.take_orders():
                self._carry_out(order, sandboxes, tasks)
            due = life.due()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else max(0.0, due - self.now())):
                    await self._wake.wait()

    def _carry_out(self, order: Order, sandboxes: sandbox.Sandboxes | None, tasks: asyncio.TaskGroup) -> None:
        assert sandboxes is not None  # without sandboxes every guest is scripted
        if isinstance(order, Kill):
            sandboxes.kill(order.execution)
        elif isinstance(order, Look):
            self._plane.life.progress(order.execution, *sandboxes.so_far(order.execution))
        elif isinstance(order, Boot):
            tasks.create_task(sandboxes.boot(order.machine))
        else:
            tasks.create_task(self._run(order, sandboxes))

    async def _run(self, order: Start, sandboxes: sandbox.Sandboxes) -> None:
        machine = order.machine
        name, version = os_names(machine)
        windows = None
        if machine.system is System.WINDOWS and self.powershell is not None:
            windows = Windows(self.powershell, initial(machine, self._plane.speed, host_boot(), host_time()))
        profile = Profile(
            machine.host,
            machine.boot_id,
            name,
            version,
            stock(machine.updates, name, machine.vm_id),
            machine.disks,
            windows,
        )

        life = self._plane.life

        def began() -> None:
            life.began(order.execution, self.now())
            self._wake.set()

        def wished(seconds: float | None) -> None:
            life.wished(order.execution, seconds, self.now())
            self._wake.set()

        def off() -> None:
            self._plane.power_off(machine, self.now())
            self._wake.set()

        try:
            heard = sandbox.Heard(began, wished, off)
            result = await sandboxes.run(order.execution, machine, order.script, profile, heard)
        except OSError as problem:  # no memory or no processes left: the lab goes on
            text = f"failed to execute command: {problem}"
            result = Result(NOT_EXECUTED, stderr=text.encode("utf-8", "replace"), message=text)
        life.ended(order.execution, result, self.now())
        self._wake.set()


@asynccontextmanager
async def serve(
    spec: LabSpec,
    *,
    port: int = 0,
    tls: TlsFiles | None = None,
    envelope: Envelope | None = None,
    clock: Clock | None = None,
    runs_scripts: bool = True,
) -> AsyncIterator[Lab]:
    """Serve a lab on loopback until the block ends; then every script, connection and file of it is gone.

    Guests that should be sandboxes become scripted where namespaces are not allowed, and ``Lab.notes`` says
    so. Without ``runs_scripts`` all are scripted, and nothing is tried. Raises OSError if the port is taken.
    """
    wanted = _wants_sandboxes(spec) if runs_scripts else set()
    reason = await asyncio.to_thread(sandbox.supported) if wanted else None
    notes = (f"guests are scripted, no script really runs: {reason}",) if reason else ()
    installation = None
    if System.WINDOWS in wanted and reason is None:
        said, installation = await asyncio.to_thread(_powershell)
        notes = (said,)
    plane = ControlPlane(
        spec, sandboxed=runs_scripts and reason is None, powershell=installation is not None, envelope=envelope
    )
    lab = Lab(plane, SignIn(spec.seed, plane.world.tenant), clock or SystemClock(), notes, spec.clock_skew)
    lab.powershell = installation
    async with AsyncExitStack() as stack:
        sandboxes = None
        if wanted and reason is None:
            place = stack.enter_context(sandbox.Folder())
            sandboxes = sandbox.Sandboxes(place, spec.sandboxes, spec.powershells)
        lab.url = await stack.enter_async_context(_listening(lab, port, tls))
        lab.ca_file = str(tls.ca_file) if tls else None
        plane.base = lab.url
        lab._signin.base = lab.url
        async with _driven(lab, sandboxes):
            yield lab


@asynccontextmanager
async def _driven(lab: Lab, sandboxes: sandbox.Sandboxes | None) -> AsyncIterator[None]:
    """Drive the lab beside the block. The block's own exception leaves as it is, not wrapped in a group."""
    failure: BaseException | None = None
    async with asyncio.TaskGroup() as tasks:
        driver = tasks.create_task(_stoppable(lab, sandboxes))
        try:
            yield
        except BaseException as problem:
            failure = problem
        finally:
            driver.cancel()
    if failure is not None:
        raise failure


async def _stoppable(lab: Lab, sandboxes: sandbox.Sandboxes | None) -> None:
    async with asyncio.TaskGroup() as tasks:
        await lab.drive(sandboxes, tasks)


@asynccontextmanager
async def _listening(lab: Lab, port: int, tls: TlsFiles | None) -> AsyncIterator[str]:
    app = web.Application(client_max_size=_LARGEST_BODY)

    async def handle(received: web.Request) -> web.StreamResponse:
        return await _exchange(lab, received)

    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    context = None
    if tls is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls.certificate, tls.key)
    try:
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=context, backlog=2048)
        await site.start()
        taken = runner.addresses[0][1]
        yield f"https://localhost:{taken}" if tls else f"http://127.0.0.1:{taken}"
    finally:
        await runner.cleanup()


async def _exchange(lab: Lab, received: web.Request) -> web.StreamResponse:
    request = Request(
        received.method,
        received.path,
        received.raw_path,
        dict(received.query),
        {name.lower(): value for name, value in received.headers.items()},
        await received.read(),
    )
    answer = lab.answer(request)
    answer.headers.setdefault("Date", formatdate(lab.now(), usegmt=True))
    if answer.delay:
        await asyncio.sleep(answer.delay)
    if answer.fate is Fate.DROPPED:
        if received.transport is not None:
            received.transport.abort()
        raise asyncio.CancelledError
    if answer.fate is Fate.TRUNCATED:
        return await _cut_off(received, answer)
    return web.Response(status=answer.status, body=answer.body, headers=answer.headers)


async def _cut_off(received: web.Request, answer: Answer) -> web.StreamResponse:
    """Send the headers and half of the body they promise, then end the connection."""
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = len(answer.body)
    await response.prepare(received)
    await response.write(answer.body[: len(answer.body) // 2])
    if received.transport is not None:
        received.transport.close()
    raise asyncio.CancelledError


def _powershell() -> tuple[str, Installation | None]:
    """Find a PowerShell that works in a sandbox. Return a line about it for people, and where it lies or None."""
    program = powershell.find(os.environ)
    if program is None:
        said = f"no pwsh on the PATH, and {powershell.VARIABLE} names none"
        return f"Windows guests are scripted, none of their scripts really runs: {said}", None
    said, installation = sandbox.powershell(program)
    if installation is None:
        return f"Windows guests are scripted, none of their scripts really runs: {said}", None
    return f"Windows guests run scripts by {said} from {program}", installation


def _wants_sandboxes(spec: LabSpec) -> set[System]:
    return {
        System(machines.os)
        for sub in spec.subscriptions
        for group in sub.groups
        for machines in (*group.vms, *group.scale_sets, *group.arc)
        if machines.kind is GuestKind.SANDBOX
    }
