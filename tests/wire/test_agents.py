"""How VMs' agents stand is read before commands are sent: one list for a subscription, and no read for each VM."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from fleet.azure.cloud import AzureCloud
from fleet.azure.credentials import StaticTokens
from fleet.azure.transport import Transport
from fleet.azure.wire import agents as wire
from fleet.azure.wire.http import Json
from fleet.engine.ports import Reply
from fleet.playbook.model import Transport as Way
from fleet.run.answers import NO_AGENT, Accepted, AgentReport, Command, Lost, Refused, SubmitAnswer
from fleet.targets.model import Os, Target
from fleet.testing import HandClock
from tests import log_lines
from tests.patience import stretched
from tests.wire.replay import arm, serving

SUB = "/subscriptions/s1/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines"
LIST = "/subscriptions/s1/providers/Microsoft.Compute/virtualMachines"
READY: Json = {"displayStatus": "Ready", "code": "ProvisioningState/succeeded"}
NOT_READY: Json = {
    "displayStatus": "Not Ready",
    "code": "ProvisioningState/Unavailable",
    "message": "VM status blob is found but not yet populated.",
}


def vm(number: int = 1) -> Target:
    return Target(f"{SUB}/web{number:02}", "s1", "prod", "rg", f"web{number:02}", "westus", Os.LINUX)


def shown(*statuses: Json, power: str = "running", agent: bool = True, **profile: Json) -> Json:
    """Return a VM's properties with an instance view."""
    view: dict[str, Json] = {"statuses": [{"code": f"PowerState/{power}"}]}
    if agent:
        view["vmAgent"] = {"statuses": list(statuses)}
    return {"instanceView": view, "osProfile": dict(profile)}


@dataclass
class Azure:
    """A service that lists VMs, shows each, and accepts every command."""

    listed: Mapping[str, Json] = field(default_factory=dict)
    """Properties in the list, by name; ids are written in capitals, as this list may."""
    views: Mapping[str, Json] = field(default_factory=dict)
    instead: Callable[[], web.Response] | None = None
    """What comes in place of each list."""
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        name = path.split("/")[-1]
        if request.method == "PUT":
            self.asked.append(("PUT", path.split("/")[8]))
            return arm(201, {"name": name})
        if path == LIST:
            assert "statusOnly=true" in query
            self.asked.append(("GET", "list"))
            if self.instead is not None:
                return self.instead()
            rows: list[Json] = [{"id": f"{SUB}/{key}".upper(), "properties": row} for key, row in self.listed.items()]
            return arm(200, {"value": rows})
        assert "$expand=instanceView" in query
        self.asked.append(("GET", name))
        return arm(200, {"properties": self.views[name]}) if name in self.views else arm(503)

    def count(self, what: str) -> int:
        return sum(asked == ("GET", what) for asked in self.asked)

    @property
    def sent(self) -> list[str]:
        return [name for method, name in self.asked if method == "PUT"]


@asynccontextmanager
async def cloud(azure: Azure, clock: HandClock | None = None) -> AsyncIterator[AzureCloud]:
    async with (
        serving(azure.answer) as base,
        Transport(base, StaticTokens("t"), clock=clock or HandClock(1000.0)) as transport,
    ):
        yield AzureCloud(transport)


def command(target: Target, wave: int = 0) -> Command:
    return Command(target, Way.MANAGED, name="fleet-1", script="true", check_agent=True, wave=wave)


async def send(adapter: AzureCloud, targets: Sequence[Target], wave: int = 0) -> list[Reply[SubmitAnswer]]:
    """Send a command to each, all at once."""
    return list(await asyncio.gather(*(adapter.submit(command(target, wave)) for target in targets)))


def describe(replies: Sequence[Reply[SubmitAnswer]]) -> list[str]:
    """Say of each reply that the command was accepted, or why it was not sent."""
    return [
        "sent" if isinstance(reply.answer, Accepted) else reply.answer.refusal.message
        for reply in replies
        if isinstance(reply.answer, Accepted | Refused)
    ]


FLEET = [vm(number) for number in range(1, 41)]


@pytest.mark.asyncio
async def test_one_list_serves_the_whole_wave() -> None:
    """Forty VMs cost one read more than their commands; what is not ready is read by itself, and gets nothing."""
    listed = {target.name: shown(READY) for target in FLEET} | {"web07": shown(NOT_READY)}
    azure = Azure(listed, {"web07": shown(NOT_READY)})
    async with cloud(azure) as adapter:
        replies = await send(adapter, FLEET)
    answer = replies[6].answer
    assert isinstance(answer, Refused)
    assert (answer.refusal.status, answer.refusal.code) == (0, NO_AGENT)
    assert answer.refusal.message == (
        "not sent: Azure says of the VM's agent: Not Ready: VM status blob is found but not yet populated."
    )
    assert describe([*replies[:6], *replies[7:]]) == ["sent"] * 39
    assert (azure.count("list"), azure.count("web07"), len(azure.asked)) == (1, 1, 2 + 39)
    assert "web07" not in azure.sent


