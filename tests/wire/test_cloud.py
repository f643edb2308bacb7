"""The port Cloud over the wire: every answer of the service becomes the right value."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from aiohttp import web

from fleet.azure.cloud import AzureCloud
from fleet.azure.credentials import StaticTokens
from fleet.azure.transport import Transport
from fleet.azure.wire.http import Json
from fleet.engine.ports import Cloud, Reply
from fleet.playbook.model import Transport as Way
from fleet.run.answers import (
    Accepted,
    Command,
    Finished,
    Found,
    Lost,
    LostReason,
    Missing,
    Operation,
    OperationFailed,
    Refused,
    Removed,
    StillRunning,
)
from fleet.targets.model import Os, Target
from tests.wire.replay import Script, arm, serving

VM = "/subscriptions/s1/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/web01"
TARGET = Target(VM, "s1", "prod", "rg", "web01", "westus", Os.LINUX)
NAME = "fleet-1"
RESOURCE = f"{VM}/runCommands/{NAME}"
MANAGED = Operation(Way.MANAGED, resource=RESOURCE)
A = TypeVar("A")


def command(way: Way = Way.MANAGED) -> Command:
    return Command(TARGET, way, name=NAME, script="true")


async def ask(script: Script, question: Callable[[AzureCloud, str], Awaitable[Reply[A]]]) -> Reply[A]:
    """Put one question to a cloud whose server gives the prepared answers."""
    async with serving(script.answer) as base, Transport(base, StaticTokens("t")) as transport:
        return await question(AzureCloud(transport), base)


def error(status: int, code: str, message: str = "m", **headers: str) -> web.Response:
    return arm(status, {"error": {"code": code, "message": message}}, **headers)


def test_it_is_a_cloud() -> None:
    """The adapter fits the engine's port."""
    cloud: Cloud = AzureCloud(Transport("http://127.0.0.1:1", StaticTokens("t")))
    assert cloud is not None


# submit


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [200, 201, 202])
async def test_a_managed_submission_is_accepted(status: int) -> None:
    """201 for a new name, 200 for an existing one, 202 on other kinds: all accepted, with quota and
    resource.
    """
    left = "Microsoft.Compute/UpdateVMResource;11"
    script = Script([arm(status, {"name": NAME}, x_ms_ratelimit_remaining_resource=left, Retry_After="9")])
    reply = await ask(script, lambda cloud, base: cloud.submit(command()))
    assert reply.answer == Accepted(MANAGED, 9.0)
    assert reply.quota is not None
    assert (dict(reply.quota.remaining), reply.quota.location) == ({"UpdateVMResource": 11}, "westus")


@pytest.mark.asyncio
async def test_an_action_is_accepted_with_its_links() -> None:
    """The operation's link is kept byte for byte, and Location only where there is no operation: the disk holds one."""

    async def answer(request: web.BaseRequest) -> web.Response:
        here = f"http://{request.host}/op/1?t=%2f&c=A%3d"
        both = {"Azure_AsyncOperation": here} if request.method == "POST" and not asked else {}
        asked.append(request.method)
        return arm(202, None, **both, Location=f"{here}&monitor=true")

    asked: list[str] = []
    async with serving(answer) as base, Transport(base, StaticTokens("t")) as transport:
        replies = [(await AzureCloud(transport).submit(command(Way.ACTION))).answer for _ in range(2)]
    link = f"{base}/op/1?t=%2f&c=A%3d"
    assert replies == [
        Accepted(Operation(Way.ACTION, link)),
        Accepted(Operation(Way.ACTION, "", f"{link}&monitor=true")),
    ]


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("links", [{}, {"Location": "https://evil.example/l"}])
async def test_a_result_in_the_answer_to_the_post_is_the_result(status: int, links: dict[str, str]) -> None:
    """The specification lists 200 with a result beside 202: it is read, and nothing is asked any further."""
    script = Script([arm(status, RESULT, **links)])
    reply = await ask(script, lambda cloud, base: cloud.submit(command(Way.ACTION)))
    assert isinstance(reply.answer, Accepted)
    assert reply.answer.result is not None
    assert reply.answer.result.combined == "Enable succeeded: \n[stdout]\nhi"
    assert [method for method, *_ in script.asked] == ["POST"]


@pytest.mark.asyncio
async def test_a_202_with_a_body_is_followed() -> None:
    """Accepted is not ended, whatever its body holds."""
    reply = await ask(Script([arm(202, RESULT)]), lambda cloud, base: cloud.submit(command(Way.ACTION)))
    assert isinstance(reply.answer, Lost)


