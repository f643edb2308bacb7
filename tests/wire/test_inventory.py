"""The port Inventory: every VM that can be read is found, and what cannot be read is named."""

from __future__ import annotations

import asyncio
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
        self.base = ""

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.asked.append(request.raw_path)
        return self._answer(request.method, request.raw_path, body) or arm(404)

    async def _pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)

    async def use(self, question: Callable[[AzureInventory], Awaitable[object]]) -> object:
        async with serving(self._serve) as base, Transport(base, StaticTokens("t")) as transport:
            self.base = base
            return await question(AzureInventory(transport, pause=self._pause))

    async def listing(self, *subscriptions: Subscription, kql: str | None = None) -> Listing:
        found = await self.use(lambda inventory: inventory.list_targets(subscriptions, kql))
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
        with pytest.raises(AzureUnusable, match="another host"):
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


@pytest.mark.asyncio
async def test_a_vm_whose_os_cannot_be_told_is_named() -> None:
    """It is no target, since no shell could be chosen, and it does not vanish either."""
    listing = await Azure(lambda method, path, body: graph([row("a"), row("odd", osType="")])).listing(ONE)
    assert names(listing) == ["a"]
    [unread] = listing.unread
    assert unread.code == "vm_unreadable"
    assert "odd" in unread.message


@pytest.mark.asyncio
async def test_a_condition_narrows_the_query_and_silence_is_then_believed() -> None:
    """The condition stands in its own step, and a subscription without a row needs no second look."""
    asked: list[str] = []

    def answer(method: str, path: str, body: Json) -> web.Response | None:
        assert isinstance(body, dict)
        asked.append(str(body["query"]))
        return graph([row("a")])

    azure = Azure(answer)
    assert names(await azure.listing(ONE, TWO, kql="tags['env'] =~ 'prod'")) == ["a"]
    assert "\n| where tags['env'] =~ 'prod'\n" in asked[0]
    assert len(azure.asked) == 1


@pytest.mark.asyncio
async def test_a_condition_that_is_not_understood_is_left_out() -> None:
    """Resource Graph's 400 costs the narrowing, not the VMs."""

    def answer(method: str, path: str, body: Json) -> web.Response | None:
        assert isinstance(body, dict)
        return denied(400, "BadRequest") if "oops" in str(body["query"]) else graph([row("a")])

    assert names(await Azure(answer).listing(ONE, kql="oops(")) == ["a"]


@pytest.mark.parametrize(
    ("kql", "fine"),
    [
        ("name =~ 'a|b;c // d'", True),
        ('location == "westus" and tags["x"] != ""', True),
        ("true | union resources", False),
        ("true; resources", False),
        ("true // rest", False),
        ("name == 'open", False),
        ("name == 'a\\' | union x'", False),
        ("true\n| project id", False),
    ],
)
def test_a_condition_can_only_narrow(kql: str, fine: bool) -> None:
    """What could end the step is not put into the query at all."""
    assert resource_graph.is_condition(kql) is fine
    assert (kql in resource_graph.query_text(kql)) is fine


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
            await AzureInventory(transport).list_targets([ONE, TWO], None)


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
async def test_a_domain_that_cannot_be_read_is_not_taken_for_none() -> None:
    """A VM wrongly taken for one without a domain could go together with its twin: the plan is refused instead."""
    with pytest.raises(AzureUnusable, match="the update domain of a cannot be read: HTTP 403 AuthorizationFailed"):
        await with_domains(lambda name: denied(), member("a"))