@pytest.mark.asyncio
async def test_a_list_counts_for_a_minute() -> None:
    """Until then the same list serves its wave; after it, and in the next wave, another is read."""
    azure, clock = Azure({target.name: shown(READY) for target in FLEET}), HandClock(1000.0)
    async with cloud(azure, clock) as adapter:
        await send(adapter, FLEET[:5])
        clock.advance(59.0)
        await send(adapter, FLEET[5:9])
        assert azure.count("list") == 1
        clock.advance(1.0)
        await send(adapter, FLEET[9:12])
        assert azure.count("list") == 2
        await send(adapter, FLEET[12:20], wave=1)
        assert azure.count("list") == 3


@pytest.mark.asyncio
async def test_subscriptions_have_lists_of_their_own() -> None:
    """A list tells of one subscription, whatever the case in which its id is written."""
    azure = Azure({target.name: shown(READY) for target in FLEET})
    async with cloud(azure) as adapter:
        await send(adapter, [*FLEET[:3], *(replace(target, subscription="S1") for target in FLEET[3:6])])
    assert azure.count("list") == 1


@pytest.mark.asyncio
async def test_a_vm_that_is_sent_to_alone_is_read_by_itself() -> None:
    """It costs the same one read, and not the pages of a large subscription's list; the next within the minute reads it."""
    azure = Azure({"web02": shown(READY)}, {"web01": shown(NOT_READY)})
    async with cloud(azure) as adapter:
        assert describe(await send(adapter, [vm(1)]))[0].startswith("not sent")
        assert describe(await send(adapter, [vm(2)])) == ["sent"]
        assert describe(await send(adapter, [vm(2)])) == ["sent"]
    assert [asked for asked in azure.asked if asked[0] == "GET"] == [("GET", "web01"), ("GET", "list")]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "instead",
    [
        lambda: arm(403, {"error": {"code": "AuthorizationFailed", "message": "no right"}}),
        lambda: arm(429, {"error": {"code": "TooManyRequests", "message": "slow down"}}, Retry_After="600"),
        lambda: arm(500),
        lambda: arm(503),
        lambda: arm(200, {"surprise": True}),
        lambda: arm(200, [1, 2]),
        lambda: arm(200, {"value": [{"id": 7}, {}, "x", {"id": f"{SUB}/web01", "properties": {"instanceView": "no"}}]}),
        lambda: arm(200, {"value": [], "nextLink": "https://elsewhere.example/list"}),
    ],
    ids=["403", "429", "500", "503", "no-list", "array", "odd-rows", "foreign-link"],
)
async def test_a_list_that_cannot_be_read_stops_nothing(instead: Callable[[], web.Response]) -> None:
    """Everything is sent, without a second try of the list within the minute, and without a wait."""
    azure = Azure(instead=instead)
    async with cloud(azure) as adapter:
        async with asyncio.timeout(stretched(5)):
            assert describe(await send(adapter, FLEET)) == ["sent"] * 40
            assert describe(await send(adapter, FLEET[:2])) == ["sent"] * 2
    assert azure.count("list") == 1


@pytest.mark.asyncio
async def test_an_unread_list_is_logged_once() -> None:
    """The log says which subscription's agents are not known, and why; not again with each list."""
    refused: Json = {"error": {"code": "NoRight", "message": "m"}}
    azure, clock, lines = Azure(instead=lambda: arm(403, refused)), HandClock(0.0), io.StringIO()
    with log_lines.collected(lines):
        async with cloud(azure, clock) as adapter:
            for _ in range(3):
                await send(adapter, FLEET[:4])
                clock.advance(61.0)
    assert azure.count("list") == 3
    said = [line for line in lines.getvalue().splitlines() if "agents_unread" in line]
    assert len(said) == 1
    assert "'s1'" in said[0] and "NoRight" in said[0]


@pytest.mark.asyncio
async def test_an_agent_that_has_come_back_is_sent_to() -> None:
    """The list may be a minute old, so the VM's own view decides; without one the command is sent."""
    listed = {target.name: shown(NOT_READY) for target in FLEET[:3]}
    azure = Azure(listed, {"web01": shown(READY), "web02": shown(NOT_READY)})
    async with cloud(azure) as adapter:
        replies = describe(await send(adapter, FLEET[:3]))
    assert (replies[0], replies[2]) == ("sent", "sent")
    assert replies[1].startswith("not sent")


