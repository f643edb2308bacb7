"""The port Inventory: every VM that can be read is found, and what cannot be read is named."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from aiohttp import web

from fleet.azure.credentials import StaticTokens
from fleet.azure.inventory import AzureInventory
from fleet.azure.transport import Transport
from fleet.azure.wire import compute, resource_graph
from fleet.azure.wire.http import Json
from fleet.engine.ports import Inventory, Listing
from fleet.errors import AzureUnusable
from fleet.targets.model import Os, Power, Subscription, Target
from fleet.testing import HandClock
from tests.wire.replay import arm, serving

ONE, TWO = Subscription("sub-1", "one"), Subscription("SUB-2", "two")
Answer = Callable[[str, str, Json], web.Response | None]


class Azure:
    """A service whose answers a function gives by method, raw path and body; keeps what was asked and
    waited.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.asked: list[str] = []
        self.waits: list[float] = []
        self.clock = HandClock(1_767_225_600.0)
        self.base = ""

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.asked.append(request.raw_path)
        return self._answer(request.method, request.raw_path, body) or arm(404)

    async def _pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.advance(seconds)
        await asyncio.sleep(0)

    async def use(self, question: Callable[[AzureInventory], Awaitable[object]]) -> object:
        async with serving(self._serve) as base, Transport(base, StaticTokens("t"), clock=self.clock) as transport:
            self.base = base
            return await question(AzureInventory(transport, pause=self._pause))

    async def listing(self, *subscriptions: Subscription) -> Listing:
        found = await self.use(lambda inventory: inventory.list_targets(subscriptions))
        assert isinstance(found, Listing)
        return found


def vm(name: str, subscription: str = "sub-1", os: str = "Linux") -> dict[str, Json]:
    group = f"/subscriptions/{subscription}/resourceGroups/RG-Web"
    return {
        "id": f"{group}/providers/Microsoft.Compute/virtualMachines/{name}",
        "name": name,
        "location": "westus",
        "tags": {"env": "prod"},
        "zones": ["1"],
        "properties": {
            "hardwareProfile": {"vmSize": "Standard_B1s"},
            "storageProfile": {
                "osDisk": {"osType": os},
                "imageReference": {"publisher": "Canonical", "offer": "ubuntu", "sku": "24_04"},
            },
        },
    }


def row(name: str, subscription: str = "sub-1", **more: Json) -> dict[str, Json]:
    """A row as the query's columns give it."""
    full = vm(name, subscription)
    del full["properties"]
    return {
        **full,
        "subscriptionId": subscription.upper(),
        "resourceGroup": "rg-web",
        "osType": "Linux",
        "vmSize": "Standard_B1s",
        "imageReference": {"publisher": "Canonical", "offer": "ubuntu", "sku": "24_04"},
        "powerState": "PowerState/deallocated",
        **more,
    }


def graph(rows: list[dict[str, Json]], **more: Json) -> web.Response:
    return arm(200, {"totalRecords": len(rows), "data": list(rows), "resultTruncated": "false", **more})


def denied(status: int = 403, code: str = "AuthorizationFailed") -> web.Response:
    return arm(status, {"error": {"code": code, "message": "does not have authorization"}})


def names(listing: Listing) -> list[str]:
    return [target.name for target in listing.targets]


def test_it_is_an_inventory() -> None:
    """The adapter fits the engine's port."""
    inventory: Inventory = AzureInventory(Transport("http://127.0.0.1:1", StaticTokens("t")))
    assert inventory is not None


@pytest.mark.asyncio
async def test_surprise_09_an_empty_page_is_not_the_end() -> None:
    """Empty pages in the middle are passed, and links are followed byte for byte (surprise 9)."""
    link = "/subscriptions?api-version=2022-12-01&%24skiptoken=a%2Fb%3d"

    def answer(method: str, path: str, body: Json) -> web.Response:
        if "skiptoken" in path:
            return arm(200, {"value": [{"subscriptionId": "s2", "displayName": "B", "state": "Warned"}]})
        return arm(200, {"value": [], "nextLink": azure.base + link})

    azure = Azure(answer)
    found = await azure.use(lambda inventory: inventory.subscriptions())
    assert found == (Subscription("s2", "B", state="Warned"),)
    assert azure.asked[1] == link


