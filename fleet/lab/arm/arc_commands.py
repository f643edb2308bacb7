"""Requests about run commands of Arc machines. Pure; shapes as recorded.

Arc's provider differs from Compute's: no action, PUT always answers 201, polls begin as ``Queued`` and end
with the whole resource, and reads hold the instance view unasked.
"""

from __future__ import annotations

from collections.abc import Mapping

from fleet.lab.arm.routes import Call
from fleet.lab.arm.runs import body_of, invalid, written
from fleet.lab.wire import Answer, Json, Request, denied, gateway, not_found, refusal, stamp
from fleet.lab.world.commands import Command, Provisioning
from fleet.lab.world.executions import Life
from fleet.lab.world.operations import Operation, Operations, Phase
from fleet.lab.world.timing import Timing, Work
from fleet.lab.world.world import Machine


class HybridRuns:
    """Answers about run commands of Arc machines. ``base`` is the lab's own URL."""

    def __init__(self, life: Life, operations: Operations, timing: Timing) -> None:
        self.base = ""
        self._timing = timing
        self._life = life
        self._operations = operations

    def answer(self, call: Call, request: Request, params: Mapping[str, str], machine: Machine, now: float) -> Answer:
        """Answer one request; subscription, group and machine are known to be there."""
        if call is Call.OPERATION:
            return self._poll(request, params["operation"], now)
        known = self._life.commands.get(machine.key, {})
        if call is Call.COMMANDS:
            listed = [_rendered(each, view=True) for each in known.values()]
            return gateway(200, {"value": listed}, {"x-ms-original-request-ids": machine.vm_id})
        name = params["command"]
        earlier = known.get(name.casefold())
        if call is Call.COMMAND_PUT:
            return self._put(request, machine, name, earlier, now)
        if earlier is None:
            missing = not_found(f"{machine.resource}/runCommands/{name}", machine.group.name, machine.provider)
            return Answer(204) if call is Call.COMMAND_DELETE else missing
        if call is Call.COMMAND_DELETE:
            operation = self._life.delete(earlier, request.query["api-version"], now)
            return Answer(202, b"", self._started(operation, Work.DELETE))
        if call is Call.COMMAND_PATCH:
            return _tagged(request, earlier)
        return gateway(200, _rendered(earlier, view=True))

    def _put(self, request: Request, machine: Machine, name: str, earlier: Command | None, now: float) -> Answer:
        body = body_of(request)
        if body is None:
            return invalid("The request body is not a JSON object.", "")
        if not body.get("location"):
            return denied(400, "LocationRequired", "The location property is required for this definition.")
        if earlier is not None and earlier.provisioning is Provisioning.DELETING:
            return gateway(409, refusal("Conflict", f"The run command '{name}' is being deleted."))
        properties = body.get("properties")
        given = dict(properties) if isinstance(properties, Mapping) else {}
        command, again = written(machine, name, earlier, body, given)
        command.provisioning = Provisioning.CREATING
        operation = self._life.put(command, request.query["api-version"], now, again=again, work=Work.PUT)
        return gateway(201, _rendered(command, view=False), self._started(operation, Work.PUT))

    def _started(self, operation: Operation, work: Work) -> dict[str, str]:
        """Return where the operation is followed, and when to look first (recorded: both calls send a Retry-After)."""
        return {**self._operations.urls(operation, self.base), **self._timing.retry_after(work)}

    def _poll(self, request: Request, id: str, now: float) -> Answer:
        operation = self._operations.find(id)
        assert operation is not None  # its machine was found by it
        if not self._operations.issued(operation, request.raw.partition("?")[2]):
            text = "The operation URL is not the one that was given out; it is to be used byte for byte."
            return denied(403, "InvalidOperationUrl", text)
        urls = {} if operation.done else self._operations.urls(operation, self.base)
        command = self._life.commands.get(operation.machine.key, {}).get(operation.command.casefold())
        if "/operationresults/" in request.path.lower():
            return _result(operation, command, urls)
        queued = not operation.done and now < operation.delivered_at
        status = "Queued" if queued else operation.phase.value
        state: dict[str, object] = {"name": operation.id, "status": status, "startTime": _zulu(operation.started)}
        if operation.error is not None:
            state["error"] = {"code": operation.error[0], "message": operation.error[1]}
        elif operation.phase is Phase.SUCCEEDED and command is not None:
            state["properties"] = _rendered(command, view=True)
        return gateway(200, state, urls)


def _result(operation: Operation, command: Command | None, urls: Mapping[str, str]) -> Answer:
    """Answer the Location URL: 202 while it runs, the resource at the end, nothing after a DELETE (recorded)."""
    if not operation.done:
        return Answer(202, b"", dict(urls))
    if operation.error is not None:
        return gateway(409, refusal(*operation.error))
    return gateway(200, _rendered(command, view=True)) if command is not None else Answer(200)


def _tagged(request: Request, command: Command) -> Answer:
    """PATCH takes only tags (REST spec)."""
    body = body_of(request)
    tags = body.get("tags") if body else None
    if isinstance(tags, Mapping):
        command.tags = {str(key): str(value) for key, value in tags.items()}
    return gateway(200, _rendered(command, view=True))


def _rendered(command: Command, *, view: bool) -> Json:
    """Render the resource; ids and types write ``runcommands`` (recorded)."""
    given = command.properties
    properties: dict[str, object] = {"source": dict(command.source)}
    if given.get("parameters"):
        properties["parameters"] = given["parameters"]
    for key in ("runAsUser", "outputBlobUri", "errorBlobUri"):
        if command.text(key):
            properties[key] = command.text(key)
    properties["asyncExecution"] = command.flag("asyncExecution")
    properties["timeoutInSeconds"] = int(command.limit)
    properties["provisioningState"] = command.provisioning.value
    if view:
        properties["instanceView"] = command.view.json(exact=True)
    whole: dict[str, object] = {
        "id": f"{command.machine.id}/runcommands/{command.name}",
        "name": command.name,
        "location": command.location,
        "type": f"{command.machine.type}/runcommands",
    }
    if command.tags:
        whole["tags"] = dict(command.tags)
    return {**whole, "properties": properties}


def _zulu(moment: float) -> str:
    return stamp(moment).replace("+00:00", "Z")
