"""Machines from the rows of a list: whole ones as targets, the others with what is known of them. Pure.

No row is dropped. A row that is not a machine, is one of another subscription, or does not say what a target needs,
becomes a :class:`PartialTarget` that says which entry it is and what is wrong with it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from fleet.azure.wire import compute, hybrid, shapes
from fleet.azure.wire.http import Json, as_object, as_text, dig
from fleet.targets.glob import same_case
from fleet.targets.model import Kind, Os, Power, Subscription, Target
from fleet.targets.partial import PartialTarget

NAMES = {Kind.VM: "VM", Kind.SCALE_SET: "scale-set instance", Kind.ARC: "Arc machine"}
LISTS = {Kind.VM: "list of VMs", Kind.SCALE_SET: "list of scale-set instances", Kind.ARC: "list of Arc machines"}

_SEGMENT = r"((?!\.{1,2}(?:/|$))[^/?#%\\\x00-\x20\x7f\ud800-\udfff]+)"
_GROUP = rf"/subscriptions/{_SEGMENT}/resourceGroups/{_SEGMENT}/providers"
_TYPES = {
    Kind.VM: rf"Microsoft\.Compute/virtualMachines/{_SEGMENT}",
    Kind.SCALE_SET: rf"Microsoft\.Compute/virtualMachineScaleSets/{_SEGMENT}/virtualMachines/{_SEGMENT}",
    Kind.ARC: rf"Microsoft\.HybridCompute/machines/{_SEGMENT}",
}
_IDS = {kind: re.compile(f"{_GROUP}/{rest}", re.IGNORECASE | re.ASCII) for kind, rest in _TYPES.items()}

_STATUSES = shapes.each([("code", shapes.text)])
_COMMON: tuple[tuple[str, str, shapes.Shape], ...] = (("location", "location", shapes.text),)
_PLACES: dict[Kind, tuple[tuple[str, str, shapes.Shape], ...]] = {
    Kind.VM: (
        *_COMMON,
        ("zone", "zones", shapes.texts),
        ("size", "properties.hardwareProfile.vmSize", shapes.text),
        ("image", "properties.storageProfile.imageReference", shapes.thing),
        *(
            ("image", f"properties.storageProfile.imageReference.{name}", shapes.text)
            for name in ("publisher", "offer", "sku", "id", "sharedGalleryImageId", "communityGalleryImageId")
        ),
        ("power", "properties.extended.instanceView.powerState.code", shapes.text),
        ("power", "properties.instanceView.statuses", _STATUSES),
        ("scale_set", "properties.virtualMachineScaleSet.id", shapes.text),
        ("availability_set", "properties.availabilitySet.id", shapes.text),
        ("update_domain", "properties.instanceView.platformUpdateDomain", shapes.number),
        ("fault_domain", "properties.instanceView.platformFaultDomain", shapes.number),
    ),
    Kind.ARC: (*_COMMON, ("power", "properties.status", shapes.text)),
}
"""Field of a target, place in the row, and the shape that it has there."""
_PLACES[Kind.SCALE_SET] = _PLACES[Kind.VM]
_FIELDS = {
    kind: tuple((name, tuple(place.split(".")), shape) for name, place, shape in places)
    for kind, places in _PLACES.items()
}

Entry = Target | PartialTarget


def is_id(kind: Kind, text: str) -> bool:
    """Say whether a text is the id of a machine of a kind, and so can stand in the path of a request."""
    return not shapes.text(text) and _IDS[kind].fullmatch(text) is not None


def wrong_scale_set(row: Json, owner: Subscription) -> str:
    """Say why a row is not a scale set of a subscription; empty if it is."""
    if not isinstance(row, dict):
        return f"it is {shapes.kind_of_json(row)}, not an object"
    if wrong := shapes.wrong_at(row, ("properties", "orchestrationMode"), shapes.text):
        return f"its orchestrationMode {wrong}"
    identity = as_text(row.get("id"))
    if not is_id(Kind.SCALE_SET, f"{identity}/virtualMachines/0"):
        return "its id is not the id of a scale set"
    if same_case(identity.split("/")[2]) != same_case(owner.id):
        return "its id is of another subscription"
    return ""


@dataclass(slots=True)
class _Unknown:
    """What is not known of a row, by field, and why."""

    why: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, reason: str) -> None:
        self.why.setdefault(name, reason)


def read(
    row: Json,
    owner: Subscription,
    kind: Kind,
    position: int,
    power: Power | None = None,
    below: str = "",
    unsure: str = "",
) -> Entry:
    """Read a row of a list. ``position`` counts from 1; ``power`` is what a list of states says, if there is one.

    ``below`` is the id of the scale set whose instances were asked for. ``unsure`` says why the state of a VM that the
    list of states does not name is not known.
    """
    label = f"entry {position} of the {LISTS[kind]}"
    if not isinstance(row, dict):
        return nothing_known(owner, kind, label, f"it is {shapes.kind_of_json(row)}, not an object")
    unknown = _Unknown()
    parts = _identity(row, owner, kind, below, unknown)
    name = _name(row, kind, parts, unknown)
    _shapes(row, kind, power, unknown)
    if unsure and power is None:
        unknown.add("power", unsure)
    tags = _tags(row, unknown)
    system = _system(row, kind, unknown)
    target = _filled(row, owner, kind, power, parts, name, tags, system, unknown)
    if not unknown.why:
        return target
    return PartialTarget(
        target,
        frozenset(unknown.why),
        f"{NAMES[kind]} {name}" if name else label,
        "; ".join(dict.fromkeys(unknown.why.values())),
        kind,
        creating=_state(row) == "creating",
    )


def nothing_known(owner: Subscription, kind: Kind, label: str, reason: str) -> PartialTarget:
    """Return a machine of which only its subscription is known, and the kind of the list that named it."""
    target = Target("", owner.id, owner.name, "", "", "", Os.LINUX)
    return PartialTarget(target, _EVERYTHING, label, reason, kind)


_EVERYTHING = frozenset(Target.__slots__) - {"subscription", "subscription_name"}


def read_all(
    rows: Sequence[Json],
    owner: Subscription,
    kind: Kind,
    power_of: Callable[[str], Power | None] = lambda identity: None,
    below: str = "",
    unsure: str = "",
) -> tuple[list[Target], list[PartialTarget]]:
    """Read every row of a list. Rows that name the same machine alike are one; rows that contradict each other are none."""
    return settle(
        read(row, owner, kind, position, power_of(as_text(dig(row, "id"))), below, unsure)
        for position, row in enumerate(rows, start=1)
    )


def is_state(row: Json) -> bool:
    """Say whether a row of the list of states tells the state of a VM, or that it has none."""
    wrong = shapes.wrong_at(row, ("properties", "instanceView", "statuses"), _STATUSES)
    return not wrong and is_id(Kind.VM, as_text(dig(row, "id")))


NO_STATE = "its power state cannot be read: the list of states is not complete"


def only_in_states(states: Sequence[Json], rows: Sequence[Json], owner: Subscription) -> list[PartialTarget]:
    """Return the VMs that the list of states names and the list of VMs does not: it has lost them, or they are new."""
    listed = {same_case(as_text(dig(row, "id"))) for row in rows}
    missed = [row for row in states if same_case(as_text(dig(row, "id"))) not in listed]
    found = []
    for position, row in enumerate(missed, start=1):
        if isinstance(row, dict) and is_id(Kind.VM, as_text(row.get("id"))):
            entry = read(row, owner, Kind.VM, position)
            target = entry.target if isinstance(entry, PartialTarget) else entry
            unknown = entry.unknown if isinstance(entry, PartialTarget) else frozenset()
            reason = "it is in the list of states and not in the list of VMs"
            unknown |= {"os", "size", "image", "zone", "tags", "scale_set", "availability_set"}
            label = f"{NAMES[Kind.VM]} {target.name or as_text(row.get('id')).rpartition('/')[2]}"
            found.append(PartialTarget(target, unknown, label, reason, creating=_state(row) == "creating"))
    return found


def settle(entries: Iterable[Entry]) -> tuple[list[Target], list[PartialTarget]]:
    """Part the entries of one list into targets and machines that are known in part, each machine once."""
    targets: dict[str, list[Target]] = defaultdict(list)
    partial: list[PartialTarget] = []
    for entry in entries:
        if isinstance(entry, Target):
            targets[entry.key].append(entry)
        else:
            partial.append(entry)
    odd = {one.target.key for one in partial if one.target.id}
    whole = []
    for key, found in targets.items():
        differing = {name for one in found[1:] for name in _differences(found[0], one)}
        if differing:
            partial.append(_contradicted(found[0], differing))
        elif key not in odd:
            whole.append(found[0])
        else:
            partial.append(_contradicted(found[0], {"id"}))
    return whole, _once(partial)


def _once(partial: list[PartialTarget]) -> list[PartialTarget]:
    """Join what is said of one machine several times."""
    known: dict[str, PartialTarget] = {}
    strangers = []
    for one in partial:
        if not one.target.id:
            strangers.append(one)
        elif (before := known.get(one.target.key)) is not None:
            reason = "; ".join(dict.fromkeys((*before.reason.split("; "), *one.reason.split("; "))))
            known[one.target.key] = replace(before, unknown=before.unknown | one.unknown, reason=reason)
        else:
            known[one.target.key] = one
    return [*known.values(), *strangers]


def _differences(one: Target, other: Target) -> set[str]:
    """Name the fields in which two targets of one id differ, their case in names apart."""
    plain = ("os", "size", "image", "zone", "power", "tags", "scale_set", "availability_set", "update_domain")
    found = {name for name in plain if getattr(one, name) != getattr(other, name)}
    cased = ("name", "resource_group", "location")
    return found | {name for name in cased if same_case(getattr(one, name)) != same_case(getattr(other, name))}


def _contradicted(target: Target, fields: set[str]) -> PartialTarget:
    """A machine of which one list says different things: it may be two, so nothing is sent to it."""
    reason = "the list has several entries with its id, which differ"
    label = f"{NAMES[target.kind]} {target.name}"
    return PartialTarget(target, frozenset(fields | {"id"}), label, reason, target.kind)


def _identity(row: dict[str, Json], owner: Subscription, kind: Kind, below: str, unknown: _Unknown) -> tuple[str, ...]:
    """Return the segments of a row's id: subscription, group and names; empty where it is not one of the list's."""
    given = row.get("id")
    if wrong := shapes.text(given):
        wrong = f"its id {wrong}"
    elif shapes.is_absent(given):
        wrong = "it has no id"
    elif (found := _IDS[kind].fullmatch(as_text(given))) is None:
        wrong = f"its id is not the id of a {NAMES[kind]}" if kind is not Kind.ARC else "its id is not an Arc machine's"
    elif same_case(found[1]) != same_case(owner.id):
        wrong = "its id is of another subscription"
    elif below and not same_case(as_text(given)).startswith(f"{same_case(below)}/"):
        wrong = "its id is of another scale set"
    else:
        return found.groups()
    for name in ("id", "resource_group", *(["scale_set"] if kind is Kind.SCALE_SET else [])):
        unknown.add(name, wrong)
    return ()


def _name(row: dict[str, Json], kind: Kind, parts: tuple[str, ...], unknown: _Unknown) -> str:
    """Read a name. A VM's is the end of its id as well, an instance's is not."""
    given = row.get("name")
    by_id = parts[-1] if parts and kind is not Kind.SCALE_SET else ""
    if wrong := shapes.text(given):
        if not by_id:
            unknown.add("name", f"its name {wrong}")
        return by_id
    name = as_text(given)
    if by_id and name and same_case(name) != same_case(by_id):
        unknown.add("name", f"its name and its id disagree: {_short(name)}, {_short(by_id)}")
        return ""
    if not (name or by_id):
        unknown.add("name", "it has no name")
    return name or by_id


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _shapes(row: dict[str, Json], kind: Kind, power: Power | None, unknown: _Unknown) -> None:
    for name, path, shape in _FIELDS[kind]:
        if name == "power" and power is not None:
            continue
        if wrong := shapes.wrong_at(row, path, shape):
            unknown.add(name, f"its {name.replace('_', ' ')} {wrong}")
    if shapes.is_absent(row.get("location")):
        unknown.add("location", "it has no location")


def _tags(row: dict[str, Json], unknown: _Unknown) -> dict[str, str]:
    given = row.get("tags")
    if wrong := shapes.thing(given):
        unknown.add("tags", f"its tags cannot be read: the field {wrong}")
        return {}
    tags = {}
    for name, value in as_object(given).items():
        if shapes.text(name) or value is None or shapes.text(value):
            wrong = shapes.text(name) or shapes.text(value) or "is null"
            unknown.add(f"tag:{same_case(name)}", f"its tag {_shown(name)} {wrong}")
        else:
            tags[name] = as_text(value)
    return tags


def _shown(text: str) -> str:
    return _short(text.encode("ascii", "backslashreplace").decode())


def _system(row: dict[str, Json], kind: Kind, unknown: _Unknown) -> Os:
    system = hybrid.os_of(as_object(row.get("properties"))) if kind is Kind.ARC else compute.os_of(row)
    if system is None:
        unknown.add("os", "its operating system is not known")
    return system or Os.LINUX


def _filled(
    row: dict[str, Json],
    owner: Subscription,
    kind: Kind,
    power: Power | None,
    parts: tuple[str, ...],
    name: str,
    tags: dict[str, str],
    system: Os,
    unknown: _Unknown,
) -> Target:
    """Make the target of what could be read; a field that could not stays empty."""
    build = hybrid.details if kind is Kind.ARC else compute.details
    found = {key: value for key, value in build(row, power).items() if key not in unknown.why}
    identity, group = (as_text(row.get("id")), parts[1]) if parts else ("", "")
    target = Target(identity, owner.id, owner.name, group, name, "", system, tags=tags)
    return replace(target, **found)


def _state(row: dict[str, Json]) -> str:
    return as_text(dig(row, "properties", "provisioningState")).casefold()
