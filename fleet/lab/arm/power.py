"""Starting, stopping and restarting VMs through ARM. Pure; the time is handed in.

What a VM is doing gives way: its running operations end as preempted, as was seen for other operations on a VM.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fleet.lab.wire import Answer, compute, refusal
from fleet.lab.world.executions import Life
from fleet.lab.world.machine_spec import PowerState
from fleet.lab.world.operations import Operation, Operations
from fleet.lab.world.timing import BOOT, Timing
from fleet.lab.world.world import Machine

_TAKES = 20.0  # seconds; no recording says how long
_CHANGES = {
    "start": (PowerState.STARTING, PowerState.RUNNING),
    "poweroff": (PowerState.STOPPING, PowerState.STOPPED),
    "deallocate": (PowerState.DEALLOCATING, PowerState.DEALLOCATED),
    "restart": (PowerState.RUNNING, PowerState.RUNNING),
}
_NAMES = {"poweroff": "powerOff"}
_NEEDS_POWER = ("poweroff", "restart")
_GONE = (PowerState.DEALLOCATED, PowerState.DEALLOCATING)


@dataclass(frozen=True, slots=True)
class _Change:
    at: float
    machine: Machine
    power: PowerState
    operation: Operation


class Power:
    """Power actions. ``move`` sets a machine's power and lets Resource Graph learn of it."""

    def __init__(
        self, life: Life, operations: Operations, timing: Timing, move: Callable[[Machine, float, PowerState], None]
    ) -> None:
        self._life = life
        self._operations = operations
        self._timing = timing
        self._move = move
        self._due: list[_Change] = []

    def advance(self, now: float) -> None:
        """Let every change happen that is due by now."""
        for change in [each for each in self._due if each.at <= now]:
            self._due.remove(change)
            self._move(change.machine, change.at, change.power)
            change.operation.succeed(change.at)

    def begin(self, verb: str, machine: Machine, version: str, now: float) -> Operation | Answer:
        """Begin an action, or say why it is refused."""
        word = verb.casefold()
        if word in _NEEDS_POWER and machine.power in _GONE:
            text = (
                f"Operation '{_NAMES.get(word, word)}' is not allowed on VM '{machine.name}' since the VM is either "
                "deallocated or marked to be deallocated."
            )
            return compute(409, refusal("OperationNotAllowed", text))
        for change in [each for each in self._due if each.machine is machine]:  # the newest one holds
            self._due.remove(change)
            self._life.preempt_operation(change.operation, now)
        between, after = _CHANGES[word]
        takes = 0.0 if machine.power is after and word != "restart" else _TAKES
        if takes:
            self._life.take_down(machine, now, back=BOOT if word == "restart" else None)
            self._move(machine, now, between)
        operation = self._operations.start(machine, version, now, location=True)
        self._due.append(_Change(now + self._timing.scaled(takes), machine, after, operation))
        return operation
