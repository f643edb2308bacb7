"""States of the VM agent, its extension policy, and conflicts that pass: how views show them and what commands meet."""

from __future__ import annotations

import pytest

from tests.lab.desk import Desk, code, decoded, spec

COMMAND = "Microsoft.CPlat.Core.RunCommandHandlerLinux"


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("not_ready", "VM status blob is found but not yet populated."),
        ("no_status", "VM status blob not found."),
        ("not_installed", None),
    ],
)
def test_an_agent_that_does_not_report(state: str, message: str | None) -> None:
    """One status, unavailable and not ready, with the text that was seen, and an unknown version."""
    desk = Desk(spec({"name": "vm1", "agent": state}))
    (status,) = desk.get(f"{desk.vm().id}/instanceView")["vmAgent"]["statuses"]
    shown = (status["code"], status["displayStatus"], status.get("message"))
    assert shown == ("ProvisioningState/Unavailable", "Not Ready", message)


def test_an_agent_that_never_reported() -> None:
    """The view of a running VM has nothing about it, and commands hang."""
    desk = Desk(spec({"name": "vm1", "agent": "silent"}))
    assert "vmAgent" not in desk.get(f"{desk.vm().id}/instanceView")
    url = desk.put().headers["Azure-AsyncOperation"]
    desk.wait(5400)
    assert desk.get(url)["status"] == "InProgress"


@pytest.mark.parametrize("managed", [True, False])
def test_without_a_status_blob_the_service_says_so_after_25_minutes(managed: bool) -> None:
    """The operation fails with the text that was seen; had the agent come back before, the script would have run."""
    for back in (False, True):
        desk = Desk(spec({"name": "vm1", "agent": "no_status"}))
        url = (desk.put() if managed else desk.run()).headers["Azure-AsyncOperation"]
        desk.wait(1400)
        assert desk.get(url)["status"] == "InProgress"
        if back:
            desk.plane.move(desk.vm(), desk.now, agent="ready")
        desk.wait(101)
        state = desk.get(url)
        if back:
            assert (state["status"], desk.plane.life.counts) == ("Succeeded", {desk.vm().id: 1})
            continue
        assert (state["status"], state["error"]["code"]) == ("Failed", "VMAgentStatusCommunicationError")
        assert state["error"]["message"].startswith("VM 'vm1' has not reported status for VM agent or extensions.")
        assert desk.plane.life.counts == {}
        assert not managed or desk.command()["provisioningState"] == "Failed"


@pytest.mark.parametrize("system", ["linux", "windows"])
def test_without_an_agent_commands_are_refused(system: str) -> None:
    """The model says that none is installed, and both kinds of command get the refusal of extension operations."""
    desk = Desk(spec({"name": "vm1", "agent": "not_installed", "os": system}))
    profile = desk.get(desk.vm().id)["properties"]["osProfile"]
    assert profile["allowExtensionOperations"] is False
    assert profile[f"{system}Configuration"]["provisionVMAgent"] is False
    for answer in (desk.put(), *([desk.run()] if system == "linux" else [])):
        assert code(answer) == "409 OperationNotAllowed"
        assert "please ensure VM Agent is installed" in decoded(answer)["error"]["message"]


