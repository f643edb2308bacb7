"""A pretended Azure that ends operations, and shows managed commands, otherwise than its lab does."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from typing import Any

from fleet.clock import Clock
from fleet.guest import envelope
from fleet.lab.arm.control import ControlPlane
from fleet.lab.wire import Answer as HttpAnswer
from fleet.lab.wire import Request
from fleet.lab.world.commands import Command, Provisioning
from fleet.lab.world.machine_spec import System
from fleet.lab.world.operations import Operation, Phase
from fleet.lab.world.scripted import KILLED, Guests, Result
from fleet.lab.world.scripted import Plan as Answer
from fleet.lab.world.world import Machine
from fleet.plan.model import JobId
from tests.verification.endings import OF_ACTIONS, OF_VIEWS, Ending, met
from tests.verification.guests import SENTENCE, Errand, PlayedGuests, Watcher
from tests.verification.scenario import Scenario

_WORDS: Mapping[Ending, tuple[str, str]] = {
    Ending.AGENT_SILENT: (
        "VMAgentStatusCommunicationError",
        "VM '{vm}' has not reported status for VM agent or extensions. Please verify the VM has a running VM agent, and "
        "can establish outbound connections to Azure storage.",
    ),
    Ending.NOT_REPORTED: (
        "VMExtensionProvisioningError",
        "VM agent on VM '{vm}' has not reported latest status for extension 'RunCommandLinux'. Please verify the VM.",
    ),
    Ending.GAVE_UP: (
        "VMExtensionProvisioningTimeout",
        "Provisioning of VM extension RunCommandLinux has timed out. Extension provisioning has taken too long to "
        "complete. The extension did not report a message.",
    ),
    Ending.INTERNAL: ("InternalExecutionError", "An internal execution error occurred."),
    Ending.PREEMPTED: (
        "OperationPreempted",
        "Operation execution has been preempted by a more recent operation.",
    ),
    Ending.CANCELLED: ("OperationCanceled", "The operation was canceled by the service."),
}
"""Codes and texts (recorded, documented and reported)."""

_CANCELS = frozenset({Ending.PREEMPTED, Ending.CANCELLED})

_NOT_SET_UP = (
    ("VMExtensionHandlerNonTransientError", "The handler for VM extension has reported terminal failure."),
    ("VMExtensionManagementInternalError", "Internal error occurred while processing VM extension."),
    ("VMExtensionProvisioningError", "VM has reported a failure when processing extension 'RunCommandLinux'."),
)
_NOT_EXECUTABLE = ("VMExtensionProvisioningError", "failed to execute command: command terminated with exit status=126")
"""In the form of 2018: a code that is the wrapper's, where the script is wrapped."""
_DIGITS = "9" * 5000
_NEVER = 1e9
"""Seconds after which a command ends that was never started: later than any world."""

_LOST_IN_UPGRADE = (
    "The script has been executed. However, the instanceView's execution state, output, error are unknown."
)


