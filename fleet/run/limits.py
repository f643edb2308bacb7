"""What Azure's calls are limited by: ARM's buckets of a subscription, the provider's of a region and kind of machine."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, field

from fleet.run.answers import Quota
from fleet.run.rate import Rate
from fleet.targets.model import Kind

# ARM, per subscription and principal: bucket and refill per second (documented, "Azure Resource Manager request
# limits", 2024: 200, 250 and 200). One second's refill is kept back, since refills may come in steps, and a few calls more,
# since processes that share the limits have clocks of their own.
ARM_WRITES = (187, 10.0)
ARM_READS = (222, 25.0)
ARM_DELETES = (187, 10.0)

# Compute, per subscription and region: "Update VM" takes every submission and every removal, 1,500 and 500 a minute
# (documented, "Compute throttling limits"). It is refilled once a minute, so one refill is kept back.
COMPUTE_UPDATES = (1000, 500 / 60)

# Instances of scale sets have buckets of their own, one for submissions and one for removals (recorded names; documented
# sizes as those of VMs, recorded 2,000). Arc has none by name; its writes come back under a header of ARM's (recorded:
# 319 left after one), whose refill nobody tells: taken to be that of writes.
ARC_REQUESTS = (300, 10.0)

# Compute's own bucket of reads is far larger than ARM's, so it counts only where Compute refused one.
REGION_READS = (1, math.inf)

# All principals of a subscription together may make 15 times the calls of one (documented, as above).
MOST_PRINCIPALS = 15

MOST_KEPT = 0.8
"""The part of a bucket that removals leave for submissions, at most: a run that waits is to clean up meanwhile."""

ARM_THROTTLED = "SubscriptionRequestsThrottled"
"""The code of ARM's own 429 (recorded); any other is Compute's, whose limits are per region."""

SHORTEST_BLOCK = 1.0
LONGEST_BLOCK = 3600.0
"""An hour is the longest window of any documented limit; a service that asks for more is asked again then."""

CALLS_AT_ONCE = 96
"""Requests on the wire at one time. With twice as many 500 VMs begin half a second sooner, but so many then end in the same
moment that their results are read seconds later (measured in virtual time).
"""


def _rate(shape: tuple[int, float]) -> Rate:
    return Rate(*shape)


@dataclass(slots=True)
class SubscriptionRates:
    """ARM's limits for one subscription, shared by its regions: those of one principal, times the principals."""

    writes: Rate = field(default_factory=lambda: _rate(ARM_WRITES))
    reads: Rate = field(default_factory=lambda: _rate(ARM_READS))
    deletes: Rate = field(default_factory=lambda: _rate(ARM_DELETES))
    principals: int = 1

    def note(self, at: float, quota: Quota) -> None:
        """Believe ARM's counts. Zero is believed too: nothing is left. So is more than is documented.

        They are of the one principal who asked. Principals take turns, so before the emptiest of them runs dry the pool
        can make as many calls as it has left, times the principals; what others have left beyond that is not known.
        """
        for name, rate in (("writes", self.writes), ("reads", self.reads), ("deletes", self.deletes)):
            if (remaining := quota.remaining.get(name)) is not None:
                rate.note(at, remaining * self.principals)
                if self.principals == 1:
                    rate.grant(at, remaining)

    def refused_read(self, at: float, wait: float | None, code: str) -> None:
        """A read met 429: hold up all reads of the subscription if the limit is ARM's own."""
        if code == ARM_THROTTLED:
            self.reads.block(at + _believed(wait))

    def share(self, principals: int) -> None:
        """Let this many principals take turns from now on."""
        self.principals = min(max(principals, 1), MOST_PRINCIPALS)
        for rate, (burst, per_second) in (
            (self.writes, ARM_WRITES),
            (self.reads, ARM_READS),
            (self.deletes, ARM_DELETES),
        ):
            rate.burst, rate.per_second = burst * self.principals, per_second * self.principals


