"""Targets into waves: counts, cumulative percents, and the canary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fleet.plan.model import Wave
from fleet.playbook.model import Amount
from fleet.targets.model import Target

CANARY = "canary"


def split(targets: Sequence[Target], asked: Sequence[Amount | str]) -> tuple[Wave, ...]:
    """Split the frozen targets into waves.

    Counts and percents are cumulative: ``[1, 10%, 100%]`` of 200 gives waves of 1, 19 and 180. Percents are floored. A wave
    that would add nobody is left out, and whoever the last entry leaves over forms a last wave: no target is dropped.
    """
    canary = canary_set(targets) if CANARY in asked else ()
    first = frozenset(canary)
    order = [*canary, *(index for index in range(len(targets)) if index not in first)]
    ends = [(str(entry), len(canary) if entry == CANARY else _end(entry, len(targets))) for entry in asked]
    if not ends or ends[-1][1] < len(targets):
        ends.append(("100%", len(targets)))
    waves: list[Wave] = []
    begin = 0
    for label, end in ends:
        if end > begin:
            waves.append(Wave(len(waves), label, tuple(order[begin:end])))
            begin = end
    return tuple(waves)


def canary_set(targets: Sequence[Target]) -> tuple[int, ...]:
    """Pick a smallest set that covers every kind, OS, image, size and region: greedily, ties to the first in order."""
    first_of: dict[frozenset[tuple[str, str]], int] = {}  # alike targets are many, and the first stands for all
    for index, target in enumerate(targets):
        first_of.setdefault(_traits(target), index)
    missing = frozenset[tuple[str, str]]().union(*first_of)
    chosen: list[int] = []
    while missing:
        best = max(first_of, key=lambda traits: (len(missing & traits), -first_of[traits]))
        chosen.append(first_of[best])
        missing -= best
    return tuple(chosen)


def _traits(target: Target) -> frozenset[tuple[str, str]]:
    return frozenset(_pairs(target))


def _pairs(target: Target) -> Iterable[tuple[str, str]]:
    yield "kind", target.kind.value
    yield "os", target.os.value
    yield "image", target.image.casefold()
    yield "size", target.size.casefold()
    yield "location", target.location.casefold()


def _end(entry: Amount | str, total: int) -> int:
    assert isinstance(entry, Amount)
    return min(entry.of(total), total)
