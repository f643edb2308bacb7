"""Scale sets and the instances of uniform ones as Compute and Resource Graph render them. Pure; shapes as recorded."""

from __future__ import annotations

from fleet.lab.arm import answers
from fleet.lab.arm.expressions import Row
from fleet.lab.wire import Json, stamp
from fleet.lab.world.world import CREATED, Machine, ScaleSet

_DOMAINS = 5  # fault and update domains of a set without zones (recorded: an instance's are its id, from 0)


def scale_set(found: ScaleSet) -> dict[str, object]:
    """Render a scale set's model (REST spec)."""
    whole: dict[str, object] = {
        "name": found.name,
        "id": found.shown_id,
        "type": "Microsoft.Compute/virtualMachineScaleSets",
        "location": found.location,
        "tags": found.tags,
        "sku": {"name": found.size, "tier": "Standard", "capacity": len(found.instances)},
        "properties": properties(found),
        "etag": '"1"',
    }
    if found.zones:
        whole["zones"] = list(found.zones)
    return whole


def properties(found: ScaleSet) -> dict[str, object]:
    """Render the properties of a scale set's model, its profile as its first instance has it."""
    first = answers.model(next(iter(found.instances.values())))
    storage, system = first["storageProfile"], first["osProfile"]
    assert isinstance(storage, dict) and isinstance(system, dict)
    disk = {
        key: value for key, value in storage["osDisk"].items() if key not in ("name", "managedDisk", "deleteOption")
    }
    named = {key: value for key, value in system.items() if key not in ("computerName", "requireGuestProvisionSignal")}
    return {
        "singlePlacementGroup": not found.flexible,
        "orchestrationMode": "Flexible" if found.flexible else "Uniform",
        "upgradePolicy": {"mode": "Manual"},
        "virtualMachineProfile": {
            "osProfile": {"computerNamePrefix": found.name[:9].lower(), **named},
            "storageProfile": {
                "osDisk": {**disk, "managedDisk": {"storageAccountType": "Premium_LRS"}},
                "imageReference": {
                    key: value for key, value in storage["imageReference"].items() if key != "exactVersion"
                },
            },
            "networkProfile": {"networkInterfaceConfigurations": [_network(found)]},
        },
        "provisioningState": "Succeeded",
        "overprovision": True,
        "doNotRunExtensionsOnOverprovisionedVMs": False,
        "uniqueId": found.unique_id,
        "platformFaultDomainCount": _DOMAINS,
        "timeCreated": stamp(CREATED),
    }


def instance(machine: Machine, *, view: bool = False) -> dict[str, object]:
    """Render an instance's model, with its instance view if asked for."""
    found = machine.scale_set
    assert found is not None
    model = answers.model(machine)
    interface = f"{machine.shown_id}/networkInterfaces/{found.name}Nic"
    inner: dict[str, object] = {
        "latestModelApplied": True,
        "modelDefinitionApplied": "VirtualMachineScaleSet",
        "networkProfileConfiguration": {"networkInterfaceConfigurations": [_network(found)]},
        "provisioningState": "Succeeded",
        **{key: model[key] for key in ("hardwareProfile", "vmId", "storageProfile", "osProfile")},
        "networkProfile": {"networkInterfaces": [{"id": interface}]},
    }
    if view:
        inner["instanceView"] = instance_view(machine)
    inner["timeCreated"] = stamp(CREATED)
    whole: dict[str, object] = {
        "name": machine.name,
        "id": machine.shown_id,
        "type": machine.type,
        "location": machine.location,
        "tags": machine.tags,
        "instanceId": str(machine.number),
        "sku": {"name": machine.size, "tier": "Standard"},
        "properties": inner,
        "etag": '"1"',
    }
    if machine.zone:
        whole["zones"] = [machine.zone]
    return whole


def instance_view(machine: Machine) -> Json:
    """Render an instance's view: a VM's, and where it is placed."""
    found = machine.scale_set
    assert found is not None
    place = {
        "placementGroupId": found.placement_id,
        "platformUpdateDomain": machine.number % _DOMAINS,
        "platformFaultDomain": machine.number % _DOMAINS,
    }
    return {**place, **answers.instance_view(machine)}


def row(found: ScaleSet) -> Row:
    """Render a scale set as a row of ``resources``; its instances have none (documented)."""
    made = answers.row(found.id, found.name, "microsoft.compute/virtualmachinescalesets", found.group, found.tags)
    sku = {"name": found.size, "tier": "Standard", "capacity": len(found.instances)}
    zones = list(found.zones) or None
    return {**made, "location": found.location, "sku": sku, "zones": zones, "properties": properties(found)}


def _network(found: ScaleSet) -> Json:
    network = f"{found.group.compute_id}/providers/Microsoft.Network"
    subnet = f"{network}/virtualNetworks/{found.name}VNET/subnets/{found.name}Subnet"
    balancer = f"{network}/loadBalancers/{found.name}LB/backendAddressPools/{found.name}LBBEPool"
    address = {
        "subnet": {"id": subnet},
        "privateIPAddressVersion": "IPv4",
        "loadBalancerBackendAddressPools": [{"id": balancer}],
    }
    return {
        "name": f"{found.name}Nic",
        "properties": {
            "primary": True,
            "disableTcpStateTracking": False,
            "networkSecurityGroup": {"id": f"{network}/networkSecurityGroups/{found.name}NSG"},
            "dnsSettings": {"dnsServers": []},
            "enableIPForwarding": False,
            "ipConfigurations": [{"name": f"{found.name}IPConfig", "properties": address}],
        },
    }
