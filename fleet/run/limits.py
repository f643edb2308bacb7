"""Rates by absolute time, and the failure budget.

A rate answers with the next allowed *moment*, never with "wait this long": one number of state (GCRA) cannot creep.
Who shares one may keep a place, so that whoever asks most often does not get every call.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleet.run.answers import Quota
from fleet.run.model import FAILURES, NOT_REACHED, CauseCode, Status
from fleet.targets.model import Kind

if TYPE_CHECKING:
    from fleet.plan.model import Limits

# ARM, per subscription and principal: bucket and refill per second (documented, "Azure Resource Manager request
# limits", 2024: 200, 250 and 200). One second's refill is kept back, since refills may come in steps, and a few tokens
# more: calls sent apart can arrive together. With less, a run that drains the bucket meets refusals of its own making.
ARM_WRITES = (185, 10.0)
ARM_READS = (220, 25.0)
ARM_DELETES = (185, 10.0)

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

ARM_THROTTLED = "SubscriptionRequestsThrottled"
"""The code of ARM's own 429 (recorded); any other is Compute's, whose limits are per region."""

SHORTEST_BLOCK = 1.0
LONGEST_BLOCK = 3600.0
"""An hour is the longest window of any documented limit; a service that asks for more is asked again then."""

CALLS_AT_ONCE = 96
"""Requests on the wire at one time. More connections are slower, and short calls do not need them."""


WAITED_FOR = 1.0
"""Seconds after its moment for which one who waits keeps its place: it may have stopped, or want nothing any more."""


@dataclass(slots=True)
class Rate:
    """A bucket of ``burst`` calls, refilled at ``per_second``. Moments are epoch seconds.

    Those who share it have turns once it is empty: a call is left for each who waits, in the order in which they came.
    """

    burst: int
    per_second: float
    full_at: float = 0.0
    """The moment at which the bucket will be full again: all that is known of the calls."""
    waiting: dict[object, float] = field(default_factory=dict)
    """Who waits for a call, first come first, and the moment until which it keeps its place."""

    def earliest(self, who: object = None) -> float:
        """The first moment at which one more call is allowed (it may lie in the past)."""
        return self.full_at - (self.burst - 1 - (self._before(who) if self.waiting else 0)) / self.per_second

    def left(self, now: float) -> int:
        """How many calls are allowed at ``now``."""
        return max(0, min(self.burst, int(self.burst - (self.full_at - now) * self.per_second)))

    def take(self, at: float, who: object = None) -> None:
        """Count one call that leaves at ``at``."""
        self.full_at = max(self.full_at, at) + 1 / self.per_second
        self.waiting.pop(who, None)

    def wait(self, now: float, who: object) -> None:
        """Keep a place for one that would call at ``now`` and may not; it asks again at its earliest moment."""
        for each, until in list(self.waiting.items()):
            if until < now and each is not who:
                self.waiting.pop(each, None)
        self.waiting[who] = max(self.earliest(who), now) + WAITED_FOR

    def block(self, until: float) -> None:
        """Allow nothing before ``until`` (the service said so)."""
        self.full_at = max(self.full_at, until + (self.burst - 1) / self.per_second)

    def note(self, at: float, remaining: int) -> None:
        """Believe the service when it says that fewer calls are left than we think."""
        self.full_at = max(self.full_at, at + (self.burst - remaining) / self.per_second)

    def _before(self, who: object) -> int:
        """How many have a place before this one, the last if it has none."""
        places = list(self.waiting)
        return places.index(who) if who in places else len(places)


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
        """Believe ARM's counts. Zero is believed too: nothing is left.

        They are of the one principal who asked. Principals take turns, so before the emptiest of them runs dry the pool
        can make as many calls as it has left, times the principals.
        """
        for name, rate in (("writes", self.writes), ("reads", self.reads), ("deletes", self.deletes)):
            if (remaining := quota.remaining.get(name)) is not None:
                rate.note(at, remaining * self.principals)

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

    def remove_at(self) -> float:
        return self.ahead + max(self.arm.deletes.earliest(self.who), self.removals.earliest(self.who))

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
        self.arm.writes.take(at, self.who)
        self.updates.take(at, self.who)
        if self.kind is Kind.ARC:
            self.arm.reads.take(at, self.who)  # its connection is read before anything is sent to it

    def read(self, at: float) -> None:
        self.arm.reads.take(at - self.ahead, self.who)

    def removed(self, at: float) -> None:
        at -= self.ahead
        self.arm.deletes.take(at, self.who)
        self.removals.take(at, self.who)

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


@dataclass(slots=True)
class Budget:
    """How many failures and how many not-reached targets the run, or a wave of it, may have.

    Strict: each job in flight reserves one of both, and each that waits to be tried again one of the unreachable, so that
    the limit cannot be overshot whatever they turn out to be. Exceeding means *more than* the maximum: ``max_failures: 3``
    ends the run at the fourth.
    """

    limits: Limits
    failures: int = 0
    not_reached: int = 0
    where: str = ""
    """Which part of the run it is for, for the reader: `` in wave 2``."""

    def count(self, status: Status) -> None:
        """Take over how a job ended."""
        self.failures += status in FAILURES
        self.not_reached += status in NOT_REACHED

    def minds(self, status: Status) -> bool:
        """Whether ending like this costs anything that is limited."""
        limits = self.limits
        return (status in FAILURES and limits.max_failures is not None) or (
            status in NOT_REACHED and limits.max_unreachable is not None
        )

    def room(self, in_flight: int, tried: int) -> bool:
        """Whether one more job may start beside those in flight and those that wait to be tried again."""
        failures, unreachable = self.limits.max_failures, self.limits.max_unreachable
        if not self.limits.strict:
            in_flight = tried = 0
        return (failures is None or self.failures + in_flight <= failures) and (
            unreachable is None or self.not_reached + in_flight + tried <= unreachable
        )

    def breach(self) -> tuple[CauseCode, str] | None:
        """The budget that is overdrawn, with a sentence, or None."""
        failures, unreachable = self.limits.max_failures, self.limits.max_unreachable
        if failures is not None and self.failures > failures:
            return CauseCode.BUDGET_FAILURES, self._overdrawn(self.failures, "failed", failures)
        if unreachable is not None and self.not_reached > unreachable:
            return CauseCode.BUDGET_UNREACHABLE, self._overdrawn(self.not_reached, "could not be reached", unreachable)
        return None

    def _overdrawn(self, count: int, what: str, maximum: int) -> str:
        return f"{count} target{'s' if count != 1 else ''} {what}{self.where}; the budget allows {maximum}"
