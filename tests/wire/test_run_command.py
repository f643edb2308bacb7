"""Run Command on the wire: what is sent, and how every recorded form of answer is read."""

from __future__ import annotations

import dataclasses

import pytest

from fleet.azure.wire import bodies
from fleet.azure.wire import run_command as wire
from fleet.azure.wire.arm import read_operation
from fleet.azure.wire.cloud_error import ArmError
from fleet.azure.wire.http import Json
from fleet.playbook.model import Transport
from fleet.run.answers import Command, Finished, OperationFailed, StillRunning
from fleet.run.model import CauseCode, Status
from fleet.run.outcome import judge_answer
from fleet.targets.model import Os, Target

VM = "/subscriptions/s1/resourceGroups/rg (one)/providers/Microsoft.Compute/virtualMachines/web01"


def target(identity: str = VM, os: Os = Os.LINUX) -> Target:
    return Target(identity, "s1", "prod", "rg (one)", "web01", "westus", os)


def command(transport: Transport = Transport.MANAGED, **fields: object) -> Command:
    os = fields.pop("os", Os.LINUX)
    assert isinstance(os, Os)
    base = Command(target(os=os), transport, name="fleet-1", script="echo hi\nexit 3")
    return dataclasses.replace(base, **fields)  # type: ignore[arg-type]


def body(data: Json) -> dict[str, Json]:
    assert isinstance(data, dict)
    return data


# Requests


def test_an_action_is_a_post_with_the_script_line_by_line() -> None:
    """The action's body is RunCommandInput as recorded, and its path is the VM's with singular runCommand."""
    request = wire.submission(command(Transport.ACTION, args=("hello", "world")))
    assert (request.method, request.target) == (
        "POST",
        VM.replace(" ", "%20") + "/runCommand?api-version=2024-11-01",
    )
    assert request.body == {
        "commandId": "RunShellScript",
        "script": ["echo hi", "exit 3"],
        "parameters": [{"name": "arg1", "value": "hello"}, {"name": "arg2", "value": "world"}],
    }


def test_windows_gets_powershell_and_a_built_in_no_script() -> None:
    """The command id follows the OS; a built-in one takes the script's place."""
    assert body(bodies.action(command(Transport.ACTION, os=Os.WINDOWS)))["commandId"] == "RunPowerShellScript"
    assert bodies.action(command(Transport.ACTION, command_id="ifconfig")) == {"commandId": "ifconfig"}


def test_a_managed_command_is_a_put_with_location() -> None:
    """The body is the recorded one; the name is in the path."""
    request = wire.submission(command(timeout=59.2))
    assert request.method == "PUT"
    assert request.target.endswith("/virtualMachines/web01/runCommands/fleet-1?api-version=2024-11-01")
    assert request.body == {
        "location": "westus",
        "properties": {
            "source": {"script": "echo hi\nexit 3"},
            "asyncExecution": False,
            "timeoutInSeconds": 60,
        },
    }


def test_secrets_and_user_travel_protected() -> None:
    """Protected parameters and the password are in their own fields, and in no repr."""
    sent = command(parameters={"A": "1"}, protected={"TOKEN": "hunter2"}, run_as="app", run_as_password="pw-7")
    request = wire.submission(sent)
    properties = body(body(request.body)["properties"])
    assert properties["parameters"] == [{"name": "A", "value": "1"}]
    assert properties["protectedParameters"] == [{"name": "TOKEN", "value": "hunter2"}]
    assert (properties["runAsUser"], properties["runAsPassword"]) == ("app", "pw-7")
    assert "hunter2" not in repr(request) + repr(sent)
    assert "pw-7" not in repr(request) + repr(sent)


def test_positional_arguments_survive_the_handlers_shell() -> None:
    """The Linux handler pastes them unquoted into a command line, so they are quoted; Windows takes them as
    they are.
    """
    linux = body(bodies.managed(command(args=("a b", "$HOME", ""))))
    assert linux["parameters"] == [{"name": "", "value": v} for v in ("'a b'", "'$HOME'", "''")]
    windows = body(bodies.managed(command(os=Os.WINDOWS, args=("a b",))))
    assert windows["parameters"] == [{"name": "", "value": "a b"}]


def test_a_run_beyond_the_provisioning_limit_is_asynchronous() -> None:
    """Provisioning ends after 90 minutes; only an asynchronous command may last longer."""
    assert bodies.managed(command(timeout=5400.0))["asyncExecution"] is False
    assert bodies.managed(command(timeout=5401.0))["asyncExecution"] is True


