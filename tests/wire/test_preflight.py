"""What is read before a run, over the wire: permissions, VMs, managed commands, and who asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from fleet.azure.credentials import StaticTokens, TokenSource
from fleet.azure.preflight import AzurePreflight
from fleet.azure.transport import Transport
from fleet.azure.wire.http import Json
from fleet.clock import Clock
from fleet.engine.ports import Preflight
from fleet.preflight.facts import Agent, Condition, Permissions
from fleet.preflight.rights import Grant
from fleet.targets.model import Os, Power, Target
from fleet.testing import HandClock
from tests.wire.replay import Script, arm, serving
from tests.wire.test_principals import Broken, jwt

SCOPE = "/subscriptions/s1"


def vm(n: int = 1) -> Target:
    identity = f"/subscriptions/s1/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm{n}"
    return Target(identity, "s1", "prod", "rg", f"vm{n}", "westus", Os.LINUX)


class Pauses:
    """Remembers how long it was asked to wait, and moves the clock instead."""

    def __init__(self, clock: HandClock) -> None:
        self._clock = clock
        self.waited: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.waited.append(seconds)
        self._clock.advance(seconds)


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


async def conditions(answer: Handler, targets: list[Target], *, commands: bool) -> tuple[tuple[Condition, ...], Pauses]:
    clock = HandClock(1000.0)
    pauses = Pauses(clock)
    async with serving(answer) as base, Transport(base, StaticTokens("t"), clock=clock) as transport:
        return await AzurePreflight(transport, pause=pauses).conditions(targets, commands=commands), pauses


def test_it_is_a_preflight() -> None:
    """The adapter fits the port."""
    clock: Clock = HandClock()
    port: Preflight = AzurePreflight(Transport("http://127.0.0.1:1", StaticTokens("t"), clock=clock))
    assert port


def view(agent: Json = None, power: str = "PowerState/running", **profile: Json) -> web.Response:
    statuses: list[Json] = [{"code": "ProvisioningState/succeeded"}, {"code": power}]
    instance: dict[str, Json] = {"statuses": statuses}
    if agent is not None:
        instance["vmAgent"] = {"vmAgentVersion": "2.11.1.4", "statuses": [{"displayStatus": agent}]}
    return arm(200, {"properties": {"osProfile": {**profile}, "instanceView": instance}})


READ: dict[str, tuple[web.Response, dict[str, object]]] = {
    "ready": (view("Ready"), {"power": Power.RUNNING, "agent": Agent.READY, "agent_version": "2.11.1.4"}),
    "not ready": (view("Not Ready"), {"agent": Agent.NOT_READY}),
    "no agent": (view(), {"agent": Agent.ABSENT, "agent_version": ""}),
    "stopped": (view(power="PowerState/deallocated"), {"power": Power.DEALLOCATED}),
    "extensions off": (view("Ready", allowExtensionOperations=False), {"extensions": False}),
    "extensions on": (view("Ready", allowExtensionOperations=True), {"extensions": True}),
    "extensions not told": (view("Ready"), {"extensions": None}),
    "gone": (arm(404, {"error": {"code": "ResourceNotFound", "message": "m"}}), {"gone": True}),
    "forbidden": (
        arm(403, {"error": {"code": "AuthorizationFailed", "message": "m"}}),
        {"why": "HTTP 403 AuthorizationFailed: m"},
    ),
    "nonsense": (arm(200, []), {"why": "the answer is no VM"}),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("name", READ)
async def test_the_state_of_a_vm_is_read_in_one_call(name: str) -> None:
    """Model and instance view come together, and each answer has its meaning."""
    answer, expected = READ[name]
    script = Script([answer])
    [found], _ = await conditions(script.answer, [vm()], commands=False)
    assert {key: getattr(found, key) for key in expected} == expected
    assert [(method, path.split("?")[1].split("&")[0]) for method, path, _, _ in script.asked] == [
        ("GET", "$expand=instanceView")
    ]


@pytest.mark.asyncio
async def test_managed_commands_are_counted_over_all_pages() -> None:
    """Their names come from a list that may have several pages; that it cannot be read is told."""
    base_path = f"{vm().id}/runCommands"

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if not request.path.endswith("/runCommands"):
            return view("Ready")
        if "page" in request.raw_path:
            return arm(200, {"value": [{"name": "b"}]})
        link = f"http://{request.headers['Host']}{base_path}?page=2"
        return arm(200, {"value": [{"name": "a"}], "nextLink": link})

    [found], _ = await conditions(answer, [vm()], commands=True)
    assert found.commands == ("a", "b")
    script = Script([view("Ready"), arm(403, {"error": {"code": "AuthorizationFailed", "message": "m"}})])
    [found], _ = await conditions(script.answer, [vm()], commands=True)
    assert (found.commands, found.commands_why) == (None, "HTTP 403 AuthorizationFailed: m")


@pytest.mark.asyncio
async def test_a_throttled_read_waits_as_long_as_it_is_told() -> None:
    """429 is honoured, then the answer counts."""
    script = Script([arm(429, {"error": {"code": "TooManyRequests", "message": "m"}}, Retry_After="7"), view("Ready")])
    [found], pauses = await conditions(script.answer, [vm()], commands=False)
    assert found.agent is Agent.READY
    assert pauses.waited == [7.0]


@pytest.mark.asyncio
async def test_many_vms_are_read_no_faster_than_azure_allows() -> None:
    """Beyond the burst reads are spread out, and the results keep the order of the targets."""
    asked: Counter[str] = Counter()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        asked[request.path] += 1
        return view("Ready")

    targets = [vm(n) for n in range(300)]
    found, pauses = await conditions(answer, targets, commands=False)
    assert [item.target for item in found] == targets
    assert set(asked.values()) == {1}
    assert len(pauses.waited) >= 60 - 24
    assert sum(pauses.waited) > 0


@pytest.mark.asyncio
async def test_permissions_are_read_for_each_principal_in_its_own_name() -> None:
    """Each principal's rights are asked for with its own token, also where another would have more."""
    seen: list[tuple[str, str]] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        seen.append((token, request.path))
        if token == "b":
            return arm(403, {"error": {"code": "AuthorizationFailed", "message": "m"}})
        return arm(200, {"value": [{"actions": ["*"], "notActions": ["x/*"]}, {"actions": ["y"]}]})

    pool = (StaticTokens("a"), StaticTokens("b"))
    async with serving(answer) as base, Transport(base, pool) as transport:
        found = await AzurePreflight(transport).permissions([(0, SCOPE), (1, SCOPE)])
    path = f"{SCOPE}/providers/Microsoft.Authorization/permissions"
    assert sorted(seen) == [("a", path), ("b", path)]
    assert found == (
        Permissions(0, SCOPE, (Grant(("*",), ("x/*",)), Grant(("y",)))),
        Permissions(1, SCOPE, None, "HTTP 403 AuthorizationFailed"),
    )


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "odd",
    [None, {"actions": None}, {"actions": ["*", None]}, {"actions": ["*"], "notActions": "x/*"}, {"actions": [7]}],
)
async def test_permissions_that_cannot_be_read_are_neither_granted_nor_lacking(odd: Json) -> None:
    """A dropped entry would take a right away, or give one back: they count as not read."""
    script = Script([arm(200, {"value": [{"actions": ["a"], "notActions": []}, odd]})])
    async with serving(script.answer) as base, Transport(base, StaticTokens("t")) as transport:
        [found] = await AzurePreflight(transport).permissions([(0, SCOPE)])
    assert found.grants is None and "entry 2 of the permissions" in found.why


