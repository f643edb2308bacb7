"""Arc machines as Microsoft.HybridCompute lists them, and whether they are connected."""

from __future__ import annotations

from typing import Any

from fleet.azure.wire.compute import LIST_CAP
from fleet.azure.wire.http import Json, Request, as_object, as_text
from fleet.azure.wire.versions import Api, ask
from fleet.run.answers import AWAY, Refusal
from fleet.targets.model import Os, Power, Target

_NO_PROVIDER = frozenset({"MissingSubscriptionRegistration", "SubscriptionNotRegistered"})


def list_machines(subscription: str) -> Request:
    """Build the first request for the Arc machines of a subscription."""
    place = f"/subscriptions/{subscription}/providers/Microsoft.HybridCompute/machines"
    return ask("GET", place, Api.HYBRID_COMPUTE, cap=LIST_CAP)


def reading(target: Target) -> Request:
    """Build the request for one machine, which tells its connection as it is now."""
    return ask("GET", target.id, Api.HYBRID_COMPUTE)


def is_unused(code: str) -> bool:
    """Say whether an error only means that the subscription never used Arc, and so has no machine (recorded: 409)."""
    return code in _NO_PROVIDER


def details(row: dict[str, Json], power: Power | None = None) -> dict[str, Any]:
    """Read what a row says of an Arc machine besides who it is. It has no size, no image and no zone of Azure's."""
    return {
        "location": as_text(row.get("location")),
        "power": power or connection(as_object(row.get("properties"))),
    }


def os_of(properties: dict[str, Json]) -> Os | None:
    """Read the system: ``osType`` is windows or linux, ``osName`` what the machine itself says (REST spec)."""
    for name in ("osType", "osName"):
        text = as_text(properties.get(name)).casefold()
        if text.startswith("windows"):
            return Os.WINDOWS
        if text.startswith("linux"):
            return Os.LINUX
    return None


_CONNECTIONS = {
    "connected": Power.CONNECTED,
    "disconnected": Power.DISCONNECTED,
    "expired": Power.EXPIRED,
    "error": Power.DISCONNECTED,
}
"""``Connected``, ``Disconnected`` and ``Error`` (REST spec), and ``Expired`` after 45 days away (documented)."""


def connection(properties: Json) -> Power:
    """Read how a machine is connected."""
    return _CONNECTIONS.get(as_text(as_object(properties).get("status")).casefold(), Power.UNKNOWN)


def away(data: Json) -> Refusal | None:
    """Say why nothing is to be sent to a machine; None if it is connected, or if its answer does not tell.

    The service accepts a command for a machine that is away and keeps it until the machine is back (reported), which may
    be days after anybody expects a script to run.
    """
    properties = as_object(as_object(data).get("properties"))
    if connection(properties) not in (Power.DISCONNECTED, Power.EXPIRED):
        return None
    since = as_text(properties.get("lastStatusChange"))
    state = as_text(properties.get("status"))
    return Refusal(0, AWAY, f"not sent: Azure says {state}" + (f" since {since}" if since else ""))
