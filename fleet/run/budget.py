"""The failure budget: how many targets may end badly, in a run or in a wave of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleet.run.model import FAILURES, NOT_REACHED, CauseCode, Status

if TYPE_CHECKING:
    from fleet.plan.model import Limits


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
