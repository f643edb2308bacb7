"""Token buckets of ARM and of Compute, with their real names and sizes. Pure; the time is handed in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from fleet.lab.wire import Answer, compute, denied, gateway, refusal, stamp


class Verb(StrEnum):
    """ARM's classes of requests."""

    READS = "reads"
    WRITES = "writes"
    DELETES = "deletes"
    RESOURCE_REQUESTS = "resource-requests"  # what writes to Arc machines count as (recorded)


@dataclass(frozen=True, slots=True)
class Size:
    """A bucket's size and how many tokens it gets back in every period of that many seconds."""

    tokens: int
    refill: int
    period: float


# Documented (ARM, per subscription and principal): reads 250 and 25 a second, writes and deletes 200 and 10 a
# second; over all principals of a subscription 15 times as much.
_ARM = {
    Verb.READS: Size(250, 25, 1.0),
    Verb.WRITES: Size(200, 10, 1.0),
    Verb.DELETES: Size(200, 10, 1.0),
    Verb.RESOURCE_REQUESTS: Size(320, 32, 1.0),
}
_ARM_WHOLE = 15


class Policy(StrEnum):
    """Compute's policies, by the names of its headers (recorded)."""

    UPDATE_VM = "UpdateVM"
    LOW_COST_GET = "LowCostGet"
    GET_OPERATION = "GetOperation"
    HIGH_COST_GET = "HighCostGet"
    SUBSCRIPTION_INFO = "GetSubscriptionInfo3Min"
    SET_ACTIONS = "VMScaleSetVMActions"
    SET_DELETE = "DeleteVMScaleSetVM"
    SET_GET = "GetVMScaleSetVM"
    SET_LIST = "HighCostGetVMScaleSet"
    ARC_WRITE = ""  # Arc has no buckets of its own by name; its writes count at ARM (recorded)


# Documented bucket (refill a minute), per resource and per subscription and region; sizes also recorded.
_RESOURCE = {
    Policy.UPDATE_VM: Size(12, 4, 60.0),
    Policy.LOW_COST_GET: Size(36, 12, 60.0),
    Policy.GET_OPERATION: Size(45, 15, 60.0),
    Policy.SET_ACTIONS: Size(12, 4, 60.0),
    Policy.SET_DELETE: Size(12, 4, 60.0),
    Policy.SET_GET: Size(36, 12, 60.0),
    Policy.SET_LIST: Size(30, 10, 60.0),
}
_REGION = {
    Policy.UPDATE_VM: Size(1500, 500, 60.0),
    Policy.LOW_COST_GET: Size(24_000, 8_000, 60.0),
    Policy.GET_OPERATION: Size(15_000, 5_000, 60.0),
    Policy.HIGH_COST_GET: Size(900, 300, 60.0),
    Policy.SUBSCRIPTION_INFO: Size(360, 360, 180.0),
    Policy.SET_ACTIONS: Size(2000, 500, 60.0),
    Policy.SET_DELETE: Size(2000, 500, 60.0),
    Policy.SET_GET: Size(6000, 2000, 60.0),
    Policy.SET_LIST: Size(1080, 360, 60.0),
}
# What scale sets' answers name besides (recorded). Zero queued operations are no sign of throttling.
_BATCHED = "VMScaleSetBatchedVMRequestsSubscriptionMaximum;5995,Microsoft.Compute/VmssQueuedVMOperations;0"
_VIEWS = "VMScaleSetVMViewsSubscriptionMaximum;29996"
_BESIDE = {Policy.SET_ACTIONS: _BATCHED, Policy.SET_DELETE: _BATCHED, Policy.SET_LIST: _VIEWS}
_GRAPH = Size(15, 15, 5.0)  # documented: 15 queries in 5 seconds per user


