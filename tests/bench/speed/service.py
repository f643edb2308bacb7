"""A minimal Azure Resource Manager: the VMs of a few subscriptions, and both Run Command APIs.

It does what a client needs to be measured, and nothing else: no faults, no rights, one page of any list but Resource Graph's.
The lab is the faithful one; this one is quick.
"""

from __future__ import annotations

import random
import re
import string
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fleet.guest import envelope
from tests.bench.speed import bodies
from tests.bench.speed.limits import DELETE, READ, READ_S, WRITE, WRITE_S, Limits
from tests.bench.speed.wire import Answered, Asked, Later

VERSION = "2024-07-01"
PAGE = 1000
_VM = re.compile(
    r"/subscriptions/([^/]+)/resourceGroups/[^/]+/providers/Microsoft\.Compute/virtualMachines/([^/]+)(.*)"
)
_OPERATION = re.compile(r"/subscriptions/[^/]+/providers/Microsoft\.Compute/locations/[^/]+/operations/([^/]+)")
_VMS = re.compile(r"/subscriptions/([^/]+)/providers/Microsoft\.Compute/virtualMachines")


@dataclass(slots=True)
class _Execution:
    """One script that was started on a VM. Epoch seconds."""

    vm: str
    script: str
    started: float
    ends: float


class Service:
    """Answers requests. ``seconds`` is how long each script takes, ``output`` how many bytes it prints."""

    def __init__(self, base: str, vms: int, seconds: float, output: int) -> None:
        self._base = base
        self._seconds, self._bytes = seconds, output
        self._rows = [bodies.row(index) for index in range(vms)]
        chance = random.Random(1)
        letters = string.ascii_letters + string.digits + "-_"
        signed = {name: "".join(chance.choices(letters, k=size)) for name, size in (("c", 2600), ("s", 342), ("h", 43))}
        self._signature = "t=638800000000000000&" + "&".join(f"{name}={value}" for name, value in signed.items())
        """As long as the real one, which carries a certificate chain (recorded: URLs of up to 3,428 characters)."""
        self.begin(throttled=False)

    def begin(self, *, throttled: bool) -> None:
        """Forget everything that happened, for the next client."""
        self._limits = Limits(on=throttled)
        self._operations: dict[str, _Execution] = {}
        self._commands: dict[str, _Execution] = {}
        self._starts: Counter[str] = Counter()
        self._ends: dict[str, float] = {}
        self._counts: Counter[str] = Counter()
        self._wall, self._cpu = time.time(), time.process_time()

    def figures(self) -> dict[str, object]:
        """Return what was counted since the beginning."""
        return {
            "requests": dict(self._counts),
            "over": dict(self._limits.over),
            "starts": dict(self._starts),
            "ends": self._ends,
            "cpu_share": (time.process_time() - self._cpu) / (time.time() - self._wall),
        }

    def answer(self, asked: Asked) -> Later:
        """Admit a request or refuse it now, and answer it when it has been on its way."""
        path, _, query = asked.target.partition("?")
        kind = {"POST": WRITE, "PUT": WRITE, "DELETE": DELETE}.get(asked.method, READ)
        if (vm := _VM.fullmatch(path)) and (wait := self._limits.refuse(vm[1], kind, time.monotonic())):
            return self._refused(kind, wait)
        if operation := _OPERATION.fullmatch(path):
            execution = self._operations.get(operation[1])
            if execution and (wait := self._limits.refuse(path.split("/")[2], READ, time.monotonic())):
                return self._refused(READ, wait)
            return self._counted("operation", READ_S, lambda: self._operation(operation[1], execution, asked.target))
        if vm is not None:
            return self._of_vm(asked, vm[1], vm[2], vm[3])
        if asked.method == "POST":
            return self._counted("graph", READ_S, lambda: self._graph(asked.body))
        if path == "/subscriptions":
            return self._counted("subscriptions", READ_S, bodies.subscriptions)
        if listed := _VMS.fullmatch(path):
            states = "statusOnly" in query
            return self._counted("list", READ_S, lambda: self._list(listed[1], states))
        return self._counted(f"unknown: {asked.method} {path}", 0.0, lambda: Answered(404, bodies.error("NotFound")))

    def _counted(self, name: str, seconds: float, make: Callable[[], Answered]) -> Later:
        self._counts[name] += 1
        return seconds, make

    def _refused(self, kind: str, wait: float) -> Later:
        """A 429, with the time until the bucket holds a call again in whole seconds."""
        headers = {"Retry-After": str(max(1, round(wait + 0.5)))}
        return self._counted(
            "refused", READ_S, lambda: Answered(429, bodies.error("SubscriptionRequestsThrottled"), headers)
        )

    def _of_vm(self, asked: Asked, subscription: str, vm: str, rest: str) -> Later:
        match asked.method, rest:
            case "POST", "/runCommand":
                script = "\n".join(asked.body["script"])
                return self._counted("submit", WRITE_S, lambda: self._accepted(subscription, vm, script))
            case "PUT", _:
                script, place = asked.body["properties"]["source"]["script"], asked.target.partition("?")[0]
                return self._counted("submit", WRITE_S, lambda: self._put(subscription, vm, place, script))
            case "DELETE", _:
                place = asked.target.partition("?")[0]
                return self._counted("delete", WRITE_S, lambda: self._deleted(subscription, place))
            case "GET", "/instanceView" | "":
                return self._counted("view", READ_S, lambda: Answered(200, bodies.VIEW, self._left(subscription, READ)))
            case "GET", _:
                place = asked.target.partition("?")[0]
                return self._counted("command", READ_S, lambda: self._command(place, self._left(subscription, READ)))
        return self._counted(f"unknown: {asked.method} {rest}", 0.0, lambda: Answered(404, bodies.error("NotFound")))

    def _left(self, subscription: str, kind: str) -> dict[str, str]:
        """What ARM's headers say is left. They only come where limits are on."""
        if not self._limits.on:
            return {}
        return {f"x-ms-ratelimit-remaining-subscription-{kind}s": str(self._limits.remaining(subscription, kind))}

    def _start(self, vm: str, script: str) -> tuple[str, _Execution]:
        now = time.time()
        execution = _Execution(vm, script, now, now + self._seconds)
        number = f"{len(self._operations):08x}-0000-4000-8000-000000000000"
        self._operations[number] = execution
        self._starts[vm] += 1
        self._ends[vm] = execution.ends
        return number, execution

    def _url(self, subscription: str, number: str, monitor: str = "") -> str:
        path = (
            f"/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{bodies.LOCATION}/operations/{number}"
        )
        signed = f"p=11111111-1111-4111-8111-111111111111{monitor}&api-version={VERSION}&{self._signature}"
        return f"{self._base}{path}?{signed}"

    def _accepted(self, subscription: str, vm: str, script: str) -> Answered:
        number, _ = self._start(vm, script)
        links = {
            "Azure-AsyncOperation": self._url(subscription, number),
            "Location": self._url(subscription, number, "&monitor=true"),
        }
        return Answered(202, None, {**links, "Azure-AsyncNotification": "Enabled", **self._left(subscription, WRITE)})

    def _put(self, subscription: str, vm: str, place: str, script: str) -> Answered:
        number, execution = self._start(vm, script)
        self._commands[place] = execution
        links = {"Azure-AsyncOperation": self._url(subscription, number), "Azure-AsyncNotification": "Enabled"}
        body = bodies.resource(place, {"provisioningState": "Creating", "source": {"script": script}})
        return Answered(201, body, {**links, **self._left(subscription, WRITE)})

    def _deleted(self, subscription: str, place: str) -> Answered:
        known = self._commands.pop(place, None)
        return Answered(202 if known else 204, None, self._left(subscription, DELETE))

    def _operation(self, number: str, execution: _Execution | None, target: str) -> Answered:
        subscription = target.split("/")[2]
        monitor = "&monitor=true" if "&monitor=true" in target else ""
        url = self._url(subscription, number, monitor)
        if execution is None or url != self._base + target:  # links must come back byte for byte
            return Answered(404, bodies.error("NotFound"))
        left, done = self._left(subscription, READ), time.time() >= execution.ends
        if monitor:
            return (
                Answered(200, self._output(execution), left) if done else Answered(202, None, {"Location": url, **left})
            )
        body: dict[str, object] = {"startTime": bodies.iso(execution.started), "status": "InProgress", "name": number}
        if done:
            output = {"output": self._output(execution)}
            body |= {"endTime": bodies.iso(execution.ends), "status": "Succeeded", "properties": output}
        return Answered(200, body, left)

    def _output(self, execution: _Execution) -> dict[str, object]:
        stdout, stderr = self._streams(execution)
        message = f"Enable succeeded: \n[stdout]\n{stdout}\n[stderr]\n{stderr}"
        status = {"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded"}
        return {"value": [{**status, "message": message}]}

    def _command(self, place: str, left: Mapping[str, str]) -> Answered:
        execution = self._commands.get(place)
        if execution is None:
            return Answered(404, bodies.error("ResourceNotFound"), left)
        view: dict[str, object] = {
            "exitCode": 0,
            "executionState": "Running",
            "executionMessage": "Execution in progress",
        }
        view |= {"output": "", "error": "", "startTime": bodies.iso(execution.started), "endTime": ""}
        done = time.time() >= execution.ends
        if done:
            stdout, stderr = self._streams(execution)
            view |= {"executionState": "Succeeded", "executionMessage": "Execution completed"}
            view |= {"output": stdout, "error": stderr, "endTime": bodies.iso(execution.ends)}
        state = "Succeeded" if done else "Creating"
        return Answered(200, bodies.resource(place, {"provisioningState": state, "instanceView": view}), left)

    def _streams(self, execution: _Execution) -> tuple[str, str]:
        """What the script has printed: lines with the VM's name; through the wrapper's receipt where it is wrapped."""
        line = f"{execution.vm}: {'x' * 50}\n"
        stdout = (line * (self._bytes // len(line) + 1))[: max(self._bytes, len(line))].encode()
        opened = envelope.open(execution.script, {})
        if opened is None:
            return stdout.decode(), ""
        started, ended = execution.started, execution.ends
        _, out, err = opened.seal(
            exit_code=0, stdout=stdout, stderr=b"", boot_id="b", started=started, ended=ended, replayed=False
        )
        return out.decode(), err.decode()

    def _graph(self, asked: Mapping[str, object]) -> Answered:
        options = asked["options"]
        assert isinstance(options, dict)
        start = int(options.get("$skipToken", "0"))
        page = self._rows[start : start + PAGE]
        body: dict[str, object] = {"totalRecords": len(self._rows), "count": len(page), "data": page}
        body["resultTruncated"] = "false"
        if start + PAGE < len(self._rows):
            body["$skipToken"] = str(start + PAGE)
        return Answered(200, body)

    def _list(self, subscription: str, states: bool) -> Answered:
        rows = [row for row in self._rows if row["subscriptionId"] == subscription]
        return Answered(200, {"value": [bodies.model(row, states) for row in rows]})
