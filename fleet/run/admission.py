"""How many targets may be under way: slow start inside a wave, and spread over groups.

A target is under way from its first submission until its last step has ended, the time between its steps included; what
a gate looks at after that holds nobody up. One whose only submission was refused waits like the others: it holds nobody up.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from fleet.plan.model import Plan
from fleet.run.model import NOT_RUN, Status
from fleet.targets.traits import alike, trait


@dataclass(slots=True)
class _Standing:
    """One target. ``group`` is its number among the groups of the spread; None if it is in none."""

    left: int
    """Jobs that have not ended."""
    group: int | None
    flying: int = 0
    ran: bool = False
    doubtful: bool = False
    """It failed or was not reached, and a budget counts that."""

    @property
    def under_way(self) -> bool:
        return self.left > 0 and (self.flying > 0 or self.ran)


class Admission:
    """Which targets are under way, and whether one more may begin. Written by :class:`fleet.run.state.Run` alone."""

    def __init__(self, plan: Plan) -> None:
        groups, body = _groups(plan), plan.body
        self._slow = plan.limits.slow_start
        self._targets = [_Standing(body, group) for group in groups]
        self._maxima = _maxima(plan, groups)
        self._rate = plan.limits.rate
        self._starts: deque[float] = deque(maxlen=None if self._rate is None else self._rate.count)
        """When the newest targets started, as many as the rate counts."""
        self._busy: Counter[int] = Counter()
        self.under_way = 0
        self._earned = 0
        """Targets of the open wave that ended without costing any budget."""

    @property
    def width(self) -> int | None:
        """How many targets may be under way now: 1, 2, 4, ... as those before end well; None for no limit."""
        return 1 + self._earned if self._slow else None

    def has_room(self) -> bool:
        """Whether the slow start lets one more target begin."""
        return self.width is None or self.under_way < self.width

    def start_at(self) -> float:
        """The first moment at which the rate lets one more target start (it may lie in the past)."""
        if self._rate is None or len(self._starts) < self._rate.count:
            return 0.0
        return self._starts[0] + self._rate.per

    def started(self, at: float) -> None:
        """A target started: its first command is sent."""
        if self._rate is not None:
            self._starts.append(at)

    def has_begun(self, target: int) -> bool:
        """Whether a step of the target has run: what follows begins nothing."""
        return self._targets[target].ran

    def group(self, target: int) -> int | None:
        """The number of the target's group of the spread; None if it is in none."""
        return self._targets[target].group

    def room_of(self, group: int) -> int:
        """How many more targets of the group may begin."""
        return self._maxima[group] - self._busy[group]

    def open_wave(self) -> None:
        """A wave begins slowly whatever the one before did: its targets may be others."""
        self._earned = 0

    def flown(self, target: int, change: int) -> None:
        """A job of the target took off (1) or landed (-1)."""
        standing = self._targets[target]
        before = standing.under_way
        standing.flying += change
        self._count(standing, before)

    def begun(self, target: int) -> None:
        """A job of the target ended and will be tried again: the target stays under way."""
        standing = self._targets[target]
        before = standing.under_way
        standing.ran = True
        self._count(standing, before)

    def ended(self, target: int, status: Status, *, costs: bool) -> None:
        """A job of the target ended; ``costs`` says that a budget counts how."""
        standing = self._targets[target]
        before = standing.under_way
        standing.left -= 1
        standing.ran |= status not in NOT_RUN
        standing.doubtful |= costs
        self._earned += standing.left == 0 and standing.ran and not standing.doubtful
        self._count(standing, before)

    def _count(self, standing: _Standing, before: bool) -> None:
        change = int(standing.under_way) - int(before)
        self.under_way += change
        if standing.group is not None:
            self._busy[standing.group] += change


def _groups(plan: Plan) -> list[int | None]:
    spread = plan.limits.spread
    if spread is None:
        return [None] * len(plan.targets)
    values = [alike(trait(target, spread.per)) for target in plan.targets]
    number = {value: index for index, value in enumerate(dict.fromkeys(values))}
    return [number[value] if value else None for value in values]


def _maxima(plan: Plan, groups: list[int | None]) -> dict[int, int]:
    spread = plan.limits.spread
    if spread is None:
        return {}
    return {group: spread.of(size) for group, size in Counter(groups).items() if group is not None}
