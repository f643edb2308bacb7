"""The client against recorded exchanges: the project's own small ones, and the real service's where they are
at hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.azure.cloud import AzureCloud
from fleet.azure.credentials import StaticTokens
from fleet.azure.inventory import AzureInventory
from fleet.azure.transport import Transport
from fleet.azure.wire import compute, run_command
from fleet.azure.wire.arm import not_done, read_operation, refusal
from fleet.azure.wire.cloud_error import read_error
from fleet.azure.wire.http import MIB, Json, Request, Response, as_list, as_object, as_text, dig
from fleet.playbook.model import Transport as Way
from fleet.run.answers import (
    Accepted,
    Answer,
    Command,
    Finished,
    LookAnswer,
    Lost,
    OperationFailed,
    Refused,
    Removed,
    StillRunning,
)
from fleet.targets.model import Kind, Os, Target, kind_of
from tests.wire.replay import AZURE, Exchange, load, playing

OWN = Path(__file__).parent / "exchanges"
REAL = Path(__file__).parents[3] / "shared" / "azure" / "recordings"


def real(name: str) -> list[Exchange]:
    """Load a recording of the real service, or skip the test."""
    file = REAL / f"{name}.json"
    if not file.exists():
        pytest.skip(f"needs the recordings of the real service at ../shared/azure/recordings ({name})")
    return load(file)


def files() -> Iterator[Any]:
    for file in sorted(OWN.glob("*.json")):
        yield pytest.param(file, id=f"own-{file.stem}")
    for file in sorted(REAL.glob("*.json")):
        yield pytest.param(file, id=file.stem, marks=pytest.mark.shared)
    if not REAL.exists():
        absent = pytest.mark.skip(reason="the recordings of the real service are not at ../shared/azure/recordings")
        yield pytest.param(REAL, id="shared", marks=[pytest.mark.shared, absent])


@pytest.mark.asyncio
@pytest.mark.parametrize("file", list(files()))
async def test_every_exchange_goes_through_the_client_unchanged(file: Path) -> None:
    """Each request arrives byte for byte, each answer comes back whole, and every reader makes sense of it."""
    exchanges = load(file)
    async with playing(exchanges) as replay, Transport(replay.base, StaticTokens("t")) as transport:
        for exchange in exchanges:
            answer = await transport.send(Request(exchange.method, exchange.target, exchange.sent, cap=8 * MIB))
            assert isinstance(answer, Response)
            assert answer.status == exchange.status
            check(answer, exchange)
    assert replay.seen == [exchange.target for exchange in exchanges]
    assert replay.bodies == [exchange.sent for exchange in exchanges]
    assert not replay.strange


def check(answer: Response, exchange: Exchange) -> None:
    """Every operation, error and list that was recorded is understood as one."""
    if answer.status >= 400:
        told = refusal(answer, 0.0)
        assert told.code == read_error(exchange.body).code != ""
        assert told.message
        return
    assert not_done(answer, 0.0) is None
    body = as_object(answer.json())
    if "/operations/" in exchange.target and "status" in body:
        assert read_operation(answer.json()) is not None
    if "value" in body and exchange.method == "GET" and "/locations/" not in exchange.target:
        assert compute.read_page(answer.json()) is not None


def submissions(exchanges: list[Exchange]) -> Iterator[tuple[Exchange, Way]]:
    """Every request of a recording that started a command, and what carried it."""
    for exchange in exchanges:
        if exchange.method == "POST" and exchange.path.endswith("/runcommand"):
            yield exchange, Way.ACTION
        elif exchange.method == "PUT" and "/runcommands/" in exchange.path:
            yield exchange, Way.MANAGED


@pytest.mark.asyncio
@pytest.mark.parametrize("file", list(files()))
async def test_every_command_of_a_recording_is_followed_to_its_end(file: Path) -> None:
    """Whatever was recorded: a refusal is one, what was accepted is read until its end, or until the recording's."""
    for number in range(len(list(submissions(load(file))))):
        exchanges = load(file)
        start, way = list(submissions(exchanges))[number]
        for earlier in exchanges[: exchanges.index(start)]:
            earlier.played = True
        identity = recorded(start, way).target.id
        if kind_of(identity) is Kind.ARC:  # it is asked first whether it is connected, which other clients do not
            exchanges.append(
                Exchange("GET", f"{identity}?api-version=any", None, 200, {}, {"properties": {"status": "Connected"}})
            )
        async with playing(exchanges) as replay, Transport(replay.base, StaticTokens("t")) as transport:
            cloud = AzureCloud(transport)
            answer = (await cloud.submit(recorded(start, way))).answer
            if start.status >= 400:
                assert isinstance(answer, (Refused, Lost))
                continue
            assert isinstance(answer, Accepted), answer
            look: LookAnswer = StillRunning()
            while isinstance(look, StillRunning) and not replay.strange:
                look = (await cloud.look(recorded(start, way).target, answer.operation)).answer
        assert replay.strange or isinstance(look, (Finished, OperationFailed)), look
        if replay.strange:
            assert not any(ended(exchange, start) for exchange in exchanges[exchanges.index(start) :])


