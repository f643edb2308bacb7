"""One call on each of many managed commands, within Azure's limits: a fold without a journal.

What it does is safe to repeat (deleting) or never repeated unless it was refused (changing), so nothing need be kept: who
stops in the middle looks again and goes on. The shape is the run's: ``next`` only reads, the others write.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from fleet.run.answers import Accepted, Lost, LostReason, Quota, Refused, Removed
from fleet.run.limits import LaneRates
from fleet.run.model import Cause, CauseCode
from fleet.run.rates import Rates
from fleet.run.retry import BULK, Again, backoff, judge_refusal
from fleet.targets.glob import same_case
from fleet.targets.model import Kind, Target

AT_ONCE = 48
"""Calls on the wire at one time."""


class BulkKind(StrEnum):
    """What is done to every command."""

    DELETE = "delete"
    CHANGE = "change"


class Fate(StrEnum):
    """How it went."""

    DONE = "done"
    """Azure took the call; the command is being deleted, or changed."""
    FAILED = "failed"
    UNKNOWN = "unknown"
    """The answer to a change was lost: it may have been made, and is not sent again."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of one command; ``cause`` says why where it did not work."""

    fate: Fate
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Call for this item now."""

    item: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to send before ``at`` (epoch seconds), or before an answer."""

    at: float | None


BulkAnswer = Accepted | Removed | Refused | Lost


@dataclass(slots=True)
class _Item:
    lane: int
    tries: int = 0
    first: float | None = None


@dataclass(slots=True)
class _Lane:
    rates: LaneRates
    waiting: list[tuple[float, int]] = field(default_factory=list)


class Bulk:
    """One call for each target, in the order given as far as the limits allow. ``rates`` are those that others use too."""

    def __init__(self, kind: BulkKind, targets: Sequence[Target], rates: Rates | None = None) -> None:
        self._kind = kind
        self._rates, who = rates or Rates(), object()
        self.ended: dict[int, Ended] = {}
        self._flying = 0
        self._lanes: list[_Lane] = []
        self._items: list[_Item] = []
        places: dict[tuple[str, str, Kind], int] = {}
        for number, target in enumerate(targets):
            place = same_case(target.subscription), same_case(target.location), target.kind
            if place not in places:
                places[place] = len(self._lanes)
                self._lanes.append(_Lane(self._rates.lane(target).shared_by(who)))
            lane = places[place]
            self._items.append(_Item(lane))
            self._lanes[lane].waiting.append((0.0, number))

    @property
    def finished(self) -> bool:
        return len(self.ended) == len(self._items)

    def next(self, now: float) -> Send | Wait:
        """Say what to do now."""
        if self._flying >= AT_ONCE:
            return Wait(None)
        moments: list[float] = []
        for lane in self._lanes:
            if lane.waiting:
                due, item = lane.waiting[0]
                at = max(due, self._allowed(lane.rates))
                if at <= now:
                    return Send(item)
                moments.append(at)
        return Wait(min(moments, default=None))

    def wait(self, now: float) -> None:
        """Keep a place among those who share the rates, for what is due and may not leave yet."""
        for rates in [lane.rates for lane in self._lanes if lane.waiting and lane.waiting[0][0] <= now]:
            if self._allowed(rates) > now:
                (rates.wait_to_remove if self._kind is BulkKind.DELETE else rates.wait_to_submit)(now)

    def _allowed(self, rates: LaneRates) -> float:
        return rates.remove_at() if self._kind is BulkKind.DELETE else rates.submit_at()

    def sent(self, item: int, at: float) -> None:
        """A call is about to leave."""
        state = self._items[item]
        lane = self._lanes[state.lane]
        _, first = heapq.heappop(lane.waiting)
        assert first == item, "only what next() named is sent"
        (lane.rates.removed if self._kind is BulkKind.DELETE else lane.rates.submitted)(at)
        state.first = at if state.first is None else state.first
        state.tries += 1
        self._flying += 1

    def heard(self, item: int, at: float, answer: BulkAnswer, quota: Quota | None) -> None:
        """Take over what came back."""
        self._flying -= 1
        rates = self._lanes[self._items[item].lane].rates
        (rates.removal_answered if self._kind is BulkKind.DELETE else rates.submission_answered)(at)
        if quota is not None:
            self._rates.note(at, quota)
        verdict = self._judged(item, at, answer)
        state = self._items[item]
        if isinstance(verdict, Again) and BULK.allows(state.tries, verdict.at - (state.first or at)):
            heapq.heappush(self._lanes[state.lane].waiting, (verdict.at, item))
        else:
            self.ended[item] = Ended(Fate.FAILED, verdict.cause) if isinstance(verdict, Again) else verdict

    def _judged(self, item: int, at: float, answer: BulkAnswer) -> Ended | Again:
        state = self._items[item]
        match answer:
            case Accepted() | Removed():
                return Ended(Fate.DONE)
            case Refused(refusal):
                if refusal.status == 429:
                    state.tries -= 1
                    rates = self._lanes[state.lane].rates
                    refused = rates.refused_removal if self._kind is BulkKind.DELETE else rates.refused_submission
                    refused(at, refusal.retry_after, refusal.code)
                verdict = judge_refusal(refusal, now=at, tries=max(state.tries, 1), salt=str(item))
                return verdict if isinstance(verdict, Again) else Ended(Fate.FAILED, verdict.cause)
            case Lost(reason, detail, retry_after):
                cause = Cause(CauseCode.ANSWER_LOST, detail or reason.value, "look again: fleet commands list")
                if self._kind is BulkKind.CHANGE and reason is not LostReason.NOT_CONNECTED:
                    return Ended(Fate.UNKNOWN, cause)
                return Again(at + max(backoff(state.tries, str(item)), retry_after or 0.0), cause)
