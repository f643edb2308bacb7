"""The table of all rates that one sign-in has: ARM's of each subscription, the provider's of each region and kind.

Runs, commands, reads and questions that sign in alike take from one table, because Azure counts their calls together.
The table knows no clock. Whoever shares it gives every moment by the same one. Loops in several threads may share it: a walk
goes over a copy, and a call that is counted at the same instant as another is lost at worst.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from fleet.run.answers import Quota
from fleet.run.limits import LaneRates, SubscriptionRates
from fleet.run.rate import Level, OwnLevel, Rate
from fleet.targets.model import Kind, Target


class Bucket(NamedTuple):
    """What names one rate of a table, in the case for comparing. ARM's have neither ``location`` nor ``kind``."""

    subscription: str
    name: str
    location: str = ""
    kind: str = ""


Levels = Mapping[Bucket, float]
"""The first moment at which each bucket allows one more call. A bucket that is full is left out."""


class Rates:
    """Every rate of one sign-in. An entry is made when it is first asked for.

    ``level_of`` says where the level of each bucket is kept: in this process alone, or where other processes see it.
    """

    def __init__(self, principals: int = 1, level_of: Callable[[Bucket], Level] = lambda bucket: OwnLevel()) -> None:
        self._principals = principals
        self._level_of = level_of
        self._arm: dict[str, SubscriptionRates] = {}
        self._places: dict[tuple[str, str], dict[Kind, LaneRates]] = {}

    def arm(self, subscription: str) -> SubscriptionRates:
        """Return ARM's rates of a subscription."""
        name = subscription.casefold()
        if name not in self._arm:
            arm = self._arm[name] = SubscriptionRates()
            arm.share(self._principals)
            self._keep_levels(_of_arm(name, arm))
        return self._arm[name]

    def lane(self, target: Target) -> LaneRates:
        """Return the rates of the target's kind of machine in its subscription and region."""
        return self._lane(target.subscription, target.location, target.kind)

    def _lane(self, subscription: str, location: str, kind: Kind) -> LaneRates:
        place = subscription.casefold(), location.casefold()
        lanes = self._places.setdefault(place, {})
        if kind not in lanes:
            lanes[kind] = LaneRates(self.arm(subscription), kind)
            self._keep_levels(_of_lane(place, lanes[kind]))
        return lanes[kind]

    def _keep_levels(self, rates: Iterator[tuple[Bucket, Rate]]) -> None:
        """Give each rate its level; one that has two names keeps the first."""
        for rate, bucket in {id(rate): (rate, bucket) for bucket, rate in reversed([*rates])}.values():
            rate.level = self._level_of(bucket)

    def share(self, principals: int) -> None:
        """Let this many principals take turns from now on, in every subscription."""
        self._principals = principals
        for arm in list(self._arm.values()):
            arm.share(principals)

    def note(self, at: float, quota: Quota) -> None:
        """Take over what an answer's headers said about a subscription and region."""
        place = quota.subscription.casefold(), quota.location.casefold()
        if place not in self._places:
            self.arm(quota.subscription).note(at, quota)
        for lane in list(self._places.get(place, {}).values()):
            lane.note(at, quota)

    def levels(self, now: float) -> Levels:
        """Return how the buckets are that are not full at ``now``, for another table of the same sign-in."""
        return {bucket: rate.earliest() for bucket, rate in self._buckets() if rate.level.read().full_at > now}

    def hold(self, levels: Levels) -> None:
        """Take over another table's levels: of two moments the later holds, so no call and no block is forgotten."""
        for bucket, moment in levels.items():
            self._rate(bucket).block(moment)

    def _rate(self, bucket: Bucket) -> Rate:
        if not bucket.kind:
            arm = self.arm(bucket.subscription)
            return {"writes": arm.writes, "reads": arm.reads, "deletes": arm.deletes}[bucket.name]
        lane = self._lane(bucket.subscription, bucket.location, Kind(bucket.kind))
        return {"updates": lane.updates, "removals": lane.removals, "reads": lane.reads}[bucket.name]

    def _buckets(self) -> Iterator[tuple[Bucket, Rate]]:
        for subscription, arm in list(self._arm.items()):
            yield from _of_arm(subscription, arm)
        for place, lanes in list(self._places.items()):
            for lane in list(lanes.values()):
                yield from _of_lane(place, lane)


def _of_arm(subscription: str, arm: SubscriptionRates) -> Iterator[tuple[Bucket, Rate]]:
    yield Bucket(subscription, "writes"), arm.writes
    yield Bucket(subscription, "reads"), arm.reads
    yield Bucket(subscription, "deletes"), arm.deletes


def _of_lane(place: tuple[str, str], lane: LaneRates) -> Iterator[tuple[Bucket, Rate]]:
    subscription, location = place
    yield Bucket(subscription, "updates", location, lane.kind), lane.updates
    yield Bucket(subscription, "removals", location, lane.kind), lane.removals
    yield Bucket(subscription, "reads", location, lane.kind), lane.reads
