"""What exists in the lab: subscriptions, groups, machines, and what the lab remembers of each. Pure.

ARM compares names without regard to case, so every lookup here does.
"""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from fleet.lab.classes import (
    AgentState,
    ArcSpec,
    ComputeSpec,
    GuestKind,
    MachinesSpec,
    PowerState,
    RuleSpec,
    ScaleSetSpec,
    System,
    UpdatesSpec,
    VmSpec,
)
from fleet.lab.file import LabSpec

TENANT_LABEL = "tenant"
COMPUTE = "/providers/Microsoft.Compute"
CREATED = 1_735_689_600.0  # 2025-01-01, when every pretend VM was made
_DEFAULT_IMAGES = {
    System.LINUX: "Canonical:0001-com-ubuntu-server-jammy:22_04-lts-gen2:latest",
    System.WINDOWS: "MicrosoftWindowsServer:WindowsServer:2022-datacenter-azure-edition:latest",
}


class Kind(StrEnum):
    """What a machine is: a VM, an instance of a uniform scale set, or an Arc machine."""

    VM = "vm"
    INSTANCE = "instance"
    ARC = "arc"


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
    """A resource group and its machines and scale sets, by casefolded name.

    ``shown`` is the name as Compute writes it in ids, which need not have the case it was given.
    """

    subscription: Subscription
    name: str
    location: str
    tags: dict[str, str]
    shown: str
    machines: dict[str, Machine] = field(default_factory=dict)
    scale_sets: dict[str, ScaleSet] = field(default_factory=dict)
    arc: dict[str, Machine] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The ARM id."""
        return f"/subscriptions/{self.subscription.id}/resourceGroups/{self.name}"

    @property
    def compute_id(self) -> str:
        """The ARM id as Compute writes it."""
        return f"/subscriptions/{self.subscription.id}/resourceGroups/{self.shown}"


@dataclass(slots=True)
class ScaleSet:
    """A scale set and its instances, by instance id. Those of a flexible one are VMs of their group as well."""

    group: Group
    name: str
    unique_id: str
    placement_id: str
    size: str
    location: str
    zones: tuple[str, ...]
    tags: dict[str, str]
    flexible: bool = False
    instances: dict[str, Machine] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The ARM id."""
        return f"{self.group.id}{COMPUTE}/virtualMachineScaleSets/{self.name}"

    @property
    def shown_id(self) -> str:
        """The ARM id as Compute writes it."""
        return f"{self.group.compute_id}{COMPUTE}/virtualMachineScaleSets/{self.name}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a VM stands in its availability set."""

    availability_set: str
    update_domain: int
    fault_domain: int


@dataclass(slots=True, eq=False)
class Machine:
    """One machine: what it is, and how it is just now. ``number`` is an instance's id in its scale set."""

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
    updates: UpdatesSpec = field(default_factory=UpdatesSpec)
    kind: Kind = Kind.VM
    scale_set: ScaleSet | None = None
    """The uniform scale set that it is an instance of."""
    member_of: ScaleSet | None = None
    """The flexible scale set that it, a VM, belongs to."""
    place: Place | None = None
    """None of a machine that is in no availability set."""
    boots: int = 0
    """How often it has restarted since the lab began."""

    @property
    def id(self) -> str:
        """The ARM id."""
        return self.group.id + self.path

    @property
    def shown_id(self) -> str:
        """The ARM id as the machine's own provider writes it."""
        return (self.group.id if self.kind is Kind.ARC else self.group.compute_id) + self.path

    @property
    def path(self) -> str:
        """The part of the id below the resource group."""
        return f"/providers/{self.provider}/{self.resource}"

    @property
    def provider(self) -> str:
        """The resource provider."""
        return "Microsoft.HybridCompute" if self.kind is Kind.ARC else "Microsoft.Compute"

    @property
    def resource(self) -> str:
        """Type and name below the provider."""
        if self.scale_set is not None:
            return f"virtualMachineScaleSets/{self.scale_set.name}/virtualMachines/{self.number}"
        return f"{'machines' if self.kind is Kind.ARC else 'virtualMachines'}/{self.name}"

    @property
    def type(self) -> str:
        """The resource type."""
        words = {Kind.VM: "virtualMachines", Kind.INSTANCE: "virtualMachineScaleSets/virtualMachines"}
        return f"{self.provider}/{words.get(self.kind, 'machines')}"

    @property
    def host(self) -> str:
        """The host name; an instance's is its set's name and six digits (recorded)."""
        if self.scale_set is None:
            return self.name
        return f"{self.scale_set.name[:9].lower()}{self.number:06}"

    @property
    def key(self) -> str:
        """The id in the one case used for comparing."""
        return self.id.casefold()

    @property
    def running(self) -> bool:
        """Whether the VM is running or set to run, which is what the service asks of a command's VM."""
        return self.power in (PowerState.RUNNING, PowerState.STARTING)

    def restart(self) -> None:
        """Begin another boot."""
        self.boots += 1
        self.boot_id = str(uuid.uuid5(uuid.UUID(self.boot_id), "restart"))


