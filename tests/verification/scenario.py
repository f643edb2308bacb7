"""From a seed to a scenario: a fleet, a plan, and everything that will go wrong. Equal seeds give equal scenarios.

To let the simulation meet a new feature, draw for it in :func:`draw`; what is drawn last leaves the rest of a seed as it was.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from fleet.lab.world.spec import LabSpec
from fleet.plan.model import Limits, Plan, PlannedStep, PlaybookRef
from fleet.plan.waves import split
from fleet.playbook.model import Amount, Flow, Script, Strategy, Transport, Turn
from fleet.rehearsal.faults import Fault
from fleet.targets.model import Os, Target
from tests.verification import canary, endings, gates, labs
from tests.verification.endings import Ending
from tests.verification.gates import Keepers
from tests.verification.labs import SIZES, Misread, Sizes

RUN_ID = "20260101-000000-simu"
ORIGIN = 1_767_225_600.0
"""2026-01-01T00:00:00Z, when every simulated run begins."""


class Moment(StrEnum):
    """Where in a write to the journal something happens."""

    BEFORE = "before"
    """Nothing of it is on disk."""
    TORN = "torn"
    """Some of its events are."""
    AFTER = "after"
    """All of it is, and nothing was done because of it."""


class Blow(StrEnum):
    """What ends the life of a process."""

    KILLED = "killed"
    KILLED_IN_WRITE = "killed_in_write"
    DISK_FULL = "disk_full"
    DISK_ERROR = "disk_error"
    """The disk fails in mid-commit: refused, and found to be kept all the same."""
    SOFT_STOP = "soft_stop"
    HARD_STOP = "hard_stop"
    SIGNED_OUT = "signed_out"
    """No token can be had any more."""
    FROZEN = "frozen"
    """It stands still, loses the lock, and goes on when another owner is at work."""


@dataclass(frozen=True, slots=True)
class Interruption:
    """How one life of the process ends: at seconds of that life, or at its n-th write."""

    blow: Blow
    at: float = 0.0
    write: int = 0
    moment: Moment = Moment.BEFORE
    share: float = 0.0
    """Of the torn write's events, how much is kept."""
    lasts: float = 0.0
    """Seconds until a frozen process goes on."""


class Happening(StrEnum):
    """What happens to a VM in mid-run."""

    STOPPED = "stopped"
    STARTED = "started"
    AGENT_AWAY = "agent_away"
    AGENT_BACK = "agent_back"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class WorldEvent:
    """Something that happens to the VM with this number (its place in the plan), at seconds since the start."""

    at: float
    what: Happening
    vm: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run in a world of its own."""

    seed: int
    lab: LabSpec = field(hash=False)
    plan: Plan = field(hash=False)
    rates: Mapping[Fault, float] = field(hash=False)
    latency: tuple[float, float] = (0.02, 0.3)
    grid: float = 0.0
    """Seconds to which latencies are rounded, so that answers arrive together; 0 for none."""
    interruptions: tuple[Interruption, ...] = ()
    happenings: tuple[WorldEvent, ...] = ()
    sqlite: bool = False
    """Whether the journal is the real one, on a real disk."""
    keepers: Keepers = field(default_factory=Keepers, hash=False)
    """Whom the plan's gates ask."""
    endings: Mapping[Ending, float] = field(default_factory=dict, hash=False)
    """How likely a script, or an operation, is reported to end in each of these ways."""
    misread: Mapping[str, Misread] = field(default_factory=dict, hash=False)
    """Entries of lists, by the name of the VM or subscription, that cannot be read. None of these VMs is in the plan."""
    secrets: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Values of the plan's secret parameters: a canary, which is looked for in all that was written."""


def pretend_targets(spec: LabSpec) -> tuple[Target, ...]:
    """The VMs of a lab as an inventory would list them, in the lab's order."""
    from fleet.lab.world.build import build

    return tuple(
        Target(
            id=machine.id,
            subscription=machine.group.subscription.id,
            subscription_name=machine.group.subscription.name,
            resource_group=machine.group.name,
            name=machine.name,
            location=machine.location,
            os=Os(machine.system.value),
            size=machine.size,
            image=machine.image,
        )
        for machine in build(spec, sandboxed=False).machines()
    )


