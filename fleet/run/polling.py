"""When to look at a running job again.

For VMs the service gives no hint (recorded: no ``Retry-After`` on run commands), and clients then wait 30 s. For Arc machines
it asks for 120 s after a PUT (recorded), which is kept to. Without a hint, what earlier runs of the script took decides, then
what the jobs of this run took: looks are spread over the ends, as many as Azure's reads allow. Where nothing is known, looks
come in intervals that grow with the job's age. One VM must not be read faster than every 5 s for long (documented: 12 to 15
reads a minute per VM beyond a burst).
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

FIRST_LOOK = 1.0
LATEST_FIRST = 3.0
"""A script of unknown length is looked at first no later than this: most are short."""
GROWTH = 0.25
SHORTEST = 1.0
LONGEST = 30.0
LONGEST_HINT = 300.0
"""A service that asks for more is asked again then. Whatever it asks for, a job is looked at once more before it is given
up (:mod:`fleet.run.expiry`).
"""
BURST_OF_LOOKS = 20
STEADY = 5.0
AFTER = 0.15
"""A job that runs for longer than all others did is looked at again after this part of the time beyond."""
ALIKE = 0.1
"""Where nine in ten jobs have ended so much of their length later, they are looked at then: once."""
BEFORE = 0.2
TOO_LATE = 0.5
"""Seconds by which the look that finds a job ended is taken to be late, at most: so later runs look a little sooner."""
MOST_LOOKS = 10
"""Looks at one job whose like have ended, at most."""
LEARN_FROM = 8
KEEP = 200


def deciles(seconds: Iterable[float]) -> tuple[float, ...]:
    """Return eleven durations that stand for all: the shortest, each decile, the longest. Empty for none."""
    ordered = sorted(seconds)
    return tuple(ordered[round(share * (len(ordered) - 1) / 10)] for share in range(11)) if ordered else ()


@dataclass(slots=True)
class Durations:
    """How long the jobs of one step take: what earlier runs took, and a sample of those that have ended in this run.

    Short jobs end first, so the sample takes every job, then every second, fourth, ... of all that end: never the newest.
    """

    usual: Sequence[float] = ()
    """Of earlier runs, in order."""
    ordered: list[float] = field(default_factory=list)
    """The sample of this run, in order."""
    ended: int = 0
    stride: int = 1
    _known: Sequence[float] | None = None

    def add(self, seconds: float) -> None:
        """Count a job that took so long."""
        self.ended += 1
        if self.ended % self.stride:
            return
        bisect.insort(self.ordered, seconds)
        if len(self.ordered) > KEEP:
            self.ordered, self.stride = self.ordered[::2], 2 * self.stride
        self._known = None

    @property
    def known(self) -> Sequence[float]:
        """All that is known of how long jobs take, in order; empty where that is too little."""
        if self._known is None:
            if self.usual:
                self._known = sorted((*self.usual, *self.ordered))
            else:
                self._known = self.ordered if len(self.ordered) >= LEARN_FROM else ()
        return self._known

    def quantile(self, share: float) -> float | None:
        """The duration that ``share`` of the jobs did not exceed; None where none is known."""
        known = self.known
        return known[min(int(share * len(known)), len(known) - 1)] if known else None

    def share(self, age: float) -> float:
        """The part of the jobs that took no longer than ``age``; 0 where none is known."""
        known = self.known
        return bisect.bisect_right(known, age) / len(known) if known else 0.0


def likely_end(seen_running: float, seen_ended: float) -> float:
    """Return the age at which a script ended, between the last look that saw it running (0: none) and that which did not.

    Rather too late than too early: a look that comes too early is lost, and one that comes late finds the job ended.
    """
    return seen_ended - min(TOO_LATE, (seen_ended - seen_running) / 2, seen_ended / 20)


@dataclass(frozen=True, slots=True)
class Reads:
    """What a subscription has for looks: reads that it takes at once, and how many come back a second."""

    running: int
    """Jobs that share them."""
    left: int
    per_second: float

    @property
    def round_s(self) -> float:
        """Seconds in which every running job can be looked at once, for as long as it takes."""
        return self.running / self.per_second


def next_look(*, age: float, looks: int, hint: float | None, durations: Durations, reads: Reads) -> float:
    """Seconds from now until the next look at a job of this ``age`` that was looked at ``looks`` times.

    ``hint`` is the service's ``Retry-After``: honoured as a lower bound, within reason.
    """
    longest = durations.quantile(1.0)
    if longest is None:
        wait = _unknown(age, looks, reads)
    elif age < longest:
        wait = _known(age, longest, durations, reads)
    else:
        wait = max(SHORTEST, min(AFTER * (age - longest), max(STEADY, 2 * reads.round_s)))
    if looks >= BURST_OF_LOOKS:
        wait = max(wait, STEADY)
    return max(min(wait, LONGEST), min(hint or 0.0, LONGEST_HINT))


def _unknown(age: float, looks: int, reads: Reads) -> float:
    """Look often while reads lie idle, and no more often than all can be looked at where they do not."""
    if not looks:
        return min(max(FIRST_LOOK, reads.round_s / 2), LATEST_FIRST)
    wait = max(SHORTEST, GROWTH * age)
    return wait if reads.left > 2 * reads.running else max(wait, reads.round_s)


def _known(age: float, longest: float, durations: Durations, reads: Reads) -> float:
    """Spread the looks that the reads allow evenly over the ends: each one finds as large a part of the jobs ended.

    Of the jobs that last, fewer and fewer are left, so each of them can be looked at more often.
    """
    over = durations.share(age)
    spare = max(reads.left - reads.running, 0) + reads.per_second * (longest - age)
    count = min(max(spare / reads.running, 1.0), MOST_LOOKS)
    first, most = durations.quantile(min(over + 1 / count, 1.0)), durations.quantile(0.9)
    assert first is not None and most is not None, "the longest is known"
    at = max(first, most) if age < most <= first + max(SHORTEST, ALIKE * first) else first
    wait = max(at - age, BEFORE)
    return wait if over < 0.5 else min(wait, max(SHORTEST, 2 * (1 - over) * reads.round_s))
