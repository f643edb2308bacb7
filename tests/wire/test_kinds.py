"""Scale-set instances and Arc machines over the wire: found, asked, commanded."""

from __future__ import annotations

import asyncio

import pytest

from fleet.azure.credentials import StaticTokens
from fleet.azure.preflight import AzurePreflight
from fleet.azure.transport import Transport
from fleet.azure.wire.http import Json
from fleet.azure.wire.hybrid import connection
from fleet.engine.ports import Listing
from fleet.errors import AzureUnusable
from fleet.playbook.model import Transport as Way
from fleet.run.answers import AWAY, Accepted, Command, Lost, LostReason, Refused
from fleet.targets.kinds import EVERY
from fleet.targets.model import Kind, Os, Power, Subscription, Target
from tests.wire.replay import Script, arm, serving
from tests.wire.test_cloud import ask, error
from tests.wire.test_inventory import ONE, TWO, Answer, Azure, denied, graph, row

SETS = "/subscriptions/sub-1/resourceGroups/rg-web/providers/Microsoft.Compute/virtualMachineScaleSets"
MACHINES = "/subscriptions/sub-1/resourceGroups/rg-far/providers/Microsoft.HybridCompute/machines"
ARC = Target(f"{MACHINES}/till1", "sub-1", "one", "rg-far", "till1", "westus", Os.LINUX)


def scale_set(name: str, mode: str = "Uniform") -> Json:
    return {"id": f"{SETS}/{name}", "name": name, "properties": {"orchestrationMode": mode}}


def instance(of: str, number: int, power: str = "running") -> Json:
    """An instance as the list with `$expand=instanceView` gives it; its size stands there as in a VM's model."""
    properties = {
        "hardwareProfile": {"vmSize": "Standard_B1s"},
        "storageProfile": {"osDisk": {"osType": "Linux"}},
        "instanceView": {"statuses": [{"code": "ProvisioningState/succeeded"}, {"code": f"PowerState/{power}"}]},
    }
    identity = f"{SETS}/{of}/virtualMachines/{number}"
    return {"id": identity, "name": f"{of}_{number}", "location": "westus", "tags": {}, "properties": properties}


def arc(name: str, status: str = "Connected", **properties: Json) -> dict[str, Json]:
    return {
        "id": f"{MACHINES}/{name}",
        "name": name,
        "location": "westus",
        "tags": {"site": "cellar"},
        "properties": {"status": status, "osType": "linux", **properties},
    }


def arc_row(name: str, status: str = "Connected") -> dict[str, Json]:
    """An Arc machine as the query's columns give it."""
    full = arc(name)
    del full["properties"]
    return {**full, "subscriptionId": "sub-1", "arcOs": "windows", "arcStatus": status, "powerState": "", "vmSize": ""}


def found(answer: Answer, kinds: frozenset[Kind] = EVERY, *subscriptions: Subscription) -> tuple[Listing, Azure]:
    azure = Azure(answer)
    question = azure.use(lambda inventory: inventory.list_targets(subscriptions or (ONE,), kinds))
    listing = asyncio.run(question)  # type: ignore[arg-type]
    assert isinstance(listing, Listing)
    return listing, azure


def test_all_three_kinds_are_found_where_each_is_listed() -> None:
    """VMs and Arc machines come from one query, instances from their uniform sets, flexible ones as the VMs they are."""

    def answer(method: str, path: str, body: Json) -> object:
        if method == "POST":
            assert isinstance(body, dict)
            assert "in~ ('microsoft.compute/virtualmachines', 'microsoft.hybridcompute/machines')" in str(body["query"])
            return graph([row("web01"), row("flex_1a2b3c4d", memberOf=f"{SETS}/flex"), arc_row("till1", "Expired")])
        if path.startswith("/subscriptions/sub-1/providers/Microsoft.Compute/virtualMachineScaleSets?"):
            return arm(200, {"value": [scale_set("web"), scale_set("flex", "Flexible")]})
        if path.startswith(f"{SETS}/web/virtualMachines?$expand=instanceView&api-version="):
            return arm(200, {"value": [instance("web", 0), instance("web", 3, "deallocated")]})
        return None

    listing, azure = found(answer)  # type: ignore[arg-type]
    assert {(t.kind, t.name, t.scale_set, t.power, t.os) for t in listing.targets} == {
        (Kind.VM, "web01", "", Power.DEALLOCATED, Os.LINUX),
        (Kind.VM, "flex_1a2b3c4d", "flex", Power.DEALLOCATED, Os.LINUX),
        (Kind.SCALE_SET, "web_0", "web", Power.RUNNING, Os.LINUX),
        (Kind.SCALE_SET, "web_3", "web", Power.DEALLOCATED, Os.LINUX),
        (Kind.ARC, "till1", "", Power.EXPIRED, Os.WINDOWS),
    }
    assert len(listing.targets) == 5
    assert listing.unread == ()
    assert len(azure.asked) == 3


