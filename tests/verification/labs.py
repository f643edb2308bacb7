"""The pretended Azure of a scenario: its fleet, what its machines do, its own faults, and lists that make no sense."""

from __future__ import annotations

import random
from collections.abc import Mapping
from enum import StrEnum

from fleet.lab.world.machine_spec import VmSpec
from fleet.lab.world.spec import ON_OPERATIONS, FaultKind, FaultOn, FaultSpec, GroupSpec, LabSpec, SubscriptionSpec

Sizes = tuple[int, int]
"""The fewest and the most VMs of a fleet. Small ones are drawn more often: they cost less, and differ as much."""

SIZES: Sizes = (5, 50)
"""Of the seeds that are tried where nobody says otherwise."""


class Misread(StrEnum):
    """What is wrong with an entry of a list of VMs or subscriptions."""

    NULL = "null"
    TEXT = "text"
    NO_ID = "no_id"
    NO_SYSTEM = "no_system"
    OTHER_SYSTEM = "other_system"
    OTHER_OWNER = "other_owner"
    """Resource Graph names a subscription that nobody asked about."""


def draw(rng: random.Random, seed: int, steps: int, sizes: Sizes) -> LabSpec:
    """Draw a fleet, and what scripts of so many steps do on its machines."""
    fewest, most = sizes
    # Most are near the fewest, as a large fleet costs what ten small ones do; every fortieth is half of the most or more.
    size = round(fewest * (most / fewest) ** (rng.random() ** 16))
    subscriptions = rng.choice((1, 1, 2, 3)) if size > 2 else 1
    rules = [rule_for(rng, f"echo step-{step}$", f"{{name}} step-{step}\n") for step in range(steps)]
    stragglers = [
        {**rule, "share": rng.choice((0.1, 0.3)), "duration": [rng.uniform(60, 200), rng.uniform(200, 2000)]}
        for rule in rules
        if rng.random() < 0.15
    ]
    failing = [
        {**rule, "share": rng.choice((0.1, 0.3, 1.0)), "exit": rng.choice((1, 3, 255)), "stderr": "{name} failed\n"}
        for rule in rules
        if rng.random() < 0.4
    ]
    shares = [size // subscriptions + (index < size % subscriptions) for index in range(subscriptions)]
    groups = [
        {
            "name": f"sub-{index}",
            "groups": [
                {"name": f"rg{index}", "vms": _classes(rng, count)},
            ],
        }
        for index, count in enumerate(shares)
        if count
    ]
    return LabSpec.model_validate(
        {
            "seed": seed,
            "speed": rng.choice((1.0, 4.0, 12.0)),
            "throttling": rng.choice(("none", "real")),
            "lag": rng.choice((0.0, 0.0, 20.0)),
            "remember_names": rng.random() < 0.2,
            "id_case": rng.choice(("given", "upper")),
            "url_length": 700,
            "rules": [*failing, *stragglers, *rules],
            "subscriptions": groups,
        }
    )


def misread(rng: random.Random, lab: LabSpec) -> tuple[LabSpec, Mapping[str, Misread]]:
    """Add VMs, and sometimes a subscription, whose entries in lists cannot be read."""
    first, *others = lab.subscriptions
    group, *more = first.groups
    kinds = {f"unread{number}": rng.choice(tuple(Misread)) for number in range(rng.choice((1, 1, 2)))}
    unread = [VmSpec(name=name, guest="scripted") for name in kinds]
    first = first.model_copy(update={"groups": [group.model_copy(update={"vms": [*group.vms, *unread]}), *more]})
    if rng.random() < 0.3:
        kinds[HIDDEN] = rng.choice((Misread.NULL, Misread.TEXT, Misread.NO_ID))
        others.append(SubscriptionSpec(name=HIDDEN, groups=[GroupSpec(name="rg", vms=[VmSpec(name="vm-of-hidden")])]))
    return lab.model_copy(update={"subscriptions": [first, *others]}), kinds


HIDDEN = "hidden"
"""A subscription whose own entry cannot be read."""


def oddities(rng: random.Random) -> dict[str, object]:
    """What else the lab has in store: its own faults, of every kind, and services that are not as documented."""
    faults = []
    for _ in range(rng.choice((0, 0, 1, 1, 3))):
        on = FaultOn.SUBMIT if (kind := rng.choice(tuple(FaultKind))) in ON_OPERATIONS else rng.choice(_ASKED_IN_A_RUN)
        rule = {"request": on.value, "kind": int(kind) if kind.isdigit() else kind.value}
        faults.append(
            FaultSpec.model_validate({**rule, "chance": rng.choice((0.05, 0.2)), "delay": rng.uniform(0.0, 90.0)})
        )
    return {"faults": faults, "rerun_identical": rng.random() < 0.2, "clock_skew": rng.choice((0.0, 0.0, -90.0, 90.0))}


_ASKED_IN_A_RUN = (FaultOn.SUBMIT, FaultOn.POLL, FaultOn.READ, FaultOn.DELETE)


def _classes(rng: random.Random, count: int) -> list[dict[str, object]]:
    """The VMs of a group: mostly Linux, some Windows, some that are off or whose agent is away."""
    classes: list[dict[str, object]] = []
    start = 1
    while count:
        members = rng.randint(1, count)
        classes.append(
            {
                "name": "vm{n:03}",
                "start": start,
                "count": members,
                "os": rng.choice(("linux", "linux", "linux", "windows")),
                "location": rng.choice(("westeurope", "westeurope", "northeurope")),
                "guest": "scripted",
                "power": rng.choices(("running", "deallocated"), (95, 5))[0],
                "agent": rng.choices(("ready", "not_ready"), (96, 4))[0],
            }
        )
        start, count = start + members, count - members
    return classes


def rule_for(rng: random.Random, when: str, stdout: str) -> dict[str, object]:
    shortest = rng.choice((0.0, 1.0, 10.0))
    return {"when": when, "stdout": stdout, "duration": [shortest, shortest + rng.choice((0.0, 5.0, 60.0))]}
