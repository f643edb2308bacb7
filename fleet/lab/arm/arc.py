"""Arc machines as Microsoft.HybridCompute and Resource Graph render them. Pure; shapes as in the REST spec."""

from __future__ import annotations

from fleet.lab.arm import answers
from fleet.lab.arm.expressions import Row
from fleet.lab.wire import Json, stamp
from fleet.lab.world.machine_spec import AgentState
from fleet.lab.world.world import CREATED, Machine


def machine(found: Machine) -> dict[str, object]:
    """Render an Arc machine."""
    return {
        "id": found.id,
        "name": found.name,
        "type": found.type,
        "location": found.location,
        "tags": found.tags,
        "identity": _identity(found),
        "properties": _properties(found),
    }


def row(found: Machine) -> Row:
    """Render an Arc machine as a row of ``resources``."""
    made = answers.row(found.id, found.name, "microsoft.hybridcompute/machines", found.group, found.tags)
    return {**made, "location": found.location, "identity": _identity(found), "properties": _properties(found)}


def _identity(found: Machine) -> Json:
    return {"type": "SystemAssigned", "principalId": found.boot_id, "tenantId": found.group.subscription.tenant}


def _properties(found: Machine) -> dict[str, object]:
    name, version = answers.os_names(found)
    connected = found.agent is AgentState.READY
    return {
        "provisioningState": "Succeeded",
        "status": "Connected" if connected else "Disconnected",
        "lastStatusChange": stamp(CREATED),
        "errorDetails": [],
        "agentVersion": "1.47.02996.2155",
        "vmId": found.vm_id,
        "displayName": found.name,
        "machineFqdn": found.name,
        "osName": found.system.value,
        "osVersion": version,
        "osType": found.system.value,
        "osSku": name,
        "osProfile": {"computerName": found.host},
        "detectedProperties": {"cloudprovider": "N/A"},
        "cloudMetadata": {"provider": "N/A"},
    }
