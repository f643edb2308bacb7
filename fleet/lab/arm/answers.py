"""VMs, groups and subscriptions as ARM, Compute and Resource Graph render them. Pure; shapes as recorded."""

from __future__ import annotations

from fleet.lab.arm.expressions import Row
from fleet.lab.wire import Json, stamp, whole_stamp
from fleet.lab.world import maintenance
from fleet.lab.world.machine_spec import AgentState, PowerState, System
from fleet.lab.world.operations import Operation
from fleet.lab.world.world import CREATED, Group, Machine, Place, Subscription

_OS_NAMES = {
    "canonical": "ubuntu",
    "debian": "debian",
    "redhat": "redhat",
    "suse": "sles",
    "almalinux": "almalinux",
    "microsoftcblmariner": "azurelinux",
}


def subscription(sub: Subscription) -> Json:
    """Render a subscription."""
    return {
        "id": f"/subscriptions/{sub.id}",
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "tags": sub.tags,
        "subscriptionId": sub.id,
        "tenantId": sub.tenant,
        "displayName": sub.name,
        "state": "Enabled",
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off",
        },
    }


def group(found: Group) -> Json:
    """Render a resource group."""
    return {
        "id": found.id,
        "name": found.name,
        "type": "Microsoft.Resources/resourceGroups",
        "location": found.location,
        "tags": found.tags,
        "properties": {"provisioningState": "Succeeded"},
    }


def vm(machine: Machine, *, view: bool = False) -> dict[str, object]:
    """Render a VM's model, with its instance view if asked for."""
    properties = model(machine)
    if view:
        properties["instanceView"] = instance_view(machine)
    properties["timeCreated"] = stamp(CREATED)
    whole = _head(machine)
    whole["tags"] = machine.tags
    if machine.zone:
        whole["zones"] = [machine.zone]
    whole["properties"] = properties
    whole["etag"] = '"1"'
    return whole


def status(machine: Machine) -> dict[str, object]:
    """Render a VM as a list with statusOnly=true does: its run-time status instead of its model."""
    properties = {
        "provisioningState": "Succeeded",
        "vmId": machine.vm_id,
        "instanceView": instance_view(machine),
    }
    return {**_head(machine), "properties": properties}


def _head(machine: Machine) -> dict[str, object]:
    return {
        "name": machine.name,
        "id": machine.shown_id,
        "type": machine.type,
        "location": machine.location,
    }


def model(machine: Machine) -> dict[str, object]:
    """Render the properties of a VM's model."""
    disk = _disk(machine)
    place = machine.group.compute_id
    network = f"{place}/providers/Microsoft.Network/networkInterfaces/{machine.name}VMNic"
    return {
        "hardwareProfile": {"vmSize": machine.size},
        "provisioningState": "Succeeded",
        "vmId": machine.vm_id,
        "storageProfile": {
            "imageReference": image(machine),
            "osDisk": {
                "osType": machine.system.value.capitalize(),
                "name": disk,
                "createOption": "FromImage",
                "caching": "ReadWrite",
                "managedDisk": {
                    "storageAccountType": "Premium_LRS",
                    "id": f"{place}/providers/Microsoft.Compute/disks/{disk}",
                },
                "deleteOption": "Detach",
                "diskSizeGB": 30 if machine.system is System.LINUX else 127,
            },
            "dataDisks": [],
        },
        "osProfile": _os_profile(machine),
        "networkProfile": {"networkInterfaces": [{"id": network}]},
        **({"virtualMachineScaleSet": {"id": machine.member_of.shown_id}} if machine.member_of else {}),
        **({"availabilitySet": {"id": _availability_set(machine.group, machine.place)}} if machine.place else {}),
    }


def _availability_set(group: Group, place: Place) -> str:
    """Compute writes a set's name in capitals (recorded)."""
    return f"{group.compute_id}/providers/Microsoft.Compute/availabilitySets/{place.availability_set.upper()}"


