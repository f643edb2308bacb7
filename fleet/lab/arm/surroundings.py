"""What other tools ask about a VM and its subscription: network interfaces, resources, names of tags. Pure.

Read only, and just enough for listings: no VM has a public address or an extension. Shapes as in the REST specification.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from fleet.lab.wire import Json
from fleet.lab.world.world import Group, Kind, Machine, Subscription, World

NIC = "VMNic"
_TYPE_FILTER = re.compile(r"resourceType eq '([\w./]+)'", re.IGNORECASE)


def nic_of(group: Group | None, name: str) -> Machine | None:
    """Find the VM that a network interface belongs to."""
    if group is None or not name.casefold().endswith(NIC.casefold()):
        return None
    return group.machines.get(name[: -len(NIC)].casefold())


def interface(machine: Machine) -> Json:
    """Render a VM's network interface."""
    network = f"{machine.group.compute_id}/providers/Microsoft.Network"
    id = f"{network}/networkInterfaces/{machine.name}{NIC}"
    digest = hashlib.sha256(machine.key.encode()).digest()
    configuration = {
        "name": "ipconfig1",
        "id": f"{id}/ipConfigurations/ipconfig1",
        "type": "Microsoft.Network/networkInterfaces/ipConfigurations",
        "properties": {
            "provisioningState": "Succeeded",
            "privateIPAddress": f"10.{digest[0]}.{digest[1]}.{4 + digest[2] % 250}",
            "privateIPAllocationMethod": "Dynamic",
            "subnet": {"id": f"{network}/virtualNetworks/{machine.group.name}VNET/subnets/default"},
            "primary": True,
            "privateIPAddressVersion": "IPv4",
        },
    }
    return {
        "name": f"{machine.name}{NIC}",
        "id": id,
        "etag": 'W/"1"',
        "type": "Microsoft.Network/networkInterfaces",
        "location": machine.location,
        "properties": {
            "provisioningState": "Succeeded",
            "ipConfigurations": [configuration],
            "dnsSettings": {"dnsServers": [], "appliedDnsServers": []},
            "macAddress": "00-0D-3A-" + "-".join(f"{each:02X}" for each in digest[3:6]),
            "enableAcceleratedNetworking": False,
            "enableIPForwarding": False,
            "primary": True,
            "virtualMachine": {"id": machine.shown_id},
        },
    }


def resources(world: World, sub: str, group: str | None, wanted: str) -> list[Json] | None:
    """List VMs, scale sets and Arc machines as resources. None for a filter other than ``resourceType eq '...'``."""
    found = _TYPE_FILTER.fullmatch(wanted.strip()) if wanted else None
    if wanted and found is None:
        return None
    listed: list[tuple[str, str, str, str, Mapping[str, str]]] = [
        (each.id, each.name, each.type, each.location, each.tags)
        for each in (*world.machines(sub, group), *world.arc(sub, group))
        if each.kind is not Kind.INSTANCE
    ]
    sets = "Microsoft.Compute/virtualMachineScaleSets"
    listed += [(each.id, each.name, sets, each.location, each.tags) for each in world.scale_sets(sub, group)]
    return [
        {"id": id, "name": name, "type": kind, "location": location, "tags": dict(tags)}
        for id, name, kind, location, tags in listed
        if (found is None or kind.casefold() == found[1].casefold()) and world.may_read(id, kind)
    ]


def tag_names(world: World, sub: Subscription) -> list[Json]:
    """List the names and values of tags of a subscription's groups and resources, and how often each is there."""
    given: list[Mapping[str, str]] = [group.tags for group in world.groups(sub.id)]
    given += [each.tags for each in (*world.machines(sub.id), *world.arc(sub.id))]
    given += [each.tags for each in world.scale_sets(sub.id)]
    known: dict[str, Counter[str]] = {}
    for tags in given:
        for name, value in tags.items():
            known.setdefault(name, Counter())[value] += 1
    place = f"/subscriptions/{sub.id}/tagNames"
    return [
        {
            "id": f"{place}/{name}",
            "tagName": name,
            "count": _total(values.values()),
            "values": [
                {"id": f"{place}/{name}/tagValues/{value}", "tagValue": value, "count": _total([count])}
                for value, count in values.items()
            ],
        }
        for name, values in known.items()
    ]


def _total(counts: Iterable[int]) -> Json:
    return {"type": "Total", "value": sum(counts)}
