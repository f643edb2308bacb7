"""Managed commands on the wire: read with their views, deleted, changed by a PATCH that says what changes."""

from __future__ import annotations

import pytest

from fleet.azure.credentials import StaticTokens
from fleet.azure.managed import AzureManaged
from fleet.azure.transport import Transport
from fleet.azure.wire.http import Json
from fleet.azure.wire.managed import command
from fleet.commands.model import Change, ManagedCommand
from fleet.engine.ports import ManagedCommands
from fleet.run.answers import Accepted, Lost, Refused, Removed
from fleet.targets.model import Os, Target
from fleet.testing import HandClock
from tests.wire.replay import Script, arm, serving
from tests.wire.test_preflight import vm

VIEW: dict[str, Json] = {
    "executionState": "Failed",
    "executionMessage": "m",
    "exitCode": 3,
    "output": "o",
    "startTime": "2025-03-31T07:46:00+00:00",
    "endTime": "2025-03-31T07:46:09+00:00",
}


def row(name: str = "c1", **properties: Json) -> dict[str, Json]:
    plain: dict[str, Json] = {"source": {"script": "secret words"}, "provisioningState": "Succeeded", **properties}
    return {"name": name, "location": "westus", "tags": {"a": "1"}, "properties": plain}


async def use(script: Script, what: str, *args: object) -> object:
    clock = HandClock(1000.0)
    async with serving(script.answer) as base, Transport(base, StaticTokens("t"), clock=clock) as transport:
        return await getattr(AzureManaged(transport), what)(*args)


def test_it_is_the_port() -> None:
    """The adapter fits the port."""
    port: ManagedCommands = AzureManaged(Transport("http://127.0.0.1:1", StaticTokens("t")))
    assert port


def read(**properties: Json) -> ManagedCommand:
    found = command(vm(), row(**properties))
    assert found is not None
    return found


def test_a_command_is_read_without_its_script() -> None:
    """State, times and limits are told; of the script a digest and its size, of a URL no signature."""
    found = read(instanceView=VIEW, timeoutInSeconds=60, parameters=[{"name": "P", "value": "hidden"}])
    assert (found.state, found.running, found.exit_code, found.timeout) == ("Failed", False, 3, 60.0)
    assert found.ended is not None and found.started is not None and found.ended - found.started == 9
    assert found.source.startswith("script sha256:") and "12 bytes" in found.source
    assert "secret words" not in repr(found) and "hidden" not in repr(found)
    signed = read(source={"scriptUri": "https://user:pw@x.blob/s.sh?sig=abc"})
    assert signed.source == "uri https://x.blob/s.sh"


@pytest.mark.parametrize(
    ("properties", "running"),
    [
        ({"instanceView": VIEW}, False),
        ({"instanceView": {"executionState": "Running", "exitCode": 0}}, True),
        ({"instanceView": {"executionState": "Running", "exitCode": 0, "endTime": "2025-03-31T07:46:09Z"}}, False),
        ({"instanceView": VIEW, "provisioningState": "Updating"}, True),
        ({}, True),
    ],
)
def test_what_is_not_known_to_have_ended_may_be_running(properties: dict[str, Json], running: bool) -> None:
    """Only a final view with a settled resource says that nothing is ended by deleting."""
    assert read(**properties).running is running


@pytest.mark.asyncio
async def test_views_that_the_list_leaves_out_are_read_one_by_one() -> None:
    """A list without views costs a read for each; one with them does not; that a VM cannot be read is told."""
    views = arm(200, {"value": [row("c1", instanceView=VIEW)]})
    script = Script([views])
    [found] = await use(script, "commands", [vm()], lambda: None)  # type: ignore[misc]
    assert [each.name for each in found.commands] == ["c1"]
    assert [path.partition("?")[2].partition("&")[0] for _, path, _, _ in script.asked] == ["$expand=instanceView"]
    script = Script([arm(200, {"value": [row("c1")]}), arm(200, row("c1", instanceView=VIEW))])
    seen: list[int] = []
    [found] = await use(script, "commands", [vm()], lambda: seen.append(1))  # type: ignore[misc]
    assert [each.state for each in found.commands] == ["Failed"]
    assert (len(script.asked), seen) == (2, [1])
    script = Script([arm(403, {"error": {"code": "AuthorizationFailed", "message": "no"}})])
    [found] = await use(script, "commands", [vm()], lambda: None)  # type: ignore[misc]
    assert (found.commands, found.why) == ((), "HTTP 403 AuthorizationFailed: no")


@pytest.mark.asyncio
async def test_a_change_says_what_changes_and_nothing_else() -> None:
    """The PATCH carries the changed properties, tags and parameters whole, and no location."""
    script = Script([arm(200, row())])
    change = Change(script="new", timeout=1.5, parameters={"B": "2"}, protected={"S": "x"}, tags={"b": "2"})
    reply = await use(script, "change", read(parameters=[{"name": "A", "value": "1"}]), change)
    assert isinstance(reply.answer, Accepted)  # type: ignore[attr-defined]
    [(method, path, _, body)] = script.asked
    assert (method, path.partition("?")[0]) == ("PATCH", f"{vm().id}/runCommands/c1")
    assert body == {
        "tags": {"a": "1", "b": "2"},
        "properties": {
            "source": {"script": "new"},
            "timeoutInSeconds": 2,
            "parameters": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "protectedParameters": [{"name": "S", "value": "x"}],
        },
    }