@pytest.mark.asyncio
async def test_a_list_that_goes_in_a_circle_ends() -> None:
    """The same link twice is an error, not an endless run."""
    azure = Azure(lambda method, path, body: arm(200, {"value": [], "nextLink": f"{azure.base}/subscriptions?a=1"}))
    with pytest.raises(AzureUnusable, match="circle"):
        await azure.use(lambda inventory: inventory.subscriptions())
    assert len(azure.asked) == 2


@pytest.mark.asyncio
async def test_a_list_is_not_followed_to_another_host() -> None:
    """A nextLink elsewhere ends the list as unread; the other server hears nothing."""
    theirs = Azure(lambda method, path, body: arm(200, {"value": []}))
    async with serving(theirs._serve) as other:
        ours = Azure(lambda method, path, body: arm(200, {"value": [], "nextLink": f"{other}/x?t=1"}))
        with pytest.raises(AzureUnusable, match="another port"):
            await ours.use(lambda inventory: inventory.subscriptions())
    assert not theirs.asked


@pytest.mark.asyncio
async def test_no_rights_at_all_is_said_at_once() -> None:
    """A 401 on the first read ends with a sentence and a hint, without waiting."""
    azure = Azure(lambda method, path, body: denied(401, "InvalidAuthenticationToken"))
    with pytest.raises(AzureUnusable, match="InvalidAuthenticationToken") as raised:
        await azure.use(lambda inventory: inventory.subscriptions())
    assert raised.value.hint
    assert not azure.waits


@pytest.mark.asyncio
async def test_a_subscription_of_another_tenant_says_how_to_reach_it() -> None:
    """The hint is to sign in to its tenant, not to sign in again."""
    azure = Azure(lambda method, path, body: denied(401, "InvalidAuthenticationTokenTenant"))
    with pytest.raises(AzureUnusable) as raised:
        await azure.use(lambda inventory: inventory.subscriptions())
    assert "--tenant" in raised.value.hint


@pytest.mark.asyncio
async def test_a_throttled_read_waits_as_long_as_asked() -> None:
    """Retry-After is honoured, and a service that asks for too much is reported instead."""
    row = {"subscriptionId": "s1", "displayName": "one", "state": "Enabled"}
    answers = [arm(429, None, Retry_After="7"), arm(503), arm(200, {"value": [row]})]
    azure = Azure(lambda method, path, body: answers.pop(0))
    assert [found.name for found in await azure.use(lambda inventory: inventory.subscriptions())] == ["one"]
    assert azure.waits == [7.0, 2.0]
    long = Azure(lambda method, path, body: arm(429, None, Retry_After="1200"))
    with pytest.raises(AzureUnusable, match="429"):
        await long.use(lambda inventory: inventory.subscriptions())
    assert len(long.asked) == 1