def draw(seed: int, rates: Mapping[Fault, float] | None = None, sizes: Sizes = SIZES) -> Scenario:
    """Make the scenario of a seed; ``rates`` replaces its own chances of faults, ``sizes`` bounds its number of VMs."""
    rng = random.Random(f"fleet-sim/{seed}")
    steps = rng.choice((1, 1, 1, 2, 2, 3))
    lab = labs.draw(rng, seed, steps, sizes)
    targets = pretend_targets(lab)
    plan = _plan(rng, targets, steps)
    drawn = _rates(rng)
    grid = rng.choice((0.0, 0.0, 0.05, 0.5))
    latency = rng.choice(((0.02, 0.3), (0.02, 0.3), (0.2, 3.0)))
    interruptions = _interruptions(rng)
    happenings = _happenings(rng, len(targets))
    frozen = any(item.blow is Blow.FROZEN for item in interruptions)
    if frozen and not plan.receipts:
        # Documented limit: a process that was frozen between its intent and its request, lost the lock and thawed sends
        # once more; only the guest's receipt makes that harmless.
        interruptions = tuple(item for item in interruptions if item.blow is not Blow.FROZEN)
    sqlite = rng.random() < 0.03
    lab = lab.model_copy(update=labs.oddities(rng))
    if rng.random() < 0.35:
        plan = _with_flows(rng, plan)
    keepers = Keepers()
    if rng.random() < 0.35:
        plan, rules, keepers = gates.draw(rng, plan, marker(len(plan.steps)))
        lab = lab.model_copy(update={"rules": [*rules, *lab.rules]})
    is_secret = rng.random() < 0.1 and plan.transport is not Transport.ACTION  # which has no protected parameters
    ways = endings.draw(rng, plan)
    if ways and rng.random() < 0.5:  # so that more scripts end in these ways before a budget stops the run
        plan = replace(plan, limits=replace(plan.limits, max_failures=None, max_unreachable=None))
    if sqlite and plan.receipts and rng.random() < 0.5:
        interruptions = (_frozen(rng), *interruptions)
    misread: Mapping[str, Misread] = {}
    if rng.random() < 0.2:
        lab, misread = labs.misread(rng, lab)
    return Scenario(
        seed=seed,
        lab=lab,
        plan=canary.hidden_in(plan) if is_secret else plan,
        rates=drawn if rates is None else rates,
        latency=latency,
        grid=grid,
        interruptions=interruptions,
        happenings=happenings,
        sqlite=sqlite,
        keepers=keepers,
        secrets=canary.SECRETS if is_secret else {},
        endings=ways,
        misread=misread,
    )


def marker(step: int) -> str:
    """The script of a step, by which a guest knows which one it was asked to run."""
    return f"echo step-{step}\n"


def twenty(rates: Mapping[Fault, float]) -> Scenario:
    """A plain run of twenty VMs and two steps with a gate of every kind, which is killed at every write."""
    drawn = draw(1)
    rng = random.Random("fleet-sim/twenty")
    lab = LabSpec.model_validate(
        {
            "speed": 4.0,
            "url_length": 700,
            "rules": [labs.rule_for(rng, f"echo step-{step}$", f"{{name}} step-{step}\n") for step in range(3)],
            "subscriptions": [
                {"name": f"sub-{n}", "groups": [{"name": f"rg{n}", "vms": [{"name": "vm{n:03}", "count": 10}]}]}
                for n in range(2)
            ],
        }
    )
    targets = pretend_targets(lab)
    steps = tuple(PlannedStep(f"step-{n}", Script(text=marker(n)), f"digest{n}", timeout=120.0) for n in range(2))
    waves = split(targets, (Amount(1), Amount(30, percent=True)))
    plan = replace(drawn.plan, targets=targets, steps=steps, waves=waves, limits=Limits(concurrency=5))
    plan = gates.of_each_kind(replace(plan, transport=Transport.AUTO, receipts=True), marker(2))
    return Scenario(seed=0, lab=lab, plan=plan, rates=rates)


