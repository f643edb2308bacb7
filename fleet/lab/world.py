"""What exists in the lab: subscriptions, groups, machines, and what the lab remembers of each. Pure.

ARM compares names without regard to case, so every lookup here does.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from fleet.lab.file import AgentState, GuestKind, LabSpec, PowerState, RuleSpec, System, VmSpec

TENANT_LABEL = "tenant"
CREATED = 1_735_689_600.0  # 2025-01-01, when every pretend VM was made
_DEFAULT_IMAGES = {
    System.LINUX: "Canonical:0001-com-ubuntu-server-jammy:22_04-lts-gen2:latest",
    System.WINDOWS: "MicrosoftWindowsServer:WindowsServer:2022-datacenter-azure-edition:latest",
}


@dataclass(slots=True)
class Subscription:
    """A subscription and its groups, by casefolded name."""

    id: str
    name: str
    tenant: str
    tags: dict[str, str]
    groups: dict[str, Group] = field(default_factory=dict)


@dataclass(slots=True)
class Group:
    """A resource group and its machines, by casefolded name."""

    subscription: Subscription
    name: str
    location: str
    tags: dict[str, str]
    machines: dict[str, Machine] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The ARM id."""
        return f"/subscriptions/{self.subscription.id}/resourceGroups/{self.name}"


@dataclass(slots=True, eq=False)
class Machine:
    """One VM: what it is, and how it is just now."""

    group: Group
    name: str
    number: int
    vm_id: str
    boot_id: str
    system: System
    size: str
    image: str
    location: str
    zone: str
    tags: dict[str, str]
    power: PowerState
    agent: AgentState
    guest: GuestKind
    rules: tuple[RuleSpec, ...]

    @property
    def id(self) -> str:
        """The ARM id."""
        return f"{self.group.id}/providers/Microsoft.Compute/virtualMachines/{self.name}"

    @property
    def key(self) -> str:
        """The id in the one case used for comparing."""
        return self.id.casefold()

    @property
    def running(self) -> bool:
        """Whether the VM is running or set to run, which is what the service asks of a command's VM."""
        return self.power in (PowerState.RUNNING, PowerState.STARTING)


@dataclass(slots=True)
class World:
    """Everything that exists, by casefolded subscription id."""

    tenant: str
    subscriptions: dict[str, Subscription]

    def machines(self, subscription: str | None = None, group: str | None = None) -> Iterator[Machine]:
        """Yield machines in the order of the lab file."""
        for sub in self.subscriptions.values():
            if subscription is not None and sub.id.casefold() != subscription.casefold():
                continue
            for each in sub.groups.values():
                if group is None or each.name.casefold() == group.casefold():
                    yield from each.machines.values()

    def subscription(self, id: str) -> Subscription | None:
        """Find a subscription."""
        return self.subscriptions.get(id.casefold())

    def group(self, subscription: str, name: str) -> Group | None:
        """Find a resource group."""
        sub = self.subscription(subscription)
        return sub.groups.get(name.casefold()) if sub else None

    def machine(self, subscription: str, group: str, name: str) -> Machine | None:
        """Find a VM."""
        found = self.group(subscription, group)
        return found.machines.get(name.casefold()) if found else None

    def by_id(self, id: str) -> Machine | None:
        """Find a VM by its ARM id."""
        parts = id.strip("/").split("/")
        return self.machine(parts[1], parts[3], parts[7]) if len(parts) == 8 else None


def named_uuid(seed: int, label: str) -> str:
    """Return the UUID that belongs to a label under a seed."""
    return str(uuid.UUID(int=random.Random(f"{seed}/{label}").getrandbits(128), version=4))  # noqa: S311


def chosen(seed: int, label: str, count: int, share: float) -> frozenset[int]:
    """Choose which of ``count`` members belong to a share: exactly ``round(share * count)`` of them."""
    if share >= 1:
        return frozenset(range(count))
    rng = random.Random(f"{seed}/{label}/{count}")  # noqa: S311
    return frozenset(rng.sample(range(count), round(share * count)))


def build(spec: LabSpec, *, sandboxed: bool = True) -> World:
    """Make the world of a lab file. Without ``sandboxed`` every guest is scripted."""
    tenant = named_uuid(spec.seed, TENANT_LABEL)
    world = World(tenant, {})
    for subscription in spec.subscriptions:
        id = subscription.id or named_uuid(spec.seed, f"subscription/{subscription.name}")
        sub = Subscription(id, subscription.name, tenant, dict(subscription.tags))
        world.subscriptions[id.casefold()] = sub
        for given in subscription.groups:
            group = Group(sub, given.name, given.location, dict(given.tags))
            sub.groups[given.name.casefold()] = group
            for vms in given.vms:
                for machine in _machines(spec, group, vms, sandboxed):
                    group.machines[machine.name.casefold()] = machine
    return world


def _machines(spec: LabSpec, group: Group, vms: VmSpec, sandboxed: bool) -> Iterator[Machine]:
    label = f"{group.id}/{vms.name}"
    rules = [*vms.rules, *spec.rules]
    members = [chosen(spec.seed, f"{label}/rule{at}", vms.count, rule.share) for at, rule in enumerate(rules)]
    images = vms.image or [_DEFAULT_IMAGES[System(vms.os)]]
    locations = vms.location or [group.location]
    for index in range(vms.count):
        number = vms.start + index
        name = vms.name.format(n=number)
        yield Machine(
            group=group,
            name=name,
            number=number,
            vm_id=named_uuid(spec.seed, f"vm/{group.id}/{name}"),
            boot_id=named_uuid(spec.seed, f"boot/{group.id}/{name}"),
            system=System(vms.os),
            size=_dealt(vms.size, index),
            image=_dealt(images, index),
            location=_dealt(locations, index),
            zone=_dealt(vms.zones, index) if vms.zones else "",
            tags={key: _dealt(values, index) for key, values in vms.tags.items()},
            power=PowerState(vms.power),
            agent=AgentState(vms.agent),
            guest=vms.kind if sandboxed else GuestKind.SCRIPTED,
            rules=tuple(rule for at, rule in enumerate(rules) if index in members[at]),
        )


def _dealt(values: list[str], index: int) -> str:
    return values[index % len(values)]