NO_MOMENT: dict[str, Callable[[], web.Response]] = {
    "429, Retry-After 0": lambda: throttled(Retry_After="0"),
    "429, a date that has passed": lambda: throttled(Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    "429, retry-after-ms 0": lambda: throttled(retry_after_ms="0"),
    "429, after '0' seconds": lambda: throttled("Please try again after '0' seconds."),
    "429, a window that has ended": lambda: throttled(window=("2015-10-21T07:27:00Z", "2015-10-21T07:28:00Z")),
    "503, Retry-After 0": lambda: arm(503, {"error": {"code": "ServerBusy", "message": "busy"}}, Retry_After="0"),
    "503, a date that has passed": lambda: arm(503, None, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
}
"""Answers that ask to wait and name no moment to come."""


def throttled(message: str = "slow down", window: tuple[str, str] | None = None, **headers: str) -> web.Response:
    """A 429 as ARM and Compute write it."""
    error: dict[str, Json] = {"code": "SubscriptionRequestsThrottled", "message": message}
    if window is not None:
        counted = {"operationGroup": "HighCostGet", "startTime": window[0], "endTime": window[1]}
        error["details"] = [{"code": "TooManyRequests", "target": "HighCostGet3Min", "message": json.dumps(counted)}]
    return arm(429, {"error": error}, **headers)


@pytest.mark.asyncio
@pytest.mark.parametrize("case", NO_MOMENT)
async def test_no_read_is_repeated_without_a_pause(case: str) -> None:
    """Where the service names no moment to come, the pauses are the client's own, and double."""
    for question in (
        lambda inventory: inventory.subscriptions(),
        lambda inventory: inventory.list_targets([ONE]),
    ):
        azure = Azure(lambda method, path, body: NO_MOMENT[case]())
        with pytest.raises(AzureUnusable) as raised:
            await azure.use(question)
        assert set(azure.waits) == {1.0, 2.0, 4.0, 8.0}
        assert raised.value.code == ("throttled" if case.startswith("429") else "unavailable")
        assert "Reader" not in raised.value.hint and raised.value.hint


@pytest.mark.asyncio
async def test_the_end_of_a_throttling_window_is_the_pause() -> None:
    """Compute's 429 names the moment in its details where it sends no Retry-After; a slow clock here is bounded by it."""
    start, end = (f"2099-01-01T00:0{minute}:00.1234567+00:00" for minute in (0, 1))
    answers = [throttled(window=(start, end)), arm(200, {"value": [{"subscriptionId": "s1", "displayName": "one"}]})]
    azure = Azure(lambda method, path, body: answers.pop(0))
    await azure.use(lambda inventory: inventory.subscriptions())
    assert azure.waits == [60.0]


@pytest.mark.asyncio
async def test_a_service_that_asks_for_a_long_wait_is_called_throttling() -> None:
    """A wait beyond what a read may take is reported with its length and a fitting hint, not as a missing right."""
    azure = Azure(lambda method, path, body: throttled(Retry_After="1200"))
    with pytest.raises(AzureUnusable, match=r"asks to wait 1200 s.*180 s") as raised:
        await azure.use(lambda inventory: inventory.list_targets([ONE, TWO]))
    assert (raised.value.code, azure.waits) == ("throttled", [])
    assert "20 min" in raised.value.hint


@pytest.mark.asyncio
async def test_a_busy_service_is_named_before_a_missing_right() -> None:
    """Where one subscription is forbidden and one throttled, the reason that passes is the one to act on."""

    def answer(method: str, path: str, body: Json) -> web.Response | None:
        return throttled() if "SUB-2" in path else denied()

    with pytest.raises(AzureUnusable, match="two: SubscriptionRequestsThrottled") as raised:
        await Azure(answer).use(lambda inventory: inventory.list_targets([ONE, TWO]))
    assert raised.value.code == "throttled"


@pytest.mark.asyncio
async def test_a_credential_that_sees_nothing_has_no_rights() -> None:
    """No subscription at all is a matter of rights or of the tenant, not of a selection that fits nothing."""
    azure = Azure(lambda method, path, body: arm(200, {"value": []}))
    with pytest.raises(AzureUnusable, match="sees no subscription") as raised:
        await azure.use(lambda inventory: inventory.subscriptions())
    assert raised.value.code == "no_rights" and "--tenant" in raised.value.hint


@pytest.mark.asyncio
async def test_reads_are_tried_a_bounded_number_of_times() -> None:
    """A service that is down is given up after five attempts."""
    azure = Azure(lambda method, path, body: arm(503))
    with pytest.raises(AzureUnusable, match="503"):
        await azure.use(lambda inventory: inventory.subscriptions())
    assert azure.waits == [1.0, 2.0, 4.0, 8.0]


@pytest.mark.asyncio
async def test_one_query_finds_the_vms_of_every_subscription() -> None:
    """Resource Graph is asked once for all, and every property arrives."""

    def answer(method: str, path: str, body: Json) -> web.Response | None:
        assert isinstance(body, dict)
        assert body["subscriptions"] == ["sub-1", "SUB-2"]
        return graph([row("b", "sub-2"), row("a")])

    azure = Azure(answer)
    listing = await azure.listing(ONE, TWO)
    assert names(listing) == ["a", "b"]
    first = listing.targets[0]
    assert (first.subscription, first.subscription_name) == ("sub-1", "one")
    assert (first.resource_group, first.location, first.zone) == ("RG-Web", "westus", "1")
    assert (first.os, first.size, first.image) == (Os.LINUX, "Standard_B1s", "Canonical:ubuntu:24_04")
    assert (first.power, dict(first.tags)) == (Power.DEALLOCATED, {"env": "prod"})
    assert len(azure.asked) == 1


@pytest.mark.asyncio
async def test_pages_of_the_graph_are_joined() -> None:
    """The skip token leads on until there is none."""

    def answer(method: str, path: str, body: Json) -> web.Response | None:
        assert isinstance(body, dict)
        options = body["options"]
        assert isinstance(options, dict)
        if options.get("$skipToken") == "next":
            return graph([row("b")], totalRecords=2)
        return graph([row("a")], totalRecords=2, **{"$skipToken": "next", "resultTruncated": "true"})

    assert names(await Azure(answer).listing(ONE)) == ["a", "b"]


def compute_only(*rows: dict[str, Json], running: tuple[str, ...] = ()) -> Answer:
    """Answer the Compute lists of sub-1 and refuse the graph."""

    def answer(method: str, path: str, body: Json) -> web.Response | None:
        if method == "POST":
            return denied()
        if "statusOnly=true" in path:
            states = [
                {
                    "id": str(vm(name)["id"]).upper(),
                    "properties": {"instanceView": {"statuses": [{"code": "PowerState/running"}]}},
                }
                for name in running
            ]
            return arm(200, {"value": states})
        return arm(200, {"value": list(rows)}) if "sub-1" in path else denied()

    return answer


@pytest.mark.asyncio
async def test_without_the_graph_the_compute_lists_are_read() -> None:
    """Power states come from the second list, whose ids are written in another case."""
    listing = await Azure(compute_only(vm("a"), vm("b", os="Windows"), running=("a",))).listing(ONE)
    assert [(t.name, t.os, t.power) for t in listing.targets] == [
        ("a", Os.LINUX, Power.RUNNING),
        ("b", Os.WINDOWS, Power.UNKNOWN),
    ]
    assert not listing.unread


@pytest.mark.asyncio
async def test_a_subscription_that_cannot_be_read_is_named() -> None:
    """The others are still found."""
    listing = await Azure(compute_only(vm("a"))).listing(ONE, TWO)
    assert names(listing) == ["a"]
    [unread] = listing.unread
    assert (unread.subscription, unread.name, unread.code) == ("SUB-2", "two", "AuthorizationFailed")


@pytest.mark.asyncio
async def test_when_no_subscription_can_be_read_azure_is_unusable() -> None:
    """A fleet of nobody is never reported as an empty fleet."""
    with pytest.raises(AzureUnusable, match="AuthorizationFailed"):
        await Azure(compute_only()).listing(TWO)


@pytest.mark.asyncio
async def test_an_empty_word_of_the_graph_is_not_believed() -> None:
    """The graph lags: a subscription without a row is read from Compute before it counts as empty."""

    def answer(method: str, path: str, body: Json) -> web.Response | None:
        if method == "POST":
            return graph([row("a")])
        return arm(200, {"value": [vm("new", "SUB-2")] if "SUB-2" in path and "statusOnly" not in path else []})

    azure = Azure(answer)
    assert names(await azure.listing(ONE, TWO)) == ["a", "new"]
    assert not any("/sub-1/" in path for path in azure.asked)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "page",
    [
        {"data": [], "resultTruncated": "true"},
        {"data": [], "totalRecords": 5},
        {"nothing": "like a page"},
        {"data": [], "totalRecords": 5, "$skipToken": "always the same"},
    ],
)
async def test_an_incomplete_word_of_the_graph_is_checked(page: dict[str, Json]) -> None:
    """Truncated without a token, fewer rows than counted, no page, or a circle: Compute is asked, no VM is
    lost.
    """

    def answer(method: str, path: str, body: Json) -> web.Response | None:
        if method == "POST":
            return arm(200, page)
        return compute_only(vm("a"))(method, path, body)

    assert names(await Azure(answer).listing(ONE)) == ["a"]


@pytest.mark.asyncio
async def test_what_the_graph_knew_stays_where_compute_cannot_be_read() -> None:
    """Half a page of the graph and no Compute list: the VMs are kept and the subscription is named."""

    def answer(method: str, path: str, body: Json) -> web.Response | None:
        return graph([row("a")], totalRecords=9) if method == "POST" else denied()

    listing = await Azure(answer).listing(ONE)
    assert names(listing) == ["a"]
    assert [item.code for item in listing.unread] == ["AuthorizationFailed"]


def listed(*rows: Json, states: tuple[Json, ...] = (), **graph_says: Json) -> Answer:
    """Answer with a graph whose rows are given, and with Compute's lists."""

    def answer(method: str, path: str, body: Json) -> web.Response | None:
        if method == "POST":
            return arm(200, {"totalRecords": 1, "count": 1, "resultTruncated": "false", **graph_says})
        return arm(200, {"value": list(states if "statusOnly=true" in path else rows)})

    return answer


def odd_graph(*rows: Json) -> dict[str, Json]:
    return {"data": list(rows), "totalRecords": len(rows), "count": len(rows)}


@pytest.mark.asyncio
async def test_a_vm_whose_os_cannot_be_told_is_named() -> None:
    """It is no target, since no shell could be chosen, and it does not vanish either."""
    nowhere = vm("odd", os="")
    listing = await Azure(listed(vm("a"), nowhere, **odd_graph(row("a"), row("odd", osType="")))).listing(ONE)
    assert names(listing) == ["a"] and not listing.unread
    [odd] = listing.partial
    assert (odd.label, odd.reason, odd.unknown) == ("VM odd", "its operating system is not known", {"os"})


@pytest.mark.asyncio
async def test_where_a_row_of_the_graph_cannot_be_read_compute_is_asked() -> None:
    """Compute's list has the OS; where it says what the graph does not, the VM is a target like any other."""
    azure = Azure(listed(vm("a"), vm("odd"), **odd_graph(row("a"), row("odd", osType=""))))
    listing = await azure.listing(ONE)
    assert (names(listing), listing.partial, listing.unread) == (["a", "odd"], (), ())
    assert [path.partition("?")[0].rpartition("/")[2] for path in azure.asked[1:]] == ["virtualMachines"] * 2


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "rows",
    [
        (None, row("a")),
        ([], row("a")),
        (row("b", subscriptionId="another"), row("a")),
        (row("b", subscriptionId=None, id=None), row("a")),
        (row("a"), row("a")),
        (row("a"), {**row("b"), "id": row("a")["id"]}),
    ],
)
async def test_a_row_of_the_graph_that_is_nobodys_is_made_good(rows: tuple[Json, ...]) -> None:
    """A row that is no object, belongs to no subscription, or came twice, hides a VM: Compute's list has it."""
    listing = await Azure(listed(vm("a"), vm("b"), **odd_graph(*rows))).listing(ONE)
    assert (names(listing), listing.partial, listing.unread) == (["a", "b"], (), ())


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "says",
    [
        {"totalRecords": 2},
        {"totalRecords": 0},
        {"totalRecords": None},
        {"totalRecords": "1"},
        {"count": 3},
        {"count": []},
        {"resultTruncated": []},
        {"resultTruncated": "maybe"},
        {"$skipToken": ["x"]},
    ],
)
async def test_a_page_that_contradicts_itself_is_not_believed(says: dict[str, Json]) -> None:
    """Counts and tokens that do not fit what arrived leave a doubt, so the second listing is asked."""
    listing = await Azure(listed(vm("a"), vm("b"), **{**odd_graph(row("a")), **says})).listing(ONE)
    assert names(listing) == ["a", "b"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("odd", "label", "reason"),
    [
        (None, "entry 2 of the list of VMs", "it is null, not an object"),
        ([1], "entry 2 of the list of VMs", "it is a list, not an object"),
        ({**vm("b"), "id": None}, "VM b", "it has no id"),
        ({**vm("b"), "id": vm("b", "sub-9")["id"]}, "VM b", "its id is of another subscription"),
        ({**vm("b"), "id": "/odd", "name": 7}, "entry 2 of the list of VMs", "its id is not the id of a VM"),
        ({**vm("b"), "name": "c"}, "entry 2 of the list of VMs", "its name and its id disagree: c, b"),
        ({**vm("b"), "tags": []}, "VM b", "its tags cannot be read: the field is a list, not an object"),
        ({**vm("b"), "tags": {"env": None}}, "VM b", "its tag env is null"),
        ({**vm("b"), "location": None}, "VM b", "it has no location"),
        ({**vm("b"), "zones": "1"}, "VM b", "its zone is a text, not a list"),
        ({**vm("b"), "properties": []}, "VM b", "its operating system is not known"),
    ],
)
async def test_an_entry_of_computes_list_is_named_by_what_is_known_of_it(odd: Json, label: str, reason: str) -> None:
    """By its name where that can be read, else by its place, with what is wrong; the other VMs are read."""
    listing = await Azure(compute_only(vm("a"), odd)).listing(ONE)  # type: ignore[arg-type]
    assert names(listing) == ["a"]
    [one] = listing.partial
    assert one.label == label and reason in one.reason


