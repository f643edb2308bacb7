"""From a lab file to the world that it describes. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterator

from fleet.lab.world.chance import TENANT_LABEL, chosen, named_uuid
from fleet.lab.world.machine_spec import (
    AgentState,
    ArcSpec,
    ComputeSpec,
    GuestKind,
    MachinesSpec,
    PowerState,
    ScaleSetSpec,
    System,
    VmSpec,
)
from fleet.lab.world.spec import LabSpec
from fleet.lab.world.world import Group, Kind, Machine, Place, ScaleSet, Subscription, World

_DEFAULT_IMAGES = {
    System.LINUX: "Canonical:0001-com-ubuntu-server-jammy:22_04-lts-gen2:latest",
    System.WINDOWS: "MicrosoftWindowsServer:WindowsServer:2022-datacenter-azure-edition:latest",
}

_PATCH_MODES = {System.LINUX: "ImageDefault", System.WINDOWS: "AutomaticByOS"}


def build(spec: LabSpec, *, sandboxed: bool = True, powershell: bool = True) -> World:
    """Make the world of a lab file. Without ``sandboxed`` all guests are scripted, without ``powershell`` Windows ones."""
    real = {system for system in System if sandboxed and (powershell or system is not System.WINDOWS)}
    tenant = named_uuid(spec.seed, TENANT_LABEL)
    world = World(tenant, {})
    for subscription in spec.subscriptions:
        id = subscription.id or named_uuid(spec.seed, f"subscription/{subscription.name}")
        sub = Subscription(id, subscription.name, tenant, dict(subscription.tags), access=subscription)
        world.subscriptions[id.casefold()] = sub
        for given in subscription.groups:
            shown = given.name.upper() if spec.id_case == "upper" else given.name
            group = Group(sub, given.name, given.location, dict(given.tags), shown, access=given)
            group.maintenance = tuple(given.maintenance)
            sub.groups[given.name.casefold()] = group
            for vms in given.vms:
                for machine in _members(spec, group, vms, real):
                    group.machines[machine.name.casefold()] = machine
            for scale_set in given.scale_sets:
                group.scale_sets[scale_set.name.casefold()] = _scale_set(spec, group, scale_set, real)
            for arc in given.arc:
                for machine in _members(spec, group, arc, real):
                    group.arc[machine.name.casefold()] = machine
    places = [each.access for each in world.subscriptions.values()]
    places += [each.access for each in world.groups()] + [each.access for each in world.everything()]
    world.limited = any(each.rights is not None for each in places)
    return world


def _scale_set(spec: LabSpec, group: Group, given: ScaleSetSpec, real: Container[System]) -> ScaleSet:
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
        _fill_flexible(spec, made, _members(spec, group, given, real))
        return made
    for machine in _members(spec, group, given, real):
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


def _members(spec: LabSpec, group: Group, given: MachinesSpec, real: Container[System]) -> Iterator[Machine]:
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
            guest=given.kind if System(given.os) in real else GuestKind.SCRIPTED,
            rules=tuple(rule for at, rule in enumerate(rules) if index in members[at]),
            updates=given.updates,
            disks=given.disks,
            services=given.services,
            cim=given.cim,
            kind=kind,
            extensions=hardware.extensions,
            patch_mode=hardware.patch_mode or _PATCH_MODES[System(given.os)],
            patch_on_schedule=hardware.patch_on_schedule,
            handlers_denied=hardware.extension_policy == "deny",
            access=given,
            place=_place(given, index),
        )


def _place(given: MachinesSpec, index: int) -> Place | None:
    """VMs of a set are dealt out to its domains in turn (documented)."""
    if not isinstance(given, VmSpec) or not given.availability_set:
        return None
    return Place(given.availability_set, index % given.update_domains, index % given.fault_domains)


def _dealt(values: list[str], index: int) -> str:
    return values[index % len(values)]