def image(machine: Machine) -> dict[str, object]:
    """Render the image reference: four parts of a marketplace image, or a resource id."""
    if machine.image.startswith("/"):
        return {"id": machine.image}
    parts = [*machine.image.split(":"), "", "", ""][:4]
    publisher, offer, sku, version = parts
    exact = "22.04.202501010" if version in ("", "latest") else version
    return {
        "publisher": publisher,
        "offer": offer,
        "sku": sku,
        "version": version or "latest",
        "exactVersion": exact,
    }


def os_names(machine: Machine) -> tuple[str, str]:
    """Return the guest's system and version as its agent reports them."""
    if machine.system is System.WINDOWS:
        return "Windows Server 2022 Datacenter", "10.0.20348"
    publisher, _, sku = [*machine.image.split(":"), "", "", ""][:3]
    digits = "".join(each if each.isdigit() else " " for each in sku).split()
    version = ".".join(digits[:2]) if publisher.lower() == "canonical" else "".join(digits[:1])
    return _OS_NAMES.get(publisher.lower(), "ubuntu"), version or "22.04"


def instance_view(machine: Machine) -> Json:
    """Render a VM's instance view (recorded: a ready agent, one that is not ready)."""
    name, version = os_names(machine)
    running = machine.power is PowerState.RUNNING
    ready = running and machine.agent is AgentState.READY
    view: dict[str, object] = {}
    if machine.place is not None:
        view["platformUpdateDomain"] = machine.place.update_domain
        view["platformFaultDomain"] = machine.place.fault_domain
    if ready:
        view |= {"computerName": machine.host, "osName": name, "osVersion": version}
    if running and machine.agent is not AgentState.SILENT:
        view["vmAgent"] = _agent(machine.agent)
    at = stamp(CREATED)
    provisioned = {
        "code": "ProvisioningState/succeeded",
        "level": "Info",
        "displayStatus": "Provisioning succeeded",
        "time": at,
    }
    view["disks"] = [{"name": _disk(machine), "statuses": [provisioned]}]
    view["hyperVGeneration"] = "V2"
    view["statuses"] = [
        provisioned,
        {"code": f"PowerState/{machine.power}", "level": "Info", "displayStatus": f"VM {machine.power}"},
    ]
    return view


_UNAVAILABLE = {
    AgentState.NOT_READY: "VM status blob is found but not yet populated.",
    AgentState.NO_STATUS: "VM status blob not found.",
}
"""Texts of an agent that does not report (recorded; seen). One that is not installed has no text (agent's own tests)."""


def _agent(state: AgentState) -> Json:
    if state is AgentState.READY:
        status = {
            "code": "ProvisioningState/succeeded",
            "level": "Info",
            "displayStatus": "Ready",
            "message": "Guest Agent is running",
        }
        version = "2.11.1.4"
    else:
        status = {
            "code": "ProvisioningState/Unavailable",
            "level": "Warning",
            "displayStatus": "Not Ready",
            **({"message": _UNAVAILABLE[state]} if state in _UNAVAILABLE else {}),
        }
        version = "Unknown"
    statuses = [{**status, "time": whole_stamp(CREATED)}]
    return {"vmAgentVersion": version, "statuses": statuses, "extensionHandlers": []}


def _os_profile(machine: Machine) -> Json:
    profile: dict[str, object] = {"computerName": machine.host, "adminUsername": "azureuser"}
    settings = maintenance.patch_settings(machine.patch_mode, on_schedule=machine.patch_on_schedule)
    if machine.system is System.LINUX:
        profile["linuxConfiguration"] = {
            "disablePasswordAuthentication": True,
            "provisionVMAgent": machine.agent is not AgentState.NOT_INSTALLED,
            "patchSettings": settings,
        }
    else:
        profile["windowsConfiguration"] = {
            "provisionVMAgent": machine.agent is not AgentState.NOT_INSTALLED,
            "enableAutomaticUpdates": machine.patch_mode != "Manual",
            "patchSettings": settings,
        }
    return {
        **profile,
        "secrets": [],
        "allowExtensionOperations": machine.takes_extensions,
        "requireGuestProvisionSignal": True,
    }


