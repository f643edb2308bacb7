"""Requests about run commands, action and managed, and their operations. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

from fleet.lab.arm import answers
from fleet.lab.arm.faults import BUSY, marked_for_deletion
from fleet.lab.arm.inventory import entity_missing
from fleet.lab.arm.power import Power
from fleet.lab.arm.routes import Call
from fleet.lab.wire import JSON_TYPE, Answer, Request, compute, denied, not_found, refusal
from fleet.lab.world import builtins
from fleet.lab.world.commands import LIMIT, Command, Provisioning, View, pairs
from fleet.lab.world.executions import Life
from fleet.lab.world.operations import Operation, Operations, Phase
from fleet.lab.world.timing import Work
from fleet.lab.world.world import Machine

# Api-versions whose results are a bare array instead of {"value": [...]} (recorded).
_BARE_RESULT = frozenset({"2017-03-30", "2017-12-01", "2018-04-01"})
_NOT_RUNNING = "The operation requires the VM to be running (or set to run)."
_NOT_RUNNING_MANAGED = "Cannot modify extensions in the VM when the VM is not running."
_NO_EXTENSIONS = (
    "This operation cannot be performed when extension operations are disallowed. To allow, please ensure VM Agent is "
    "installed on the VM and the osProfile.allowExtensionOperations property is true."
)
_TOO_MANY = (
    "The maximum number of managed Run commands (max={0}, current={0}) has been exceeded. Use fewer Run "
    "commands and retry the request. To list Run commands, refer: "
    "https://aka.ms/RunCommandManaged#list-all-deployed-runcommand-resources-on-a-vm-1 "
    "and then delete a Run command: "
    "https://aka.ms/RunCommandManaged#delete-runcommand-resource-from-the-vm-1"
)


class Runs:
    """Answers about run commands. ``base`` is the lab's own URL, put in front of every operation URL."""

    calls = frozenset(
        {
            Call.ACT,
            Call.COMMANDS,
            Call.COMMAND,
            Call.COMMAND_PUT,
            Call.COMMAND_PATCH,
            Call.COMMAND_DELETE,
            Call.OPERATION,
            Call.POWER,
        }
    )

    def __init__(self, life: Life, operations: Operations, power: Power, *, rerun_identical: bool = False) -> None:
        self.base = ""
        self._power = power
        self._rerun_identical = rerun_identical
        self._life = life
        self._operations = operations

    def answer(
        self,
        call: Call,
        request: Request,
        params: Mapping[str, str],
        machine: Machine | None,
        now: float,
    ) -> Answer:
        """Answer one request; subscription, group and VM are known to be there."""
        if call is Call.OPERATION:
            return self._poll(request, params["operation"])
        if machine is None:
            return entity_missing()
        name = params.get("command", "")
        match call:
            case Call.ACT:
                return self._act(request, machine, now)
            case Call.POWER:
                begun = self._power.begin(params["verb"], machine, request.query["api-version"], now)
                return begun if isinstance(begun, Answer) else self._accepted(begun)
            case Call.COMMANDS:
                known = self._life.commands.get(machine.key, {})
                view = request.query.get("$expand", "").lower() == "instanceview"
                return compute(200, {"value": [each.json(view=view) for each in known.values()]})
            case Call.COMMAND:
                return self._get(request, machine, name)
            case Call.COMMAND_DELETE:
                return self._delete(request, machine, name, now)
            case _:
                return self._put(request, machine, name, now, patch=call is Call.COMMAND_PATCH)

    # -- action --------------------------------------------------------------------------------------------

    def _act(self, request: Request, machine: Machine, now: float) -> Answer:
        body = body_of(request)
        if body is None or not isinstance(body.get("commandId"), str):
            return invalid("Required parameter 'commandId' is missing (null).", "commandId")
        known = builtins.find(str(body["commandId"]))
        if known is None:
            return entity_missing()
        if known.system is not machine.system:
            text = f"The command '{known.id}' is not supported on the operating system of VM '{machine.name}'."
            return invalid(text, "commandId")
        if not machine.running:
            return compute(409, refusal("OperationNotAllowed", _NOT_RUNNING))
        if not machine.takes_extensions:
            return compute(409, refusal("OperationNotAllowed", _NO_EXTENSIONS))
        if self._life.busy(machine):
            return compute(409, refusal("Conflict", BUSY))
        lines = body.get("script")
        given = [str(line) for line in lines] if isinstance(lines, list) and lines else list(known.script)
        version = request.query["api-version"]
        values = pairs(body.get("parameters"))
        operation = self._life.act(machine, "\n".join(given), values, version, now)
        return self._accepted(operation)

    def _accepted(self, operation: Operation) -> Answer:
        headers = {**self._operations.urls(operation, self.base), "x-ms-request-id": operation.id}
        return Answer(202, b"", headers)

    # -- operations ----------------------------------------------------------------------------------------

    def _poll(self, request: Request, id: str) -> Answer:
        operation = self._operations.find(id)
        if operation is None:
            return entity_missing()
        if not self._operations.issued(operation, request.raw.partition("?")[2]):
            text = "The operation URL is not the one that was given out; it is to be used byte for byte."
            return denied(403, "InvalidOperationUrl", text)
        if request.query.get("monitor", "").lower() == "true":
            return self._location(operation)
        state = dict(answers.operation(operation))
        if operation.phase is not Phase.SUCCEEDED or operation.output is None:
            return compute(200, state)
        name = state.pop("name")
        answer = compute(200, {**state, "properties": {"output": "@"}, "name": name})
        # Within the indented answer the result itself is compact (recorded).
        answer.body = answer.body.replace(b'"output": "@"', b'"output": ' + _compact(_result(operation)), 1)
        return answer

    def _location(self, operation: Operation) -> Answer:
        """Answer 202 while it runs, then what the call would have answered (long-running contract; 200
        recorded).
        """
        if not operation.done:
            return Answer(202, b"", {"Location": self._operations.urls(operation, self.base)["Location"]})
        if operation.error is not None:
            return compute(409, refusal(*operation.error))
        if operation.output is None:
            return Answer(204)
        return Answer(200, _compact(_result(operation)), {"Content-Type": JSON_TYPE})

    # -- managed -------------------------------------------------------------------------------------------

    def _get(self, request: Request, machine: Machine, name: str) -> Answer:
        command = self._life.commands.get(machine.key, {}).get(name.casefold())
        if command is None:
            return _no_command(machine, name)
        view = request.query.get("$expand", "").lower() == "instanceview"
        return compute(200, command.json(view=view))

    def _put(self, request: Request, machine: Machine, name: str, now: float, *, patch: bool) -> Answer:
        body = body_of(request)
        if body is None:
            return invalid("The request body is not a JSON object.", "")
        if not patch and not body.get("location"):
            return denied(400, "LocationRequired", "The location property is required for this definition.")
        properties = body.get("properties")
        properties = dict(properties) if isinstance(properties, Mapping) else {}
        if (wrong := _wrong_properties(properties, request.query["api-version"])) is not None:
            return wrong
        known = self._life.commands.get(machine.key, {})
        earlier = known.get(name.casefold())
        refused = _refused(machine, name, earlier, len(known), patch)
        if refused is not None:
            return refused
        if patch and earlier is not None:
            properties = {**earlier.properties, **properties}
        command, again = written(machine, name, earlier, body, properties, patch=patch, rerun=self._rerun_identical)
        work = Work.PATCH if patch else Work.PUT
        operation = self._life.put(command, request.query["api-version"], now, again=again, work=work)
        headers = {**self._operations.urls(operation, self.base), "x-ms-request-id": operation.id}
        return compute(201 if earlier is None else 200, command.json(view=False), headers)

    def _delete(self, request: Request, machine: Machine, name: str, now: float) -> Answer:
        command = self._life.commands.get(machine.key, {}).get(name.casefold())
        if command is None:
            return Answer(204)
        if not machine.running:
            return compute(409, refusal("OperationNotAllowed", _NOT_RUNNING_MANAGED))
        return self._accepted(self._life.delete(command, request.query["api-version"], now))