def ended(exchange: Exchange, start: Exchange) -> bool:
    """Whether an exchange, had it been asked for, tells how the command of ``start`` ended."""
    if start.method == "POST":
        link = start.headers_of("azure-asyncoperation").removeprefix(AZURE)
        return exchange.target == link and as_text(as_object(exchange.body).get("status")).lower() == "succeeded"
    view = dig(exchange.body, "properties", "instanceView")
    return exchange.method == "GET" and exchange.path == start.path and view is not None


async def drive(exchanges: list[Exchange], way: Way, number: int = 0) -> list[LookAnswer]:
    """Submit the command of a recorded submission and look until it ends; return every look."""
    verb = "POST" if way is Way.ACTION else "PUT"
    starts = [e for e in exchanges if e.method == verb and "/runcommand" in e.path]
    start = starts[number]
    for earlier in exchanges[: exchanges.index(start)]:
        earlier.played = True
    async with playing(exchanges) as replay, Transport(replay.base, StaticTokens("t")) as transport:
        cloud = AzureCloud(transport)
        accepted = (await cloud.submit(recorded(start, way))).answer
        assert isinstance(accepted, Accepted)
        if way is Way.ACTION:
            assert accepted.operation.status_url == start.headers_of("azure-asyncoperation").replace(AZURE, replay.base)
        same(replay.bodies[0], start.sent)
        looks: list[LookAnswer] = []
        for _ in range(400):
            looks.append((await cloud.look(recorded(start, way).target, accepted.operation)).answer)
            if not isinstance(looks[-1], StillRunning):
                break
    assert not replay.strange
    return looks


def recorded(start: Exchange, way: Way) -> Command:
    """Make the command that a recorded request was."""
    identity, _, name = re.split(
        r"(/runCommands?/?)(?!.*/runCommand)", start.target.partition("?")[0], flags=re.IGNORECASE
    )
    sent = as_object(start.sent)
    source = as_object(dig(sent, "properties", "source"))
    script = "\n".join(as_text(line) for line in as_list(sent.get("script"))) or as_text(source.get("script"))
    os = Os.WINDOWS if "PowerShell" in as_text(sent.get("commandId")) else Os.LINUX
    pairs = [as_object(pair) for pair in as_list(sent.get("parameters") or dig(sent, "properties", "parameters"))]
    target = Target(identity, "s", "s", "g", "vm", as_text(sent.get("location")), os)
    parameters = {as_text(pair.get("name")): as_text(pair.get("value")) for pair in pairs}
    known = as_text(sent.get("commandId"))
    built_in = known if known not in ("RunShellScript", "RunPowerShellScript") else ""
    return Command(target, way, name=name, script=script, command_id=built_in, parameters=parameters)


