"""VMs, scale sets and their instances as the Compute resource provider lists them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fleet.azure.wire import shapes
from fleet.azure.wire.http import MIB, Json, Request, as_list, as_object, as_text, dig
from fleet.azure.wire.versions import Api, ask
from fleet.targets.glob import same_case
from fleet.targets.model import Kind, Os, Power, Target, kind_of

LIST_CAP = 8 * MIB


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. An empty page with a next link is normal (recorded): only a missing link ends a
    list.
    """

    rows: tuple[Json, ...]
    next_link: str = ""
    odd_link: str = ""
    """What is wrong with the link, where there is one that is not a text."""
    count: int = 0
    """How many rows the list says that it has; 0 where it does not say."""


def list_subscriptions() -> Request:
    """Build the first request for the subscriptions a credential can see."""
    return ask("GET", "/subscriptions", Api.SUBSCRIPTIONS, cap=LIST_CAP)


def list_vms(subscription: str, *, status_only: bool = False) -> Request:
    """Build the first request for the VMs of a subscription; ``status_only`` asks for run-time states
    instead.
    """
    query = {"statusOnly": "true"} if status_only else {}
    place = f"/subscriptions/{subscription}/providers/Microsoft.Compute/virtualMachines"
    return ask("GET", place, Api.COMPUTE, query, cap=LIST_CAP)


def list_scale_sets(subscription: str) -> Request:
    """Build the first request for the scale sets of a subscription."""
    place = f"/subscriptions/{subscription}/providers/Microsoft.Compute/virtualMachineScaleSets"
    return ask("GET", place, Api.COMPUTE, cap=LIST_CAP)


def list_instances(scale_set: str) -> Request:
    """Build the first request for the instances of a uniform scale set, by its id, with their power states (REST spec).

    Resource Graph has no rows for them (documented).
    """
    return ask("GET", f"{scale_set}/virtualMachines", Api.COMPUTE, {"$expand": "instanceView"}, cap=LIST_CAP)


def vm_view(target: Target) -> Request:
    """Build the request for a machine's model and instance view in one."""
    return ask("GET", target.id, Api.COMPUTE, {"$expand": "instanceView"})


def placed(target: Target, data: Json) -> Target:
    """Return the target with the domains that its view tells."""
    properties = as_object(data).get("properties")
    update, fault = (domain(properties, f"platform{kind}Domain") for kind in ("Update", "Fault"))
    return replace(target, update_domain=update, fault_domain=fault)


def wrong_view(target: Target, data: Json) -> str:
    """Say why an answer is not a VM's model and view with its domains; empty if it is."""
    if not isinstance(dig(data, "properties"), dict):
        return "the answer is no VM"
    identity = dig(data, "id")
    if identity is not None and same_case(as_text(identity)) != target.key:
        return "the answer is about another VM"
    for name in ("platformUpdateDomain", "platformFaultDomain"):
        if wrong := shapes.wrong_at(data, ("properties", "instanceView", name), shapes.number):
            return f"{name} {wrong}"
    return ""


def is_flexible(row: Json) -> bool:
    """Say whether a scale set is flexible: its members are ordinary VMs, listed as such (REST spec)."""
    return as_text(dig(row, "properties", "orchestrationMode")).casefold() == "flexible"


def read_page(data: Json) -> Page | None:
    """Read a page; None if it is none."""
    value = as_object(data).get("value")
    if not isinstance(value, list):
        return None
    link, count = as_object(data).get("nextLink"), dig(data, "count", "value")
    return Page(
        tuple(value),
        as_text(link),
        "" if link is None or isinstance(link, str) else shapes.kind_of_json(link),
        count if isinstance(count, int) and not isinstance(count, bool) else 0,
    )


