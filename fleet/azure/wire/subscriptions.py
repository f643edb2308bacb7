"""The list of subscriptions, entry by entry. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from fleet.azure.wire import shapes
from fleet.azure.wire.http import Json, as_text
from fleet.targets.model import Subscription, UnreadSubscription

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
"""What can stand in the path of a request. Ids are GUIDs (documented)."""

_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,254}", re.ASCII)


def read_all(rows: Sequence[Json]) -> tuple[tuple[Subscription, ...], tuple[UnreadSubscription, ...]]:
    """Read every entry; each that is not a subscription is named by its position. Entries that are alike are one."""
    found: dict[str, list[tuple[int, Subscription]]] = {}
    unread: list[UnreadSubscription] = []
    for position, row in enumerate(rows, start=1):
        entry = _read(row, position)
        if isinstance(entry, Subscription):
            found.setdefault(entry.id.casefold(), []).append((position, entry))
        else:
            unread.append(entry)
    known = []
    for entries in found.values():
        (_, first), *rest = entries
        if all(replace(other, id=first.id) == first for _, other in rest):
            known.append(first)
            continue
        places = " and ".join(str(position) for position, _ in entries)
        reason = f"they have the same subscriptionId {first.id} and differ"
        unread.append(UnreadSubscription(f"entries {places} of the list of subscriptions", reason, id=first.id))
    return tuple(known), tuple(unread)


def _read(row: Json, position: int) -> Subscription | UnreadSubscription:
    label = f"entry {position} of the list of subscriptions"
    if not isinstance(row, dict):
        return UnreadSubscription(label, f"it is {shapes.kind_of_json(row)}, not an object")
    wrong_id, wrong_name = _wrong_id(row), _wrong_name(row)
    name = None if wrong_name else as_text(row.get("displayName"))
    if wrong_id or name is None:
        label += f" ({name[:80]})" if name else ""
        identity = None if wrong_id else as_text(row.get("subscriptionId"))
        return UnreadSubscription(label, wrong_id or wrong_name, identity, name)
    tenant = as_text(row.get("tenantId"))
    return Subscription(
        id=as_text(row.get("subscriptionId")),
        name=name,
        tenant=tenant if _TENANT.fullmatch(tenant) else "",
        state=_state(row),
    )


def _wrong_id(row: dict[str, Json]) -> str:
    """Say why an entry's subscriptionId is none; its resource id, where there is one, must end in the same."""
    given = row.get("subscriptionId")
    if "subscriptionId" not in row or given is None:
        return "its subscriptionId is null" if "subscriptionId" in row else "it has no subscriptionId"
    if wrong := shapes.text(given):
        return f"its subscriptionId {wrong}"
    if not _ID.fullmatch(as_text(given)):
        return "its subscriptionId is not the id of a subscription"
    whole = row.get("id")
    if isinstance(whole, str) and whole.casefold().rpartition("/")[2] != as_text(given).casefold():
        return "its id and its subscriptionId disagree"
    return ""


def _wrong_name(row: dict[str, Json]) -> str:
    given = row.get("displayName")
    if shapes.is_absent(given):
        return "it has no displayName"
    wrong = shapes.text(given)
    return f"its displayName {wrong}" if wrong else ""


def _state(row: dict[str, Json]) -> str:
    given = row.get("state")
    return "" if shapes.text(given) else as_text(given) or "Enabled"