def test_the_other_sources_take_the_scripts_place() -> None:
    """A URL or a built-in goes alone."""
    assert bodies.managed(command(uri="https://b/x.sh"))["source"] == {"scriptUri": "https://b/x.sh"}
    assert bodies.managed(command(command_id="ifconfig"))["source"] == {"commandId": "ifconfig"}


def test_a_change_has_no_location() -> None:
    """PATCH refuses what PUT requires."""
    request = wire.submission(command(update=True))
    assert request.method == "PATCH"
    assert "location" not in body(request.body)


def test_a_change_holds_what_is_named_and_no_more() -> None:
    """False and empty values that are named are sent; what is not named is left out, so that it stays as it was."""
    bare = body(wire.submission(command(update=True)).body)
    assert bare == {"properties": {"source": {"script": "echo hi\nexit 3"}}}
    off = command(update=True, asynchronous=False, fail_deployment=False, tags={}, no_parameters=True)
    assert body(wire.submission(off).body) == {
        "tags": {},
        "properties": {
            "source": {"script": "echo hi\nexit 3"},
            "asyncExecution": False,
            "treatFailureAsDeploymentFailure": False,
            "parameters": [],
            "protectedParameters": [],
        },
    }
    assert bodies.managed(command(update=True, timeout=5401.0))["asyncExecution"] is True


def test_an_arc_machine_gets_the_whole_command() -> None:
    """Its change is a PUT, so nothing is left out, and what its API does not know is not sent."""
    arc = VM.replace("Microsoft.Compute/virtualMachines", "Microsoft.HybridCompute/machines")
    sent = dataclasses.replace(command(update=True, fail_deployment=False, no_parameters=True), target=target(arc))
    request = wire.submission(sent)
    properties = body(body(request.body)["properties"])
    assert (request.method, set(properties)) == ("PUT", {"source", "asyncExecution"})


def test_the_instance_view_is_asked_for_as_recorded() -> None:
    """$expand comes first and unencoded."""
    assert wire.reading(f"{VM}/runCommands/x").target.endswith("/x?$expand=instanceView&api-version=2024-11-01")


@pytest.mark.parametrize(
    "fields", [{"protected": {"A": "x"}}, {"run_as": "u"}, {"run_as_password": "p"}, {"uri": "https://x"}]
)
def test_an_action_that_would_leak_is_not_sendable(fields: dict[str, object]) -> None:
    """The action has no protected parameters, no user and no URL: such a command is refused and says it was
    not sent.
    """
    refusal = wire.unsendable(command(Transport.ACTION, **fields))
    assert refusal is not None
    assert refusal.message.startswith("not sent:")
    assert wire.unsendable(command(**fields)) is None


def test_scale_set_and_arc_targets_take_the_same_way() -> None:
    """The kind follows from the id; Arc has its own api-version and no action."""
    scale = VM.replace("virtualMachines/web01", "virtualMachineScaleSets/set/virtualMachines/3")
    arc = "/subscriptions/s/resourceGroups/r/providers/Microsoft.HybridCompute/machines/m"
    assert [wire.kind_of(i) for i in (VM, scale, arc)] == [
        wire.Kind.VM,
        wire.Kind.SCALE_SET,
        wire.Kind.ARC,
    ]
    assert wire.removal(target(arc), "x").target == f"{arc}/runCommands/x?api-version=2025-01-13"
    assert wire.unsendable(dataclasses.replace(command(Transport.ACTION), target=target(arc))) is not None
    assert wire.reading(f"{arc}/runCommands/x").target == f"{arc}/runCommands/x?api-version=2025-01-13"
    assert "/3/runCommands/x?$expand=instanceView&api-version=" in wire.reading(f"{scale}/runCommands/x").target


# Action answers


def linux_output(message: str) -> Json:
    return {"value": [{"code": "ProvisioningState/succeeded", "level": "Info", "message": message}]}


def test_linux_streams_come_combined_and_without_exit_code() -> None:
    """A failed script looks exactly like success: there is no exit code to be had (surprise 1)."""
    message = "Enable succeeded: \n[stdout]\n\n[stderr]\nat: not found\n"
    for shape in (linux_output(message), linux_output(message)["value"]):  # type: ignore[index,call-overload]
        answer = wire.action_result(shape)
        assert answer is not None
        assert (answer.combined, answer.exit_code, answer.execution_state) == (message, None, "")


