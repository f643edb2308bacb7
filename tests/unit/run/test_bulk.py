"""Deleting and changing managed commands in bulk: within the limits, each one once, and never a change twice."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.app.commands import carry_out
from fleet.clock import SystemClock
from fleet.commands.bulk import AT_ONCE, Bulk, BulkAnswer, BulkKind, Ended, Fate, Send, Wait
from fleet.engine.ports import Reply
from fleet.errors import AzureUnusable
from fleet.playbook.model import Transport
from fleet.run.answers import Accepted, Lost, LostReason, Operation, Quota, Refusal, Refused, Removed
from fleet.run.limits import ARM_DELETES
from fleet.run.model import CauseCode
from fleet.run.retry import BULK
from fleet.targets.model import Os, Target
from tests import virtual

BUSY = Refused(Refusal(409, "Conflict", "busy"))
FULL = Refused(Refusal(429, "SubscriptionRequestsThrottled", "too many", 7.0))
GONE = Refused(Refusal(404, "ResourceNotFound", "no such VM"))
RESET = Lost(LostReason.RESET)
AWAY = Lost(LostReason.NOT_CONNECTED, "no route")
TAKEN = Accepted(Operation(Transport.MANAGED))


def targets(count: int, subscriptions: int = 1) -> list[Target]:
    return [
        Target(
            f"/subscriptions/s{n % subscriptions}/vm{n}", f"s{n % subscriptions}", "", "rg", f"vm{n}", "we", Os.LINUX
        )
        for n in range(count)
    ]


def one(kind: BulkKind, *answers: BulkAnswer) -> tuple[Ended, list[float]]:
    """Answer one item's calls in turn; return its end and when the calls left."""
    bulk, now, sent = Bulk(kind, targets(1)), 1000.0, list[float]()
    told = list(answers)
    while not bulk.finished:
        effect = bulk.next(now)
        if isinstance(effect, Wait):
            assert effect.at is not None and effect.at > now
            now = effect.at
            continue
        bulk.sent(effect.item, now)
        sent.append(now)
        now += 0.1
        bulk.heard(effect.item, now, told.pop(0) if len(told) > 1 else told[0], None)
    return bulk.ended[0], sent


def test_what_was_taken_is_done() -> None:
    """One call, and that was it."""
    assert one(BulkKind.DELETE, Removed()) == (Ended(Fate.DONE), [1000.0])
    assert one(BulkKind.CHANGE, TAKEN) == (Ended(Fate.DONE), [1000.0])


def test_a_busy_vm_is_asked_again_and_a_missing_one_is_not() -> None:
    """What passes by itself is waited for, within bounds; what does not is told at once."""
    assert one(BulkKind.DELETE, BUSY, Removed())[0].fate is Fate.DONE
    ended, sent = one(BulkKind.DELETE, BUSY)
    assert (ended.fate, len(sent)) == (Fate.FAILED, BULK.tries)
    assert ended.cause is not None and ended.cause.code is CauseCode.BUSY
    ended, sent = one(BulkKind.CHANGE, GONE)
    assert (ended.fate, len(sent)) == (Fate.FAILED, 1)


def test_a_refusal_for_the_limits_is_waited_out() -> None:
    """As long as Azure asks, and it does not count as a try."""
    ended, sent = one(BulkKind.DELETE, *[FULL] * (BULK.tries + 2), Removed())
    assert ended.fate is Fate.DONE
    assert all(after - before >= 7.0 for before, after in itertools.pairwise(sent))


def test_a_lost_answer_is_asked_again_for_a_deletion_only() -> None:
    """Deleting is safe to repeat; a change would run its script again."""
    assert one(BulkKind.DELETE, RESET, Removed())[0].fate is Fate.DONE
    ended, sent = one(BulkKind.CHANGE, RESET, TAKEN)
    assert (ended.fate, len(sent)) == (Fate.UNKNOWN, 1)
    assert one(BulkKind.CHANGE, AWAY, TAKEN)[0].fate is Fate.DONE