def written(
    machine: Machine,
    name: str,
    earlier: Command | None,
    body: Mapping[str, object],
    properties: Mapping[str, object],
    *,
    patch: bool = False,
    rerun: bool = False,
) -> tuple[Command, bool]:
    """Make or change a command, and say whether it is to run: only if its content is new (reported), or ``rerun``.

    A PUT sets the tags whole, a PATCH leaves them alone where it names none (ARM RPC contract).
    """
    location = str(body.get("location") or (earlier.location if earlier else machine.location))
    given = body.get("tags")
    kept: Mapping[str, str] = earlier.tags if earlier is not None and patch else {}
    tags = {str(key): str(value) for key, value in given.items()} if isinstance(given, Mapping) else kept
    if earlier is None:
        return Command(machine, name, location, tags, properties), True
    again = rerun or earlier.properties != properties
    earlier.location, earlier.tags, earlier.properties = location, tags, properties
    earlier.provisioning = Provisioning.UPDATING
    if again:
        earlier.sequence += 1
        earlier.view = View()
    return earlier, again


def _refused(machine: Machine, name: str, earlier: Command | None, count: int, patch: bool) -> Answer | None:
    """Say why a managed command may not be written, or None."""
    if patch and earlier is None:
        return _no_command(machine, name)
    if not machine.running:
        return compute(409, refusal("OperationNotAllowed", _NOT_RUNNING_MANAGED))
    if not machine.takes_extensions:
        return compute(409, refusal("OperationNotAllowed", _NO_EXTENSIONS))
    if earlier is not None and earlier.provisioning is Provisioning.DELETING:
        return marked_for_deletion(name, "PATCH" if patch else "PUT")
    if earlier is None and count >= LIMIT:
        # Text reported; neither code nor status is known.
        return compute(409, refusal("OperationNotAllowed", _TOO_MANY.format(LIMIT)))
    return None


