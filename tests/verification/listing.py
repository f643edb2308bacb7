"""Lists of machines that can be read in part only, and whether the plan says what is missing from it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from fleet.app.connect import Connection
from fleet.app.search import Narrowing, find
from fleet.azure.cloud import AzureCloud
from fleet.azure.credentials import StaticTokens
from fleet.azure.inventory import AzureInventory
from fleet.azure.managed import AzureManaged
from fleet.azure.preflight import AzurePreflight
from fleet.clock import Clock
from fleet.lab.arm.control import ControlPlane
from fleet.lab.wire import Answer, Request
from fleet.lab.world.spec import LabSpec
from fleet.playbook.model import Selection
from fleet.rehearsal.network import MemoryTransport, Network
from tests.verification.history import History
from tests.verification.labs import Misread
from tests.verification.scenario import Scenario

_LISTS = ("/subscriptions", "/virtualmachines", "/resources")
"""How the paths of lists end: of subscriptions, of a subscription's VMs, of Resource Graph's rows."""


async def planned(scenario: Scenario, clock: Clock) -> tuple[Scenario, tuple[str, ...]]:
    """Read the lists of a scenario's world, and return it with what its plan knows of them, and the VMs found by name.

    Nothing is lost on the wire meanwhile; what is wrong with the lists is what the scenario says.
    """
    plane = _Misreading(scenario.lab, scenario.misread)
    network = Network(plane, clock, random.Random(0), {}, (0.02, 0.05), 0.0, _Nobody())
    transport = MemoryTransport(network, (StaticTokens("listing"),), _Open)
    inventory, preflight, managed = AzureInventory(transport), AzurePreflight(transport), AzureManaged(transport)
    connection = Connection(AzureCloud(transport), inventory, preflight, managed, "listing")
    chosen = (await find(connection, Selection(), Narrowing())).chosen
    plan = replace(scenario.plan, unread=chosen.unread)
    return replace(scenario, plan=plan), tuple(target.name for target in chosen.targets)


def nobody_is_missing(history: History) -> Iterator[str]:
    """Each VM of the lists is a target, or the plan says that it, or its subscription, could not be read."""
    named = len(history.plan.unread)
    if len(history.unlisted) > named:
        yield f"{', '.join(history.unlisted)} could not be read, and the plan names {named} that could not"
    for name in history.misplaced:
        yield f"{name} is in the lists, and they can be read, and it is not found"


class _Misreading(ControlPlane):
    """A control plane whose lists hold entries that make no sense: by the name of the VM, or of the subscription."""

    def __init__(self, spec: LabSpec, misread: Mapping[str, Misread]) -> None:
        super().__init__(spec, sandboxed=False)
        self._misread = misread

    def handle(self, request: Request, now: float) -> Answer:
        answer = super().handle(request, now)
        if answer.status == 200 and request.path.casefold().endswith(_LISTS):
            data = json.loads(answer.body)
            key = "data" if "data" in data else "value"
            data[key] = [self._entry(entry) for entry in data[key]]
            answer.body = json.dumps(data).encode()
        return answer

    def _entry(self, entry: dict[str, Any]) -> object:
        wrong = self._misread.get(entry.get("displayName") or entry["name"])
        return entry if wrong is None else _spoiled(entry, wrong)


def _spoiled(entry: dict[str, Any], wrong: Misread) -> object:
    match wrong:
        case Misread.NULL:
            return None
        case Misread.TEXT:
            return "an entry"
        case Misread.NO_ID:
            gone = {"id", *(("subscriptionId",) if "displayName" in entry else ())}
            return {name: value for name, value in entry.items() if name not in gone}
        case Misread.OTHER_OWNER:
            return {**entry, **({"subscriptionId": "elsewhere"} if "subscriptionId" in entry else {})}
        case Misread.NO_SYSTEM:
            return _of_system(entry, None)
        case Misread.OTHER_SYSTEM:
            return _of_system(entry, "Solaris")


def _of_system(entry: dict[str, Any], system: str | None) -> dict[str, Any]:
    """A VM whose operating system is this one, in both shapes of a row; None does not say."""
    columns = [name for name in ("osType", "isLinux", "isWindows") if name in entry]
    flat: dict[str, Any] = {name: system if name == "osType" else None for name in columns}
    properties = dict(entry.get("properties") or {})
    if "storageProfile" in properties:
        disk = {**properties["storageProfile"]["osDisk"], "osType": system}
        properties |= {"storageProfile": {**properties["storageProfile"], "osDisk": disk}, "osProfile": {}}
    return {**entry, **flat, **({"properties": properties} if properties else {})}


class _Open:
    """A gate that is always open."""

    async def passed(self) -> None:
        return


class _Nobody:
    """A listener that keeps nothing."""

    def departed(self, request: Request, at: float) -> int:
        return 0

    def answered(self, number: int, answer: Answer, own: bool) -> None:
        return