@pytest.mark.asyncio
async def test_one_vm_in_two_entries_is_one_and_two_vms_with_one_id_are_none() -> None:
    """Ids compare without regard to case; entries that differ in what they say are named, and nothing is sent there."""
    shouted = {**vm("a"), "id": str(vm("a")["id"]).upper(), "name": "A"}
    listing = await Azure(compute_only(vm("a"), shouted)).listing(ONE)
    assert (names(listing), listing.partial) == (["a"], ())
    other = {**vm("a"), "tags": {"env": "dev"}}
    listing = await Azure(compute_only(vm("a"), other, vm("b"))).listing(ONE)
    assert names(listing) == ["b"]
    [two] = listing.partial
    assert (two.label, two.reason) == ("VM a", "the list has several entries with its id, which differ")


@pytest.mark.asyncio
async def test_a_vm_that_only_the_list_of_states_has_is_named() -> None:
    """The list of VMs lost it, or it is being made: either way it does not vanish."""
    states = ({"id": vm("lost")["id"], "name": "lost", "location": "westus", "properties": {}}, *map(vm, "a"))
    listing = await Azure(listed(vm("a"), states=states, data=None)).listing(ONE)
    assert names(listing) == ["a"]
    assert [(one.label, one.reason) for one in listing.partial] == [
        ("VM lost", "it is in the list of states and not in the list of VMs")
    ]