def test_windows_streams_come_apart() -> None:
    """Two statuses, one for each stream."""
    answer = wire.action_result(
        [
            {"code": "ComponentStatus/StdOut/succeeded", "message": "out\\nout"},
            {"code": "ComponentStatus/StdErr/succeeded", "message": "err"},
        ]
    )
    assert answer is not None
    assert (answer.stdout, answer.stderr, answer.combined, answer.exit_code) == (
        "out\\nout",
        "err",
        None,
        None,
    )


def test_a_script_cut_off_by_a_reboot_is_no_success() -> None:
    """The handler reports success with the sentence that it did not finish (surprise 15)."""
    answer = wire.action_result(linux_output("Enable succeeded: Last script execution didn't finish."))
    assert answer is not None
    assert (answer.execution_state, answer.execution_message) == ("Unknown", wire.UNFINISHED)


def test_a_script_that_prints_the_sentence_is_not_taken_for_a_reboot() -> None:
    """The sentence counts only where the handler says it, not in a stream."""
    text = f"Enable succeeded: \n[stdout]\n{wire.UNFINISHED}\n[stderr]\n{wire.UNFINISHED}"
    answer = wire.action_result(linux_output(text))
    assert answer is not None
    assert answer.execution_state == ""


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (
            {"code": "ProvisioningState/failed/1", "level": "Error", "message": "Enable failed: boom"},
            "Enable failed: boom",
        ),
        ({"code": "provisioningstate/FAILED", "displayStatus": "Provisioning failed"}, "Provisioning failed"),
        ({"code": "ProvisioningState/succeeded", "level": "error", "message": "boom"}, "boom"),
        ({"level": "Error"}, "Error"),
        (
            {"code": "ProvisioningState/failed", "message": "Enable failed: [stdout]\nsecret out\n[stderr]\n"},
            "Enable failed:",
        ),
        ({"code": "COMPONENTSTATUS/StdErr/Failed", "displayStatus": "Failed", "message": "err"}, "Failed"),
    ],
)
def test_a_status_that_says_failed_is_a_failure(entry: dict[str, Json], why: str) -> None:
    """By code or by level, in any case, on Linux and on Windows; the streams are not part of the reason."""
    answer = wire.action_result({"value": [entry]})
    assert answer is not None
    assert answer.execution_state == "Failed"
    assert answer.execution_message.endswith(why)
    assert "secret out" not in answer.execution_message


def test_windows_streams_are_told_by_codes_of_any_case() -> None:
    """Both streams are found where a service writes their codes in another case."""
    entries: list[Json] = [
        {"code": "componentstatus/stdout/succeeded", "message": "out"},
        {"code": "COMPONENTSTATUS/STDERR/SUCCEEDED", "message": "err"},
    ]
    answer = wire.action_result({"value": entries})
    assert answer is not None
    assert (answer.stdout, answer.stderr, answer.combined, answer.execution_state) == ("out", "err", None, "")


def test_the_exit_status_of_a_failure_is_the_handlers_word_only() -> None:
    """It counts before the streams; a script that prints the same words does not set its own exit code."""
    words = "Enable failed: failed to execute command: command terminated with exit status=%d\n[stdout]\n%s\n[stderr]\n"
    entry: dict[str, Json] = {"code": "ProvisioningState/failed/3", "message": words % (3, "exit status=0")}
    answer = wire.action_result({"value": [entry]})
    assert answer is not None and answer.exit_code == 3
    printed = {**entry, "message": "Enable failed: boom\n[stdout]\ncommand terminated with exit status=3\n[stderr]\n"}
    answer = wire.action_result({"value": [printed]})
    assert answer is not None and answer.exit_code is None


@pytest.mark.parametrize(
    ("data", "followed", "text"),
    [
        ({"value": [{"code": "ProvisioningState/succeeded", "message": "hi"}]}, False, "hi"),
        ({"value": [{"code": "ProvisioningState/succeeded", "message": "hi"}]}, True, "hi"),
        ([{"message": "hi"}], False, "hi"),
        ({"value": []}, False, ""),
        ({"value": None}, False, ""),
        ({}, False, ""),
        ({"value": []}, True, None),
        ({}, True, None),
        ({"status": "InProgress"}, False, None),
        (None, False, None),
        ("text", False, None),
    ],
)
def test_the_answer_to_the_post_may_hold_the_result(data: Json, followed: bool, text: str | None) -> None:
    """A result counts whatever links come with it; one without a status only where there is nowhere to ask."""
    answer = wire.immediate_result(data, followed)
    assert (None if answer is None else answer.combined) == text


