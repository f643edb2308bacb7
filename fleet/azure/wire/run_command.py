"""Run Command on the wire, action and managed: requests from commands, answers into values.

One path serves every kind of target: a VM, an instance of a scale set and an Arc machine differ only in
their resource id, in the api-version and in that an Arc machine has no action (REST spec).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fleet.azure.wire import bodies, shapes
from fleet.azure.wire.arm import OperationStatus, is_terminal
from fleet.azure.wire.cloud_error import ArmError
from fleet.azure.wire.http import MIB, Json, Request, as_list, as_object, as_text, dig
from fleet.azure.wire.versions import Api, ask
from fleet.playbook.model import Transport
from fleet.run.answers import (
    Answer,
    Command,
    Finished,
    LookAnswer,
    Lost,
    LostReason,
    Mark,
    OperationFailed,
    Refusal,
    StillRunning,
    source_key,
)
from fleet.run.outcome import UNEXPLAINED, UNREPORTED, is_preempted
from fleet.targets.glob import same_case
from fleet.targets.model import Kind, Target, kind_of

LONGEST_MESSAGE = 4000
"""Characters of a handler's message that are kept, as of an error of ARM."""

RESOURCE_CAP = 4 * MIB
"""The resource echoes the script, of up to 256 KiB, which JSON may write six times as long."""


def api_of(target_id: str) -> Api:
    """Return what a target's run commands are asked with."""
    return Api.HYBRID_COMPUTE if kind_of(target_id) is Kind.ARC else Api.COMPUTE


def resource_id(target: Target, name: str) -> str:
    """Return the ARM id of a managed command."""
    return f"{target.id}/runCommands/{name}"


# Requests


def unsendable(command: Command) -> Refusal | None:
    """Say why a command cannot be put on this wire at all; None if it can. Such a command is never sent."""
    arc = kind_of(command.target.id) is Kind.ARC
    if command.transport is not Transport.ACTION:
        # Arc's run commands know neither of the three (REST spec of 2025-01-13).
        if arc and (command.gallery or command.powershell7 or command.fail_deployment):
            return _never_sent("an Arc machine takes no gallery script, PowerShell 7 or fail_deployment")
        return None
    if command.protected or command.run_as or command.run_as_password:
        # The action API has no protected parameters and no user (REST spec): a secret would be readable
        # there.
        return _never_sent("the action API cannot keep a secret or run as another user; use the managed transport")
    if command.uri or command.gallery:
        return _never_sent("the action API takes no script by address; use the managed transport")
    if arc:
        return _never_sent("an Arc machine has no action API; use the managed transport")
    return None


def _never_sent(why: str) -> Refusal:
    return Refusal(status=0, code="NotSendable", message=f"not sent: {why}")


def submission(command: Command) -> Request:
    """Build the request that starts a command: the action's POST, the managed PUT, or the PATCH of one that is there.

    A PATCH carries no ``location`` (recorded).
    """
    if command.transport is Transport.ACTION:
        place = f"{command.target.id}/runCommand"
        return ask("POST", place, api_of(command.target.id), body=bodies.action(command))
    place, api = resource_id(command.target, command.name), _api_for(command)
    body: dict[str, Json] = {"properties": bodies.managed(command)}
    if command.tags is not None:
        body["tags"] = dict(command.tags)
    # On Arc a PATCH takes tags alone (REST spec), and a PUT is answered alike for new and known names (recorded).
    if command.update and kind_of(command.target.id) is not Kind.ARC:
        return ask("PATCH", place, api, body=body, cap=RESOURCE_CAP)
    return ask("PUT", place, api, body={"location": command.target.location, **body}, cap=RESOURCE_CAP)


def _api_for(command: Command) -> Api:
    """Ask with the later api-version only where a property needs it: clouds get new versions late."""
    return Api.GALLERY_SCRIPTS if command.gallery or command.powershell7 else api_of(command.target.id)


def reading(resource: str) -> Request:
    """Build the GET of one managed command; ``$expand`` comes first and unencoded, as recorded.

    An Arc machine's holds the instance view unasked (recorded), and its API has no ``$expand`` (REST spec).
    """
    expand = {"$expand": "instanceView"} if kind_of(resource) is not Kind.ARC else {}
    return ask("GET", resource, api_of(resource), expand, cap=RESOURCE_CAP)


def listing(target: Target) -> Request:
    """Build the GET of every managed command of a target."""
    return ask("GET", f"{target.id}/runCommands", api_of(target.id), cap=8 * MIB)


def removal(target: Target, name: str) -> Request:
    """Build the DELETE of a managed command, which ends its script (documented)."""
    return ask("DELETE", resource_id(target, name), api_of(target.id))


# Answers of the action