@pytest.mark.asyncio
async def test_powers_that_could_not_be_read_are_not_taken_for_unknown_states() -> None:
    """A selection by power is not decided where the list of states broke off; one without is not disturbed by it."""

    def answer(method: str, path: str, body: Json) -> web.Response | None:
        if method == "POST" or "statusOnly=true" in path:
            return denied()
        return arm(200, {"value": [vm("a")]})

    listing = await Azure(answer).listing(ONE)
    assert listing.targets == ()
    [one] = listing.partial
    assert one.unknown == {"power"} and one.is_usable()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("link", "code"),
    [
        ([], "odd_link"),
        (7, "odd_link"),
        ({}, "odd_link"),
        ("\ud800", "foreign_link"),
        ("http://[", "foreign_link"),
        ("//odd/x", "foreign_link"),
    ],
)
async def test_a_link_that_is_none_ends_the_list_as_unread(link: Json, code: str) -> None:
    """What was read is kept, and the subscription is named."""

    def answer(method: str, path: str, body: Json) -> web.Response | None:
        return denied() if method == "POST" else arm(200, {"value": [vm("a")], "nextLink": link})

    listing = await Azure(answer).listing(ONE)
    assert names(listing) == ["a"]
    assert [scope.code for scope in listing.unread] == [code]