def test_failed_statuses_say_why_a_view_without_a_message_failed() -> None:
    """A status of the level Error is shown with its message, and its time is kept."""
    status: Json = {
        "code": "ProvisioningState/failed",
        "level": "Error",
        "message": "no room",
        "time": "2026-01-01T00:00Z",
    }
    answer = wire.managed_answer({"executionState": "Failed", "exitCode": 1, "statuses": [status]})
    assert answer.execution_message == "ProvisioningState/failed: no room"
    assert answer.statuses == ("Error: ProvisioningState/failed: no room (2026-01-01T00:00Z)",)


def test_what_is_no_result_is_none() -> None:
    """None means: look at Location."""
    assert wire.action_result(None) is None
    assert wire.action_result({"value": "x"}) is None


def operation(**fields: Json) -> Json:
    return {"startTime": "2025-03-31T07:46:00.76+00:00", "name": "x", **fields}


def state(data: Json) -> object:
    status = read_operation(data)
    assert status is not None
    return wire.action_state(status)


def test_an_operation_runs_until_a_terminal_word() -> None:
    """Queued, InProgress and words nobody knows all mean: still running."""
    for word in ("Queued", "InProgress", "Whatever"):
        assert state(operation(status=word)) == StillRunning()


def test_an_operation_that_failed_keeps_code_and_message() -> None:
    """The 90-minute time-out is the service's failure, not the script's."""
    error: Json = {"code": "VMExtensionProvisioningTimeout", "message": "has timed out"}
    failed = state(operation(status="Failed", error=error))
    assert failed == OperationFailed("VMExtensionProvisioningTimeout", "has timed out")
    cancelled = state(operation(status="canceled"))
    assert isinstance(cancelled, OperationFailed)
    assert cancelled.cancelled
    assert cancelled.message


def test_the_old_failure_form_is_a_result() -> None:
    """Until 2019 the exit code was in the failed operation's message, and the script had run."""
    message = (
        "VM has reported a failure when processing extension 'RunCommandLinux'. Error message: "
        '"Enable failed: failed to execute command: command terminated with exit status=100\n'
        '[stdout]\nout\n\n[stderr]\nerr\n".'
    )
    ended = state(operation(status="Failed", error={"code": "VMExtensionProvisioningError", "message": message}))
    assert isinstance(ended, Finished)
    assert ended.answer.exit_code == 100
    assert ended.answer.execution_state == "Failed"
    assert ended.answer.combined == "\n[stdout]\nout\n\n[stderr]\nerr\n"


def test_a_kill_in_the_old_failure_form_is_no_error_of_the_handler() -> None:
    """Exit status -1 says that a signal ended the command, whose children may go on: it is not as if nothing had begun."""
    error: Json = {
        "code": "VMExtensionProvisioningError",
        "message": "command terminated with exit status=-1\n[stdout]\n",
    }
    ended = state(operation(status="Failed", error=error))
    assert isinstance(ended, Finished)
    for nonce in (None, "a" * 32):
        outcome = judge_answer(ended.answer, nonce=nonce, digest="", ok_exit=(0,))
        assert (outcome.status, outcome.cause.code) == (Status.TIMED_OUT, CauseCode.SERVICE_TIMEOUT)
        assert outcome.may_still_run and not outcome.verified


# Managed answers


def resource(provisioning: str | None = "Succeeded", **view: Json) -> Json:
    properties: dict[str, Json] = {"source": {"script": "x"}}
    if provisioning is not None:
        properties["provisioningState"] = provisioning
    if view:
        properties["instanceView"] = view
    return {"name": "fleet-1", "properties": properties}


ENDED: dict[str, Json] = {
    "executionState": "Succeeded",
    "exitCode": 0,
    "executionMessage": "Execution completed",
}


def test_provisioning_says_nothing_about_the_script() -> None:
    """Provisioning Succeeded with a failed script is a failed script (surprise 2)."""
    answer = wire.managed_state(resource(executionState="Failed", exitCode=127, output="o", error="e"))
    assert isinstance(answer, Finished)
    assert (answer.answer.execution_state, answer.answer.exit_code) == ("Failed", 127)
    assert (answer.answer.stdout, answer.answer.stderr) == ("o", "e")


def test_both_states_must_be_terminal() -> None:
    """A resource that reads Updating or Creating is read again, whatever its instance view says (surprises
    3, 12).
    """
    for provisioning in ("Creating", "Updating", "Deleting"):
        assert isinstance(wire.managed_state(resource(provisioning, **ENDED)), StillRunning)
    assert isinstance(wire.managed_state(resource("succeeded", **ENDED)), Finished)
    assert isinstance(wire.managed_state(resource(None, **ENDED)), Finished)