def test_calls_keep_to_the_rate_of_each_subscription() -> None:
    """A subscription's bucket is used up at once, then at the documented rate; another's is its own."""
    bulk, now, sent = Bulk(BulkKind.DELETE, targets(800, 2)), 1000.0, Counter[tuple[str, int]]()
    names = targets(800, 2)
    while not bulk.finished:
        effect = bulk.next(now)
        if isinstance(effect, Send):
            bulk.sent(effect.item, now)
            sent[names[effect.item].subscription, int(now - 1000)] += 1
            bulk.heard(effect.item, now, Removed(), None)
        else:
            assert effect.at is not None
            now = effect.at
    burst, rate = ARM_DELETES
    for subscription in ("s0", "s1"):
        for second in range(30):
            until = sum(count for (sub, at), count in sent.items() if sub == subscription and at <= second)
            assert until <= burst + rate * (second + 1)
        assert sum(count for (sub, _), count in sent.items() if sub == subscription) == 400


answers = st.sampled_from([Removed(), BUSY, FULL, GONE, RESET, AWAY])


@settings(max_examples=min(60, settings.default.max_examples))
@given(st.lists(st.lists(answers, min_size=1, max_size=4), min_size=1, max_size=60), st.sampled_from(BulkKind))
def test_everything_ends_once_and_never_too_much_is_on_the_wire(told: list[list[BulkAnswer]], kind: BulkKind) -> None:
    """Whatever is answered, each command has one end, and no change is sent after an answer that may hide one."""
    flying, most, seen, calls = 0, 0, Counter[int](), Counter[int]()
    maybe: set[int] = set()

    async def call(item: int) -> Reply[BulkAnswer]:
        nonlocal flying, most
        assert item not in maybe
        flying += 1
        most = max(most, flying)
        await asyncio.sleep(0.05 * (item % 5 + 1))
        flying -= 1
        answer = told[item][min(calls[item], len(told[item]) - 1)]
        calls[item] += 1
        if kind is BulkKind.CHANGE and isinstance(answer, Removed):
            answer = TAKEN
        if kind is BulkKind.CHANGE and answer == RESET:
            maybe.add(item)
        return Reply(answer)

    async def go() -> dict[int, Ended]:
        bulk = Bulk(kind, [replace(each, location=f"l{n % 3}") for n, each in enumerate(targets(len(told), 2))])
        await carry_out(bulk, call, SystemClock(), lambda item, _: seen.update([item]))
        return bulk.ended

    ended = virtual.run(go())
    assert set(ended) == set(range(len(told))) == set(seen)
    assert set(seen.values()) == {1}
    assert most <= AT_ONCE


def test_an_unusable_azure_ends_all_with_one_error() -> None:
    """That nobody can sign in is told once, as it is; what is on its way by then is not waited for."""
    clock, ended = SystemClock(), list[int]()

    async def call(item: int) -> Reply[BulkAnswer]:
        await asyncio.sleep(0.1 * item)
        if item == 3:
            raise AzureUnusable("no token", code="no_token")
        return Reply(Removed())

    bulk = Bulk(BulkKind.DELETE, targets(10))
    with pytest.raises(AzureUnusable, match="no token"):
        virtual.run(carry_out(bulk, call, clock, lambda item, end: ended.append(item)))
    assert ended == [0, 1, 2]


def test_a_quota_is_that_of_its_place() -> None:
    """What an answer says is left of a subscription's calls slows the calls to that subscription, and no other."""
    low = Quota("S0", "WE", {"deletes": 0})
    for quota, slowed in ((None, False), (low, True), (replace(low, subscription="s1"), False)):
        bulk = Bulk(BulkKind.DELETE, targets(2))
        bulk.sent(0, 1000.0)
        bulk.heard(0, 1000.0, Removed(), quota)
        effect = bulk.next(1000.01)
        assert isinstance(effect, Wait) is slowed