def _plan(rng: random.Random, targets: tuple[Target, ...], steps: int) -> Plan:
    size = len(targets)
    waves: tuple[Amount | str, ...] = rng.choice(
        ((), (), (Amount(1),), ("canary",), (Amount(1), Amount(30, percent=True)), (Amount(50, percent=True),))
    )
    return Plan(
        playbook=PlaybookRef("simulated", "1", "0" * 64),
        targets=targets,
        steps=tuple(
            PlannedStep(
                f"step-{number}",
                Script(text=marker(number)),
                f"digest{number}",
                timeout=rng.choice((30.0, 120.0, 300.0)),
                ok_exit=rng.choice(((0,), (0,), (0, 3))),
            )
            for number in range(steps)
        ),
        waves=split(targets, waves),
        limits=Limits(
            concurrency=rng.choice((1, 2, 5, 500)),
            concurrency_per_subscription=rng.choice((None, None, 1, 3)),
            max_failures=rng.choice((None, None, 0, 1, size // 3)),
            max_unreachable=rng.choice((None, None, None, 0, 1, size // 3)),
            strict=rng.random() < 0.85,
            soak=rng.choice((0.0, 0.0, 30.0, 600.0)),
            deadline=rng.choice((None, None, None, rng.uniform(5.0, 900.0))),
            deliver_timeout=rng.choice((60.0, 300.0, 900.0)),
            start_timeout=rng.choice((10.0, 60.0, 600.0)),
            answer_grace=rng.choice((30.0, 60.0, 240.0)),
        ),
        transport=rng.choice((Transport.AUTO, Transport.MANAGED, Transport.ACTION, Transport.ACTION)),
        receipts=rng.random() < 0.8,
        cloud="simulation",
    )


def _with_flows(rng: random.Random, plan: Plan) -> Plan:
    """Let steps be tried again, rescue, and run whatever happened; sometimes step by step over the wave."""
    turns = [Turn.SUCCESS, *(rng.choice((Turn.SUCCESS, Turn.RESCUE, Turn.ALWAYS)) for _ in plan.steps[1:])]
    flows = [
        Flow(turn=turn, retries=rng.choice((0, 0, 1, 3)), retry_delay=rng.choice((0.0, 5.0, 120.0))) for turn in turns
    ]
    steps = tuple(replace(step, flow=flow) for step, flow in zip(plan.steps, flows, strict=True))
    return replace(plan, steps=steps, strategy=rng.choice(tuple(Strategy)))


_MIXES: tuple[tuple[float, ...], ...] = ((0.0,), (0.0, 0.02), (0.0, 0.05, 0.1), (0.05, 0.1, 0.2), (0.2, 0.3))


def _rates(rng: random.Random) -> Mapping[Fault, float]:
    """Mostly several kinds at once; sometimes one kind alone and often."""
    if rng.random() < 0.3:
        return {rng.choice(tuple(Fault)): rng.choice((0.1, 0.3, 0.5))}
    mix = rng.choice(_MIXES)
    return {fault: rng.choice(mix) for fault in Fault}


def _interruptions(rng: random.Random) -> tuple[Interruption, ...]:
    return tuple(_interruption(rng) for _ in range(rng.choices((0, 1, 2, 3, 8), (25, 40, 20, 10, 5))[0]))


def _interruption(rng: random.Random) -> Interruption:
    blow = rng.choices(tuple(Blow), (20, 40, 6, 6, 8, 8, 4, 8))[0]
    write = rng.choice((rng.randint(1, 6), rng.randint(1, 40)))
    at = rng.choice((rng.uniform(0.0, 5.0), rng.uniform(0.0, 120.0), rng.uniform(0.0, 1200.0)))
    return Interruption(
        blow, at, write, rng.choice(tuple(Moment)), rng.random(), lasts=rng.choice((1.0, 30.0, 300.0)) * rng.random()
    )


def _frozen(rng: random.Random) -> Interruption:
    """An owner that stands still soon after it began, and goes on beside the next."""
    return Interruption(Blow.FROZEN, at=rng.uniform(0.0, 20.0), lasts=rng.uniform(1.0, 60.0))


def _happenings(rng: random.Random, vms: int) -> tuple[WorldEvent, ...]:
    if rng.random() < 0.6:
        return ()
    found = []
    for _ in range(rng.randint(1, 3)):
        at, vm = rng.choice((rng.uniform(0.0, 30.0), rng.uniform(0.0, 300.0))), rng.randrange(vms)
        match rng.choice(("power", "agent", "agent", "gone")):
            case "power":
                found += [WorldEvent(at, Happening.STOPPED, vm), WorldEvent(at + 300.0, Happening.STARTED, vm)]
            case "agent":
                found += [WorldEvent(at, Happening.AGENT_AWAY, vm), WorldEvent(at + 90.0, Happening.AGENT_BACK, vm)]
            case _:
                found.append(WorldEvent(at, Happening.DELETED, vm))
    return tuple(sorted(found, key=lambda item: item.at))