def _disk(machine: Machine) -> str:
    return f"{machine.name}_OsDisk_1_{machine.vm_id.replace('-', '')}"


def operation(found: Operation) -> Json:
    """Render an operation's state; an action's result is put in by the caller, as its form hangs on the
    api-version.
    """
    state: dict[str, object] = {"startTime": stamp(found.started)}
    if found.done:
        state["endTime"] = stamp(found.ended)
    state["status"] = found.phase.value
    if found.error is not None:
        state["error"] = {"code": found.error[0], "message": found.error[1]}
    state["name"] = found.id
    return state


# -- Resource Graph ----------------------------------------------------------------------------------------


def vm_row(machine: Machine) -> Row:
    """Render a VM as a row of ``resources``: types and group names in lower case, power state under
    ``extended``.
    """
    properties = model(machine)
    name, version = os_names(machine)
    properties["extended"] = {
        "instanceView": {
            "computerName": machine.host,
            "osName": name,
            "osVersion": version,
            "hyperVGeneration": "V2",
            "powerState": {
                "code": f"PowerState/{machine.power}",
                "displayStatus": f"VM {machine.power}",
                "level": "Info",
            },
        }
    }
    properties["timeCreated"] = stamp(CREATED)
    made = row(machine.id, machine.name, "microsoft.compute/virtualmachines", machine.group, machine.tags)
    zones = [machine.zone] if machine.zone else None
    return {**made, "location": machine.location, "zones": zones, "properties": properties}


def row(id: str, name: str, kind: str, group: Group, tags: dict[str, str]) -> Row:
    """Render what every row of a resource has, empty where a resource adds nothing."""
    found = _container(id, name, kind, group.subscription, tags)
    return {**found, "resourceGroup": group.name.lower()}


def maintenance_rows(found: Group) -> list[Row]:
    """Render the maintenance configurations of a group as rows of ``resources``."""
    kind = "microsoft.maintenance/maintenanceconfigurations"
    made = [(spec, maintenance.configuration(found.id, spec)) for spec in found.maintenance]
    return [{**row(str(each["id"]), spec.name, kind, found, {}), **each} for spec, each in made]


def assignment_rows(found: Group) -> list[Row]:
    """Render the assignments of a group's maintenance configurations as rows of ``maintenanceresources``."""
    kind = "microsoft.maintenance/configurationassignments"
    vms = [(machine.name, machine.id) for machine in found.machines.values()]
    made = [(spec, each) for spec in found.maintenance for each in maintenance.assignments(found.id, vms, spec)]
    return [{**row(str(each["id"]), spec.name, kind, found, {}), **each} for spec, each in made]


def subscription_row(sub: Subscription) -> Row:
    """Render a subscription as a row of ``resourcecontainers``."""
    row = _container(f"/subscriptions/{sub.id}", sub.name, "microsoft.resources/subscriptions", sub, sub.tags)
    row["properties"] = {"state": "Enabled", "managedByTenants": []}
    return row


def group_row(found: Group) -> Row:
    """Render a resource group as a row of ``resourcecontainers``."""
    kind = "microsoft.resources/subscriptions/resourcegroups"
    row = _container(found.id, found.name, kind, found.subscription, found.tags)
    row["location"] = found.location
    row["resourceGroup"] = found.name.lower()
    row["properties"] = {"provisioningState": "Succeeded"}
    return row


def _container(id: str, name: str, kind: str, sub: Subscription, tags: dict[str, str]) -> Row:
    return {
        "id": id,
        "name": name,
        "type": kind,
        "tenantId": sub.tenant,
        "kind": "",
        "location": "",
        "resourceGroup": "",
        "subscriptionId": sub.id,
        "managedBy": "",
        "sku": None,
        "plan": None,
        "properties": {},
        "tags": tags,
        "identity": None,
        "zones": None,
        "extendedLocation": None,
    }
