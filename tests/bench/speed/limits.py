"""ARM's documented limits of requests, and the time that no client can beat under them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

WRITE, READ, DELETE = "write", "read", "delete"

ARM = {WRITE: (200, 10.0), READ: (250, 25.0), DELETE: (200, 10.0)}
"""Calls at once, and calls that come back a second, per subscription and principal (documented)."""

COMPUTE = (1500, 500 / 60)
"""Compute's own bucket "Update VM", per subscription and region: submissions and deletions (documented)."""

WRITE_S, READ_S = 0.25, 0.05
"""Seconds that a write and a read take."""


@dataclass
class Bucket:
    """Calls of one kind, as the service counts them."""

    burst: int
    per_second: float
    level: float = 0.0
    at: float = -math.inf
    """The moment of ``level``: a new bucket is full."""

    def wait(self, now: float) -> float:
        """Return the seconds until the bucket holds a call; 0 if it holds one."""
        self.level = min(float(self.burst), self.level + (now - self.at) * self.per_second)
        self.at = now
        return max(0.0, (1.0 - self.level) / self.per_second)

    def take(self) -> None:
        """Take a call out."""
        self.level -= 1.0


@dataclass
class Limits:
    """All buckets of a service. They only count unless ``on``: then the caller refuses what is over."""

    on: bool
    over: Counter[str] = field(default_factory=Counter)
    """Calls of each kind beyond what the buckets held: each is a 429, or would have been one."""
    _arm: dict[tuple[str, str], Bucket] = field(default_factory=dict)
    _compute: dict[str, Bucket] = field(default_factory=dict)

    def refuse(self, subscription: str, kind: str, now: float) -> float:
        """Count a call. Return 0 if it may pass, else the seconds to wait."""
        buckets = self._buckets(subscription, kind)
        wait = max(bucket.wait(now) for bucket in buckets)
        if wait > 0:
            self.over[kind] += 1
            return wait if self.on else 0.0
        for bucket in buckets:
            bucket.take()
        return 0.0

    def remaining(self, subscription: str, kind: str) -> int:
        """Return what ARM's bucket held after the last call, as its headers tell it."""
        return max(0, int(self._buckets(subscription, kind)[0].level))

    def _buckets(self, subscription: str, kind: str) -> list[Bucket]:
        arm = self._arm.setdefault((subscription, kind), Bucket(*ARM[kind]))
        return [arm] if kind == READ else [arm, self._compute.setdefault(subscription, Bucket(*COMPUTE))]


def bound(lanes: Iterable[Sequence[float]], throttled: bool) -> float:
    """Return the seconds before which no client can have read the last result.

    ``lanes`` holds the scripts' lengths in each subscription. The best order is the longest first, so the bound holds for
    every order; each result takes one read at or after its end.
    """
    worst = 0.0
    for lengths in lanes:
        best = sorted(lengths, reverse=True)
        ends = sorted((_starts(place) if throttled else 0.0) + length for place, length in enumerate(best, 1))
        for place, end in enumerate(ends):
            burst, per_second = ARM[READ]
            worst = max(worst, end + (max(0.0, (len(ends) - place - burst) / per_second) if throttled else 0.0))
    return worst + READ_S


def _starts(place: int) -> float:
    """Return the earliest moment of a subscription's submission, counted from 1."""
    return max(0.0, *((place - burst) / per_second for burst, per_second in (ARM[WRITE], COMPUTE)))
