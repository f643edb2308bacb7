"""Targets into waves: counts, cumulative percents, groups, and the canary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from fleet.plan.model import Wave
from fleet.playbook.model import Amount, WavesBy
from fleet.targets.model import Target
from fleet.targets.natural import natural_key
from fleet.targets.traits import alike, classes, trait

CANARY = "canary"

SEARCH = 5000
"""Sets that the search for the smallest canary tries before it is content with the best so far."""

Cut = tuple[str, Sequence[int]]


def split(
    targets: Sequence[Target], asked: Sequence[Amount | str] | WavesBy, order: Sequence[int] | None = None
) -> tuple[Wave, ...]:
    """Split the frozen targets into waves, filled in ``order``.

    Counts and percents are cumulative: ``[1, 10%, 100%]`` of 200 gives waves of 1, 19 and 180. Percents are floored. A wave
    that would add nobody is left out, and whoever the last entry leaves over forms a last wave: no target is dropped.
    """
    everyone = range(len(targets)) if order is None else order
    cuts = _by(targets, everyone, asked) if isinstance(asked, WavesBy) else _cut(targets, everyone, asked)
    filled = ((label, members) for label, members in cuts if members)
    return tuple(Wave(index, label, tuple(members)) for index, (label, members) in enumerate(filled))


def _cut(targets: Sequence[Target], members: Sequence[int], asked: Sequence[Amount | str]) -> Iterator[Cut]:
    """Cut these members by cumulative entries."""
    canary = canary_set(targets, members) if CANARY in asked else ()
    first = frozenset(canary)
    line = [*canary, *(index for index in members if index not in first)]
    begin = 0
    for entry in asked:
        end = max(begin, len(canary) if isinstance(entry, str) else min(entry.of(len(line)), len(line)))
        yield str(entry), line[begin:end]
        begin = end
    yield "100%", line[begin:]


def _by(targets: Sequence[Target], members: Sequence[int], asked: WavesBy) -> Iterator[Cut]:
    """Cut group after group: those that ``order`` names, then the others, last those that have no value."""
    canary = canary_set(targets, members) if asked.canary else ()
    yield CANARY, canary
    first = frozenset(canary)
    groups: dict[str, list[int]] = {}
    spelled: dict[str, str] = {}
    for index in members:
        value = trait(targets[index], asked.by)
        spelled.setdefault(alike(value), value)
        if index not in first:
            groups.setdefault(alike(value), []).append(index)
    place = {alike(value): number for number, value in enumerate(asked.order)}
    for key in sorted(groups, key=lambda key: (key == "", place.get(key, len(place)), natural_key(key))):
        name = asked.by.removeprefix("tag:")
        whole = f"{name} {spelled[key]}" if key else f"no {name}"
        for label, cut in _cut(targets, groups[key], asked.each):
            yield (f"{whole}, {label}" if asked.each else whole), cut


def canary_set(targets: Sequence[Target], among: Sequence[int] | None = None) -> tuple[int, ...]:
    """Pick the smallest set that covers every kind, OS, image, size and region; of equal ones, the first in order.

    Looked for exactly as long as that is cheap (:data:`SEARCH`), beginning with the greedy choice.
    """
    first_of: dict[frozenset[tuple[str, str]], int] = {}  # alike targets are many, and the first stands for all
    for index in range(len(targets)) if among is None else among:
        first_of.setdefault(frozenset(classes(targets[index])), index)
    kinds = list(first_of)
    return tuple(first_of[kinds[number]] for number in _Cover(kinds).smallest())


class _Cover:
    """The smallest choice of sets whose union is the union of all."""

    def __init__(self, sets: Sequence[frozenset[tuple[str, str]]]) -> None:
        self._sets = sets
        self._everything = frozenset[tuple[str, str]]().union(*sets)
        self._holders: dict[tuple[str, str], list[int]] = {}
        for number, held in enumerate(sets):
            for value in held:
                self._holders.setdefault(value, []).append(number)
        self._left = SEARCH

    def smallest(self) -> list[int]:
        best = self._greedy()
        while len(best) > self._fewest(self._everything):
            found = self._within(self._everything, len(best) - 1)
            if found is None:
                break
            best = found
        return best

    def _greedy(self) -> list[int]:
        missing, chosen = self._everything, list[int]()
        while missing:
            best = max(range(len(self._sets)), key=lambda number: (len(missing & self._sets[number]), -number))
            chosen.append(best)
            missing -= self._sets[best]
        return chosen

    def _fewest(self, missing: frozenset[tuple[str, str]]) -> int:
        """No set has two values of one kind: as many are needed as the richest kind has values."""
        return max(Counter(name for name, _ in missing).values(), default=0)

    def _within(self, missing: frozenset[tuple[str, str]], size: int) -> list[int] | None:
        """Find a cover of at most ``size`` sets; None if there is none, or the search took too long."""
        if not missing:
            return []
        self._left -= 1
        if self._left <= 0 or self._fewest(missing) > size:
            return None
        rarest = min(missing, key=lambda value: (len(self._holders[value]), value))
        for number in sorted(self._holders[rarest], key=lambda n: (-len(missing & self._sets[n]), n)):
            rest = self._within(missing - self._sets[number], size - 1)
            if rest is not None:
                return [number, *rest]
        return None
