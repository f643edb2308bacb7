"""A pool of principals: turns, tenants, and those who cannot sign in or have no rights."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from fleet.azure.credentials import IdentityTokens, StaticTokens, TokenSource
from fleet.azure.transport import Transport
from fleet.azure.wire.arm import quota
from fleet.azure.wire.http import Request, Response
from fleet.azure.wire.preflight import claims
from fleet.errors import AzureUnusable
from fleet.run.limits import ARM_WRITES, LaneRates, SubscriptionRates
from fleet.targets.model import Subscription
from tests.wire.replay import arm, serving

VM = "/subscriptions/{sub}/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm{n}/runCommand?api-version=1"
POOL = tuple(StaticTokens(name) for name in "abc")


@dataclass
class FakeArm:
    """Counts calls per token and subscription as ARM does: ``size`` of them, and no more come back."""

    size: int = 200
    forbidden: frozenset[str] = frozenset()
    wrong_tenant: frozenset[str] = frozenset()
    calls: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    done: list[tuple[str, str]] = field(default_factory=list)
    throttled: int = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        parts = request.path.split("/")
        place = parts[2] if len(parts) > 2 else ""
        self.calls[token, place, request.method] += 1
        left = self.size - self.calls[token, place, request.method]
        if token in self.forbidden:
            return arm(403, {"error": {"code": "AuthorizationFailed", "message": "no"}})
        if left < 0:
            self.throttled += 1
            return arm(429, {"error": {"code": "SubscriptionRequestsThrottled", "message": "later"}})
        self.done.append((token, request.path))
        kind = {"GET": "reads", "DELETE": "deletes"}.get(request.method, "writes")
        return arm(200, {}, **{f"x_ms_ratelimit_remaining_subscription_{kind}": str(left)})

    def shares(self, place: str, method: str = "POST") -> list[int]:
        return [self.calls[token, place, method] for token in "abc"]


def post(n: int, sub: str = "s1") -> Request:
    return Request("POST", VM.format(sub=sub, n=n), {})


@pytest.mark.asyncio
async def test_three_principals_carry_three_times_the_calls() -> None:
    """All that the pool's rate allows at once leaves at once, nobody is throttled, and everybody carries a third."""
    rates = LaneRates(SubscriptionRates())
    rates.arm.share(3)
    allowed = rates.arm.writes.left(0.0)
    assert allowed == 3 * ARM_WRITES[0]
    fake = FakeArm()
    async with serving(fake.answer) as base, Transport(base, POOL) as transport:
        gate = asyncio.Semaphore(50)

        async def one(n: int) -> None:
            async with gate:
                await transport.send(post(n))

        await asyncio.gather(*(one(n) for n in range(allowed)))
    assert fake.throttled == 0
    assert fake.shares("s1") == [ARM_WRITES[0]] * 3


@pytest.mark.asyncio
async def test_one_principals_headers_are_not_taken_for_the_pools() -> None:
    """What one has left slows nobody down as long as turns are even; Compute's count stays what it is."""
    rates = LaneRates(SubscriptionRates())
    rates.arm.share(3)
    fake = FakeArm()
    async with serving(fake.answer) as base, Transport(base, POOL) as transport:
        for n in range(150):
            rates.submitted(0.0)
            before = rates.arm.writes.level.read().full_at
            answer = await transport.send(post(n))
            left = quota(answer, "s1", "l")
            assert left is not None
            rates.note(0.0, left)
            assert rates.arm.writes.level.read().full_at == before
    alone = LaneRates(SubscriptionRates())
    alone.note(0.0, left)
    assert alone.arm.writes.left(0.0) == 150
    assert rates.updates.left(0.0) == 850


@pytest.mark.asyncio
async def test_turns_go_round_for_each_subscription_and_kind() -> None:
    """Reads do not use up the turns of writes, nor one subscription those of another."""
    fake = FakeArm()
    async with serving(fake.answer) as base, Transport(base, POOL) as transport:
        for n in range(9):
            await transport.send(post(n, "s1"))
            await transport.send(post(n, "s2"))
            await transport.send(Request("GET", VM.format(sub="s1", n=n)))
    assert fake.shares("s1") == fake.shares("s2") == fake.shares("s1", "GET") == [3, 3, 3]


@pytest.mark.asyncio
async def test_calls_outside_of_subscriptions_are_the_first_ones() -> None:
    """What is seen must not depend on whose turn it is."""
    fake = FakeArm()
    async with serving(fake.answer) as base, Transport(base, POOL) as transport:
        for _ in range(6):
            await transport.send(Request("GET", "/subscriptions?api-version=1"))
            await transport.send(Request("POST", "/providers/Microsoft.ResourceGraph/resources?api-version=1", {}))
    assert {token for token, _ in fake.done} == {"a"}


class Broken:
    """A source that never gives a token."""

    async def token(self, *, tenant: str | None = None, claims: str | None = None) -> str:
        raise AzureUnusable("the secret has expired", code="no_token")

    def forget(self, token: str) -> None:
        raise AssertionError("there is no token to forget")


@pytest.mark.asyncio
async def test_who_cannot_sign_in_is_left_out() -> None:
    """The others carry on, in even turns, and the reason is kept."""
    fake = FakeArm()
    sources: tuple[TokenSource, ...] = (POOL[0], Broken(), POOL[2])
    async with serving(fake.answer) as base, Transport(base, sources) as transport:
        await transport.principals.sign_in()
        for n in range(8):
            await transport.send(post(n))
        assert transport.principals.present == (0, 2)
        assert str(transport.principals.problems[1]) == "the secret has expired"
    assert fake.shares("s1") == [4, 0, 4]