@pytest.mark.asyncio
async def test_links_to_another_host_are_dropped() -> None:
    """A managed command lives on without them; an action then has no way to its answer and is lost, not
    followed.
    """
    foreign = {"Azure_AsyncOperation": "https://evil.example/op?c=CERT", "Location": "https://evil.example/l"}
    managed = await ask(Script([arm(201, {}, **foreign)]), lambda cloud, base: cloud.submit(command()))
    assert managed.answer == Accepted(MANAGED)
    action = await ask(Script([arm(202, None, **foreign)]), lambda cloud, base: cloud.submit(command(Way.ACTION)))
    assert isinstance(action.answer, Lost)
    assert action.answer.reason is LostReason.MALFORMED
    assert "evil.example" in action.answer.detail
    assert "CERT" not in action.answer.detail


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "InvalidParameter"),
        (401, "ExpiredAuthenticationToken"),
        (403, "AuthorizationFailed"),
        (404, "ResourceNotFound"),
        (409, "Conflict"),
        (409, "OperationNotAllowed"),
        (429, "SubscriptionRequestsThrottled"),
    ],
)
async def test_a_4xx_is_refused(status: int, code: str) -> None:
    """The service said no and did nothing; status, code, message and wait are handed on (surprises 6, 8)."""
    script = Script([error(status, code, "why", Retry_After="3") for _ in range(2)])
    reply = await ask(script, lambda cloud, base: cloud.submit(command()))
    assert isinstance(reply.answer, Refused)
    refusal = reply.answer.refusal
    assert (refusal.status, refusal.code, refusal.message, refusal.retry_after) == (status, code, "why", 3.0)
    assert len(script.asked) == (2 if status == 401 else 1)


@pytest.mark.asyncio
@pytest.mark.parametrize("way", [Way.MANAGED, Way.ACTION])
@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_5xx_is_lost_and_never_sent_again(status: int, way: Way) -> None:
    """The service does not say whether it acted: one request, and Lost (surprise 11: with an empty body)."""
    script = Script([arm(status, None, Retry_After="5"), arm(202)])
    reply = await ask(script, lambda cloud, base: cloud.submit(command(way)))
    assert isinstance(reply.answer, Lost)
    assert (reply.answer.reason, reply.answer.retry_after) == (LostReason.SERVER_ERROR, 5.0)
    assert len(script.asked) == 1


@pytest.mark.asyncio
async def test_a_command_that_would_leak_is_never_sent() -> None:
    """A secret for the action API is refused here, and nothing reaches the wire."""
    script = Script([])
    secret = dataclasses.replace(command(Way.ACTION), protected={"T": "s"})
    reply = await ask(script, lambda cloud, base: cloud.submit(secret))
    assert isinstance(reply.answer, Refused)
    assert not script.asked


@pytest.mark.asyncio
async def test_an_unreachable_service_is_not_connected() -> None:
    """A closed port means that nothing was asked."""
    async with serving(Script([]).answer) as base:
        pass
    async with Transport(base, StaticTokens("t")) as transport:
        reply = await AzureCloud(transport).submit(command())
    assert isinstance(reply.answer, Lost)
    assert reply.answer.reason is LostReason.NOT_CONNECTED


# look, action


def running(status: str = "InProgress", **more: Json) -> Json:
    return {"startTime": "2025-03-31T07:46:00.7+00:00", "status": status, "name": "op", **more}


RESULT: Json = {"value": [{"code": "ProvisioningState/succeeded", "message": "Enable succeeded: \n[stdout]\nhi"}]}


def look_action(cloud: AzureCloud, base: str) -> Awaitable[Reply[object]]:
    return cloud.look(TARGET, Operation(Way.ACTION, f"{base}/op?c=1", f"{base}/loc?c=2"))


@pytest.mark.asyncio
async def test_one_read_tells_the_result_of_an_action() -> None:
    """The operation holds the output, so Location is not asked."""
    script = Script([arm(200, running("Succeeded", properties={"output": RESULT}))])
    reply = await ask(script, look_action)
    assert isinstance(reply.answer, Finished)
    assert reply.answer.answer.combined == "Enable succeeded: \n[stdout]\nhi"
    assert len(script.asked) == 1