UNFINISHED = "Last script execution didn't finish."
"""The handler's word, under a success status, when the VM restarted during the script (handler source)."""

_OUTPUT = ("componentstatus/stdout/", "componentstatus/stderr/")
"""How the codes of Windows' two streams begin, in lower case: cases differ between services."""

_OLD_FAILURE = re.compile(r"command terminated with exit status=(-?[0-9]{1,9})(.*)", re.DOTALL | re.ASCII)

_LONGEST_REASON = 1000
"""Characters that are kept of what the statuses of a failed command say besides its streams."""


def action_result(data: Json) -> Answer | None:
    """Read a result: ``{"value": [...]}``, or the bare array of api-versions up to 2018-04-01 (both
    recorded).

    None if it is neither. Linux gives one status with both streams, Windows two with one each, and neither
    an exit code. A status that says failed, by its code or its level, is a failure, whatever the system.
    """
    statuses = _statuses(data)
    if statuses is None:
        return None
    entries = [as_object(entry) for entry in statuses]
    if any(_code(entry).startswith(_OUTPUT) for entry in entries):
        return _windows_answer(entries)
    return _linux_answer("\n".join(as_text(entry.get("message")) for entry in entries), _failure(entries))


def immediate_result(data: Json, followed: bool) -> Answer | None:
    """Read the result that the answer to the POST itself holds; None if it holds none.

    ``200 OK`` with a result is an answer of the specification, beside 202, and ``value`` may be absent there. Where the
    answer also names a place to ask (``followed``), one without any status is not yet the result.
    """
    statuses = _statuses(data)
    if statuses:
        return action_result(data)
    if followed or not (statuses == [] or _is_without_value(data)):
        return None
    return Answer(execution_message="the service answered at once, and without any output", combined="")


def _statuses(data: Json) -> list[Json] | None:
    found = data if isinstance(data, list) else as_object(data).get("value")
    return found if isinstance(found, list) else None


def _is_without_value(data: Json) -> bool:
    return isinstance(data, dict) and data.keys() <= {"value"} and data.get("value") is None


def _code(entry: dict[str, Json]) -> str:
    return as_text(entry.get("code")).lower()


def _says_failed(entry: dict[str, Json]) -> bool:
    """Say whether a status is a failure: ``ProvisioningState/failed``, ``.../failed/1``, or of the level Error."""
    return "failed" in _code(entry).split("/")[1:] or as_text(entry.get("level")).lower() == "error"


def _failure(entries: list[dict[str, Json]]) -> str:
    """Say what the failed statuses say, without the script's streams; empty if none failed."""
    parts = []
    for entry in filter(_says_failed, entries):
        message = "" if _code(entry).startswith(_OUTPUT) else as_text(entry.get("message")).partition("[stdout]")[0]
        words = (as_text(entry.get("code")), as_text(entry.get("displayStatus")), message.strip())
        parts.append(": ".join(word for word in words if word) or "Error")
    return "; ".join(parts)[:_LONGEST_REASON]


def _windows_answer(entries: list[dict[str, Json]]) -> Answer:
    streams = {
        prefix: "".join(as_text(entry.get("message")) for entry in entries if _code(entry).startswith(prefix))
        for prefix in _OUTPUT
    }
    why = _failure(entries)
    return Answer("Failed" if why else "", why, stdout=streams[_OUTPUT[0]], stderr=streams[_OUTPUT[1]])


def _linux_answer(message: str, why: str) -> Answer:
    if message.rstrip().endswith(UNFINISHED) and "[stdout]" not in message:
        return Answer(execution_state="Unknown", execution_message=UNFINISHED, combined="")
    if not why:
        return Answer(combined=message)
    # A script may print these words too, so they count only before its streams.
    ended = _OLD_FAILURE.search(message.partition("[stdout]")[0])
    return Answer("Failed", why, int(ended.group(1)) if ended else None, combined=message)


def failed_action(operation: OperationStatus) -> Finished | OperationFailed | None:
    """Read how an action's operation failed; None if it did not.

    Until 2019 a script's non-zero exit failed the operation, with exit status and both streams in the message
    (recorded 2018): there the script did run, so it is a result and no failure of the service.
    """
    failure = operation.failure()
    if failure is None or failure.cancelled:
        return failure
    ended = _OLD_FAILURE.search(failure.message)
    if ended is None:
        return failure
    combined = ended.group(2).removesuffix('".').removesuffix('"')
    code = int(ended.group(1))
    words = f"command terminated with exit status={code}"  # -1 in these words is a kill, else a handler's own error
    return Finished(Answer(execution_state="Failed", execution_message=words, exit_code=code, combined=combined))


WITHOUT_RESULT = OperationFailed(UNREPORTED, "the operation succeeded, and Azure has no result of it")
"""What is left to say where neither the operation nor ``Location`` tells how the script ended."""


