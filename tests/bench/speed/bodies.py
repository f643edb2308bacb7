"""The bodies of the service's answers, in the shapes that were recorded of the real one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from tests.bench.speed.rows import GROUPS, SUBSCRIPTIONS, subscription_of
from tests.bench.speed.wire import Answered

LOCATION = "westeurope"


def vm_name(index: int) -> str:
    """Return the name of a VM."""
    return f"vm{index:05}"


def subscriptions() -> Answered:
    """Return the list of subscriptions."""
    found = [subscription_of(index) for index in range(SUBSCRIPTIONS)]
    rows = [{"id": f"/subscriptions/{s}", "subscriptionId": s, "displayName": s, "state": "Enabled"} for s in found]
    return Answered(200, {"value": rows})


def row(index: int) -> dict[str, object]:
    """One VM as Resource Graph gives it to the query of any of the clients."""
    subscription, name, group = subscription_of(index), vm_name(index), GROUPS[index // SUBSCRIPTIONS % 2]
    place = f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/{name}"
    return {
        "id": place,
        "name": name,
        "location": LOCATION,
        "resourceGroup": group,
        "subscriptionId": subscription,
        "tags": {"env": "prod"},
        "vmSize": "Standard_B2s",
        "osType": "Linux",
        "powerState": "PowerState/running",
    }


VIEW = {
    "vmAgent": {"statuses": [{"code": "ProvisioningState/succeeded", "displayStatus": "Ready"}]},
    "statuses": [{"code": "PowerState/running", "displayStatus": "VM running"}],
}


def model(row: Mapping[str, object], states: bool) -> dict[str, object]:
    """One VM as Compute lists it."""
    properties: dict[str, object] = {"provisioningState": "Succeeded"}
    if states:
        properties["instanceView"] = VIEW
    return {"id": row["id"], "name": row["name"], "location": LOCATION, "properties": properties}


def resource(place: str, properties: Mapping[str, object]) -> dict[str, object]:
    """One managed command."""
    kind = "Microsoft.Compute/virtualMachines/runCommands"
    return {"id": place, "name": place.rpartition("/")[2], "type": kind, "location": LOCATION, "properties": properties}


def error(code: str) -> dict[str, object]:
    """What a refusal says."""
    return {"error": {"code": code, "message": f"{code} (the benchmark's own server)"}}


def iso(moment: float) -> str:
    """A moment as the service writes it."""
    return datetime.fromtimestamp(moment, UTC).isoformat()
