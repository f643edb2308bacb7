"""A rollout rehearsed in virtual time: the real plan, engine and wire against a pretend fleet. Nothing leaves the process.

What a rehearsal cannot know is how long the scripts take and which of them fail: that is played, as asked for.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from fleet.app.connect import Connection
from fleet.azure.cloud import AzureCloud
from fleet.azure.credentials import StaticTokens
from fleet.azure.inventory import AzureInventory
from fleet.azure.managed import AzureManaged
from fleet.azure.preflight import AzurePreflight
from fleet.clock import wall_time
from fleet.engine.loop import Engine
from fleet.errors import InvalidInput, Problem
from fleet.guest import envelope
from fleet.lab import wire as lab
from fleet.lab.arm.control import ControlPlane
from fleet.lab.world.machine_spec import AgentState, PowerState, RuleSpec
from fleet.lab.world.spec import LabSpec
from fleet.lab.world.world import Machine
from fleet.plan.model import Plan
from fleet.rehearsal import virtual
from fleet.rehearsal.faults import AnyFault, Fault, VmFault
from fleet.rehearsal.network import MemoryTransport, Network
from fleet.report.aggregate import aggregate
from fleet.report.model import Report
from fleet.run.events import Event
from fleet.run.run_id import new_id
from fleet.run.state import Run
from fleet.testing import MemoryRuns

LATENCY = (0.03, 0.12)
"""Seconds each way, as between a laptop and Azure Resource Manager."""

STRAGGLES = 10.0
"""How many times longer a straggler's script takes."""

NOTE = "A rehearsal in virtual time against a pretend fleet: nothing was sent anywhere, and no script ran"


@dataclass(frozen=True, slots=True)
class RehearsalOptions:
    """How a rehearsal is to go: what goes wrong, how long scripts take (shortest and longest, seconds), which chance."""

    faults: Mapping[AnyFault, float] = field(default_factory=dict, hash=False)
    duration: tuple[float, float] = (5.0, 30.0)
    seed: int = 1


@dataclass(slots=True)
class Traffic:
    """What passed the wire: requests by what they asked, and answers by status; 0 for none at all."""

    calls: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    self_inflicted: int = 0

    def departed(self, request: lab.Request, at: float) -> int:
        """Count a request."""
        kind = {"PUT": "submissions", "POST": "submissions", "GET": "reads", "DELETE": "deletes"}[request.method]
        if "runcommand" not in request.path.casefold() and "/operations/" not in request.path:
            kind = "listing"
        self.calls[kind] += 1
        return 0

    def answered(self, number: int, answer: lab.Answer, own: bool) -> None:
        """Count an answer."""
        self.statuses[answer.status] += 1
        self.self_inflicted += own


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """How it went: the report the run would have had, and what it would have asked of Azure."""

    report: Report
    traffic: Traffic


Planner = Callable[[Connection], Awaitable[Plan]]
"""Makes the plan, with the pretend fleet's inventory to look at."""


def rehearse(spec: LabSpec, planner: Planner, wanted: RehearsalOptions, secrets: Mapping[str, str]) -> Rehearsed:
    """Carry out what the planner plans, on the pretend fleet, in virtual time."""
    return virtual.run(_rehearse(spec, planner, wanted, secrets))


async def _rehearse(spec: LabSpec, planner: Planner, wanted: RehearsalOptions, secrets: Mapping[str, str]) -> Rehearsed:
    clock = virtual.LoopClock(wall_time())
    rng = random.Random(f"fleet-rehearsal/{wanted.seed}")
    plane = ControlPlane(spec, sandboxed=False, envelope=envelope)
    traffic = Traffic()
    network = Network(plane, clock, rng, {}, LATENCY, 0.0, traffic)
    transport = MemoryTransport(network, (StaticTokens("rehearsal"),), _Open)
    connection = Connection(
        AzureCloud(transport),
        AzureInventory(transport),
        AzurePreflight(transport),
        AzureManaged(transport),
        "rehearsal",
    )
    plan = await planner(connection)
    # Nobody is asked, and no pretend VM tells a fact: what is left of the gates are the steps that look at its health, and
    # no step fails for what its script would have printed.
    steps = tuple(replace(step, flow=replace(step.flow, failed_when="", ok_stdout="")) for step in plan.steps)
    plan = replace(plan, steps=steps, gates=tuple(gate for gate in plan.gates if gate.health is not None))
    _play(plane, plan, wanted, rng)
    network.set_rates({kind: rate for kind, rate in wanted.faults.items() if isinstance(kind, Fault)})
    run = Run(plan, new_id(clock.now(), rng))
    journal = await MemoryRuns().create(run.run_id, plan, now=clock.now())
    engine = Engine(
        run,
        connection.cloud,
        journal,
        clock,
        lambda job: run.command(job, secrets),
        _unseen,
        nonces=lambda: f"{rng.getrandbits(128):032x}",
    )
    await engine.drive(1, "rehearsal")
    report = aggregate(run.record())
    return Rehearsed(replace(report, notes=(NOTE, *report.notes)), traffic)


def _play(plane: ControlPlane, plan: Plan, wanted: RehearsalOptions, rng: random.Random) -> None:
    """Give every target its script's length, and the parts of the fleet their troubles.

    Raises InvalidInput for a target that the pretend fleet has not.
    """
    machines = []
    for target in plan.targets:
        machine = plane.world.by_id(target.id)
        if machine is None:
            raise InvalidInput([Problem("not_in_the_lab", f"{target.name} is not in the pretend fleet")])
        machines.append(machine)
    shortest, longest = wanted.duration
    for machine in machines:
        if not machine.rules:
            machine.rules = (RuleSpec(duration=[shortest, longest]),)
    for kind, share in wanted.faults.items():
        if isinstance(kind, VmFault):
            for machine in rng.sample(machines, min(len(machines), round(share * len(machines)))):
                _apply_fault(machine, kind)


def _apply_fault(machine: Machine, kind: VmFault) -> None:
    match kind:
        case VmFault.AGENT_DOWN:
            machine.agent = AgentState.NOT_READY
        case VmFault.STOPPED:
            machine.power = PowerState.DEALLOCATED
        case VmFault.FAILING:
            changes: dict[str, object] = {"exit": 1, "stderr": "a rehearsed failure\n"}
            machine.rules = tuple(rule.model_copy(update=changes) for rule in machine.rules)
        case VmFault.STRAGGLER:
            machine.rules = tuple(
                rule.model_copy(update={"duration": [seconds * STRAGGLES for seconds in rule.duration]})
                for rule in machine.rules
            )


class _Open:
    """A gate that is always open: a rehearsal is never interrupted."""

    async def passed(self) -> None:
        return


def _unseen(event: Event) -> None:
    """Nobody watches a rehearsal: it is over in seconds."""
