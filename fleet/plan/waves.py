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
    order = [*canary, *(index for index in range(len(targets)) if index not in set(canary))]
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
    """Pick a smallest set that covers every OS, image, size and region: greedily, ties to the first in order."""
    missing = {trait for target in targets for trait in _traits(target)}
    chosen: list[int] = []
    while missing:
        best = max(range(len(targets)), key=lambda index: (len(missing & _traits(targets[index])), -index))
        chosen.append(best)
        missing -= _traits(targets[best])
    return tuple(chosen)


def _traits(target: Target) -> frozenset[tuple[str, str]]:
    return frozenset(_pairs(target))


def _pairs(target: Target) -> Iterable[tuple[str, str]]:
    yield "os", target.os.value
    yield "image", target.image.casefold()
    yield "size", target.size.casefold()
    yield "location", target.location.casefold()


def _end(entry: Amount | str, total: int) -> int:
    assert isinstance(entry, Amount)
    return min(entry.of(total), total)
