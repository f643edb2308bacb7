"""Locks and other patchers, over the wire: what is asked, and what becomes of each answer."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from aiohttp import web

from fleet.azure.credentials import StaticTokens
from fleet.azure.preflight import AzurePreflight
from fleet.azure.transport import Transport
from fleet.azure.wire.http import Json
from fleet.preflight.locks import Lock, Locks
from fleet.preflight.patchers import Assignment, Patching, PatchSettings, Scope
from fleet.targets.model import Os, Target
from fleet.testing import HandClock
from tests.wire.replay import arm, serving

GROUP = "/subscriptions/s1/resourceGroups/rg"
VM = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/web1"
TARGET = Target(VM, "s1", "prod", "rg", "web1", "westeurope", Os.LINUX)
WEEKLY = "/subscriptions/s9/resourceGroups/ops/providers/Microsoft.Maintenance/maintenanceConfigurations/weekly"
ASSIGNED = "/providers/Microsoft.Maintenance/configurationAssignments/"


def page(*rows: Json) -> web.Response:
    return arm(200, {"totalRecords": len(rows), "count": len(rows), "data": list(rows), "resultTruncated": "false"})


async def patching(answers: Mapping[str, web.Response]) -> tuple[Patching, list[dict[str, Json]]]:
    """Ask who else patches; answers are told apart by a word of the query."""
    asked: list[dict[str, Json]] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(json.loads(await request.text()))
        return next(found for word, found in answers.items() if word in str(asked[-1]["query"]))

    async with serving(answer) as base, Transport(base, StaticTokens("t"), clock=HandClock(1000.0)) as transport:
        return await AzurePreflight(transport).patching([TARGET]), asked


SETTINGS: dict[str, Json] = {
    "id": VM.upper(),
    "linux": {
        "patchMode": "AutomaticByPlatform",
        "automaticByPlatformSettings": {"bypassPlatformSafetyChecksOnUserSchedule": True},
    },
    "windows": None,
    "automatic": None,
}
REFUSED = arm(403, {"error": {"code": "AuthorizationFailed", "message": "no"}})


@pytest.mark.anyio
async def test_settings_assignments_and_purposes_are_read() -> None:
    """Three queries; the configurations are looked for in the subscriptions that hold them."""
    told: dict[str, Json] = {"maintenanceConfigurationId": WEEKLY, "resourceId": VM}
    condition: dict[str, Json] = {
        "resourceTypes": ["microsoft.compute/virtualmachines"],
        "osTypes": ["Linux"],
        "tagSettings": {"tags": {"ring": ["a", "b"]}, "filterOperator": "Any"},
    }
    found, asked = await patching(
        {
            "patchSettings": page(SETTINGS),
            "configurationassignments": page(
                {"id": f"{VM}{ASSIGNED}one", "properties": told},
                {"id": f"{GROUP}{ASSIGNED}two", "properties": {**told, "filter": condition}},
                {"id": f"/subscriptions/s1{ASSIGNED.lower()}three", "properties": told},
            ),
            "maintenanceconfigurations": page({"id": WEEKLY, "purpose": "InGuestPatch"}),
        }
    )
    assert found.settings == {TARGET.key: PatchSettings("AutomaticByPlatform", True)}
    scope = Scope(("microsoft.compute/virtualmachines",), (), ("Linux",), (), {"ring": ("a", "b")}, True)
    assert found.assignments == (
        Assignment(VM, WEEKLY),
        Assignment(GROUP, WEEKLY, scope),
        Assignment("/subscriptions/s1", WEEKLY, Scope()),
    )
    assert found.purposes == {WEEKLY.casefold(): "InGuestPatch"}
    assert (found.settings_why, found.assignments_why, found.purposes_why) == ("", "", "")
    assert [body["subscriptions"] for body in asked] == [["s1"], ["s1"], ["s9"]]


@pytest.mark.anyio
async def test_without_an_assignment_no_configuration_is_asked_for() -> None:
    """Two queries suffice where nothing is assigned."""
    found, asked = await patching({"patchSettings": page(SETTINGS), "configurationassignments": page()})
    assert (found.assignments, len(asked)) == ((), 2)


@pytest.mark.parametrize("answer", [REFUSED, arm(404, {"error": {"code": "NotFound", "message": "n"}}), arm(200, [])])
@pytest.mark.anyio
async def test_a_refused_question_is_said(answer: web.Response) -> None:
    """No question that was not answered is taken for an answer of none."""
    body, status = answer.body, answer.status

    def again() -> web.Response:
        return web.Response(status=status, body=body, content_type="application/json")

    found, _ = await patching({"patchSettings": again(), "configurationassignments": again()})
    assert found.settings_why and found.assignments_why
    if status != 200:
        assert f"HTTP {status}" in found.assignments_why


@pytest.mark.parametrize(
    "row",
    [
        {"id": f"{VM}{ASSIGNED}one", "properties": {}},
        {"id": VM, "properties": {"maintenanceConfigurationId": WEEKLY}},
        {"id": None, "properties": None},
        "row",
    ],
)
@pytest.mark.anyio
async def test_an_assignment_that_cannot_be_read_is_said(row: Json) -> None:
    """It may be the one that patches a target."""
    found, _ = await patching({"patchSettings": page(SETTINGS), "configurationassignments": page(row)})
    assert (found.assignments, found.assignments_why) == ((), "row 1 of the assignments cannot be read")


@pytest.mark.anyio
async def test_a_truncated_answer_is_not_complete() -> None:
    """Rows that no token leads to are missing, and that is said."""
    cut = arm(200, {"totalRecords": 9, "count": 1, "data": [SETTINGS], "resultTruncated": "true"})
    found, _ = await patching({"patchSettings": cut, "configurationassignments": page()})
    assert found.settings and "not complete" in found.settings_why


@pytest.mark.parametrize("row", [{"id": VM, "linux": {"patchMode": 5}}, {"linux": {}}, {"id": 7}, None])
@pytest.mark.anyio
async def test_settings_that_cannot_be_read_are_of_no_machine(row: Json) -> None:
    """Such a machine counts as not listed, so its patcher is unknown."""
    found, _ = await patching({"patchSettings": page(row), "configurationassignments": page()})
    assert found.settings == {}


async def locks(answer: web.Response) -> tuple[tuple[Locks, ...], list[str]]:
    asked: list[str] = []

    async def reply(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(str(request.rel_url))
        return answer

    async with serving(reply) as base, Transport(base, StaticTokens("t"), clock=HandClock(1000.0)) as transport:
        return await AzurePreflight(transport).locks([TARGET, TARGET]), asked


def lock(name: str, level: str, place: str) -> Json:
    identity = f"{place}/providers/Microsoft.Authorization/locks/{name}"
    return {"id": identity, "name": name, "type": "Microsoft.Authorization/locks", "properties": {"level": level}}


@pytest.mark.anyio
async def test_locks_are_one_list_a_subscription() -> None:
    """Locks of the subscription, its groups and its machines come with one list, in the documented shape."""
    rows = [lock("a", "CanNotDelete", "/subscriptions/s1"), lock("b", "ReadOnly", GROUP), lock("c", "ReadOnly", VM)]
    found, asked = await locks(arm(200, {"value": rows}))
    expected = (
        Lock("a", "CanNotDelete", "/subscriptions/s1"),
        Lock("b", "ReadOnly", GROUP),
        Lock("c", "ReadOnly", VM),
    )
    assert found == (Locks("s1", expected),)
    assert asked == ["/subscriptions/s1/providers/Microsoft.Authorization/locks?api-version=2016-09-01"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (REFUSED, "HTTP 403 AuthorizationFailed"),
        (arm(200, {"value": [{"id": VM}]}), "entry 1 of the list of locks cannot be read"),
        (arm(200, {"value": [None]}), "entry 1 of the list of locks cannot be read"),
        (arm(200, {"value": [{"id": f"{VM}/providers/Microsoft.Authorization/locks/x"}]}), "entry 1 of the list"),
    ],
)
@pytest.mark.anyio
async def test_locks_that_cannot_be_read_are_said(answer: web.Response, why: str) -> None:
    """A list that is refused, or that has an entry nobody can read, is not a list without locks."""
    fresh = web.Response(status=answer.status, body=answer.body, content_type="application/json")
    [found], _ = await locks(fresh)
    assert found.locks is None and found.why.startswith(why)
