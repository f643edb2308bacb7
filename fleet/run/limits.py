"""Rates by absolute time, and the failure budget.

A rate answers with the next allowed *moment*, never with "wait this long": one number of state (GCRA) cannot creep.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fleet.plan.model import Limits
from fleet.run.answers import Quota
from fleet.run.model import CauseCode

# ARM, per subscription and principal: bucket and refill per second (documented, "Azure Resource Manager request
# limits", 2024). A few tokens are kept back: calls sent apart can arrive together.
ARM_WRITES = (195, 10.0)
ARM_READS = (240, 25.0)
ARM_DELETES = (195, 10.0)

# Compute, per subscription and region: "Update VM" takes every submission and every removal, 1,500 and 500 a minute
# (documented, "Compute throttling limits"). It is refilled once a minute, so one refill is kept back.
COMPUTE_UPDATES = (1000, 500 / 60)

CALLS_AT_ONCE = 96
"""Requests on the wire at one time. More connections are slower, and short calls do not need them."""


@dataclass(slots=True)
class Rate:
    """A bucket of ``burst`` calls, refilled at ``per_second``. Moments are epoch seconds."""

    burst: int
    per_second: float
    full_at: float = 0.0
    """The moment at which the bucket will be full again: the whole state."""

    def earliest(self) -> float:
        """The first moment at which one more call is allowed (it may lie in the past)."""
        return self.full_at - (self.burst - 1) / self.per_second

    def left(self, now: float) -> int:
        """How many calls are allowed at ``now``."""
        return max(0, min(self.burst, int(self.burst - (self.full_at - now) * self.per_second)))

    def take(self, at: float) -> None:
        """Count one call that leaves at ``at``."""
        self.full_at = max(self.full_at, at) + 1 / self.per_second

    def block(self, until: float) -> None:
        """Allow nothing before ``until`` (the service said so)."""
        self.full_at = max(self.full_at, until + (self.burst - 1) / self.per_second)

    def note(self, at: float, remaining: int) -> None:
        """Believe the service when it says that fewer calls are left than we think."""
        self.full_at = max(self.full_at, at + (self.burst - remaining) / self.per_second)


def _rate(shape: tuple[int, float]) -> Rate:
    return Rate(*shape)


@dataclass(slots=True)
class SubscriptionRates:
    """ARM's limits for one subscription, shared by its regions."""

    writes: Rate = field(default_factory=lambda: _rate(ARM_WRITES))
    reads: Rate = field(default_factory=lambda: _rate(ARM_READS))
    deletes: Rate = field(default_factory=lambda: _rate(ARM_DELETES))


@dataclass(slots=True)
class LaneRates:
    """What a call in one subscription and region must pass."""

    arm: SubscriptionRates
    updates: Rate = field(default_factory=lambda: _rate(COMPUTE_UPDATES))

    def submit_at(self) -> float:
        return max(self.arm.writes.earliest(), self.updates.earliest())

    def read_at(self) -> float:
        return self.arm.reads.earliest()

    def remove_at(self) -> float:
        return max(self.arm.deletes.earliest(), self.updates.earliest())

    def submitted(self, at: float) -> None:
        self.arm.writes.take(at)
        self.updates.take(at)

    def read(self, at: float) -> None:
        self.arm.reads.take(at)

    def removed(self, at: float) -> None:
        self.arm.deletes.take(at)
        self.updates.take(at)

    def note(self, at: float, quota: Quota) -> None:
        """Take over what the answer's headers said. Zero is believed too: nothing is left."""
        for name, rate in (
            ("writes", self.arm.writes),
            ("reads", self.arm.reads),
            ("deletes", self.arm.deletes),
            ("UpdateVMSubscriptionMaximum", self.updates),
        ):
            if (remaining := quota.remaining.get(name)) is not None:
                rate.note(at, remaining)


@dataclass(slots=True)
class Budget:
    """How many failures and how many not-reached targets the run may have.

    Strict: each job in flight reserves one of both, so that the limit cannot be overshot whatever the jobs in flight
    turn out to be. Exceeding means *more than* the maximum: ``max_failures: 3`` ends the run at the fourth.
    """

    limits: Limits
    failures: int = 0
    not_reached: int = 0

    def room(self, in_flight: int) -> bool:
        """Whether one more job may start beside those in flight."""
        reserved = in_flight if self.limits.strict else 0
        return all(
            maximum is None or spent + reserved <= maximum
            for spent, maximum in (
                (self.failures, self.limits.max_failures),
                (self.not_reached, self.limits.max_unreachable),
            )
        )

    def breach(self) -> tuple[CauseCode, str] | None:
        """The budget that is overdrawn, with a sentence, or None."""
        if self.limits.max_failures is not None and self.failures > self.limits.max_failures:
            return CauseCode.BUDGET_FAILURES, _overdrawn(self.failures, "failed", self.limits.max_failures)
        if self.limits.max_unreachable is not None and self.not_reached > self.limits.max_unreachable:
            return (
                CauseCode.BUDGET_UNREACHABLE,
                _overdrawn(self.not_reached, "could not be reached", self.limits.max_unreachable),
            )
        return None


def _overdrawn(count: int, what: str, maximum: int) -> str:
    return f"{count} target{'s' if count != 1 else ''} {what}; the budget allows {maximum}"