@dataclass(slots=True)
class LaneRates:
    """What a call about one kind of machine in one subscription and region must pass."""

    arm: SubscriptionRates
    kind: Kind = Kind.VM
    updates: Rate = field(default_factory=lambda: _rate(COMPUTE_UPDATES))
    removals: Rate = field(default_factory=lambda: _rate(COMPUTE_UPDATES))
    """What removals pass in addition to ARM's limit; of VMs and Arc machines it is the bucket of submissions itself."""
    reads: Rate = field(default_factory=lambda: _rate(REGION_READS))
    """What reads pass in addition to ARM's limit."""
    who: object = None
    """Names the caller among those who share the buckets."""
    ahead: float = 0.0
    """Seconds by which the caller's moments are ahead of those that the buckets are counted in."""

    def __post_init__(self) -> None:
        if self.kind is Kind.ARC:
            self.updates = _rate(ARC_REQUESTS)
        if self.kind is not Kind.SCALE_SET:
            self.removals = self.updates

    def shared_by(self, who: object, ahead: float = 0.0) -> LaneRates:
        """Return the same buckets for one of those who share them."""
        own = copy(self)
        own.who, own.ahead = who, ahead
        return own

    def submit_at(self) -> float:
        connection_asked = self.arm.reads.earliest(self.who) if self.kind is Kind.ARC else -math.inf
        return self.ahead + max(self.arm.writes.earliest(self.who), self.updates.earliest(self.who), connection_asked)

    def read_at(self) -> float:
        return self.ahead + max(self.arm.reads.earliest(self.who), self.reads.earliest(self.who))

    def remove_at(self, unsent: int = 0) -> float:
        """The first moment for a removal. It leaves what so many submissions will take faster than it comes back."""
        kept = 0.0
        if unsent and self.removals is self.updates:
            kept = unsent * max(1 - self.updates.per_second / self.arm.writes.per_second, 0.0)
            kept = min(kept, MOST_KEPT * self.updates.burst)
        return self.ahead + max(self.arm.deletes.earliest(self.who), self.removals.earliest(self.who, kept))

    def wait_to_submit(self, now: float) -> None:
        self._wait(now, self.arm.writes, self.updates, *([self.arm.reads] if self.kind is Kind.ARC else []))

    def wait_to_read(self, now: float) -> None:
        self._wait(now, self.arm.reads)

    def wait_to_remove(self, now: float) -> None:
        self._wait(now, self.arm.deletes, self.removals)

    def _wait(self, now: float, *rates: Rate) -> None:
        """Keep a place in each bucket that a call would pass."""
        for rate in rates:
            rate.wait(now - self.ahead, self.who)

    def reads_left(self, now: float) -> int:
        """How many reads ARM would take at ``now``."""
        return self.arm.reads.left(now - self.ahead)

    @property
    def reads_per_second(self) -> float:
        """How many reads come back a second."""
        return self.arm.reads.per_second

    def writes_left(self, now: float) -> int:
        """How many submissions ARM would take at ``now``."""
        return self.arm.writes.left(now - self.ahead)

    def submitted(self, at: float) -> None:
        at -= self.ahead
        self.arm.writes.send(at, self.who)
        self.updates.send(at, self.who)
        if self.kind is Kind.ARC:
            self.arm.reads.take(at, self.who)  # its connection is read before anything is sent to it

    def submission_answered(self, at: float) -> None:
        self.arm.writes.answer(at - self.ahead)
        self.updates.answer(at - self.ahead)

    def read(self, at: float) -> None:
        self.arm.reads.send(at - self.ahead, self.who)

    def read_answered(self, at: float) -> None:
        self.arm.reads.answer(at - self.ahead)

    def removed(self, at: float) -> None:
        self.arm.deletes.send(at - self.ahead, self.who)
        self.removals.send(at - self.ahead, self.who)

    def removal_answered(self, at: float) -> None:
        self.arm.deletes.answer(at - self.ahead)
        self.removals.answer(at - self.ahead)

    def refused_submission(self, at: float, wait: float | None, code: str) -> None:
        """A submission met 429: hold up what shares the limit, ARM's bucket or the provider's region."""
        (self.arm.writes if code == ARM_THROTTLED else self.updates).block(at - self.ahead + _believed(wait))

    def refused_removal(self, at: float, wait: float | None, code: str) -> None:
        """A removal met 429: as with submissions."""
        (self.arm.deletes if code == ARM_THROTTLED else self.removals).block(at - self.ahead + _believed(wait))

    def refused_read(self, at: float, wait: float | None, code: str) -> None:
        """A read met 429: as with submissions."""
        (self.arm.reads if code == ARM_THROTTLED else self.reads).block(at - self.ahead + _believed(wait))

    def note(self, at: float, quota: Quota) -> None:
        """Believe what the answer's headers said. Compute's count is of all principals."""
        at -= self.ahead
        self.arm.note(at, quota)
        for name, rate in _BUCKETS[self.kind].items():
            if (remaining := quota.remaining.get(name)) is not None:
                getattr(self, rate).note(at, remaining)


_BUCKETS = {
    Kind.VM: {"UpdateVMSubscriptionMaximum": "updates"},
    Kind.SCALE_SET: {
        "VMScaleSetVMActionsSubscriptionMaximum": "updates",
        "DeleteVMScaleSetVMSubscriptionMaximum": "removals",
    },
    Kind.ARC: {"resource-requests": "updates"},
}
"""Which header tells of which rate (recorded names)."""


def _believed(wait: float | None) -> float:
    return min(max(wait or 0.0, SHORTEST_BLOCK), LONGEST_BLOCK)