def sub(number: int, **changes: Json) -> dict[str, Json]:
    return {
        "id": f"/subscriptions/s{number}",
        "subscriptionId": f"s{number}",
        "displayName": f"name {number}",
        **changes,
    }


ODD_SUBSCRIPTIONS: list[tuple[Json, str, str]] = [
    (None, "entry 2 of the list of subscriptions", "it is null, not an object"),
    ("s2", "entry 2 of the list of subscriptions", "it is a text, not an object"),
    (sub(2, subscriptionId=None), "entry 2 of the list of subscriptions (name 2)", "its subscriptionId is null"),
    (sub(2, subscriptionId=[]), "entry 2 of the list of subscriptions (name 2)", "is a list, not a text"),
    (sub(2, subscriptionId="a b"), "entry 2 of the list of subscriptions (name 2)", "is not the id of a subscription"),
    (sub(2, subscriptionId="\ud800x"), "entry 2 of the list of subscriptions (name 2)", "cannot be encoded"),
    (sub(2, subscriptionId="s1"), "entry 2 of the list of subscriptions (name 2)", "disagree"),
    (
        sub(2, id=None, subscriptionId="s1"),
        "entries 1 and 2 of the list of subscriptions",
        "the same subscriptionId s1",
    ),
    (sub(2, displayName=7), "entry 2 of the list of subscriptions", "its displayName is a number, not a text"),
    ({"displayName": "name 2"}, "entry 2 of the list of subscriptions (name 2)", "it has no subscriptionId"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("odd", "label", "reason"), ODD_SUBSCRIPTIONS)
async def test_a_subscription_that_cannot_be_read_is_named_by_its_place(odd: Json, label: str, reason: str) -> None:
    """It is an entry of what is returned, so that nobody takes the list for whole; the others are subscriptions."""
    azure = Azure(lambda method, path, body: arm(200, {"value": [sub(1), odd, sub(3)]}))
    found = await azure.use(lambda inventory: inventory.subscriptions())
    assert isinstance(found, tuple)
    assert {one.id for one in found if isinstance(one, Subscription)} in ({"s1", "s3"}, {"s3"})
    [unread] = [one for one in found if not isinstance(one, Subscription)]
    assert unread.label == label and reason in unread.reason


@pytest.mark.asyncio
async def test_a_list_of_subscriptions_that_counts_more_than_it_has_is_not_whole() -> None:
    """The rest is named; a list of which no entry can be read is an error."""
    azure = Azure(lambda method, path, body: arm(200, {"value": [sub(1)], "count": {"type": "Total", "value": 2}}))
    found = await azure.use(lambda inventory: inventory.subscriptions())
    assert isinstance(found, tuple)
    assert [getattr(one, "label", "") for one in found] == ["", "the rest of the list of subscriptions"]
    azure = Azure(lambda method, path, body: arm(200, {"value": [None]}))
    with pytest.raises(AzureUnusable, match="entry 1 of the list of subscriptions: it is null"):
        await azure.use(lambda inventory: inventory.subscriptions())


def test_a_row_with_whole_properties_is_read_as_well() -> None:
    """A service that ignores the column list is understood."""
    target = resource_graph.target(vm("a"), ONE)
    assert target is not None
    assert target.os is Os.LINUX


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ({"publisher": "P", "offer": "O", "sku": "S", "version": "latest"}, "P:O:S"),
        (
            {"id": "/subscriptions/s/resourceGroups/g/providers/M.C/galleries/gal/images/web/versions/1.0.0"},
            "gal/web",
        ),
        ({"id": "/subscriptions/s/resourceGroups/g/providers/M.C/images/golden"}, "golden"),
        ({"communityGalleryImageId": "/CommunityGalleries/cg-1/Images/deb/Versions/latest"}, "cg-1/deb"),
        ({}, ""),
        (None, ""),
    ],
)
def test_images_have_short_names(reference: Json, name: str) -> None:
    """Market images by their three parts, own ones by gallery and definition, or by name."""
    assert compute.image(reference) == name


