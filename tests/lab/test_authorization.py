"""Rights, locks and policies of the lab: who may do what, how calls are refused, and what the APIs list."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.lab.world.access import AccessSpec, RightsSpec, Scope, may
from fleet.lab.world.spec import LabSpec
from tests.lab.desk import SUB, Desk, code, decoded, spec

GROUP = f"/subscriptions/{SUB}/resourceGroups/rg-One"
VM = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm1"
COMMANDS = "Microsoft.Compute/virtualMachines/runCommands"
GRAPH = "/providers/Microsoft.ResourceGraph/resources"
BODY = {"location": "westeurope", "properties": {"source": {"script": "true"}}}
SHELL = {"commandId": "RunShellScript", "script": ["true"]}
CALLS: dict[str, tuple[str, str, object]] = {
    f"{COMMANDS}/write": ("PUT", f"{VM}/runCommands/c1", BODY),
    f"{COMMANDS}/read": ("GET", f"{VM}/runCommands", None),
    f"{COMMANDS}/delete": ("DELETE", f"{VM}/runCommands/c1", None),
    "Microsoft.Compute/virtualMachines/runCommand/action": ("POST", f"{VM}/runCommand", SHELL),
    "Microsoft.Compute/virtualMachines/read": ("GET", VM, None),
    "Microsoft.Compute/virtualMachines/instanceView/read": ("GET", f"{VM}/instanceView", None),
    "Microsoft.Resources/subscriptions/resourceGroups/read": ("GET", GROUP, None),
    "Microsoft.Authorization/permissions/read": (
        "GET",
        f"{VM}/providers/Microsoft.Authorization/permissions",
        None,
    ),
}


def desk(subscription: dict[str, Any] | None = None, group: dict[str, Any] | None = None, **vm: Any) -> Desk:
    """A lab with these keys of its subscription, its group and its VM."""
    lab = spec({"name": "vm1", **vm}).model_dump(exclude_unset=True)
    (sub,) = lab["subscriptions"]
    sub |= subscription or {}
    sub["groups"][0] |= group or {}
    return Desk(LabSpec.model_validate(lab))


@pytest.mark.parametrize("action", CALLS)
def test_a_right_that_is_taken_away_is_named_in_the_refusal(action: str) -> None:
    """Without it exactly its call is refused, with action and scope; with everything allowed none is."""
    lab = desk({"rights": {"not_actions": [action]}})
    for name, (method, url, body) in CALLS.items():
        answer = lab.send(method, url, body)
        if name != action:
            assert answer.status < 300, name
            continue
        message = decoded(answer)["error"]["message"]
        assert code(answer) == "403 AuthorizationFailed"
        assert f"perform action '{action}' over scope '{url.partition('/providers/Microsoft.Auth')[0]}" in message or (
            action.endswith(("action", "instanceView/read")) and f"over scope '{VM}'" in message
        )
        assert answer.headers["x-ms-failure-cause"] == "gateway"


def test_what_one_assignment_takes_out_another_may_allow() -> None:
    """Rights add up from the subscription down, and the API lists each assignment."""
    lab = desk(
        {"rights": {"actions": ["*/read"]}},
        {"rights": {"actions": ["Microsoft.Compute/*"], "not_actions": [f"{COMMANDS}/*"]}},
        rights={"actions": [f"{COMMANDS}/write"]},
    )
    url = "/providers/Microsoft.Authorization/permissions"
    shown = [lab.get(f"{scope}{url}")["value"] for scope in (f"/subscriptions/{SUB}", GROUP, VM)]
    assert [[each["actions"] for each in value] for value in shown] == [
        [["*/read"]],
        [["*/read"], ["Microsoft.Compute/*"]],
        [["*/read"], ["Microsoft.Compute/*"], [f"{COMMANDS}/write"]],
    ]
    assert shown[1][1]["notActions"] == [f"{COMMANDS}/*"]
    assert (lab.put().status, code(lab.send("DELETE", f"{VM}/runCommands/c1"))) == (201, "403 AuthorizationFailed")


def test_without_rights_in_the_file_everything_is_allowed() -> None:
    """The permissions API says so at every scope."""
    lab = desk()
    for scope in (f"/subscriptions/{SUB}", GROUP, VM):
        (each,) = lab.get(f"{scope}/providers/Microsoft.Authorization/permissions")["value"]
        assert (each["actions"], each["notActions"]) == (["*"], [])


def test_lists_hold_what_may_be_read() -> None:
    """Subscriptions, groups and Resource Graph leave out what may not be read; operations need the subscription."""
    lab = desk({}, {}, rights={"actions": ["*"]})
    assert [each["subscriptionId"] for each in lab.get("/subscriptions")["value"]] == [SUB]
    assert lab.get(f"/subscriptions/{SUB}/resourceGroups")["value"] == []
    rows = decoded(lab.send("POST", GRAPH, {"query": "resources | project id"}))["data"]
    assert rows == [{"id": VM}]
    containers = decoded(lab.send("POST", GRAPH, {"query": "resourcecontainers | project id"}))["data"]
    assert containers == []
    listed = lab.send("GET", f"/subscriptions/{SUB}/providers/Microsoft.Compute/virtualMachines")
    polled = lab.send("GET", lab.put().headers["Azure-AsyncOperation"])
    assert (code(listed), code(polled)) == ("403 AuthorizationFailed", "403 AuthorizationFailed")
    assert "Microsoft.Compute/locations/operations/read" in decoded(polled)["error"]["message"]


@given(
    st.lists(st.sampled_from(["*", "*/read", "A/*", "A/b/read", "a/B/READ"]), max_size=3),
    st.lists(st.sampled_from(["*", "*/read", "A/b/*"]), max_size=2),
)
def test_patterns_of_rights(actions: list[str], not_actions: list[str]) -> None:
    """A star stands for any text, case does not count, and what is taken out is not allowed."""
    chain = (Scope("/s", AccessSpec(rights=RightsSpec(actions=actions, not_actions=not_actions))),)
    assert may(chain, "A/b/read") == (bool(actions) and not not_actions)
    assert may((*chain, Scope("/s/g", AccessSpec(rights=RightsSpec()))), "A/b/read")


LOCKS = {
    "subscription": ({"lock": "ReadOnly"}, {}, {}, f"/subscriptions/{SUB}"),
    "group": ({}, {"lock": "ReadOnly"}, {}, GROUP),
    "VM": ({}, {}, {"lock": "ReadOnly"}, VM),
}


@pytest.mark.parametrize("place", LOCKS)
def test_a_lock_refuses_with_the_scope_that_is_locked(place: str) -> None:
    """Under ReadOnly neither PUT, PATCH, DELETE nor the action is carried out; reads are."""
    subscription, group, vm, locked = LOCKS[place]
    lab = desk(subscription, group, **vm)
    resource = f"{VM}/runCommands/c1"
    for method, url, word in (
        ("PUT", resource, "write"),
        ("PATCH", resource, "write"),
        ("DELETE", resource, "delete"),
        ("POST", f"{VM}/runCommand", "write"),
    ):
        answer = lab.send(method, url, SHELL if method == "POST" else BODY)
        assert code(answer) == "409 ScopeLocked"
        scope = VM if method == "POST" else resource
        assert decoded(answer)["error"]["message"] == (
            f"The scope '{scope}' cannot perform {word} operation because following scope(s) are locked: '{locked}'. "
            "Please remove the lock and try again."
        )
    assert lab.send("GET", VM).status == 200
    assert lab.plane.life.counts == {}


@pytest.mark.parametrize("place", ["subscription", "group", "VM"])
def test_a_delete_lock_refuses_deletes_alone(place: str) -> None:
    """Commands are written and run under CanNotDelete, and stay."""
    given = {"lock": "CanNotDelete"}
    lab = desk(**{"subscription": {"subscription": given}, "group": {"group": given}, "VM": given}[place])  # type: ignore[arg-type]
    assert lab.put().status == 201
    lab.wait(120)
    assert code(lab.send("DELETE", f"{VM}/runCommands/c1")) == "409 ScopeLocked"
    assert lab.command()["instanceView"]["executionState"] == "Succeeded"


def test_the_locks_of_a_scope_are_listed() -> None:
    """Those on it, above it and below it, with their level; with atScope() those below are left out."""
    lab = desk({"lock": "CanNotDelete"}, {}, lock="ReadOnly")
    url = "/providers/Microsoft.Authorization/locks?api-version=2020-05-01"

    def listed(scope: str, more: str = "") -> list[tuple[str, str]]:
        found = lab.get(f"{scope}{url}{more}")["value"]
        assert all(each["type"] == "Microsoft.Authorization/locks" for each in found)
        return [(each["id"].partition("/providers/Microsoft.Auth")[0], each["properties"]["level"]) for each in found]

    both = [(f"/subscriptions/{SUB}", "CanNotDelete"), (VM, "ReadOnly")]
    assert [listed(scope) for scope in (f"/subscriptions/{SUB}", GROUP, VM)] == [both] * 3
    assert listed(GROUP, "&$filter=atScope()") == both[:1]


def test_a_policy_denies_managed_commands() -> None:
    """PUT and PATCH are refused with the policy's name in the message and beside it; the action is not a resource."""
    lab = desk(group={"policy": "no-scripts"})
    for method in ("PUT", "PATCH"):
        answer = lab.send(method, f"{VM}/runCommands/c1", BODY)
        assert code(answer) == "403 RequestDisallowedByPolicy"
        error = decoded(answer)["error"]
        assert error["message"].startswith(
            'Resource \'c1\' was disallowed by policy. Policy identifiers: \'[{"policyAssignment":{"name":"no-scripts"'
        )
        assert error["additionalInfo"][0]["info"]["policyAssignmentName"] == "no-scripts"
    assert lab.run().status == 202


@pytest.mark.parametrize(
    "wrong",
    [
        {"rights": {"action": ["*"]}},
        {"rights": ["*"]},
        {"lock": "Readonly"},
        {"policy": "a b"},
    ],
)
def test_mistakes_in_the_file(wrong: dict[str, Any]) -> None:
    """An unknown key, a wrong kind and a level that does not exist are refused wherever they stand."""
    for place in ({"subscription": wrong}, {"group": wrong}, wrong):
        with pytest.raises(ValueError, match="validation error"):
            desk(**place)