class PlayedPlane(ControlPlane):
    """The lab's control plane, with scripts and operations that meet a scenario's endings."""

    def __init__(self, scenario: Scenario, clock: Clock, watcher: Watcher) -> None:
        self.chances = scenario.endings
        self._clock = clock
        self._watcher = watcher
        self._rng = random.Random(f"fleet-sim/service/{scenario.seed}")
        self._seed = scenario.seed
        self._speed = scenario.lab.speed
        self._shown: dict[str, tuple[Ending, JobId, int]] = {}
        """How a command's view (by its path), or an action's result (by its operation), is shown, and whose it is."""
        self._told: set[str] = set()
        """Of these, whose change has been seen."""
        self._known: set[str] = set()
        """Commands and operations of which this is decided; a later submission of the same command changes nothing."""
        self._unstarted: dict[tuple[str, str], tuple[Operation, Ending]] = {}
        """Operations whose scripts are not started, by machine and command."""
        super().__init__(scenario.lab, sandboxed=False, envelope=envelope, guests=self._played)

    def _played(self, guests: Guests) -> Guests:
        played = PlayedGuests(guests, self._watcher, self._seed, self.chances)
        played.stopped_by = self._not_set_up
        return played

    # -- operations -----------------------------------------------------------------------------------------------

    def accepted(self, job: JobId, retry: int, id: str) -> None:
        """Draw what becomes of an operation that a submission has begun."""
        operation = self.operations.find(id) if self.chances else None
        if operation is None:
            return
        kinds = frozenset(self.chances)
        if (ending := met(self._rng, self.chances, kinds & _WORDS.keys())) is not None:
            delay = self._rng.choice((0.0, self._rng.uniform(0.0, 20.0), self._rng.uniform(0.0, 100.0)))
            at = asyncio.get_running_loop().call_later
            at(delay / self._speed, self._end, operation, ending, (job, retry))
        elif (ending := met(self._rng, self.chances, kinds & {Ending.HANDLER_FAILED, Ending.ABSURD})) is not None:
            self._unstarted[operation.machine.key, operation.command.casefold()] = operation, ending
        elif (place := _place(operation)) not in self._known:
            ending = met(self._rng, self.chances, kinds & {*(OF_VIEWS if operation.command else OF_ACTIONS)})
            if ending is not None and (operation.command or operation.machine.system is System.LINUX):
                self._shown[place] = ending, job, retry
        self._known.add(_place(operation))

    def _end(self, operation: Operation, ending: Ending, whose: tuple[JobId, int]) -> None:
        """End an operation that has not ended by itself. Its script goes on, or starts later."""
        now = self._clock.now()
        self.life.advance(now)
        if operation.done:
            return
        self._watcher.said(*whose, ending)
        code, words = _WORDS[ending]
        phase = Phase.CANCELED if ending in _CANCELS else Phase.FAILED
        self._fail(operation, now, code, words.format(vm=operation.machine.name), phase)

    def _fail(self, operation: Operation, now: float, code: str, words: str, phase: Phase = Phase.FAILED) -> None:
        operation.fail(now, code, words, phase)
        command = self._command(operation.machine, operation.command)
        if command is not None and command.provisioning in (Provisioning.CREATING, Provisioning.UPDATING):
            command.provisioning = Provisioning.FAILED

    def _command(self, machine: Machine, name: str) -> Command | None:
        return self.life.commands.get(machine.key, {}).get(name.casefold())

    def _not_set_up(self, machine: Machine, errand: Errand, now: float) -> Answer | None:
        """Fail the operation of a script that is not started; None where the script is to start."""
        operation, ending = self._unstarted.pop((machine.key, errand.command.casefold()), (None, None))
        if operation is None or ending is None or operation.done:
            return None
        self._watcher.said(errand.job, errand.retry, ending)
        code, words = self._rng.choice(_NOT_SET_UP if errand.opened is None else (*_NOT_SET_UP, _NOT_EXECUTABLE))
        self._fail(operation, now, code, words)
        command = self._command(machine, operation.command)
        if command is None:
            return Answer(Result(0), 0.0, ran=False)
        if ending is Ending.ABSURD:  # the operation is gone, and what is left of it says nonsense
            operation.vanished = True
            command.view.message = f"failed: command terminated with exit status={_DIGITS}"
        return Answer(Result(0), _NEVER, ran=False, growing=False)

    # -- what is shown --------------------------------------------------------------------------------------------

    def handle(self, request: Request, now: float) -> HttpAnswer:
        """Answer one request; what is shown of a few commands and operations is changed on the way."""
        answer = super().handle(request, now)
        if self._shown and request.method == "GET" and answer.status == 200:
            path = request.path.casefold()
            place = path if path in self._shown else path.rpartition("/")[2]
            if place in self._shown and answer.body.startswith(b"{"):
                answer.body = self._changed(answer.body, place)
        return answer

    def _changed(self, body: bytes, place: str) -> bytes:
        """Change what is shown, if this ending has anything to change about it; that is said once."""
        ending, job, retry = self._shown[place]
        data = json.loads(body)
        plain = json.dumps(data)
        if ending in OF_ACTIONS:
            _change_result(ending, data, self._watcher.code(job, retry))
        elif ending is Ending.VIEW_MISSING:
            data["properties"].pop("instanceView", None)
        elif (view := data["properties"].get("instanceView")) and view["endTime"]:
            _change_view(ending, view, _NO_CODES[self._seed % len(_NO_CODES)])
        changed = json.dumps(data)  # compared as texts: 0 and 0.0 are not the same on the wire
        if changed != plain and place not in self._told:
            self._told.add(place)
            self._watcher.said(job, retry, ending)
        return changed.encode()


def _place(operation: Operation) -> str:
    """Where the end of an operation's script is read: its command's path in the case for comparing, or its own id."""
    name = operation.command.casefold()
    return f"{operation.machine.key}/runcommands/{name}" if name else operation.id


_A_KILL = f"exit status={KILLED}"
_NO_CODES = (None, "0", True, 0.0)


def _change_view(ending: Ending, view: dict[str, Any], no_code: object) -> None:
    """Show the end of a command otherwise. What only killed commands have is shown of these alone."""
    match ending:
        case Ending.VIEW_UNKNOWN:
            view |= {"executionState": "Unknown", "executionMessage": _LOST_IN_UPGRADE, "exitCode": 0}
            view |= {"output": "Unknown", "error": "Unknown"}
        case Ending.VIEW_RUNNING:
            message = "Execution failed: failed to execute command: command terminated with exit status=3"
            view |= {"executionState": "Running", "executionMessage": message, "exitCode": 0}
        case Ending.VIEW_WITHOUT_CODE:
            view["exitCode"] = no_code
        case Ending.VIEW_OLD_CODE if view["executionState"] == "Failed":
            view["exitCode"] = 3
        case Ending.VIEW_TIMED_OUT if view["executionMessage"].endswith(_A_KILL):
            view["executionState"] = "TimedOut"
        case Ending.VIEW_CANCELLED if view["executionMessage"].endswith(_A_KILL):
            view["executionState"] = "Canceled"


def _change_result(ending: Ending, data: dict[str, Any], code: int) -> None:
    """Show the result of a Linux action as that of a script that was cut off, or, if it failed, as its operation's."""
    if data["status"] != "Succeeded" or "properties" not in data:
        return
    status = data["properties"]["output"]["value"][0]
    if ending is Ending.UNFINISHED:
        status["message"] = f"Enable succeeded: {SENTENCE.decode()}"
    elif code != 0:
        streams = status["message"].removeprefix("Enable succeeded: ")
        text = f"Enable failed: failed to execute command: command terminated with exit status={code}{streams}"
        error = f"VM has reported a failure when processing extension 'RunCommandLinux'. Error message: \"{text}\"."
        del data["properties"]
        data |= {"status": "Failed", "error": {"code": "VMExtensionProvisioningError", "message": error}}