def test_what_is_not_looked_for_is_not_asked_about() -> None:
    """By default one query about VMs, and not a word about scale sets or Arc."""
    listing, azure = found(lambda method, path, body: graph([row("web01")]), frozenset({Kind.VM}))
    assert [target.name for target in listing.targets] == ["web01"]
    assert len(azure.asked) == 1


def test_scale_sets_alone_need_no_query() -> None:
    """Resource Graph has no rows for instances, so it is not asked."""

    def answer(method: str, path: str, body: Json) -> object:
        assert method == "GET"
        return arm(200, {"value": [instance("web", 1)] if "/web/" in path else [scale_set("web")]})

    listing, _ = found(answer, frozenset({Kind.SCALE_SET}))  # type: ignore[arg-type]
    assert [target.name for target in listing.targets] == ["web_1"]


def test_a_kind_that_the_graph_does_not_know_is_read_from_its_provider() -> None:
    """The graph lags: VMs without an Arc machine beside them do not prove that there is none."""

    def answer(method: str, path: str, body: Json) -> object:
        if method == "POST":
            return graph([row("web01")])
        assert "/providers/Microsoft.HybridCompute/machines?" in path
        return arm(200, {"value": [arc("till1", osType="", osName="linux"), arc("odd", osType="plan9")]})

    listing, _ = found(answer, frozenset({Kind.VM, Kind.ARC}))  # type: ignore[arg-type]
    assert sorted((t.name, t.power) for t in listing.targets) == [("till1", "connected"), ("web01", "deallocated")]
    assert [(one.label, one.kind, one.reason) for one in listing.partial] == [
        ("Arc machine odd", Kind.ARC, "its operating system is not known")
    ]


def test_entries_of_other_kinds_are_named_by_their_place() -> None:
    """A scale set that cannot be read hides its instances, so its subscription is not wholly read; an entry is a machine."""
    elsewhere = {**instance("web", 1), "id": f"{SETS}/other/virtualMachines/1"}  # type: ignore[dict-item]
    nameless = {**instance("web", 2), "name": None}  # type: ignore[dict-item]

    def answer(method: str, path: str, body: Json) -> object:
        if method == "POST":
            return graph([row("web01")])
        if "HybridCompute" in path:
            return arm(200, {"value": [arc("till1"), 7]})
        if "/web/" in path:
            return arm(200, {"value": [instance("web", 0), elsewhere, nameless]})
        return arm(200, {"value": [scale_set("web"), "x", {"id": "/odd"}]})

    listing, _ = found(answer)  # type: ignore[arg-type]
    assert sorted(target.name for target in listing.targets) == ["till1", "web01", "web_0"]
    assert [scope.message for scope in listing.unread] == [
        "scale sets: entry 2 of the list of scale sets: it is a text, not an object",
        "scale sets: entry 3 of the list of scale sets: its id is not the id of a scale set",
    ]
    assert sorted((one.label, one.reason) for one in listing.partial) == [
        ("entry 2 of the list of Arc machines", "it is a number, not an object"),
        ("entry 3 of the list of scale-set instances", "it has no name"),
        ("scale-set instance web_1", "its id is of another scale set"),
    ]


def test_a_subscription_that_never_used_arc_has_no_machine() -> None:
    """409 MissingSubscriptionRegistration (recorded) is no failure: nothing can be there."""

    def answer(method: str, path: str, body: Json) -> object:
        if method == "POST":
            return graph([row("web01")])
        return denied(409, "MissingSubscriptionRegistration")

    listing, _ = found(answer, frozenset({Kind.VM, Kind.ARC}))  # type: ignore[arg-type]
    assert ([target.name for target in listing.targets], listing.unread) == (["web01"], ())


