"""The list of a subscription's locks (REST reference, ``Microsoft.Authorization/locks``). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.azure.wire.http import MIB, Json, Request, as_text, dig
from fleet.azure.wire.versions import Api, ask
from fleet.preflight.locks import Lock
from fleet.targets.glob import same_case

_LOCK = "/providers/microsoft.authorization/locks/"


def listing(subscription: str) -> Request:
    """Build the request for every lock in a subscription: on it, its groups, and what is in them."""
    return ask("GET", f"/subscriptions/{subscription}/providers/Microsoft.Authorization/locks", Api.LOCKS, cap=8 * MIB)


def locks(rows: Sequence[Json]) -> tuple[Lock, ...] | str:
    """Read the locks; a text where one cannot be read: it may be the one that counts."""
    found = []
    for position, row in enumerate(rows, start=1):
        identity, level = as_text(dig(row, "id")), as_text(dig(row, "properties", "level"))
        end = same_case(identity).rfind(_LOCK)
        if end < 0 or not level:
            return f"entry {position} of the list of locks cannot be read"
        name = as_text(dig(row, "name")) or identity[end + len(_LOCK) :]
        found.append(Lock(name, level, identity[:end]))
    return tuple(found)
