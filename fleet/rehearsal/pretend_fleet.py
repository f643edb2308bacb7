"""A pretend fleet that a playbook's own selection lets in: derived from the selection, or from a frozen plan. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fleet.errors import InvalidInput, Problem
from fleet.lab.world.spec import LabSpec
from fleet.playbook.model import Selection
from fleet.targets import selector
from fleet.targets.expression import All, Any, Clause, Expression, Not, Operator
from fleet.targets.model import Target

PLAIN = {"size": "Standard_D2s_v5", "location": "westeurope", "os": "linux"}
REGIONS = ("westeurope", "northeurope")


@dataclass(slots=True)
class _Traits:
    """What a VM must be like to be let in, by field; tags apart."""

    fields: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


def from_selection(selection: Selection, vms: int, seed: int) -> LabSpec:
    """A lab with this many VMs that the selection should let in, over two subscriptions where it allows more than one.

    Whether it does is for the caller to see: an expression may ask for what no VM can be made to be.
    """
    traits = _Traits()
    if selection.where:
        _satisfy(selector.parse(selection.where).expression, traits)
    names = [_example(text) for text in selection.subscriptions if not text.startswith("!")] or ["all"]
    if "subscription" in traits.fields:
        names = [traits.fields["subscription"]]
    if names == ["all"]:
        names = ["pretend-one", "pretend-two"]
    groups = [traits.fields.get("resource_group") or _example(text) for text in selection.resource_groups]
    groups = groups or [traits.fields.get("resource_group", "rg-pretend")]
    shares = _shares(vms, len(names))
    return _lab(
        seed,
        [
            {**_subscription(name), "groups": _groups(groups, share, sum(shares[:place]) + 1, traits)}
            for place, (name, share) in enumerate(zip(names, shares, strict=True))
            if share
        ],
    )


def from_targets(targets: Iterable[Target], seed: int) -> LabSpec:
    """A lab with exactly these VMs. Raises InvalidInput for targets that are no VMs."""
    places: defaultdict[tuple[str, str], defaultdict[str, list[dict[str, object]]]]
    places = defaultdict(lambda: defaultdict(list))
    for target in targets:
        if "/virtualmachines/" not in target.key or "/virtualmachinescalesets/" in target.key:
            message = f"{target.name} is no VM of its own; a rehearsal of a plan file knows VMs only"
            raise InvalidInput([Problem("not_rehearsable", message, hint="name a lab file with --lab=FILE")])
        vm: dict[str, object] = {
            "name": target.name,
            "os": target.os.value,
            "location": target.location or "westeurope",
        }
        vm |= {"tags": dict(target.tags), "guest": "scripted"}
        if target.size:
            vm["size"] = target.size
        places[target.subscription, target.subscription_name][target.resource_group].append(vm)
    return _lab(
        seed,
        [
            {"id": id, "name": name or id, "groups": [{"name": group, "vms": vms} for group, vms in groups.items()]}
            for (id, name), groups in places.items()
        ],
    )


def _lab(seed: int, subscriptions: list[dict[str, object]]) -> LabSpec:
    return LabSpec.model_validate({"seed": seed, "speed": 1.0, "throttling": "real", "subscriptions": subscriptions})


def _subscription(name: str) -> dict[str, object]:
    is_id = re.fullmatch(r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}", name)
    return {"name": name, "id": name} if is_id else {"name": name}


def _groups(names: list[str], vms: int, first: int, traits: _Traits) -> list[dict[str, object]]:
    groups: list[dict[str, object]] = []
    for name, share in zip(names, _shares(vms, len(names)), strict=True):
        if share:
            groups.append({"name": name, "vms": [_vms(share, first, traits)]})
            first += share
    return groups


def _vms(count: int, first: int, traits: _Traits) -> dict[str, object]:
    given = {**PLAIN, **traits.fields}
    name = given.get("name", "vm-*")
    made: dict[str, object] = {
        "name": _example(name, "{n:04}") if "*" in name else name,
        "start": first,
        "count": count if "*" in name else 1,
        "os": given["os"],
        "size": given["size"],
        "location": list(REGIONS) if "location" not in traits.fields else given["location"],
        "tags": traits.tags,
        "guest": "scripted",
    }
    if "image" in given:
        made["image"] = given["image"]
    if "zone" in given:
        made["zones"] = given["zone"]
    if "power" in given:
        made["power"] = given["power"]
    return made


def _shares(whole: int, parts: int) -> list[int]:
    return [whole // parts + (index < whole % parts) for index in range(parts)]


def _example(pattern: str, stands_for_many: str = "pretend") -> str:
    """A text that a glob fits."""
    return pattern.replace("*", stands_for_many, 1).replace("*", "").replace("?", "a")


def _satisfy(expression: Expression, traits: _Traits) -> None:
    """Note what makes an expression true: every part of an ``and``, the first of an ``or``, nothing for a ``not``."""
    match expression:
        case All(parts):
            for part in parts:
                _satisfy(part, traits)
        case Any(parts) if parts:
            _satisfy(parts[0], traits)
        case Not(Clause() as part):
            _note(part, traits, negated=not part.negated)
        case Clause():
            _note(expression, traits, negated=expression.negated)
        case _:
            pass


def _note(clause: Clause, traits: _Traits, *, negated: bool) -> None:
    if negated:
        _avoid(clause, traits)
        return
    value = clause.values[0] if clause.values else "pretend"
    if clause.field == "tag":
        traits.tags[clause.tag] = _example(value) if clause.operator is Operator.MATCHES else value
    elif clause.field == "name" and clause.operator is Operator.MATCHES:
        traits.fields["name"] = value
    else:
        traits.fields[clause.field] = _example(value) if clause.operator is Operator.MATCHES else value


def _avoid(clause: Clause, traits: _Traits) -> None:
    """Most negations hold of a plain VM; ``os != "linux"`` and the like do not."""
    others: Mapping[str, tuple[str, ...]] = {"os": ("linux", "windows"), "power": ("running", "deallocated")}
    if clause.field in others and others[clause.field][0] in clause.values:
        traits.fields[clause.field] = others[clause.field][1]