def test_a_list_that_may_not_be_read_is_named_and_hides_nothing_else() -> None:
    """What one provider refuses is named with its kind; what the others have is kept; a set deleted meanwhile is none."""

    def answer(method: str, path: str, body: Json) -> object:
        if method == "POST":
            return graph([row("web01")])
        if "HybridCompute" in path:
            return denied()
        if "/gone/" in path:
            return arm(404, {"error": {"code": "ResourceNotFound", "message": "gone"}})
        if "/shut/" in path:
            return denied()
        if "/web/" in path:
            return arm(200, {"value": [instance("web", 0)]})
        return arm(200, {"value": [scale_set("web"), scale_set("gone"), scale_set("shut")]})

    listing, _ = found(answer)  # type: ignore[arg-type]
    assert sorted(target.name for target in listing.targets) == ["web01", "web_0"]
    assert sorted(scope.message for scope in listing.unread) == [
        "Arc machines: does not have authorization",
        "scale sets: shut: does not have authorization",
    ]


def test_nothing_at_all_to_be_read_is_an_error() -> None:
    """Where every list of every kind is refused, Azure cannot be used; where one is only empty, it can."""
    with pytest.raises(AzureUnusable):
        found(lambda method, path, body: denied(), EVERY, ONE, TWO)

    def answer(method: str, path: str, body: Json) -> object:
        return arm(200, {"value": []}) if "HybridCompute" in path else denied()

    listing, _ = found(answer)  # type: ignore[arg-type]
    assert (listing.targets, len(listing.unread)) == ((), 2)


@pytest.mark.parametrize(
    ("status", "power"),
    [("Connected", "connected"), ("disconnected", "disconnected"), ("Expired", "expired"), ("Error", "disconnected")],
)
def test_connections(status: str, power: str) -> None:
    """Every status of the agent is known, whatever its case; another is unknown, never connected."""
    assert connection({"status": status}) == power
    assert connection({"status": "Sleeping"}) is Power.UNKNOWN


# Commands to Arc machines


def to_arc() -> Command:
    return Command(ARC, Way.MANAGED, name="fleet-1", script="true")


@pytest.mark.asyncio
async def test_a_connected_arc_machine_is_asked_first_and_then_commanded() -> None:
    """One GET, one PUT; 201 with both links is accepted (recorded)."""
    script = Script([arm(200, arc("till1")), arm(201, {"name": "fleet-1"})])
    reply = await ask(script, lambda cloud, base: cloud.submit(to_arc()))
    assert isinstance(reply.answer, Accepted)
    assert [(method, path.partition("?")[0]) for method, path, _, _ in script.asked] == [
        ("GET", ARC.id),
        ("PUT", f"{ARC.id}/runCommands/fleet-1"),
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize("status", ["Disconnected", "Expired", "Error"])
async def test_nothing_is_sent_to_an_arc_machine_that_is_away(status: str) -> None:
    """Azure would keep the command until the machine is back, perhaps days later (reported): so it never leaves."""
    script = Script([arm(200, arc("till1", status, lastStatusChange="2026-01-01T00:00:00Z"))])
    reply = await ask(script, lambda cloud, base: cloud.submit(to_arc()))
    assert isinstance(reply.answer, Refused)
    assert reply.answer.refusal.code == AWAY
    assert reply.answer.refusal.message == f"not sent: Azure says {status} since 2026-01-01T00:00:00Z"
    assert [method for method, *_ in script.asked] == ["GET"]


@pytest.mark.asyncio
async def test_a_lost_question_about_a_connection_sends_nothing() -> None:
    """The command did not leave, so it may be tried again; a refusal is handed on as it is."""
    script = Script([error(503, "ServiceUnavailable"), error(404, "ResourceNotFound")])
    lost = await ask(script, lambda cloud, base: cloud.submit(to_arc()))
    assert isinstance(lost.answer, Lost)
    assert lost.answer.reason is LostReason.NOT_CONNECTED
    refused = await ask(script, lambda cloud, base: cloud.submit(to_arc()))
    assert isinstance(refused.answer, Refused)
    assert refused.answer.refusal.status == 404
    assert [method for method, *_ in script.asked] == ["GET", "GET"]


@pytest.mark.asyncio
async def test_an_arc_machine_stands_as_its_connection_says() -> None:
    """The doctor reads the machine itself, and its managed commands from their list."""
    script = Script([arm(200, arc("till1", "Disconnected")), arm(200, {"value": [{"name": "left"}]})])
    async with serving(script.answer) as base, Transport(base, StaticTokens("t")) as transport:
        (condition,) = await AzurePreflight(transport).conditions([ARC], commands=True)
    assert (condition.power, condition.commands, condition.why) == (Power.DISCONNECTED, ("left",), "")
    assert [path.partition("?")[0] for _, path, _, _ in script.asked] == [ARC.id, f"{ARC.id}/runCommands"]