def test_the_os_is_told_by_the_profile_where_the_disk_is_silent() -> None:
    """And where both are silent, it is not guessed."""
    for profile, os in (
        ({"linuxConfiguration": {}}, Os.LINUX),
        ({"windowsConfiguration": {}}, Os.WINDOWS),
        ({}, None),
    ):
        assert compute.os_of({"properties": {"osProfile": profile}}) is os  # type: ignore[dict-item]


def test_power_states_are_read_from_their_codes() -> None:
    """A state nobody knows is unknown; a code of another kind is no power state."""
    assert compute.power_state("PowerState/running") is Power.RUNNING
    assert compute.power_state("powerstate/Hibernated") is Power.UNKNOWN
    assert compute.power_state("ProvisioningState/succeeded") is None


@pytest.mark.asyncio
async def test_a_token_that_cannot_be_had_ends_the_listing_plainly() -> None:
    """Out of many reads at once comes one AzureUnusable, not a group of errors."""

    class Broken(StaticTokens):
        async def token(self, *, tenant: str | None = None, claims: str | None = None) -> str:
            if asked:
                raise AzureUnusable("no token")
            asked.append(1)
            return "t"

    asked: list[int] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return graph([])

    async with serving(answer) as base, Transport(base, Broken("t")) as transport:
        with pytest.raises(AzureUnusable, match="no token"):
            await AzureInventory(transport).list_targets([ONE, TWO])