def test_running_with_an_end_is_handed_on_as_running() -> None:
    """Exit code 0, Running and an end time was recorded after failures: it ended, and it is no success
    (surprise 4).
    """
    view: dict[str, Json] = {
        "executionState": "Running",
        "exitCode": 0,
        "endTime": "2022-01-01T00:00:00+00:00",
    }
    answer = wire.managed_state(resource(**view))
    assert isinstance(answer, Finished)
    assert answer.answer.execution_state == "Running"
    assert wire.managed_state(resource(**{**view, "endTime": ""})) == StillRunning(started="Running")


def test_a_command_without_a_view_is_still_running() -> None:
    """Succeeded without an instance view, Pending, or an empty Unknown: read again."""
    assert wire.managed_state(resource()) == StillRunning()
    assert wire.managed_state(resource(executionState="Pending")) == StillRunning()
    assert wire.managed_state(resource(executionState="Unknown")) == StillRunning()


def test_a_lost_status_ends_as_unknown() -> None:
    """After an upgrade the handler says that the script ran and how is not known; it will never say more."""
    answer = wire.managed_state(
        resource(executionState="Unknown", exitCode=0, executionMessage="The script has been executed. However")
    )
    assert isinstance(answer, Finished)
    assert answer.answer.execution_state == "Unknown"


def test_failed_provisioning_without_a_result_asks_the_operation() -> None:
    """None means: the operation may know why; without it, the resource's own words are used."""
    failed = resource("Failed", executionState="Pending")
    assert wire.managed_state(failed) is None
    told = read_operation(operation(status="Failed", error={"code": "VMAgentStatusCommunicationError", "message": "m"}))
    assert wire.provisioning_failed(failed, told) == OperationFailed("VMAgentStatusCommunicationError", "m")
    own = wire.provisioning_failed(resource("Failed", executionMessage="9" * 9000), None)
    assert isinstance(own, OperationFailed)
    assert (own.code, len(own.message)) == ("ProvisioningFailed", 4000)


def test_a_preempted_operation_says_nothing_of_the_script() -> None:
    """A later operation took its place and the script may go on, so the view is read again until it has an end."""
    preempted = read_operation(operation(status="Canceled", error={"code": "OperationPreempted", "message": "m"}))
    cancelled = read_operation(operation(status="Canceled", error={"code": "Canceled", "message": "m"}))
    for view in (resource("Canceled", executionState="Running"), resource("Canceled")):
        assert wire.managed_state(view) is None
        assert wire.provisioning_failed(view, preempted) == StillRunning()
        assert wire.provisioning_failed(view, None) == StillRunning()
        assert wire.provisioning_failed(view, cancelled) == OperationFailed("Canceled", "m", cancelled=True)


def test_failed_provisioning_with_a_result_is_a_result() -> None:
    """When the script's failure failed the deployment, the instance view still tells all."""
    assert isinstance(wire.managed_state(resource("Failed", executionState="Failed", exitCode=1)), Finished)


def test_a_handlers_own_exit_code_is_kept_and_explained() -> None:
    """Negative codes are the handler's; the meaning stands in the message."""
    answer = wire.managed_answer({"executionState": "Failed", "exitCode": -102, "executionMessage": "Failed to lookup"})
    assert answer.exit_code == -102
    assert answer.execution_message == f"Failed to lookup (-102: {wire.HANDLER_EXIT_CODES[-102]})"


def test_an_exit_code_that_is_no_number_is_none() -> None:
    """Nothing is guessed from a text or a truth value."""
    for odd in ("0", True, None, 1.5):
        assert wire.managed_answer({"executionState": "Failed", "exitCode": odd}).exit_code is None


def test_only_a_404_about_the_command_itself_is_missing() -> None:
    """A VM, group or subscription that is gone is not the same as a command that was never accepted."""
    about = "The Resource 'Microsoft.Compute/virtualMachines/web01{}' under resource group 'rg' was not found."

    def missing(code: str, message: str) -> bool | None:
        return wire.read_missing(target(), ArmError(code, message))

    assert missing("ResourceNotFound", about.format("/runCommands/f-1"))
    assert missing("NotFound", "The entity was not found.")
    assert missing("ResourceNotFound", about.format("")) is False
    assert missing("ResourceNotFound", about.replace("web01", "web011").format("")) is None
    for code in ("ParentResourceNotFound", "ResourceGroupNotFound", "SubscriptionNotFound", "InvalidResourceType"):
        assert missing(code, "/runCommands/f-1") is False
    assert missing("", "") is None
