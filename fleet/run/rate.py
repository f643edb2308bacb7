"""One rate, by absolute time: the next allowed *moment*, never "wait this long". One number of state (GCRA) cannot creep.

Who shares one may keep a place, so that whoever asks most often does not get every call.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

WAITED_FOR = 1.0
"""Seconds after its moment for which one who waits keeps its place: it may have stopped, or want nothing any more."""

LONGEST_CALL = 75.0
"""Seconds after which a call without an answer is taken to have arrived long ago: longer than any request may take."""

UNSETTLED = 2.0
"""Seconds for which an answer that comes late may still say what was left before other calls arrived."""

KEPT = 3
"""Calls of what the service says is left that are kept besides one refill: refills come in steps, clocks differ."""

_ROUNDING = 1e-3
"""Of a call, since moments are floats."""


class Level(Protocol):
    """How full one bucket is, wherever that is kept. Moments are epoch seconds, and may lie in the past."""

    def read(self) -> OwnLevel:
        """Say how it is now. What is returned is only read."""
        ...

    def add(self, at: float, seconds: float, *, away: int = 0) -> None:
        """Count a call that is sent at ``at`` and comes back after so many seconds; with ``away`` 1 it will be answered."""
        ...

    def answer(self, at: float, seconds: float) -> None:
        """Count the answer to one call that is away."""
        ...

    def delay(self, until: float) -> None:
        """Be full no earlier than ``until``."""
        ...

    def advance(self, at: float, until: float) -> None:
        """Be full at ``until``, where nobody else has counted a call lately."""
        ...


@dataclass(slots=True)
class OwnLevel:
    """A level of this process alone."""

    full_at: float = 0.0
    """When it will be full again, each call counted when it was sent."""
    answered_full_at: float = 0.0
    """When it would be full again if calls counted only once they are answered."""
    away: int = 0
    """How many calls are sent and not answered."""

    def read(self) -> OwnLevel:
        return self

    def add(self, at: float, seconds: float, *, away: int = 0) -> None:
        self.full_at = max(self.full_at, at) + seconds
        self.away += away

    def answer(self, at: float, seconds: float) -> None:
        self.answered_full_at = max(self.answered_full_at, at) + seconds
        self.away = max(self.away - 1, 0)

    def delay(self, until: float) -> None:
        self.full_at = max(self.full_at, until)

    def advance(self, at: float, until: float) -> None:
        self.full_at = min(self.full_at, until)
        self.answered_full_at = min(self.answered_full_at, until)


@dataclass(slots=True)
class Rate:
    """A bucket of ``burst`` calls, refilled at ``per_second``. Moments are epoch seconds.

    A call arrives at some moment between when it is sent and when it is answered. It is counted at once, so that others do
    not take it, and once more when it is answered, so that what was held up on its way (a busy processor, slow TLS, a
    suspended machine) does not arrive together with later ones. Those who share a rate have turns once it is empty: a call
    is left for each who waits, in the order in which they came.
    """

    burst: int
    per_second: float
    level: Level = field(default_factory=OwnLevel)
    waiting: dict[object, float] = field(default_factory=dict)
    """Who waits for a call, first come first, and the moment until which it keeps its place."""
    _away: deque[float] = field(default_factory=deque)
    """When each call of this process was sent that is not answered yet."""
    _recent: deque[float] = field(default_factory=deque)
    """When the last calls were answered, or sent if nobody counts their answers."""
    _blocked: float = 0.0
    """The moment until which the service said that nothing is allowed."""

    def earliest(self, who: object = None, kept: float = 0.0) -> float:
        """The first moment at which one more call is allowed (it may lie in the past), and so many are left for others."""
        room = self.burst - 1 - kept - (self._before(who) if self.waiting else 0)
        level = self.level.read()
        counted = level.full_at - room / self.per_second
        return max(counted, level.answered_full_at - max(room - level.away, 0) / self.per_second)

    def left(self, now: float) -> int:
        """How many calls are allowed at ``now``."""
        level = self.level.read()
        counted = (level.full_at - now) * self.per_second
        answered = max(level.answered_full_at - now, 0.0) * self.per_second + level.away
        return max(0, min(self.burst, int(self.burst - max(counted, answered) + _ROUNDING)))

    def send(self, at: float, who: object = None) -> None:
        """Count one call that is sent at ``at``, and whose answer will be counted by :meth:`answer`."""
        self._count(at, who, away=1)
        while self._away and self._away[0] < at - LONGEST_CALL:
            self.answer(at)
        self._away.append(at)

    def answer(self, at: float) -> None:
        """Count the answer to a call, or that it failed; nothing where none is on its way."""
        if self._away:
            self._away.popleft()
            self.level.answer(at, 1 / self.per_second)
            self._recent.append(at)
            self._settle(at)

    def take(self, at: float, who: object = None) -> None:
        """Count one call that leaves at ``at``, whose answer nobody will count."""
        self._count(at, who)
        self._recent.append(at)
        self._settle(at)

    def _count(self, at: float, who: object, *, away: int = 0) -> None:
        self.level.add(at, 1 / self.per_second, away=away)
        self.waiting.pop(who, None)

    def wait(self, now: float, who: object) -> None:
        """Keep a place for one that would call at ``now`` and may not; it asks again at its earliest moment."""
        for each, until in list(self.waiting.items()):
            if until < now and each is not who:
                self.waiting.pop(each, None)
        self.waiting[who] = max(self.earliest(who), now) + WAITED_FOR

    def block(self, until: float) -> None:
        """Allow nothing before ``until`` (the service said so)."""
        self._blocked = max(self._blocked, until)
        self.level.delay(until + (self.burst - 1) / self.per_second)

    def note(self, at: float, remaining: int) -> None:
        """Believe the service when it says that fewer calls are left than we think."""
        self.level.delay(at + (self.burst - remaining) / self.per_second)

    def grant(self, at: float, remaining: int) -> None:
        """Believe the service when it says that more calls are left, but for those that it may not have counted yet."""
        self._settle(at)
        spare = remaining - int(self.per_second) - KEPT - self.level.read().away - len(self._recent)
        if at < self._blocked or spare < 1:
            return
        self.burst = max(self.burst, spare)
        until = at + (self.burst - spare) / self.per_second
        if until < self.level.read().full_at:
            self.level.advance(at, until)

    def _settle(self, at: float) -> None:
        while self._recent and self._recent[0] < at - UNSETTLED:
            self._recent.popleft()

    def _before(self, who: object) -> int:
        """How many have a place before this one, the last if it has none."""
        places = list(self.waiting)
        return places.index(who) if who in places else len(places)
