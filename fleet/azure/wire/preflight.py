"""What is read before a run: permissions, the state of a VM, and what a token says of its owner."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fleet.azure.wire import compute, hybrid, shapes
from fleet.azure.wire.compute import power_of
from fleet.azure.wire.http import MIB, Json, Request, as_list, as_object, as_text, dig, parse_json
from fleet.azure.wire.versions import Api, ask
from fleet.targets.glob import same_case
from fleet.targets.model import Kind, Target

if TYPE_CHECKING:
    from fleet.preflight.facts import Agent, Condition
    from fleet.preflight.rights import Grant


def permissions(scope: str) -> Request:
    """Build the request for what the caller may do at a scope (REST reference: groups and resources; a subscription is
    asked alike, as public tools do).
    """
    place = f"{scope}/providers/Microsoft.Authorization/permissions"
    return ask("GET", place, Api.AUTHORIZATION, cap=4 * MIB)


def grants(rows: Sequence[Json]) -> tuple[Grant, ...] | str:
    """Read permissions. A text where an entry cannot be read: a right that it gives or takes away would be missed."""
    from fleet.preflight.rights import Grant

    found = []
    for position, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            return f"entry {position} of the permissions is {shapes.kind_of_json(row)}, not an object"
        for name in ("actions", "notActions"):
            if wrong := _wrong_actions(row, name):
                return f"{name} of entry {position} of the permissions {wrong}"
        found.append(Grant(_texts(row.get("actions")), _texts(row.get("notActions"))))
    return tuple(found)


def _wrong_actions(row: dict[str, Json], name: str) -> str:
    given = row.get(name)
    if name in row and not isinstance(given, list):
        return f"is {shapes.kind_of_json(given)}, not a list"
    return shapes.texts(given)


def _texts(data: Json) -> tuple[str, ...]:
    return tuple(text for item in as_list(data) if (text := as_text(item)))


def vm_view(target: Target) -> Request:
    """Build the request for a machine's model and state in one."""
    if target.kind is Kind.ARC:
        return hybrid.reading(target)
    return compute.vm_view(target)


_ARC_SHAPES: tuple[tuple[str, shapes.Shape], ...] = (("properties.status", shapes.text),)
_VM_SHAPES: tuple[tuple[str, shapes.Shape], ...] = (
    ("properties.osProfile.allowExtensionOperations", shapes.flag),
    ("properties.instanceView.vmAgent.vmAgentVersion", shapes.text),
    ("properties.instanceView.vmAgent.statuses", shapes.each([("displayStatus", shapes.text)])),
    ("properties.instanceView.statuses", shapes.each([("code", shapes.text)])),
)


def condition(target: Target, data: Json) -> Condition:
    """Read how a machine stands, or why that cannot be read."""
    from fleet.preflight.facts import Condition

    properties = as_object(as_object(data).get("properties"))
    if not properties:
        return Condition(target, why="the answer is no VM")
    identity = dig(data, "id")
    if identity is not None and same_case(as_text(identity)) != target.key:
        return Condition(target, why="the answer is about another VM")
    for place, shape in _ARC_SHAPES if target.kind is Kind.ARC else _VM_SHAPES:
        if wrong := shapes.wrong_at(data, place.split("."), shape):
            return Condition(target, why=f"{place} {wrong}")
    if target.kind is Kind.ARC:
        return Condition(target, power=hybrid.connection(properties))
    view = as_object(properties.get("instanceView"))
    allowed = dig(properties, "osProfile", "allowExtensionOperations")
    return Condition(
        target,
        power=power_of(properties),
        agent=_agent(view),
        agent_version=as_text(dig(view, "vmAgent", "vmAgentVersion")),
        extensions=allowed if isinstance(allowed, bool) else None,
    )


def _agent(view: dict[str, Json]) -> Agent:
    """Read the agent's state: ``Ready`` or ``Not Ready`` (recorded); a running VM without the block never reported."""
    from fleet.preflight.facts import Agent

    if not view:
        return Agent.UNKNOWN
    if view.get("vmAgent") is None:
        return Agent.ABSENT
    statuses = [as_object(item) for item in as_list(dig(view, "vmAgent", "statuses"))]
    shown = [as_text(item.get("displayStatus")).casefold() for item in statuses]
    if not any(shown):
        return Agent.UNKNOWN
    return Agent.READY if "ready" in shown else Agent.NOT_READY


def names(rows: Sequence[Json]) -> tuple[str, ...] | str:
    """Read the names of a list's rows. A text where a row has none: it takes a place all the same."""
    found = []
    for position, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            return f"entry {position} of the list is {shapes.kind_of_json(row)}, not an object"
        name = row.get("name")
        if shapes.is_absent(name) or shapes.text(name):
            return f"the name of entry {position} of the list {shapes.text(name) or 'is missing'}"
        found.append(as_text(name))
    return tuple(found)


def claims(token: str) -> Mapping[str, str]:
    """Return what a token says of its owner (``tid``, ``oid``, ``appid``), unverified; nothing if it is no JWT."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        body = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
    except ValueError:
        return {}
    said = as_object(parse_json(body))
    found = {name: as_text(said.get(name)) for name in ("tid", "oid", "appid")}
    found["appid"] = found["appid"] or as_text(said.get("azp"))  # its name in tokens of version 2
    return {name: text for name, text in found.items() if text}
