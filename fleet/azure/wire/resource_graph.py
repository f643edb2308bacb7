"""Machines as Resource Graph knows them: one query for a thousand subscriptions, but a little behind the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fleet.azure.wire import machines
from fleet.azure.wire.http import MIB, Json, Request, as_object, as_text, dig
from fleet.azure.wire.machines import Entry
from fleet.azure.wire.versions import Api, ask
from fleet.targets.kinds import USUAL
from fleet.targets.model import Kind, Subscription, kind_of
from fleet.targets.partial import PartialTarget

PAGE_ROWS = 1000
"""The most rows of one answer (documented)."""

MAX_SUBSCRIPTIONS = 1000
"""The most subscriptions that one query is asked about."""

_COLUMNS = (
    ("id", ""),  # without it there is no $skipToken and the rest of a long answer is lost (documented)
    ("name", ""),
    ("location", ""),
    ("resourceGroup", ""),
    ("subscriptionId", ""),
    ("tags", ""),
    ("zones", ""),
    ("vmSize", "tostring(properties.hardwareProfile.vmSize)"),
    ("osType", "tostring(properties.storageProfile.osDisk.osType)"),
    ("isLinux", "isnotnull(properties.osProfile.linuxConfiguration)"),
    ("isWindows", "isnotnull(properties.osProfile.windowsConfiguration)"),
    ("imageReference", "properties.storageProfile.imageReference"),
    ("powerState", "tostring(properties.extended.instanceView.powerState.code)"),
    ("memberOf", "tostring(properties.virtualMachineScaleSet.id)"),
    ("availabilitySet", "tostring(properties.availabilitySet.id)"),
)

_ARC_COLUMNS = (
    ("arcOs", "tostring(properties.osType)"),
    ("arcName", "tostring(properties.osName)"),
    ("arcStatus", "tostring(properties.status)"),
)

TABLES = {Kind.VM: "microsoft.compute/virtualmachines", Kind.ARC: "microsoft.hybridcompute/machines"}
"""Types that have rows in ``resources``; the instances of uniform scale sets have none (documented)."""


def query_text(kinds: frozenset[Kind] = USUAL) -> str:
    """Return the query for machines of these kinds, of which at least one has rows."""
    types = [name for kind, name in TABLES.items() if kind in kinds]
    wanted = f"=~ '{types[0]}'" if len(types) == 1 else "in~ (" + ", ".join(f"'{name}'" for name in types) + ")"
    chosen = _COLUMNS + (_ARC_COLUMNS if Kind.ARC in kinds else ())
    columns = ", ".join(f"{name} = {expression}" if expression else name for name, expression in chosen)
    return "\n| ".join(["resources", f"where type {wanted}", f"project {columns}", "order by id asc"])


def question(subscriptions: Sequence[str], skip_token: str = "", kinds: frozenset[Kind] = USUAL) -> Request:
    """Build the request for one page."""
    options: dict[str, Json] = {"resultFormat": "objectArray", "$top": PAGE_ROWS}
    if skip_token:
        options["$skipToken"] = skip_token
    body: dict[str, Json] = {
        "subscriptions": list(subscriptions),
        "query": query_text(kinds),
        "options": options,
    }
    place = "/providers/Microsoft.ResourceGraph/resources"
    return ask("POST", place, Api.RESOURCE_GRAPH, body=body, cap=8 * MIB)


@dataclass(frozen=True, slots=True)
class GraphPage:
    """One page. ``truncated`` says that rows are missing, or may be: no token leads to them, or what the page says of
    itself is not what it holds. ``total`` is -1 where that is not known.
    """

    rows: tuple[Json, ...]
    skip_token: str = ""
    truncated: bool = False
    total: int = -1


def read_page(data: Json) -> GraphPage | None:
    """Read a page; None if it is none. ``resultTruncated`` is the text ``true`` or ``false`` (REST spec)."""
    body = as_object(data)
    rows, token, truncated = body.get("data"), body.get("$skipToken"), body.get("resultTruncated")
    if not isinstance(rows, list):
        return None
    total, count = _number(body.get("totalRecords")), body.get("count")
    sound = (
        (token is None or isinstance(token, str))
        and (truncated is None or (isinstance(truncated, str) and truncated.lower() in ("true", "false")))
        and (count is None or _number(count) == len(rows))
    )
    more = as_text(truncated).lower() == "true"
    return GraphPage(tuple(rows), as_text(token), not sound or (more and not token), total)


def _number(data: Json) -> int:
    return data if isinstance(data, int) and not isinstance(data, bool) and data >= 0 else -1


def target(row: Json, owner: Subscription, position: int = 1) -> Entry:
    """Read a machine from a row, as :func:`fleet.azure.wire.machines.read` does."""
    whole = _unfolded(row) if isinstance(row, dict) and not isinstance(row.get("properties"), dict) else row
    kind = kind_of(as_text(dig(row, "id")))
    found = machines.read(whole, owner, kind, position)
    if isinstance(found, PartialTarget) and "id" in found.unknown:
        return replace(found, unknown=found.unknown | {"kind"}, label=f"row {position} of Resource Graph's answer")
    return found


def _unfolded(row: dict[str, Json]) -> dict[str, Json]:
    """Put the query's flat columns back where the resource has them, so that one reader serves both lists."""
    profile: dict[str, Json] = {
        name: {}
        for name, column in (("linuxConfiguration", "isLinux"), ("windowsConfiguration", "isWindows"))
        if row.get(column) in (True, 1)
    }
    properties: dict[str, Json] = {
        "hardwareProfile": {"vmSize": row.get("vmSize")},
        "storageProfile": {
            "osDisk": {"osType": row.get("osType")},
            "imageReference": row.get("imageReference"),
        },
        "osProfile": profile,
        "extended": {"instanceView": {"powerState": {"code": row.get("powerState")}}},
        "virtualMachineScaleSet": {"id": row.get("memberOf")},
        "availabilitySet": {"id": row.get("availabilitySet")},
        "osType": row.get("arcOs"),
        "osName": row.get("arcName"),
        "status": row.get("arcStatus"),
    }
    return {**row, "properties": properties}


def subscriptions_of(row: Json) -> frozenset[str]:
    """Return the subscriptions that a row names, by its column and by its id, in the case for comparing.

    One, where the row is sound; none where it names none, and two where it contradicts itself.
    """
    parts = as_text(dig(row, "id")).split("/")
    named = (as_text(dig(row, "subscriptionId")), parts[2] if len(parts) > 2 else "")
    return frozenset(name.casefold() for name in named if name)