@pytest.mark.asyncio
async def test_managed_commands_that_cannot_be_counted_are_not_counted_as_fewer() -> None:
    """An entry without a name takes a place all the same."""
    script = Script([view("Ready"), arm(200, {"value": [{"name": "a"}, {"name": None}]})])
    [found], _ = await conditions(script.answer, [vm()], commands=True)
    assert (found.commands, found.commands_why) == (None, "the name of entry 2 of the list is missing")


@pytest.mark.asyncio
async def test_the_answer_about_another_vm_says_nothing_of_this_one() -> None:
    """Nor does one with an odd state: both are told as not read."""
    other = arm(200, {"id": vm(2).id, "properties": {"instanceView": {}}})
    [found], _ = await conditions(Script([other]).answer, [vm()], commands=False)
    assert found.why == "the answer is about another VM"
    odd = arm(200, {"properties": {"instanceView": {"statuses": [{"code": 7}]}}})
    [found], _ = await conditions(Script([odd]).answer, [vm()], commands=False)
    assert "properties.instanceView.statuses has an entry whose code is a number" in found.why


@pytest.mark.asyncio
async def test_who_asks_is_told_and_no_token() -> None:
    """Ids come from the token; who cannot sign in is named with the reason."""
    token = jwt(tid="t1", oid="o1", appid="a1")
    sources: tuple[TokenSource, ...] = (StaticTokens(token), Broken(), StaticTokens("opaque"))
    async with Transport("http://127.0.0.1:1", sources) as transport:
        first, second, third = await AzurePreflight(transport).principals()
    assert (first.tenant, first.object_id, first.application, first.problem) == ("t1", "o1", "a1", "")
    assert second.problem == "the secret has expired"
    assert (third.number, third.tenant, third.problem) == (2, "", "")
    assert token not in repr((first, second, third))
