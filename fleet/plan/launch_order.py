"""Who comes first: by name, or by lot; and inside a wave, by what is known of earlier runs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fleet.plan.model import Limits
from fleet.playbook.model import Order
from fleet.targets.model import Target


@dataclass(frozen=True, slots=True)
class Times:
    """How long the targets took in an earlier run, in seconds by target key."""

    run: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)


NO_TIMES = Times()


def ordered(targets: Sequence[Target], order: Order, seed: int) -> tuple[int, ...]:
    """Return the targets' indexes in the order in which waves are filled. Drawn by lot, each has its own number."""
    if order is Order.NAME:
        return tuple(range(len(targets)))
    lots = [hashlib.sha256(f"{seed}/{target.key}".encode("utf-8", "surrogatepass")).digest() for target in targets]
    return tuple(sorted(range(len(targets)), key=lots.__getitem__))


def arranged(wave: Sequence[int], targets: Sequence[Target], times: Times, limits: Limits) -> tuple[int, ...]:
    """Return a wave's targets in the order in which to launch them: the longest first, so that none is last alone.

    A slow start waits for its first targets, so it takes the shortest: as many as must end before the wave goes at its
    full width. Times are compared roughly, and targets without one count as the middle: equal ones stay in their order.
    """
    known = {index: _rank(times.seconds[targets[index].key]) for index in wave if targets[index].key in times.seconds}
    if not known:
        return tuple(wave)
    middle = sorted(known.values())[len(known) // 2]
    rising = sorted(wave, key=lambda index: known.get(index, middle))
    ramp = min(limits.at_once, -(-len(wave) // 2)) - 1 if limits.slow_start else 0
    head = rising[:ramp]
    chosen = frozenset(head)
    rest = [index for index in wave if index not in chosen]
    return (*head, *sorted(rest, key=lambda index: -known.get(index, middle)))


def _rank(seconds: float) -> int:
    """Two steps for each doubling: what differs by less would only shuffle the order from run to run."""
    return round(2 * math.log2(max(seconds, 1.0)))