@pytest.mark.asyncio
async def test_location_is_asked_where_the_operation_has_no_output() -> None:
    """Then the result is one more read away, and both answers' quotas count. So it is with both links of an old journal."""
    name = "x-ms-ratelimit-remaining-subscription-reads"
    script = Script([arm(200, running("Succeeded"), **{name: "9"}), arm(200, RESULT, **{name: "8"})])
    reply = await ask(script, look_action)
    assert isinstance(reply.answer, Finished)
    assert reply.quota is not None
    assert dict(reply.quota.remaining) == {"reads": 8}
    assert [path for _, path, _, _ in script.asked] == ["/op?c=1", "/loc?c=2"]


@pytest.mark.asyncio
async def test_location_is_remembered_while_the_operation_is_asked() -> None:
    """It is not kept, and yet asked by who heard of it, until there is a result."""

    async def submitted(cloud: AzureCloud, base: str) -> list[object]:
        sent = (await cloud.submit(command(Way.ACTION))).answer
        assert isinstance(sent, Accepted)
        return [(await cloud.look(TARGET, sent.operation)).answer for _ in range(3)]

    accepted = arm(202, None, Azure_AsyncOperation="/op?c=1", Location="/loc?c=2")
    ended = [running("Succeeded"), RESULT]
    script = Script([accepted, arm(200, ended[0]), arm(503), *(arm(200, each) for each in ended), arm(200, ended[0])])
    async with serving(script.answer) as base, Transport(base, StaticTokens("t")) as transport:
        lost, found, after = await submitted(AzureCloud(transport), base)
    assert isinstance(lost, Lost) and isinstance(found, Finished) and isinstance(after, OperationFailed)
    assert [path for _, path, _, _ in script.asked[1:]] == ["/op?c=1", "/loc?c=2", "/op?c=1", "/loc?c=2", "/op?c=1"]


@pytest.mark.asyncio
async def test_a_result_that_is_nowhere_is_told() -> None:
    """An operation that succeeded and names no place for its output has no result; nothing is guessed."""
    script = Script([arm(200, running("Succeeded"))])
    reply = await ask(script, lambda cloud, base: cloud.look(TARGET, Operation(Way.ACTION, f"{base}/op?c=1")))
    assert isinstance(reply.answer, OperationFailed)
    assert (reply.answer.code, reply.answer.cancelled) == ("ResultMissing", False)


@pytest.mark.asyncio
async def test_a_result_that_cannot_be_had_is_asked_again() -> None:
    """A refusal, an answer that breaks off and one that is no result are a read's trouble, not the job's end."""
    for answer, kind in ((error(429, "X"), Refused), (arm(503), Lost), (arm(200, {"no": "result"}), Lost)):
        reply = await ask(Script([arm(200, running("Succeeded")), answer]), look_action)
        assert isinstance(reply.answer, kind)


@pytest.mark.asyncio
async def test_location_alone_is_enough() -> None:
    """Without Azure-AsyncOperation: 202 while running, 200 with the result."""
    script = Script([arm(202, None, Retry_After="4"), arm(200, RESULT)])
    async with serving(script.answer) as base, Transport(base, StaticTokens("t")) as transport:
        cloud, operation = AzureCloud(transport), Operation(Way.ACTION, "", f"{base}/loc?c=2")
        first = await cloud.look(TARGET, operation)
        second = await cloud.look(TARGET, operation)
    assert first.answer == StillRunning(4.0)
    assert isinstance(second.answer, Finished)


@pytest.mark.asyncio
async def test_a_running_action_hands_on_the_wait() -> None:
    """Retry-After on a poll is honoured where it is there, and None where it is not."""
    assert (await ask(Script([arm(200, running(), Retry_After="10")]), look_action)).answer == StillRunning(10.0)
    assert (await ask(Script([arm(200, running())]), look_action)).answer == StillRunning()


@pytest.mark.asyncio
async def test_surprise_11_a_poll_that_cannot_be_read_is_no_failure() -> None:
    """401, 403, 404 and 429 are refusals of the read; 5xx and nonsense are lost reads (surprise 11)."""
    for status in (401, 403, 404, 429):
        reply = await ask(Script([error(status, "X"), error(status, "X")]), look_action)
        assert isinstance(reply.answer, Refused)
    for answer in (arm(503), arm(200, {"no": "status"}), web.Response(text="<html>")):
        reply = await ask(Script([answer]), look_action)
        assert isinstance(reply.answer, Lost)


@pytest.mark.asyncio
async def test_a_failed_operation_is_told_with_code_and_message() -> None:
    """The service's own failure, here its 90-minute limit."""
    told: Json = {"code": "VMExtensionProvisioningTimeout", "message": "timed out"}
    reply = await ask(Script([arm(200, running("Failed", error=told))]), look_action)
    assert reply.answer == OperationFailed("VMExtensionProvisioningTimeout", "timed out")