def same(sent: Json, original: Json) -> None:
    """Compare bodies; an empty list of parameters may be left out (both recorded)."""

    def bare(body: Json) -> Json:
        return {key: value for key, value in as_object(body).items() if value != []}

    assert bare(sent) == bare(original)


def answer_of(looks: list[LookAnswer]) -> Answer:
    assert isinstance(looks[-1], Finished)
    return looks[-1].answer


@pytest.mark.shared
@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("action-linux-2025", "script.sh hello\n"),
        ("action-linux-exit127-2024", "at: not found"),
        ("action-linux-builtins-2023", "[stdout]"),
        ("action-vmss-2024", "[stdout]"),
    ],
)
async def test_recorded_linux_actions(name: str, inside: str) -> None:
    """Streams come combined; the exit code is never known, not even 127 (surprise 1)."""
    answer = answer_of(await drive(real(name), Way.ACTION))
    assert answer.combined is not None
    assert answer.combined.startswith("Enable succeeded: \n[stdout]\n")
    assert inside in answer.combined
    assert answer.exit_code is None


@pytest.mark.shared
@pytest.mark.asyncio
async def test_the_recorded_failure_of_2018() -> None:
    """Exit status and streams are taken out of the message."""
    answer = answer_of(await drive(real("action-linux-failed-2018"), Way.ACTION))
    assert answer.exit_code == 100
    assert answer.combined is not None
    assert "[stdout]" in answer.combined


@pytest.mark.shared
@pytest.mark.asyncio
async def test_the_recorded_time_out() -> None:
    """90 minutes of polls end with the service's own failure."""
    looks = await drive(real("action-linux-90min-timeout-2020"), Way.ACTION)
    assert len(looks) > 100
    assert isinstance(looks[-1], OperationFailed)
    assert looks[-1].code == "VMExtensionProvisioningTimeout"


@pytest.mark.shared
@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["action-windows-2024", "action-windows-full-headers-2018"])
async def test_recorded_windows_actions(name: str) -> None:
    """Two statuses, two streams; the bare array of 2018 as well."""
    answer = answer_of(await drive(real(name), Way.ACTION))
    assert answer.combined is None
    assert answer.stderr == ""
    assert (answer.stdout != "") == ("2018" in name)


@pytest.mark.shared
@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["managed-vm-2024", "managed-vmss-2024"])
async def test_recorded_managed_commands(name: str) -> None:
    """A failed script under a provisioning that succeeded is a failed script (surprise 2)."""
    answer = answer_of(await drive(real(name), Way.MANAGED))
    assert answer.execution_state == "Failed"
    assert answer.exit_code not in (0, None)


@pytest.mark.shared
@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["managed-vm-2024", "managed-vmss-2024", "managed-remove-full-headers-2021"])
async def test_recorded_removals(name: str) -> None:
    """202 for one that was there, 204 for one that was not."""
    exchanges = real(name)
    [delete] = [e for e in exchanges if e.method == "DELETE"]
    identity, _, command = delete.target.partition("?")[0].rpartition("/runCommands/")
    target = Target(identity, "s", "s", "g", "vm", "l", Os.LINUX)
    async with playing(exchanges) as replay, Transport(replay.base, StaticTokens("t")) as transport:
        reply = await AzureCloud(transport).remove(target, command)
    assert reply.answer == Removed()
    assert reply.quota is not None


@pytest.mark.shared
def test_recorded_arc_operations_hold_the_whole_resource() -> None:
    """An Arc machine's resource and the end of its operation are read by the same reader."""
    resources = [e for e in real("arc-managed") if e.method == "GET" and e.path.endswith("/myruncommand2")]
    states = [run_command.managed_state(e.body) for e in resources]
    assert any(isinstance(state, Finished) and state.answer.execution_state == "Succeeded" for state in states)


def _as_text(exchange: Any) -> None:
    for side in exchange.values():
        if isinstance(side.get("body"), (dict, list)):
            side["body"] = json.dumps(side["body"])


