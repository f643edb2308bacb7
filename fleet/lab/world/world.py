"""What exists in the lab: subscriptions, groups, machines, and what the lab remembers of each. Pure.

ARM compares names without regard to case, so every lookup here does.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from fleet.lab.world.access import AccessSpec, Scope, may
from fleet.lab.world.machine_spec import (
    AgentState,
    DiskSpec,
    GuestKind,
    PowerState,
    RuleSpec,
    ServiceSpec,
    System,
    UpdatesSpec,
)
from fleet.lab.world.maintenance import MaintenanceSpec

COMPUTE = "/providers/Microsoft.Compute"
CREATED = 1_735_689_600.0  # 2025-01-01, when every pretend VM was made


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
    access: AccessSpec = field(default_factory=AccessSpec)


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
    maintenance: tuple[MaintenanceSpec, ...] = ()
    access: AccessSpec = field(default_factory=AccessSpec)

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
    disks: Mapping[str, DiskSpec] = field(default_factory=dict)
    services: Mapping[str, ServiceSpec] | None = None
    cim: str = "works"
    """Whether a Windows guest answers questions to CIM: works, broken or hangs."""
    kind: Kind = Kind.VM
    scale_set: ScaleSet | None = None
    """The uniform scale set that it is an instance of."""
    member_of: ScaleSet | None = None
    """The flexible scale set that it, a VM, belongs to."""
    patch_mode: str = ""
    patch_on_schedule: bool = False
    extensions: bool = True
    """Whether the file allows extension operations."""
    handlers_denied: bool = False
    """Whether the agent's extension policy keeps the Run Command handlers from running."""
    place: Place | None = None
    """None of a machine that is in no availability set."""
    boots: int = 0
    """How often it has restarted since the lab began."""
    access: AccessSpec = field(default_factory=AccessSpec)

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

    @property
    def takes_extensions(self) -> bool:
        """Whether extension operations are allowed (``osProfile.allowExtensionOperations``); never without an agent."""
        return self.extensions and self.agent is not AgentState.NOT_INSTALLED

    def restart(self) -> None:
        """Begin another boot."""
        self.boots += 1
        self.boot_id = str(uuid.uuid5(uuid.UUID(self.boot_id), "restart"))


@dataclass(slots=True)
class World:
    """Everything that exists, by casefolded subscription id."""

    tenant: str
    subscriptions: dict[str, Subscription]
    limited: bool = False
    """Whether any place has rights; where none has, everything is allowed."""

    def chain(self, subscription: str, group: str | None = None, machine: Machine | None = None) -> tuple[Scope, ...]:
        """Return what of these is there, as scopes, the subscription first."""
        sub = self.subscription(subscription)
        if sub is None:
            return ()
        found = [Scope(f"/subscriptions/{sub.id}", sub.access)]
        inside = self.group(subscription, group) if group is not None else None
        if inside is not None:
            found.append(Scope(inside.id, inside.access))
        if machine is not None:
            found.append(Scope(machine.id, machine.access))
        return tuple(found)

    def may(self, action: str, subscription: str, group: str | None = None, machine: Machine | None = None) -> bool:
        """Say whether an action is allowed there."""
        return not self.limited or may(self.chain(subscription, group, machine), action)

    def may_read(self, id: str, kind: str) -> bool:
        """Say whether a resource, or a group, of this type may be read."""
        parts = id.strip("/").split("/")
        group = parts[3] if len(parts) > 3 else None
        return self.may(f"{kind}/read", parts[1], group, self.by_id(id))

    def below(self, chain: Sequence[Scope]) -> list[Scope]:
        """Return the scopes of a chain, and all that is below its last one."""
        top = f"{chain[-1].id}/".casefold()
        inside = [Scope(group.id, group.access) for group in self.groups()]
        inside += [Scope(machine.id, machine.access) for machine in self.everything()]
        return [*chain, *(scope for scope in inside if scope.id.casefold().startswith(top))]

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