@pytest.mark.asyncio
async def test_of_an_arc_machine_only_tags_are_sent() -> None:
    """Its API takes nothing else; the refusal is ours, and nothing leaves."""
    arc = Target(
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.HybridCompute/machines/m",
        "s",
        "",
        "g",
        "m",
        "we",
        Os.LINUX,
    )
    found = command(arc, row())
    assert found is not None
    script = Script([arm(200, row())])
    reply = await use(script, "change", found, Change(timeout=5.0))
    assert isinstance(reply.answer, Refused) and not script.asked  # type: ignore[attr-defined]
    await use(script, "change", found, Change(tags={"b": "2"}))
    assert [body for _, _, _, body in script.asked] == [{"tags": {"a": "1", "b": "2"}}]


@pytest.mark.asyncio
async def test_deleting_what_is_gone_is_no_failure() -> None:
    """202, 204 and 404 alike: it is gone or going."""
    for status in (202, 204, 404):
        reply = await use(Script([arm(status, None)]), "remove", read())
        assert reply.answer == Removed()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({"commandId": "RunShellScript"}, "command_id RunShellScript"),
        (
            {"galleryScriptReferenceId": "/galleries/g/scripts/s/versions/1"},
            "gallery /galleries/g/scripts/s/versions/1",
        ),
        ({}, "nothing"),
    ],
)
def test_what_a_command_runs_is_told_in_its_own_word(source: dict[str, Json], told: str) -> None:
    """A built-in command, a script of a gallery, and one whose source Azure does not show."""
    assert read(source=source).source == told


@pytest.mark.asyncio
async def test_a_command_that_cannot_be_read_is_told_with_the_others() -> None:
    """A row that is none and a view that is refused leave a gap that is named; one gone since is as it was listed."""
    script = Script([arm(200, {"value": [{"name": ""}, row("c1", instanceView=VIEW)]})])
    [found] = await use(script, "commands", [vm()], lambda: None)  # type: ignore[misc]
    why = "entry 1 of the list could not be read: its name cannot be read"
    assert ([each.name for each in found.commands], found.why) == (["c1"], why)
    refusal = arm(403, {"error": {"code": "AuthorizationFailed", "message": "no right"}})
    [found] = await use(Script([arm(200, {"value": [row("c1")]}), refusal]), "commands", [vm()], lambda: None)  # type: ignore[misc]
    assert (found.commands, found.why) == ((), "command c1 could not be read: HTTP 403 AuthorizationFailed: no right")
    gone = arm(404, {"error": {"code": "ResourceNotFound", "message": "gone"}})
    [found] = await use(Script([arm(200, {"value": [row("c1")]}), gone]), "commands", [vm()], lambda: None)  # type: ignore[misc]
    assert ([each.running for each in found.commands], found.why) == ([True], "")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "odd",
    [
        None,
        "c2",
        {**row("c2"), "tags": {"a": None}},
        {**row("c2"), "tags": []},
        {**row("c2"), "id": f"{vm(2).id}/runCommands/c2"},
        row("c2", provisioningState=[]),
        row("c2", instanceView={"executionState": 7}),
        row("c2", timeoutInSeconds="60"),
        row("c2", parameters=[{"name": "P"}]),
        {**row("c2"), "name": "c/2"},
    ],
)
async def test_a_command_of_an_odd_shape_is_not_half_read(odd: Json) -> None:
    """A state that cannot be read is not taken for ended, and tags that cannot be read are not written back empty."""
    script = Script([arm(200, {"value": [row("c1", instanceView=VIEW), odd]})])
    [found] = await use(script, "commands", [vm()], lambda: None)  # type: ignore[misc]
    assert [each.name for each in found.commands] == ["c1"]
    assert found.why.startswith(
        ("entry 2 of the list could not be read: ", "command c2 could not be read: ", "command c/2")
    )


@pytest.mark.asyncio
async def test_two_commands_with_one_name_are_named_and_not_touched() -> None:
    """Names ignore case; which of the two would be deleted or changed cannot be told."""
    rows: list[Json] = [row("c1", instanceView=VIEW), row("C1", instanceView=VIEW), row("c2", instanceView=VIEW)]
    [found] = await use(Script([arm(200, {"value": rows})]), "commands", [vm()], lambda: None)  # type: ignore[misc]
    assert ([each.name for each in found.commands], found.why) == (["c2"], "command c1 is there several times")


def test_numbers_of_any_length_are_read_or_left_out() -> None:
    """An exit code has 32 bits, signed or not; what does not fit is none, and is never a crash."""
    for code, kept in ((3010, 3010), (-1073741819, -1073741819), (2**32 - 1, 2**32 - 1), (10**400, None)):
        assert read(instanceView={**VIEW, "exitCode": code}, timeoutInSeconds=code).exit_code == kept


@pytest.mark.asyncio
async def test_a_change_whose_answer_is_lost_is_not_said_to_be_made() -> None:
    """An error of the service and a broken connection are lost, a refusal is a refusal; none is sent again."""
    change = Change(script="new")
    for answer, kind in ((arm(503), Lost), (arm(403, {"error": {"code": "X", "message": "m"}}), Refused)):
        script = Script([answer])
        reply = await use(script, "change", read(), change)
        assert isinstance(reply.answer, kind)  # type: ignore[attr-defined]
        assert len(script.asked) == 1
    transport = Transport("http://127.0.0.1:1", StaticTokens("t"), clock=HandClock(1000.0))
    async with transport:
        reply = await AzureManaged(transport).change(read(), change)
    assert isinstance(reply.answer, Lost)