def _headers(change: Callable[[str, str], tuple[str, object]]) -> Callable[[Any], None]:
    def apply(exchange: Any) -> None:
        headers = exchange["response"].get("headers") or {}
        exchange["response"]["headers"] = dict(change(name, value) for name, value in headers.items())

    return apply


OTHER_LOOKS: dict[str, Callable[[str], str]] = {
    "another api-version": lambda text: re.sub(r"api-version=[0-9-]+", "api-version=2031-02-03-preview", text),
    "another case of ids": lambda text: text.replace("/resourceGroups/", "/RESOURCEGROUPS/"),
    "another cloud": lambda text: text.replace("management.azure.com", "management.usgovcloudapi.net"),
    "a port": lambda text: text.replace("management.azure.com", "management.azure.com:443"),
}
OTHER_SHAPES: dict[str, Callable[[Any], None]] = {
    "headers in capitals": _headers(lambda name, value: (name.upper(), value)),
    "headers as lists": _headers(lambda name, value: (name, [value])),
    "bodies as text": _as_text,
    "a wait as a date": lambda e: (
        e["response"].setdefault("headers", {}).update({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"})
    ),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("look", [*OTHER_LOOKS, *OTHER_SHAPES])
@pytest.mark.parametrize("name", sorted(file.stem for file in OWN.glob("*.json")))
async def test_a_recording_may_look_otherwise(tmp_path: Path, name: str, look: str) -> None:
    """Dropping one in needs no code: what recorders and clouds write differently is read alike."""
    text = OTHER_LOOKS.get(look, str)((OWN / f"{name}.json").read_text(encoding="utf-8"))
    data = json.loads(text)
    for exchange in data["exchanges"] if look in OTHER_SHAPES else ():
        OTHER_SHAPES[look](exchange)
    file = tmp_path / f"{name}.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    await test_every_exchange_goes_through_the_client_unchanged(file)
    await test_every_command_of_a_recording_is_followed_to_its_end(file)


# The project's own exchanges


@pytest.mark.asyncio
async def test_our_own_action_exchange() -> None:
    """Accepted, polled, ended: one POST and as many reads as it takes."""
    looks = await drive(load(OWN / "action-linux.json"), Way.ACTION)
    assert looks[:-1] == [StillRunning(), StillRunning()]
    assert answer_of(looks).combined == "Enable succeeded: \n[stdout]\nkernel 6.8\n\n[stderr]\n"


@pytest.mark.asyncio
async def test_our_own_action_without_output_in_its_operation() -> None:
    """The result is fetched from Location."""
    answer = answer_of(await drive(load(OWN / "action-windows-location.json"), Way.ACTION))
    assert (answer.stdout, answer.stderr) == ("service restarted", "a warning")


@pytest.mark.asyncio
async def test_our_own_managed_exchange() -> None:
    """Creating, then succeeded but still running, then the end."""
    looks = await drive(load(OWN / "managed-linux.json"), Way.MANAGED)
    assert looks[:-1] == [StillRunning(), StillRunning()]
    answer = answer_of(looks)
    assert (answer.execution_state, answer.exit_code, answer.stdout) == ("Failed", 4, "checked 3 of 4\n")


@pytest.mark.asyncio
async def test_our_own_inventory_exchange() -> None:
    """An empty page, a next link, a graph that knows one subscription, and a list for the other."""
    exchanges = load(OWN / "inventory.json")
    async with playing(exchanges) as replay, Transport(replay.base, StaticTokens("t")) as transport:
        inventory = AzureInventory(transport)
        subscriptions = await inventory.subscriptions()
        listing = await inventory.list_targets(subscriptions)
    assert [sub.name for sub in subscriptions] == ["prod", "test"]
    assert [(t.subscription_name, t.name, t.power.value) for t in listing.targets] == [
        ("prod", "web01", "running"),
        ("test", "win07", "deallocated"),
    ]
    assert not replay.strange