@pytest.mark.asyncio
async def test_a_vm_without_extension_operations_is_reported_so() -> None:
    """An agent that is switched off is not ready for good: the hint of the row says what to switch on."""
    off = shown(NOT_READY, allowExtensionOperations=False)
    azure = Azure(views={"web01": off})
    async with cloud(azure) as adapter:
        assert describe(await send(adapter, [vm(1)]))[0].endswith("; extension operations are disallowed")


@pytest.mark.asyncio
async def test_only_vms_are_read_and_only_where_it_is_asked_for() -> None:
    """Scale-set instances are in no such list; a command that does not ask for the check is sent at once."""
    sets = (
        "/subscriptions/s1/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/pool/virtualMachines/3"
    )
    azure = Azure()
    async with cloud(azure) as adapter:
        await adapter.submit(command(replace(vm(1), id=sets)))
        await adapter.submit(replace(command(vm(1)), check_agent=False))
    assert [method for method, _ in azure.asked] == ["PUT", "PUT"]


DOUBTS: dict[str, tuple[Json, bool]] = {
    "ready": (shown(READY), False),
    "not ready": (shown(NOT_READY), True),
    "unavailable": (shown({"code": "ProvisioningState/Unavailable"}), True),
    "both": (shown(NOT_READY, READY), False),
    "no statuses": (shown(), False),
    "another word": (shown({"displayStatus": "Provisioning succeeded"}), False),
    "no agent": (shown(agent=False), True),
    "off": (shown(NOT_READY, power="deallocated"), False),
    "starting": (shown(NOT_READY, power="starting"), False),
    "no view": ({}, False),
}


@pytest.mark.parametrize("case", DOUBTS)
def test_what_in_a_list_is_worth_a_read(case: str) -> None:
    """Only what speaks plainly against a running VM: its agent is not ready, or the list names agents and none of it."""
    properties, doubtful = DOUBTS[case]
    found = wire.read_state({"properties": properties})
    assert wire.is_doubtful(found, [wire.read_state({"properties": shown(READY)})]) is doubtful


def test_a_list_without_agents_costs_no_further_reads() -> None:
    """Which of the schema a list fills in is not documented: if it leaves agents out, no VM is read for that."""
    none = wire.read_state({"properties": shown(agent=False)})
    assert not wire.is_doubtful(none, [none, none])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "id": json_values,
            "properties": st.fixed_dictionaries(
                {},
                optional={
                    "instanceView": json_values
                    | st.fixed_dictionaries({"vmAgent": json_values | st.fixed_dictionaries({"statuses": json_values})})
                },
            ),
        },
    )
)
def test_odd_rows_keep_nothing_back(row: dict[str, Json]) -> None:
    """Whatever a row or a view holds: only a plain "not ready" of a running VM keeps a command back."""
    assert wire.refusal_for(wire.read_state(row)) is None
    assert isinstance(wire.read_states([row]), dict)


# The agent of one VM, after its command was accepted


REPORTS: dict[str, tuple[Json, AgentReport | None]] = {
    "ready": (shown(READY), AgentReport(True)),
    "not ready": (shown({"displayStatus": "Not Ready", "message": "m"}), AgentReport(False, "Not Ready: m")),
    "none": (shown(agent=False), AgentReport(False, "no agent has reported")),
    "off": (shown(READY, power="deallocated"), AgentReport(False, "the VM is deallocated")),
    "starting": (shown(agent=False, power="starting"), None),
    "odd": (shown({"displayStatus": "Perhaps"}), None),
    "no view": ({"osProfile": {}}, None),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("case", REPORTS)
async def test_the_agent_of_one_vm(case: str) -> None:
    """Its own view tells; one that does not is lost, which decides nothing."""
    properties, report = REPORTS[case]
    async with cloud(Azure(views={"web01": properties})) as adapter:
        answer = (await adapter.agent(vm(1))).answer
    assert answer == report if report is not None else isinstance(answer, Lost)


@pytest.mark.asyncio
@pytest.mark.parametrize("make", [lambda: arm(403), lambda: arm(404), lambda: arm(429)])
async def test_a_refused_read_of_an_agent_is_handed_on(make: Callable[[], web.Response]) -> None:
    """The run decides what a refusal means, and when to ask again."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return make()

    async with serving(answer) as base, Transport(base, StaticTokens("t")) as transport:
        assert isinstance((await AzureCloud(transport).agent(vm(1))).answer, Refused)