@pytest.mark.asyncio
async def test_a_kept_link_to_another_host_is_not_followed() -> None:
    """Also a link out of a journal is checked before the token goes with it."""
    theirs = Script([arm(200, running())])
    async with serving(theirs.answer) as other:
        operation = Operation(Way.ACTION, f"{other}/op?c=1")
        reply = await ask(Script([]), lambda cloud, base: cloud.look(TARGET, operation))
    assert isinstance(reply.answer, Lost)
    assert not theirs.asked


# look, managed


def resource(provisioning: str, **view: Json) -> Json:
    return {"name": NAME, "properties": {"provisioningState": provisioning, "instanceView": view}}


@pytest.mark.asyncio
async def test_one_read_tells_how_a_managed_command_stands() -> None:
    """The resource with its instance view is all there is to ask, and both states count (surprises 2, 3)."""
    script = Script(
        [
            arm(200, resource("Creating"), Retry_After="2"),
            arm(200, resource("Updating", executionState="Failed", exitCode=7)),
            arm(200, resource("Succeeded", executionState="Failed", exitCode=7, output="o", error="e")),
        ]
    )
    async with serving(script.answer) as base, Transport(base, StaticTokens("t")) as transport:
        answers = [(await AzureCloud(transport).look(TARGET, MANAGED)).answer for _ in range(3)]
    assert answers[:2] == [StillRunning(2.0), StillRunning()]
    assert isinstance(answers[2], Finished)
    assert answers[2].answer.exit_code == 7
    assert script.asked[0][1] == f"{RESOURCE}?$expand=instanceView&api-version=2024-11-01"


@pytest.mark.asyncio
async def test_failed_provisioning_is_explained_by_the_operation() -> None:
    """One more read fetches the error text; if it is lost, it is asked again; if nobody may read it, the failure is told."""
    told: Json = {"code": "VMAgentStatusCommunicationError", "message": "no agent"}

    def look(cloud: AzureCloud, base: str) -> Awaitable[Reply[object]]:
        return cloud.look(TARGET, dataclasses.replace(MANAGED, status_url=f"{base}/op?c=1"))

    failed = arm(200, resource("Failed"))
    reply = await ask(Script([failed, arm(200, running("Failed", error=told))]), look)
    assert reply.answer == OperationFailed("VMAgentStatusCommunicationError", "no agent")
    reply = await ask(Script([arm(200, resource("Failed")), arm(503)]), look)
    assert isinstance(reply.answer, Lost)
    reply = await ask(Script([arm(200, resource("Failed")), arm(403)]), look)
    assert isinstance(reply.answer, OperationFailed)
    assert reply.answer.code == "ProvisioningFailed"
    found = await ask(Script([arm(200, resource("Failed"))]), lambda cloud, _: cloud.look(TARGET, MANAGED))
    assert found.answer == reply.answer  # a command that was found by its name has no operation to ask


@pytest.mark.asyncio
async def test_the_answer_about_another_command_is_not_this_ones() -> None:
    """By its id, whose case does not count: it is lost and asked for again, so no VM speaks for another."""
    whole = dict(resource("Succeeded"))  # type: ignore[arg-type]
    other = {**whole, "id": RESOURCE.replace("web01", "web02")}
    for question in (
        lambda cloud, _: cloud.look(TARGET, MANAGED),
        lambda cloud, _: cloud.find(TARGET, RESOURCE.rpartition("/")[2]),
    ):
        reply = await ask(Script([arm(200, other)]), question)  # type: ignore[arg-type]
        assert isinstance(reply.answer, Lost) and reply.answer.reason is LostReason.MALFORMED
    own = {**whole, "id": RESOURCE.upper()}
    reply = await ask(Script([arm(200, own)]), lambda cloud, _: cloud.look(TARGET, MANAGED))
    assert not isinstance(reply.answer, Lost)


# find, remove


GONE = "The Resource 'Microsoft.Compute/virtualMachines/web01{}' under resource group 'rg' was not found."


@pytest.mark.asyncio
async def test_a_lost_submission_is_found_by_its_name() -> None:
    """200 means it had been accepted; the operation leads on to it."""
    reply = await ask(Script([arm(200, {"name": NAME.upper()})]), lambda cloud, base: cloud.find(TARGET, NAME))
    assert reply.answer == Found(MANAGED)