@pytest.mark.asyncio
async def test_a_call_survives_a_principal_that_fails_in_its_turn() -> None:
    """Without a sign-in beforehand the call goes to the next, and none is lost."""
    fake = FakeArm()
    async with serving(fake.answer) as base, Transport(base, (Broken(), POOL[1])) as transport:
        answers = [await transport.send(post(n)) for n in range(4)]
    assert [isinstance(answer, Response) and answer.status for answer in answers] == [200] * 4
    assert fake.shares("s1") == [0, 4, 0]


@pytest.mark.asyncio
async def test_nobody_left_is_the_end() -> None:
    """Where not one can sign in, that is raised as with a single credential."""
    async with Transport("http://127.0.0.1:1", (Broken(), Broken())) as transport:
        with pytest.raises(AzureUnusable):
            await transport.principals.sign_in()
        with pytest.raises(AzureUnusable):
            await transport.send(post(1))


@pytest.mark.asyncio
async def test_who_lacks_rights_hands_the_call_on_and_gets_no_more_turns_there() -> None:
    """A refused call was not executed, so it goes to the next: each is carried out once, and the rest go straight."""
    fake = FakeArm(forbidden=frozenset("b"))
    async with serving(fake.answer) as base, Transport(base, POOL) as transport:
        answers = [await transport.send(post(n)) for n in range(12)]
    assert [isinstance(answer, Response) and answer.status for answer in answers] == [200] * 12
    assert len({path for _, path in fake.done}) == len(fake.done) == 12
    assert fake.shares("s1")[1] == 1
    assert abs(fake.shares("s1")[0] - fake.shares("s1")[2]) <= 2


@pytest.mark.asyncio
async def test_what_nobody_may_do_is_refused() -> None:
    """The refusal is the answer, after each was asked once."""
    fake = FakeArm(forbidden=frozenset("abc"))
    async with serving(fake.answer) as base, Transport(base, POOL) as transport:
        answer = await transport.send(post(1))
    assert isinstance(answer, Response)
    assert answer.status == 403
    assert fake.shares("s1") == [1, 1, 1]


# -- tenants


def jwt(**said: str) -> str:
    body = base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")
    return f"e30.{body}.x"


@dataclass
class Issued:
    token: str
    expires_on: int = 4_000_000_000


@dataclass
class Identity:
    """Stands for a credential of azure-identity at home in one tenant, and known in others."""

    home: str
    known: frozenset[str] = frozenset()
    asked: list[object] = field(default_factory=list)

    def get_token(self, *scopes: str, **options: object) -> Issued:
        tenant = options["tenant_id"]
        self.asked.append(tenant)
        if tenant is not None and tenant not in self.known:
            raise ValueError("not in this tenant")
        return Issued(jwt(tid=str(tenant or self.home), oid="me"))


def tokens(identity: Identity, kind: str = "cli") -> IdentityTokens:
    return IdentityTokens(kind, lambda: identity, "scope")  # type: ignore[arg-type,return-value]


TENANTS = (Subscription("S1", "one", tenant="home"), Subscription("s2", "two", tenant="abroad"))


async def tenants_seen(source: TokenSource, times: int = 3) -> Mapping[str, set[str]]:
    """Make calls into a subscription at home and one abroad; return the tenants of their tokens."""
    seen: dict[str, set[str]] = {"s1": set(), "s2": set()}

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        seen[request.path.split("/")[2]].add(claims(token).get("tid", ""))
        return arm(200, {})

    async with serving(answer) as base, Transport(base, source) as transport:
        transport.principals.know(TENANTS)
        for n in range(times):
            await asyncio.gather(*(transport.send(post(n, sub)) for sub in ("s1", "s2")))
    return seen


@pytest.mark.asyncio
async def test_calls_into_another_tenant_carry_its_token() -> None:
    """One token per tenant and lifetime: at home the principal's own, abroad one of that tenant."""
    identity = Identity("home", frozenset({"abroad"}))
    assert await tenants_seen(tokens(identity)) == {"s1": {"home"}, "s2": {"abroad"}}
    assert sorted(map(str, identity.asked)) == ["None", "abroad"]


@pytest.mark.asyncio
async def test_a_closed_tenant_is_tried_once_and_its_calls_carry_the_own_token() -> None:
    """So a delegated subscription, which only the own tenant's token opens, is reached."""
    identity = Identity("home")
    assert await tenants_seen(tokens(identity)) == {"s1": {"home"}, "s2": {"home"}}
    assert identity.asked.count(None) == 1
    assert identity.asked.count("abroad") == 1


@pytest.mark.asyncio
async def test_credentials_of_one_tenant_are_not_asked_for_another() -> None:
    """A managed identity has its own tenant's token only, and a fixed token is what it is."""
    identity = Identity("home", frozenset({"abroad"}))
    assert await tenants_seen(tokens(identity, "managed_identity")) == {"s1": {"home"}, "s2": {"home"}}
    assert identity.asked == [None]
    assert await tenants_seen(StaticTokens("opaque")) == {"s1": {""}, "s2": {""}}


def test_claims_are_read_from_well_formed_tokens_only() -> None:
    """Opaque and damaged tokens say nothing; of the others only who it is."""
    assert claims(jwt(tid="t", oid="o", azp="a", upn="someone@example.org")) == {"tid": "t", "oid": "o", "appid": "a"}
    for token in ("", "lab", "a.b.c", "e30.%%%.x", "e30.W10.x", "...."):
        assert claims(token) == {}