def details(row: dict[str, Json], power: Power | None = None) -> dict[str, Any]:
    """Read what a row of the VM list, of Resource Graph or of a scale set says of a machine, besides who it is."""
    properties = as_object(row.get("properties"))
    return {
        "location": as_text(row.get("location")),
        "size": as_text(dig(properties, "hardwareProfile", "vmSize")),
        "image": image(dig(properties, "storageProfile", "imageReference")),
        "zone": ",".join(as_text(zone) for zone in as_list(row.get("zones"))),
        "power": power or power_of(properties),
        "scale_set": _scale_set(as_text(row.get("id")), properties),
        "availability_set": as_text(dig(properties, "availabilitySet", "id")).rpartition("/")[2],
        "update_domain": domain(properties, "platformUpdateDomain"),
        "fault_domain": domain(properties, "platformFaultDomain"),
    }


def domain(properties: Json, name: str) -> str:
    """Read a domain's number from an instance view (recorded); empty if the view tells none, or there is no view."""
    number = dig(properties, "instanceView", name)
    return str(number) if isinstance(number, int) and not isinstance(number, bool) else ""


def _scale_set(identity: str, properties: Json) -> str:
    """Name the set of a uniform instance by its id, that of a flexible one by the link that its model has (REST spec)."""
    whole = (
        identity if kind_of(identity) is Kind.SCALE_SET else as_text(dig(properties, "virtualMachineScaleSet", "id"))
    )
    parts = whole.split("/")
    return parts[8] if len(parts) > 8 else ""


def os_of(row: dict[str, Json]) -> Os | None:
    """Read the OS from the OS disk, else from the OS profile, which a VM with an attached disk has not."""
    properties = row.get("properties")
    text = as_text(dig(properties, "storageProfile", "osDisk", "osType")).lower()
    if text in ("linux", "windows"):
        return Os(text)
    profile = as_object(dig(properties, "osProfile"))
    if profile.get("windowsConfiguration") is not None:
        return Os.WINDOWS
    return Os.LINUX if profile.get("linuxConfiguration") is not None else None


def image(reference: Json) -> str:
    """Name an image: ``publisher:offer:sku``, or ``gallery/definition``, or the name of an own image."""
    fields = as_object(reference)
    market = [as_text(fields.get(key)) for key in ("publisher", "offer", "sku")]
    if any(market):
        return ":".join(market)
    own = next((text for key in _OWN_IMAGES if (text := as_text(fields.get(key)))), "")
    parts = own.strip("/").split("/")
    folded = [part.casefold() for part in parts]
    for gallery in ("galleries", "sharedgalleries", "communitygalleries"):
        if gallery in folded and "images" in folded:
            at, definition = folded.index(gallery) + 1, folded.index("images") + 1
            if at < len(parts) and definition < len(parts):
                return f"{parts[at]}/{parts[definition]}"
    return parts[-1]


_OWN_IMAGES = ("id", "sharedGalleryImageId", "communityGalleryImageId")


def power_of(properties: Json) -> Power:
    """Read the power state of a row, from Resource Graph's extended properties or from an instance view."""
    code = as_text(dig(properties, "extended", "instanceView", "powerState", "code"))
    statuses = [as_text(as_object(item).get("code")) for item in as_list(dig(properties, "instanceView", "statuses"))]
    return next((power for text in (code, *statuses) if (power := power_state(text))), Power.UNKNOWN)


def power_state(code: str) -> Power | None:
    """Read a code such as ``PowerState/running``; None if it is no power state."""
    what, slash, state = code.partition("/")
    if what.lower() != "powerstate" or not slash:
        return None
    return _POWERS.get(state.lower(), Power.UNKNOWN)


_POWERS = {power.value: power for power in Power}


def powers(rows: Sequence[Json]) -> dict[str, Power]:
    """Read ``statusOnly`` rows: power state by the id in the case for comparing, as this list writes ids
    differently.
    """
    found = map(as_object, rows)
    return {as_text(row.get("id")).casefold(): power_of(row.get("properties")) for row in found}
