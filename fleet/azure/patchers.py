"""Who else patches the targets, and which locks are on them, as Azure tells it in few requests."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.azure.reading import MAX_PAGES, Sender, Unread, gathered, read, read_list, sentence
from fleet.azure.wire import locks as lock_wire
from fleet.azure.wire import maintenance as wire
from fleet.azure.wire import resource_graph
from fleet.azure.wire.http import Json
from fleet.engine.turns import Pause
from fleet.preflight.locks import Locks
from fleet.preflight.patchers import Patching
from fleet.targets.model import Target


async def read_patching(sender: Sender, targets: Sequence[Target], pause: Pause) -> Patching:
    """Read patch settings and assigned maintenance configurations. What cannot be read is told, never raised.

    The configurations themselves are asked for only where one is assigned at all.
    """
    places = _subscriptions(targets)
    rows, settings_why = await _rows(sender, wire.SETTINGS, places, pause)
    assigned, why = await _rows(sender, wire.ASSIGNMENTS, places, pause)
    told = wire.assignments(assigned)
    known = () if isinstance(told, str) else told
    if isinstance(told, str):
        why = why or told
    purposes: list[Json] = []
    purposes_why = ""
    if known:
        owners = sorted({_owner(each.configuration) for each in known} - {""})
        purposes, purposes_why = await _rows(sender, wire.CONFIGURATIONS, owners or places, pause)
    return Patching(wire.settings(rows), known, wire.purposes(purposes), settings_why, why, purposes_why)


async def read_locks(sender: Sender, targets: Sequence[Target], pause: Pause) -> tuple[Locks, ...]:
    """Read the locks of each target's subscription, one list each. What cannot be read is told, never raised."""

    async def of(subscription: str) -> Locks:
        request = lock_wire.listing(subscription)
        found = await read_list(sender, request, pause)
        if found.unread is not None:
            return Locks(subscription, None, sentence(found.unread).partition(":")[0])
        told = lock_wire.locks(found.rows)
        return Locks(subscription, None, told) if isinstance(told, str) else Locks(subscription, told)

    return await gathered(_subscriptions(targets), of)


def _subscriptions(targets: Sequence[Target]) -> list[str]:
    return list(dict.fromkeys(target.subscription for target in targets))


def _owner(configuration: str) -> str:
    """Return the subscription that a configuration lies in, which need not be one of the targets'."""
    parts = configuration.split("/")
    return parts[2].casefold() if len(parts) > 2 else ""


async def _rows(sender: Sender, text: str, subscriptions: Sequence[str], pause: Pause) -> tuple[list[Json], str]:
    """Read every page of a query over these subscriptions; the rows so far, and why they may not be all."""
    rows: list[Json] = []
    most = resource_graph.MAX_SUBSCRIPTIONS
    for start in range(0, len(subscriptions), most):
        batch = subscriptions[start : start + most]
        token, seen = "", set[str]()
        for _ in range(MAX_PAGES):
            answer = await read(sender, wire.question(text, batch, token), pause)
            if isinstance(answer, Unread):
                return rows, sentence(answer).partition(":")[0]
            page = resource_graph.read_page(answer.json())
            if page is None:
                return rows, "Resource Graph's answer cannot be read"
            rows += page.rows
            token = page.skip_token
            if page.truncated or token in seen:
                return rows, "Resource Graph's answer is not complete"
            if not token:
                break
            seen.add(token)
    return rows, ""