@dataclass(slots=True)
class Bucket:
    """One bucket. Refills arrive in whole steps, one a period, counted from the first use."""

    size: Size
    level: int
    since: float

    def settle(self, now: float) -> None:
        """Add the refills that have come due."""
        steps = int((now - self.since) // self.size.period)
        if steps > 0:
            self.level = min(self.size.tokens, self.level + steps * self.size.refill)
            self.since += steps * self.size.period

    def wait(self, now: float) -> float:
        """Return the seconds until the next refill."""
        return max(0.0, self.since + self.size.period - now)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a request takes: ARM's class, and Compute's policy with its region and resource."""

    verb: Verb
    subscription: str
    principal: str
    policy: Policy | None = None
    region: str = ""
    resource: str = ""


class Throttle:
    """All buckets. With ``enforced`` off nothing is refused, but the headers still count down."""

    def __init__(self, *, enforced: bool) -> None:
        self.enforced = enforced
        self.refused = 0
        self._buckets: dict[tuple[str, ...], Bucket] = {}

    def take(self, cost: Cost, now: float) -> tuple[dict[str, str], Answer | None]:
        """Take the tokens of a request. Return the headers that tell what is left, and a refusal or None."""
        arm = self._arm(cost, now)
        own = self._compute(cost, now)
        headers = {}
        empty = next((at for at in (*arm, *own) if at[1].level < 1), None) if self.enforced else None
        if empty is None:
            for _, bucket in (*arm, *own):
                bucket.level = max(0, bucket.level - 1)
        for name, bucket in arm:
            headers[f"x-ms-ratelimit-remaining-subscription-{name}"] = str(bucket.level)
        if own:
            beside = _BESIDE.get(cost.policy) if cost.policy else None
            headers["x-ms-ratelimit-remaining-resource"] = _listed(own) + (
                f",Microsoft.Compute/{beside}" if beside else ""
            )
        if empty is None:
            return headers, None
        self.refused += 1
        name, bucket = empty
        refuse = _refused_by_compute if empty in own else _refused_by_arm
        return headers, refuse(name, bucket, cost, now)

    def query(self, principal: str, now: float) -> tuple[dict[str, str], Answer | None]:
        """Take one Resource Graph query of a user. Each page counts (documented)."""
        bucket = self._bucket(("graph", principal), _GRAPH, now)
        refused = self.enforced and bucket.level < 1
        bucket.level = max(0, bucket.level - 1)
        seconds = math.ceil(bucket.wait(now))
        headers = {
            "x-ms-user-quota-remaining": str(bucket.level),
            "x-ms-user-quota-resets-after": f"00:00:{seconds:02}",
            "x-ms-ratelimit-remaining-tenant-resource-requests": str(bucket.level),
        }
        if not refused:
            return headers, None
        self.refused += 1
        return headers, _refused_by_graph(seconds)

    def _arm(self, cost: Cost, now: float) -> list[tuple[str, Bucket]]:
        size = _ARM[cost.verb]
        whole = Size(size.tokens * _ARM_WHOLE, size.refill * _ARM_WHOLE, size.period)
        sub = cost.subscription.casefold()
        if cost.verb is Verb.RESOURCE_REQUESTS:
            return [(cost.verb.value, self._bucket(("arm", sub, cost.verb), size, now))]
        return [
            (cost.verb.value, self._bucket(("arm", sub, cost.principal, cost.verb), size, now)),
            (f"global-{cost.verb.value}", self._bucket(("arm", sub, cost.verb), whole, now)),
        ]

    def _compute(self, cost: Cost, now: float) -> list[tuple[str, Bucket]]:
        if not cost.policy:
            return []
        sub = cost.subscription.casefold()
        suffix = "" if cost.policy is Policy.SUBSCRIPTION_INFO else "SubscriptionMaximum"
        found = [
            (
                f"{cost.policy}{suffix}",
                self._bucket((cost.policy, sub, cost.region), _REGION[cost.policy], now),
            )
        ]
        if cost.policy in _RESOURCE and cost.resource:
            own = self._bucket((cost.policy, cost.resource.casefold()), _RESOURCE[cost.policy], now)
            found.append((f"{cost.policy}Resource", own))
        return found

    def _bucket(self, key: tuple[str, ...], size: Size, now: float) -> Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(size, size.tokens, now)
        bucket.settle(now)
        return bucket


def too_many(policy: str, allowed: int, wait: float, now: float, remaining: str = "") -> Answer:
    """Refuse as Compute does: 429 without the error envelope (documented; no recording)."""
    group = f'{{"operationGroup":"{policy}","startTime":"{stamp(now)}","endTime":"{stamp(now + wait)}"'
    measured = f'{group},"allowedRequestCount":{allowed},"measuredRequestCount":{allowed + 1}}}'
    headers = {"Retry-After": str(max(1, math.ceil(wait)))}
    if remaining:
        headers["x-ms-ratelimit-remaining-resource"] = remaining
    return compute(
        429,
        {
            "code": "OperationNotAllowed",
            "message": "The server rejected the request because too many requests have been received "
            "for this subscription.",
            "details": [{"code": "TooManyRequests", "target": policy, "message": measured}],
            "innererror": {"internalErrorCode": "TooManyRequestsReceived"},
        },
        headers,
    )


def _refused_by_compute(name: str, bucket: Bucket, cost: Cost, now: float) -> Answer:
    return too_many(name, bucket.size.tokens, bucket.wait(now), now, f"Microsoft.Compute/{name};0")


def _refused_by_arm(name: str, bucket: Bucket, cost: Cost, now: float) -> Answer:
    wait = max(1, math.ceil(bucket.wait(now)))
    kind = cost.verb.value.removesuffix("s")
    seconds = math.ceil(bucket.size.tokens / bucket.size.refill * bucket.size.period)
    text = (
        f"Number of {kind} requests for subscription '{cost.subscription}' exceeded the limit of "
        f"'{bucket.size.tokens}' for time interval '00:00:{seconds:02}'. "
        f"Please try again after '{wait}' seconds."
    )
    return denied(429, "SubscriptionRequestsThrottled", text, {"Retry-After": str(wait), "Connection": "close"})


def _refused_by_graph(seconds: int) -> Answer:
    text = "Client application has been throttled and should not continue to make requests at this time."
    details = [{"code": "RateLimiting", "message": text}]
    return gateway(429, refusal("RateLimiting", text, details=details), {"Retry-After": str(max(1, seconds))})


def _listed(own: Sequence[tuple[str, Bucket]]) -> str:
    return ",".join(f"Microsoft.Compute/{name};{bucket.level}" for name, bucket in own)