@dataclass(slots=True)
class World:
    """Everything that exists, by casefolded subscription id."""

    tenant: str
    subscriptions: dict[str, Subscription]

    def machines(self, subscription: str | None = None, group: str | None = None) -> Iterator[Machine]:
        """Yield VMs in the order of the lab file."""
        for each in self.groups(subscription, group):
            yield from each.machines.values()

    def scale_sets(self, subscription: str | None = None, group: str | None = None) -> Iterator[ScaleSet]:
        """Yield scale sets in the order of the lab file."""
        for each in self.groups(subscription, group):
            yield from each.scale_sets.values()

    def arc(self, subscription: str | None = None, group: str | None = None) -> Iterator[Machine]:
        """Yield Arc machines in the order of the lab file."""
        for each in self.groups(subscription, group):
            yield from each.arc.values()

    def everything(self) -> Iterator[Machine]:
        """Yield every machine that can run commands."""
        yield from self.machines()
        for each in self.scale_sets():
            if not each.flexible:
                yield from each.instances.values()
        yield from self.arc()

    def groups(self, subscription: str | None = None, group: str | None = None) -> Iterator[Group]:
        """Yield resource groups in the order of the lab file."""
        for sub in self.subscriptions.values():
            if subscription is None or sub.id.casefold() == subscription.casefold():
                for each in sub.groups.values():
                    if group is None or each.name.casefold() == group.casefold():
                        yield each

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

    def scale_set(self, subscription: str, group: str, name: str) -> ScaleSet | None:
        """Find a scale set."""
        found = self.group(subscription, group)
        return found.scale_sets.get(name.casefold()) if found else None

    def instance(self, subscription: str, group: str, name: str, instance: str) -> Machine | None:
        """Find an instance of a scale set."""
        found = self.scale_set(subscription, group, name)
        return found.instances.get(instance) if found and not found.flexible else None

    def arc_machine(self, subscription: str, group: str, name: str) -> Machine | None:
        """Find an Arc machine."""
        found = self.group(subscription, group)
        return found.arc.get(name.casefold()) if found else None

    def remove(self, machine: Machine) -> None:
        """Let a machine be gone."""
        for holder in (machine.group.machines, machine.group.arc):
            if holder.get(machine.name.casefold()) is machine:
                del holder[machine.name.casefold()]
        for scale_set in machine.group.scale_sets.values():
            scale_set.instances = {key: each for key, each in scale_set.instances.items() if each is not machine}

    def by_id(self, id: str) -> Machine | None:
        """Find a machine by its ARM id."""
        parts = id.strip("/").split("/")
        match [each.casefold() for each in parts[6:]]:
            case ["virtualmachines", name]:
                return self.machine(parts[1], parts[3], name)
            case ["virtualmachinescalesets", name, "virtualmachines", instance]:
                return self.instance(parts[1], parts[3], name, instance)
            case ["machines", name]:
                return self.arc_machine(parts[1], parts[3], name)
        return None


def named_uuid(seed: int, label: str) -> str:
    """Return the UUID that belongs to a label under a seed."""
    digest = hashlib.blake2b(f"{seed}/{label}".encode(), digest_size=16).digest()
    return str(uuid.UUID(bytes=digest, version=4))


def chosen(seed: int, label: str, count: int, share: float) -> frozenset[int]:
    """Choose which of ``count`` members belong to a share: exactly ``round(share * count)`` of them."""
    if share >= 1:
        return frozenset(range(count))
    rng = random.Random(f"{seed}/{label}/{count}")
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
            shown = given.name.upper() if spec.id_case == "upper" else given.name
            group = Group(sub, given.name, given.location, dict(given.tags), shown)
            sub.groups[given.name.casefold()] = group
            for vms in given.vms:
                for machine in _members(spec, group, vms, sandboxed):
                    group.machines[machine.name.casefold()] = machine
            for scale_set in given.scale_sets:
                group.scale_sets[scale_set.name.casefold()] = _scale_set(spec, group, scale_set, sandboxed)
            for arc in given.arc:
                for machine in _members(spec, group, arc, sandboxed):
                    group.arc[machine.name.casefold()] = machine
    return world