@pytest.mark.asyncio
async def test_missing_means_the_command_and_nothing_else() -> None:
    """Only a 404 about the command itself allows to send it again."""

    def find(cloud: AzureCloud, base: str) -> Awaitable[Reply[object]]:
        return cloud.find(TARGET, NAME)

    about_command = error(404, "ResourceNotFound", GONE.format("/runCommands/fleet-1"))
    assert (await ask(Script([about_command]), find)).answer == Missing()
    for other in (
        error(404, "ResourceNotFound", GONE.format("")),
        error(404, "ParentResourceNotFound"),
        error(404, "ResourceGroupNotFound"),
        error(403, "AuthorizationFailed"),
    ):
        assert isinstance((await ask(Script([other]), find)).answer, Refused)
    for unclear in (
        arm(503),
        arm(200, {"name": "another"}),
    ):
        assert isinstance((await ask(Script([unclear]), find)).answer, Lost)


DOUBTFUL: dict[str, Callable[[], web.Response]] = {
    "no body": lambda: arm(404),
    "a page": lambda: web.Response(status=404, text="<html>"),
    "another shape": lambda: arm(404, {"Message": "No HTTP resource was found"}),
    "another language": lambda: error(404, "ResourceNotFound", "Die Ressource wurde nicht gefunden."),
    "another code": lambda: error(404, "EntityNotFound", "gone"),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("case", DOUBTFUL)
async def test_a_404_that_does_not_say_what_is_missing_is_settled_by_the_vm(case: str) -> None:
    """The VM is there: the command is missing. It is not: that is the refusal. It cannot be read: nothing is known."""

    def find(cloud: AzureCloud, base: str) -> Awaitable[Reply[object]]:
        return cloud.find(TARGET, NAME)

    vm = {"id": TARGET.id.upper(), "properties": {"provisioningState": "Succeeded"}}
    script = Script([DOUBTFUL[case](), arm(200, vm)])
    assert (await ask(script, find)).answer == Missing()
    assert [path.partition("?")[0] for _, path, _, _ in script.asked] == [f"{TARGET.id}/runCommands/{NAME}", TARGET.id]
    gone = await ask(Script([DOUBTFUL[case](), error(404, "ResourceNotFound", GONE.format(""))]), find)
    assert isinstance(gone.answer, Refused)
    for answer in (arm(503), arm(200, {}), arm(200, {**vm, "id": f"{TARGET.id}2"})):
        assert isinstance((await ask(Script([DOUBTFUL[case](), answer]), find)).answer, Lost)


@pytest.mark.asyncio
async def test_a_404_that_says_what_is_missing_costs_no_further_read() -> None:
    """The command's or the VM's own name in the answer is enough."""
    for message in (GONE.format("/runCommands/fleet-1"), GONE.format("")):
        script = Script([error(404, "ResourceNotFound", message)])
        await ask(script, lambda cloud, base: cloud.find(TARGET, NAME))
        assert len(script.asked) == 1


@pytest.mark.asyncio
async def test_what_is_not_there_is_removed() -> None:
    """202 is on its way, 204 and 404 were not there; a refusal is told."""

    def remove(cloud: AzureCloud, base: str) -> Awaitable[Reply[object]]:
        return cloud.remove(TARGET, NAME)

    for answer in (arm(202), arm(204), arm(200), error(404, "ResourceNotFound")):
        assert (await ask(Script([answer]), remove)).answer == Removed()
    assert isinstance((await ask(Script([error(429, "X")]), remove)).answer, Refused)
    assert isinstance((await ask(Script([arm(500)]), remove)).answer, Lost)


@pytest.mark.asyncio
async def test_many_questions_at_once_get_their_own_answers() -> None:
    """Answers never end up with another VM: each carries what its own request asked for."""

    async def echo(request: web.BaseRequest) -> web.Response:
        vm = request.raw_path.split("/virtualMachines/")[1].split("/")[0]
        return arm(200, resource("Succeeded", executionState="Succeeded", exitCode=0, output=vm))

    async with serving(echo) as base, Transport(base, StaticTokens("t")) as transport:
        cloud = AzureCloud(transport)
        ids = [VM.replace("web01", f"vm{number}") for number in range(150)]
        targets = [dataclasses.replace(TARGET, id=identity) for identity in ids]
        replies = await asyncio.gather(
            *(cloud.look(t, Operation(Way.MANAGED, resource=f"{t.id}/runCommands/x")) for t in targets)
        )
    outputs = [reply.answer.answer.stdout for reply in replies if isinstance(reply.answer, Finished)]
    assert outputs == [f"vm{number}" for number in range(150)]