_LATER = {"galleryScriptReferenceId": "2025-04-01", "scriptShell": "2025-04-01"}
_LATER_OUTSIDE = {"treatFailureAsDeploymentFailure": "2023-03-01"}
_SHELLS = ("Default", "Powershell7")


def _wrong_properties(properties: Mapping[str, object], version: str) -> Answer | None:
    """Refuse properties that the api-version does not know (first versions: REST spec, documentation)."""
    given = properties.get("source")
    source = given if isinstance(given, Mapping) else {}
    for holder, later, kind, place in (
        (properties, _LATER_OUTSIDE, "VirtualMachineRunCommandProperties", "properties"),
        (source, _LATER, "VirtualMachineRunCommandScriptSource", "properties.source"),
    ):
        early = next((key for key, since in later.items() if key in holder and version < since), None)
        if early is not None:
            return invalid(f"Could not find member '{early}' on object of type '{kind}'.", f"{place}.{early}")
    if source.get("scriptShell", "Default") not in _SHELLS:
        return invalid("The value of parameter 'scriptShell' is invalid.", "properties.source.scriptShell")
    return None


def _no_command(machine: Machine, name: str) -> Answer:
    return not_found(f"{machine.resource}/runCommands/{name}", machine.group.name)


def invalid(text: str, target: str) -> Answer:
    """Refuse a request as malformed."""
    return compute(400, refusal("InvalidParameter", text, target=target))


def body_of(request: Request) -> Mapping[str, object] | None:
    """Return a request's JSON object, or None if it has none."""
    try:
        body = request.json()
    except ValueError:
        return None
    return body if isinstance(body, Mapping) else None


def _result(operation: Operation) -> object:
    statuses = [dict(each) for each in operation.output or ()]
    return statuses if operation.version in _BARE_RESULT else {"value": statuses}


def _compact(value: object) -> bytes:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", errors="surrogatepass")