def _scale_set(spec: LabSpec, group: Group, given: ScaleSetSpec, sandboxed: bool) -> ScaleSet:
    label = f"{group.id}/{given.name}"
    made = ScaleSet(
        group=group,
        name=given.name,
        unique_id=named_uuid(spec.seed, f"set/{label}"),
        placement_id=named_uuid(spec.seed, f"placement/{label}"),
        size=given.size[0],
        location=(given.location or [group.location])[0],
        zones=tuple(given.zones),
        tags={key: values[0] for key, values in given.tags.items()},
        flexible=given.orchestration == "flexible",
    )
    if made.flexible:
        _fill_flexible(spec, made, _members(spec, group, given, sandboxed))
        return made
    for machine in _members(spec, group, given, sandboxed):
        machine.scale_set = made
        machine.name = f"{made.name}_{machine.number}"
        machine.vm_id = named_uuid(spec.seed, f"vm/{made.id}/{machine.number}")
        machine.boot_id = named_uuid(spec.seed, f"boot/{made.id}/{machine.number}")
        made.instances[str(machine.number)] = machine
    return made


def _fill_flexible(spec: LabSpec, made: ScaleSet, members: Iterator[Machine]) -> None:
    """Make the members VMs of the group, named after their set and eight digits of chance (documented)."""
    for machine in members:
        machine.member_of = made
        machine.name = f"{made.name}_{named_uuid(spec.seed, f'flexible/{made.id}/{machine.number}')[:8]}"
        machine.vm_id = named_uuid(spec.seed, f"vm/{made.id}/{machine.number}")
        machine.boot_id = named_uuid(spec.seed, f"boot/{made.id}/{machine.number}")
        made.instances[machine.name] = made.group.machines[machine.name.casefold()] = machine


def _kind(given: MachinesSpec) -> Kind:
    if isinstance(given, ArcSpec):
        return Kind.ARC
    uniform = isinstance(given, ScaleSetSpec) and given.orchestration == "uniform"
    return Kind.INSTANCE if uniform else Kind.VM


def _members(spec: LabSpec, group: Group, given: MachinesSpec, sandboxed: bool) -> Iterator[Machine]:
    kind = _kind(given)
    label = f"{group.id}/{given.name}" if kind is Kind.VM else f"{group.id}/{kind}/{given.name}"
    rules = [*given.rules, *spec.rules]
    members = [chosen(spec.seed, f"{label}/rule{at}", given.count, rule.share) for at, rule in enumerate(rules)]
    hardware = given if isinstance(given, ComputeSpec) else ComputeSpec(name=given.name)
    images = hardware.image or [_DEFAULT_IMAGES[System(given.os)]]
    locations = given.location or [group.location]
    own = group.id if kind is Kind.VM else f"{group.id}/{kind}"
    for index, number in enumerate(given.numbers()):
        name = given.name.format(n=number)
        yield Machine(
            group=group,
            name=name,
            number=number,
            vm_id=named_uuid(spec.seed, f"vm/{own}/{name}"),
            boot_id=named_uuid(spec.seed, f"boot/{own}/{name}"),
            system=System(given.os),
            size=_dealt(hardware.size, index),
            image=_dealt(images, index),
            location=_dealt(locations, index),
            zone=_dealt(hardware.zones, index) if hardware.zones else "",
            tags={key: _dealt(values, index) for key, values in given.tags.items()},
            power=PowerState(hardware.power),
            agent=AgentState(given.agent),
            guest=given.kind if sandboxed else GuestKind.SCRIPTED,
            rules=tuple(rule for at, rule in enumerate(rules) if index in members[at]),
            updates=given.updates,
            kind=kind,
            place=_place(given, index),
        )


def _place(given: MachinesSpec, index: int) -> Place | None:
    """VMs of a set are dealt out to its domains in turn (documented)."""
    if not isinstance(given, VmSpec) or not given.availability_set:
        return None
    return Place(given.availability_set, index % given.update_domains, index % given.fault_domains)


def _dealt(values: list[str], index: int) -> str:
    return values[index % len(values)]