def action_state(operation: OperationStatus) -> LookAnswer | None:
    """Say how an action stands by its operation. None: it succeeded, and only ``Location`` has the result."""
    if not is_terminal(operation.status):
        return StillRunning()
    if failed := failed_action(operation):
        return failed
    answer = action_result(operation.properties.get("output"))
    return Finished(answer) if answer is not None else None


# Answers of the managed command


HANDLER_EXIT_CODES: Mapping[int, str] = {
    -1: "the script was killed by a signal, as happens at the service's own time limit",
    -100: "the script could not be downloaded",
    -101: "the output or error blob could not be created",
    -102: "the user to run as does not exist in the VM",
    -200: "the handler could not create its data folder",
    -201: "the handler could not remove its data folder",
    -202: "the handler could not use its settings",
    -203: "the handler could not save the script",
    -204: "the handler could not run the script",
    -205: "the handler could not open the file for standard output",
    -206: "the handler could not open the file for standard error",
    -207: "the handler was given a wrong path for the script to run as another user",
    -208: "the handler found a wrong path for the script to run as another user",
    -209: "the handler could not open the script to copy it for another user",
    -210: "the handler could not create the script's copy for another user",
    -211: "the handler could not copy the script for another user",
    -212: "the handler could not find the user id of the user to run as",
    -213: "the handler could not give the script to the user to run as",
    -214: "the handler could not set the permissions of the script for another user",
    -215: "an artifact of the script could not be downloaded",
    -216: "the handler's service could not be upgraded",
    -217: "the handler's service could not be installed",
    -218: "the handler's service could not be removed",
    -219: "the handler's service could not be switched off",
    -220: "the handler could not carry its state over an update",
    -221: "the handler skipped the command, which was to run at once",
    -222: "the command ran out of time before the handler could start it",
    -223: "the handler could not carry out the command, which was to run at once",
    -224: "the handler could not restore which commands it had carried out",
}
"""What negative exit codes mean: the Linux handler's own (handler source), and -1, which Go gives for a
signal.
"""

_ENDED = frozenset({"succeeded", "failed", "timedout", "canceled"})
_GOING = frozenset({"", "pending", "running", "unknown"})
_NOT_STARTED = frozenset({"", "pending", "unknown"})


def managed_state(data: Json) -> LookAnswer | None:
    """Say how a managed command stands by its resource with instance view.

    None: provisioning failed and the instance view does not say why; the operation may. A provisioning state
    is never a result: with a failed script it reads ``Succeeded`` as well (recorded).
    """
    properties = as_object(as_object(data).get("properties"))
    if not properties:
        return Lost(LostReason.MALFORMED, "the answer is no run command resource")
    for place in ("provisioningState", "instanceView.executionState"):
        # What is not known to be settled is not taken for it: without a provisioning state, an odd one counted as none.
        if wrong := shapes.wrong_at(properties, place.split("."), shapes.text):
            return Lost(LostReason.MALFORMED, f"{place} of the answer {wrong}")
    # No provisioning state counts as Succeeded (ARM RPC contract).
    provisioning = as_text(properties.get("provisioningState")) or "Succeeded"
    view = as_object(properties.get("instanceView"))
    if not is_terminal(provisioning):
        return StillRunning(started=read_start(view))
    if has_ended(view):
        return Finished(managed_answer(view))
    return StillRunning(started=read_start(view)) if provisioning.lower() == "succeeded" else None


def read_start(view: dict[str, Json]) -> str:
    """Say how an instance view shows that its script has started: by the time, else by its state; empty if not at all.

    ``Unknown`` shows nothing: that is how a view begins (recorded on Arc).
    """
    state = as_text(view.get("executionState"))
    return as_text(view.get("startTime")) or (state if state.lower() not in _NOT_STARTED else "")


def is_of_another(resource: str, data: Json) -> bool:
    """Say whether an answer has the id of another resource than the one asked for; ids ignore case (recorded)."""
    identity = dig(data, "id")
    return isinstance(identity, str) and same_case(identity) != same_case(resource)


def has_ended(view: dict[str, Json]) -> bool:
    """Say whether an instance view is final.

    ``Running`` with an end time was recorded after failures (2021 to 2022), and ``Unknown`` with a message
    is what the handler leaves when its status was lost in an upgrade (handler source): neither will change
    any more.
    """
    state = as_text(view.get("executionState")).lower()
    if state in _ENDED:
        return True
    if state == "unknown":
        return bool(as_text(view.get("executionMessage")) and view.get("exitCode") is not None)
    return bool(as_text(view.get("endTime"))) and (state == "running" or state not in _GOING)


