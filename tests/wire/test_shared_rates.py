"""Several who sign in alike, over the wire of a service that counts their calls as Azure does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from fleet.app.commands import delete_commands
from fleet.azure.cloud import AzureCloud
from fleet.azure.credentials import StaticTokens
from fleet.azure.managed import AzureManaged
from fleet.azure.preflight import AzurePreflight
from fleet.commands.model import ManagedCommand
from fleet.engine.loop import Engine
from fleet.engine.turns import SharedRates
from fleet.guest import envelope
from fleet.lab import wire
from fleet.lab.arm.control import ControlPlane
from fleet.plan.model import Plan
from fleet.rehearsal import virtual
from fleet.rehearsal.network import MemoryTransport, Network
from fleet.rehearsal.pretend_fleet import from_targets
from fleet.run.model import Status
from fleet.run.state import Run
from fleet.testing import MemoryRuns
from tests.unit.run.factory import plan

ORIGIN = 1_767_225_600.0
DOCUMENTED = {"PUT": (200, 10.0), "DELETE": (200, 10.0), "GET": (250, 25.0)}
"""ARM's bucket of each kind of request, and its refill a second, for one subscription and principal."""
SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"


@dataclass
class Wire:
    """The moments at which requests left, by method, and how many the service's own buckets refused."""

    clock: virtual.LoopClock
    left: dict[str, list[float]] = field(default_factory=dict)
    refused: int = 0

    def departed(self, request: wire.Request, at: float) -> int:
        self.left.setdefault(request.method, []).append(self.clock.now())
        return 0

    def answered(self, number: int, answer: wire.Answer, own: bool) -> None:
        self.refused += own


class Open:
    async def passed(self) -> None:
        return


@dataclass(frozen=True)
class World:
    """A service, the way to it, and what is planned there."""

    plan: Plan
    transport: MemoryTransport
    wire: Wire
    clock: virtual.LoopClock

    async def run(self, name: str, first: int, count: int, shared: SharedRates | None) -> list[Status]:
        """Run the plan on some of its targets, and return how the jobs ended."""
        kept = self.plan.targets[first : first + count]
        part = replace(self.plan, targets=kept, waves=plan(count).waves)
        run = Run(part, name)
        engine = Engine(
            run,
            AzureCloud(self.transport, shared=shared),
            await MemoryRuns().create(name, part, now=self.clock.now()),
            self.clock,
            lambda job: run.command(job, {}),
            lambda event: None,
            nonces=iter(f"{number:032x}" for number in range(10_000)).__next__,
            shared=shared,
        )
        await engine.drive(1, "test")
        return [job.outcome.status for job in run.record().jobs if job.outcome]

    def excess(self, method: str) -> int:
        """How many requests of a method left, at most in any window, beyond what ARM allows."""
        burst, refill = DOCUMENTED[method]
        level, since, worst = float(burst), 0.0, 0.0
        for at in self.wire.left.get(method, []):
            level = min(float(burst), level + (at - since) * refill) - 1
            since, worst = at, min(worst, level)
        return round(-worst)


def in_world(vms: int, what: Callable[[World], object]) -> World:
    """Do something, in virtual time, with VMs of one subscription."""

    async def go() -> World:
        clock = virtual.LoopClock(ORIGIN)
        targets = tuple(
            replace(target, id=target.id.replace("sub-0", SUBSCRIPTION), subscription=SUBSCRIPTION)
            for target in plan(vms).targets
        )
        plane = ControlPlane(from_targets(targets, 1), sandboxed=False, envelope=envelope)
        seen = Wire(clock)
        network = Network(plane, clock, random.Random(1), {}, (0.05, 0.05), 0.0, seen)
        transport = MemoryTransport(network, (StaticTokens("t"),), Open)
        made = World(replace(plan(vms), targets=targets), transport, seen, clock)
        await what(made)  # type: ignore[misc]
        return made

    return virtual.run(go())


def both(world: World, rates: Sequence[SharedRates | None]) -> object:
    half = len(world.plan.targets) // 2
    return asyncio.gather(*(world.run(f"run-{n}", n * half, half, each) for n, each in enumerate(rates)))


def test_two_runs_side_by_side_keep_to_one_bucket() -> None:
    """Their calls together keep to what ARM allows, none is refused for the limits, and both go on all the time."""
    ended: list[list[Status]] = []

    async def side_by_side(world: World) -> None:
        shared = SharedRates(clock=world.clock)
        ended.extend(await both(world, [shared, shared]))  # type: ignore[misc]

    world = in_world(600, side_by_side)
    assert ended == [[Status.SUCCEEDED] * 300] * 2
    assert [world.excess(method) for method in DOCUMENTED] == [0, 0, 0]
    assert world.wire.refused == 0


def test_two_runs_that_do_not_know_of_each_other_are_refused() -> None:
    """The same two runs with rates of their own use the bucket twice: the test above can fail."""
    world = in_world(600, lambda world: both(world, [None, None]))
    assert world.excess("PUT") > 0
    assert world.wire.refused > 0


def test_commands_and_reads_beside_a_run_take_from_its_buckets() -> None:
    """While a run goes on, commands are deleted and VMs are read: nothing leaves beyond what ARM allows."""
    ended: list[Status] = []

    async def beside(world: World) -> None:
        shared = SharedRates(clock=world.clock)
        others = world.plan.targets[300:]
        managed, preflight = AzureManaged(world.transport), AzurePreflight(world.transport, shared=shared)
        commands = [ManagedCommand(target, "left") for target in others]
        statuses, _, _ = await asyncio.gather(
            world.run("run-1", 0, 300, shared),
            delete_commands(managed, commands, shared, lambda: None),
            preflight.conditions(others, commands=True),
        )
        ended.extend(statuses)

    world = in_world(600, beside)
    assert ended == [Status.SUCCEEDED] * 300
    assert len(world.wire.left["DELETE"]) == 600
    assert [world.excess(method) for method in DOCUMENTED] == [0, 0, 0]
    assert world.wire.refused == 0