def member(name: str, **more: Json) -> Target:
    """A VM of an availability set, as Resource Graph has it."""
    place = f"/subscriptions/sub-1/resourceGroups/RG/providers/Microsoft.Compute/availabilitySets/{name.upper()}"
    found = resource_graph.target(row(name, availabilitySet=place, **more), ONE)
    assert found is not None
    return found


async def with_domains(answer: Callable[[str], web.Response], *targets: Target) -> tuple[list[str], object]:
    """Ask for the domains of these targets; return the names asked for, and what came of it."""
    asked: list[str] = []

    def respond(method: str, path: str, body: Json) -> web.Response:
        assert "$expand=instanceView" in path
        asked.append(path.partition("?")[0].rpartition("/")[2])
        return answer(asked[-1])

    azure = Azure(respond)
    return asked, await azure.use(lambda inventory: inventory.with_domains(targets))


@pytest.mark.asyncio
async def test_only_members_of_availability_sets_are_asked_for_domains() -> None:
    """One read each; a VM outside of sets is not asked, nor one whose domain came with the list, and order is kept."""
    alone = resource_graph.target(row("alone"), ONE)
    assert alone is not None and alone.availability_set == ""
    known = replace(member("known"), update_domain="4")
    view: Json = {"platformUpdateDomain": 3, "platformFaultDomain": 1}
    asked, found = await with_domains(
        lambda name: (
            arm(200, {"properties": {"instanceView": view if name == "a" else {}}}) if name != "gone" else denied(404)
        ),
        *(alone, member("a"), known, member("bare"), member("gone")),
    )
    assert sorted(asked) == ["a", "bare", "gone"]
    assert isinstance(found, tuple)
    assert [(t.name, t.update_domain, t.fault_domain) for t in found] == [
        ("alone", "", ""),
        ("a", "3", "1"),
        ("known", "4", ""),
        ("bare", "", ""),
        ("gone", "", ""),
    ]
    assert found[1].availability_set == "A"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "answer",
    [
        {"properties": []},
        {"properties": {"instanceView": []}},
        {"properties": {"instanceView": {"platformUpdateDomain": "3"}}},
        {"id": vm("another")["id"], "properties": {"instanceView": {"platformUpdateDomain": 3}}},
    ],
)
async def test_an_odd_view_is_not_taken_for_one_without_a_domain(answer: Json) -> None:
    """Nor is the view of another VM taken for this one's: the plan is refused."""
    with pytest.raises(AzureUnusable, match="the update domain of a cannot be read"):
        await with_domains(lambda name: arm(200, answer), member("a"))


@pytest.mark.asyncio
async def test_a_domain_that_cannot_be_read_is_not_taken_for_none() -> None:
    """A VM wrongly taken for one without a domain could go together with its twin: the plan is refused instead."""
    with pytest.raises(AzureUnusable, match="the update domain of a cannot be read: HTTP 403 AuthorizationFailed"):
        await with_domains(lambda name: denied(), member("a"))