def test_an_extension_policy_lets_no_script_run() -> None:
    """The operation fails with the agent's text inside Compute's, nothing ran, and a DELETE ends only when it is given up."""
    desk = Desk(spec({"name": "vm1", "extension_policy": "deny"}))
    urls = [answer.headers["Azure-AsyncOperation"] for answer in (desk.put(), desk.run())]
    desk.wait(120)
    errors = [desk.get(url)["error"] for url in urls]
    assert {error["code"] for error in errors} == {"VMExtensionProvisioningError"}
    assert errors[0]["message"].startswith(
        "VM has reported a failure when processing extension 'RunCommandHandlerLinux' (publisher 'Microsoft.CPlat.Core' "
        "and type 'RunCommandHandlerLinux'). Error message: 'Extension will not be processed: failed to run extension "
        f"'{COMMAND}' because it is not specified as an allowed extension."
    )
    assert "extension 'Microsoft.CPlat.Core.RunCommandLinux' because" in errors[1]["message"]
    assert (desk.plane.life.counts, desk.command()["provisioningState"]) == ({}, "Failed")
    gone = desk.send("DELETE", f"{desk.vm().id}/runCommands/c1").headers["Azure-AsyncOperation"]
    desk.wait(5400)
    assert desk.get(gone)["status"] == "InProgress"
    desk.wait(13)
    assert desk.get(gone)["error"]["code"] == "VMExtensionProvisioningTimeout"
    with pytest.raises(ValueError, match="the Linux agent's"):
        spec({"name": "vm1", "os": "windows", "extension_policy": "deny"})


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        ("concurrent_request", "Conflict", "The request failed due to conflict with a concurrent request."),
        ("concurrent_write", "ConflictingConcurrentWriteNotAllowed", "The operation was interrupted by a conflicting"),
        (
            "marked_for_deletion",
            "OperationNotAllowed",
            "Operation 'PUT' is not allowed on VM extension 'c1' since it is marked for deletion. You can only retry",
        ),
    ],
)
def test_conflicts_that_pass(kind: str, error: str, text: str) -> None:
    """Each has its code and the text that was seen; nothing is done, and the next request is taken."""
    desk = Desk(spec(faults=[{"request": "submit", "kind": kind, "times": 1}]))
    refused = desk.put()
    assert code(refused) == f"409 {error}"
    assert decoded(refused)["error"]["message"].startswith(text)
    assert desk.put().status == 201


def test_a_command_that_is_being_deleted_is_not_written() -> None:
    """A real DELETE in progress refuses as that fault does, for both methods."""
    desk = Desk(spec())
    desk.put()
    desk.wait(120)
    desk.send("DELETE", f"{desk.vm().id}/runCommands/c1")
    patched = desk.send("PATCH", f"{desk.vm().id}/runCommands/c1", {"properties": {"source": {"script": "x"}}})
    for refused, method in ((desk.put(script="x"), "PUT"), (patched, "PATCH")):
        assert code(refused) == "409 OperationNotAllowed"
        assert f"Operation '{method}' is not allowed on VM extension 'c1'" in decoded(refused)["error"]["message"]


@pytest.mark.parametrize("managed", [True, False])
def test_an_operation_that_is_preempted_loses_no_script(managed: bool) -> None:
    """The operation is Canceled with the code that was seen; the script runs to its end, and the view tells of it."""
    rule = {"request": "submit", "kind": "operation_preempted", "times": 1}
    desk = Desk(spec({"name": "vm1", "rules": [{"duration": 60, "stdout": "done\n"}]}, faults=[rule]))
    begun = desk.put() if managed else desk.run()
    state = desk.get(begun.headers["Azure-AsyncOperation"])
    assert (state["status"], state["error"]["code"]) == ("Canceled", "OperationPreempted")
    if managed:
        assert desk.command()["provisioningState"] == "Canceled"
    desk.wait(300)
    assert desk.plane.life.counts == {desk.vm().id: 1}
    if managed:
        properties = desk.command()
        assert (properties["provisioningState"], properties["instanceView"]["output"]) == ("Succeeded", "done\n")
    assert (desk.put("c2") if managed else desk.run()).status < 300


def test_a_429_has_an_inner_error() -> None:
    """Compute's refusal names its own code a second time, beside the details."""
    desk = Desk(spec(faults=[{"request": "submit", "kind": 429}]))
    assert decoded(desk.put())["innererror"] == {"internalErrorCode": "TooManyRequestsReceived"}


def test_a_failing_deployment_names_publisher_and_type() -> None:
    """With single quotes around the message, as since 2025."""
    desk = Desk(spec({"name": "vm1", "rules": [{"exit": 3}]}))
    url = desk.put(treatFailureAsDeploymentFailure=True).headers["Azure-AsyncOperation"]
    desk.wait(120)
    message = desk.get(url)["error"]["message"]
    assert (
        "(publisher 'Microsoft.CPlat.Core' and type 'RunCommandHandlerLinux'). Error message: 'Execution failed"
        in message
    )