def managed_answer(view: dict[str, Json]) -> Answer:
    """Read an instance view. A handler's own exit code is kept as it is, and its meaning put into the
    message.
    """
    code = exit_code(view.get("exitCode"))
    message = (as_text(view.get("executionMessage")) or _why_failed(view))[:LONGEST_MESSAGE]
    meaning = HANDLER_EXIT_CODES.get(code) if code is not None else None
    if meaning:
        message = f"{message} ({code}: {meaning})".strip()
    return Answer(
        execution_state=as_text(view.get("executionState")),
        execution_message=message,
        exit_code=code,
        stdout=as_text(view.get("output")),
        stderr=as_text(view.get("error")),
        started=as_text(view.get("startTime")),
        ended=as_text(view.get("endTime")),
        statuses=tuple(_status(as_object(status)) for status in as_list(view.get("statuses"))),
    )


def exit_code(data: Json) -> int | None:
    """Read an exit code, a 32-bit number, signed or not; None if it is none."""
    sound = isinstance(data, int) and not isinstance(data, bool) and -(2**31) <= data < 2**32
    return data if sound and isinstance(data, int) else None


def _status(status: dict[str, Json]) -> str:
    """Say a status in words: its level where that is not Info, and its time at the end."""
    level, time = as_text(status.get("level")), as_text(status.get("time"))
    parts = [level if level.lower() != "info" else ""]
    parts += [as_text(status.get(key)) for key in ("code", "displayStatus", "message")]
    words = ": ".join(part for part in parts if part)
    return f"{words} ({time})" if words and time else words


def _why_failed(view: dict[str, Json]) -> str:
    """Say what the failed statuses of an instance view say; empty if none failed."""
    return _failure([as_object(status) for status in as_list(view.get("statuses"))])


def mark(data: Json) -> Mark:
    """Read how a managed command stands: what it runs, when it started, whether it has ended."""
    properties = as_object(as_object(data).get("properties"))
    source, view = as_object(properties.get("source")), as_object(properties.get("instanceView"))
    parts = (as_text(source.get(key)) for key in ("script", "scriptUri", "galleryScriptReferenceId", "commandId"))
    settled = is_terminal(as_text(properties.get("provisioningState")) or "Succeeded")
    started = as_text(view.get("startTime"))
    return Mark(source_key(*parts), started, not settled or bool(started and not has_ended(view)))


def provisioning_failed(data: Json, operation: OperationStatus | None) -> OperationFailed | StillRunning:
    """Say why provisioning failed, by the operation where it tells, else by what the resource holds.

    An operation that only gave way to a later one says nothing of the script, which may well go on (reported): the view,
    which has no end yet, is read again. Where the operation tells nothing, whether the script runs is not known.
    """
    failure = operation.failure() if operation else None
    state = as_text(dig(data, "properties", "provisioningState"))
    cancelled = state.lower().startswith("cancel")
    if (failure and is_preempted(failure.code)) or (failure is None and cancelled):
        return StillRunning()
    if failure:
        return failure
    view = as_object(dig(data, "properties", "instanceView"))
    message = (as_text(view.get("executionMessage")) or _why_failed(view))[:LONGEST_MESSAGE]
    return OperationFailed(UNEXPLAINED, message or f"provisioning ended {state} without saying why")


_MISSING_ABOVE = frozenset(
    {
        "parentresourcenotfound",
        "resourcegroupnotfound",
        "subscriptionnotfound",
        "invalidsubscriptionid",
        "invalidresourcetype",
        "invalidresourcenamespace",
        "noregisteredproviderfound",
        "invalidapiversionparameter",
    }
)
"""Codes of a 404 that are not about the command: what is above it is not there, or cannot be asked like this."""


def read_missing(target: Target, error: ArmError) -> bool | None:
    """Say whether a 404 is about the managed command itself, and not about its VM, group or subscription; None in doubt.

    Recorded of ARM's gateway: ``ResourceNotFound`` names the resource that is missing, by its type and name, and a missing
    parent has codes of its own. Compute's ``NotFound`` (``The entity was not found in this Azure location.``) is about
    the command. No words of a sentence count: services write them differently.
    """
    code, message = error.code.lower(), error.message.lower()
    if code in _MISSING_ABOVE:
        return False
    if code in {"notfound", "runcommandnotfound"} or "/runcommands/" in message:
        return True
    kind, name = target.key.rsplit("/", 2)[1:]
    return False if code == "resourcenotfound" and f"{kind}/{name}'" in message else None


def names(data: Json) -> tuple[str, ...]:
    """Read the names of a list of managed commands."""
    rows = [as_object(row) for row in as_list(as_object(data).get("value"))]
    return tuple(as_text(row.get("name")) for row in rows if as_text(row.get("name")))
