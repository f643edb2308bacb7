"""When to look at a running job again.

For VMs the service gives no hint (recorded: no ``Retry-After`` on run commands), and clients then wait 30 s. For Arc machines
it asks for 120 s after a PUT (recorded), which is kept to. Without a hint we look soon, then in intervals that grow with the
job's age, and learn from the jobs of the same step that have ended in this run: narrow durations make the first look of
later jobs nearly always the last. One VM must not be read faster than every 5 s for long (documented: 12 to 15 reads a
minute per VM beyond a burst).
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field

FIRST_LOOK = 1.0
GROWTH = 0.25
SHORTEST = 1.0
LONGEST = 30.0
LONGEST_HINT = 300.0
"""A service that asks for more is asked again then. Whatever it asks for, a job is looked at once more before it is given
up (:mod:`fleet.run.expiry`).
"""
BURST_OF_LOOKS = 20
STEADY = 5.0
LEARN_FROM = 8
KEEP = 200


@dataclass(slots=True)
class Durations:
    """How long the jobs of one step took so far in this run: sorted, the newest ``KEEP``."""

    ordered: list[float] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)

    def add(self, seconds: float) -> None:
        self.arrived.append(seconds)
        bisect.insort(self.ordered, seconds)
        if len(self.arrived) > KEEP:
            oldest = self.arrived.pop(0)
            del self.ordered[bisect.bisect_left(self.ordered, oldest)]

    def quantile(self, share: float) -> float | None:
        """The duration that ``share`` of the ended jobs did not exceed; None before enough have ended."""
        if len(self.ordered) < LEARN_FROM:
            return None
        return self.ordered[min(int(share * len(self.ordered)), len(self.ordered) - 1)]


def next_look(*, age: float, looks: int, hint: float | None, durations: Durations) -> float:
    """Seconds from now until the next look at a job of this ``age`` that was looked at ``looks`` times.

    ``hint`` is the service's ``Retry-After``: honoured as a lower bound, within reason.
    """
    typical = durations.quantile(0.5)
    if typical is not None and age < typical:
        wait = max(typical - age, 0.2)
    elif looks == 0:
        wait = FIRST_LOOK
    else:
        wait = max(SHORTEST, GROWTH * age)
    if looks >= BURST_OF_LOOKS:
        wait = max(wait, STEADY)
    return max(min(wait, LONGEST), min(hint or 0.0, LONGEST_HINT))
