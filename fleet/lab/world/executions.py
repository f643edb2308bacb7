"""The life of every execution: accepted, delivered, run, reported. Pure; the time is handed in.

What is due stands in an agenda. :meth:`Life.advance` brings the world up to a moment; scripts of sandboxed
guests leave as orders, and whoever carries them out says through :meth:`Life.ended` how they went.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from fleet.lab.world.blobs import Blobs
from fleet.lab.world.commands import Command, Provisioning
from fleet.lab.world.machine_spec import AgentState, GuestKind, System
from fleet.lab.world.operations import Operation, Operations, Phase
from fleet.lab.world.orders import Boot, Kill, Look, Order, Start
from fleet.lab.world.outcomes import action_statuses, disallowed, failure, gave_up, not_reported
from fleet.lab.world.scripted import Guests, Result, Script, lines, named
from fleet.lab.world.sources import prepare
from fleet.lab.world.timing import BOOT, GIVE_UP, REFRESH, UNREPORTED, Delays, Timing, Work
from fleet.lab.world.world import Kind, Machine

_ACTION_FOLDER = "/var/lib/waagent/run-command/download"
_WINDOWS_ACTION_FOLDER = "/c/Packages/Plugins/Microsoft.CPlat.Core.RunCommandWindows/Downloads"
_SETTLED = (Provisioning.SUCCEEDED, Provisioning.FAILED)


class Due(StrEnum):
    """What comes due."""

    DELIVER = "deliver"
    END = "end"
    TIME_OUT = "time_out"
    REPORT = "report"
    GIVE_UP = "give_up"
    UNREPORTED = "unreported"
    SETTLE = "settle"
    REFRESH = "refresh"
    GONE = "gone"
    RESTART = "restart"
    BACK = "back"


@dataclass(slots=True, eq=False)
class Execution:
    """One script on its way through one machine. ``over``: nobody waits for it any more. ``cut``: its machine went off.
    ``poured``: bytes of each stream that its blob has.
    """

    id: int
    machine: Machine
    operation: Operation
    delays: Delays
    command: Command | None
    script: Script | None
    result: Result | None = None
    started: float | None = None
    ends: float = 0.0
    ended: bool = False
    over: bool = False
    cut: bool = False
    poured: Counter[str] = field(default_factory=Counter)


_SOONEST_LOOK = 0.2  # real seconds: a fast lab does not look at its sandboxes more often


@dataclass(order=True, slots=True)
class _Entry:
    at: float
    turn: int
    due: Due = field(compare=False)
    execution: Execution = field(compare=False)


class Life:
    """All executions and managed commands of a lab."""

    def __init__(
        self,
        operations: Operations,
        timing: Timing,
        guests: Guests,
        blobs: Blobs,
        lag: float,
        remember_names: bool = False,
    ) -> None:
        self.commands: dict[str, dict[str, Command]] = {}
        self.counts: Counter[str] = Counter()
        self._operations = operations
        self._timing = timing
        self._guests = guests
        self._blobs = blobs
        self._lag = lag
        self._remembers = remember_names
        self._last_run: dict[str, int] = {}
        self._agenda: list[_Entry] = []
        self._turn = 0
        self._orders: list[Order] = []
        self._executions: dict[int, Execution] = {}
        self._actions: dict[str, Execution] = {}
        self._managed: dict[str, Execution] = {}
        self._sequences: Counter[str] = Counter()
        self._restarts: dict[str, float] = {}
        """When machines that were asked to will restart; who asks again puts it off."""
        self._ways = {
            Due.REPORT: self._report,
            Due.UNREPORTED: self._unreported,
            Due.GIVE_UP: self._give_up,
            Due.SETTLE: self._settle,
        }

    # -- what clients ask for ------------------------------------------------------------------------------

    def busy(self, machine: Machine) -> bool:
        """Say whether an action is running on the machine; there is one at a time (reported)."""
        return machine.key in self._actions

    def act(
        self, machine: Machine, text: str, values: Sequence[tuple[str, str]], version: str, now: float
    ) -> Operation:
        """Start an action. The script is cleaned of BOM and CRLF (handler source)."""
        operation = self._operations.start(machine, version, now, location=True)
        root = _ACTION_FOLDER if machine.system is System.LINUX else _WINDOWS_ACTION_FOLDER
        folder = f"{root}/{self._sequences[machine.key]}"
        self._sequences[machine.key] += 1
        clean = text.removeprefix("\ufeff").replace("\r\n", "\n")
        script = Script(clean, folder, " ".join(value for _, value in values), words=named(values))
        execution = self._new(operation, Work.ACTION, None, script)
        self._actions[machine.key] = execution
        return operation

    def put(self, command: Command, version: str, now: float, *, again: bool, work: Work) -> Operation:
        """Provision a command. Without ``again`` nothing runs: the content has not changed (reported)."""
        arc = command.machine.kind is Kind.ARC
        operation = self._operations.start(command.machine, version, now, location=arc)
        operation.command = command.name
        self.commands.setdefault(command.machine.key, {})[command.name.casefold()] = command
        if not again:
            execution = self._new(operation, work, command, None, silent=True)
            self._later(now + execution.delays.before + execution.delays.after, Due.REPORT, execution)
            return operation
        self._supersede(command, now)
        self._managed[command.id.casefold()] = self._new(operation, work, command, None)
        return operation

    def delete(self, command: Command, version: str, now: float) -> Operation:
        """Remove a command and end its script: the only way to cancel one (documented)."""
        operation = self._operations.start(command.machine, version, now, location=True)
        self._supersede(command, now)
        command.provisioning = Provisioning.DELETING
        execution = self._new(operation, Work.DELETE, command, None, silent=True)
        if command.machine.handlers_denied:  # the handler does not even say that it is gone (agent's own tests)
            self._later(now + self._timing.scaled(GIVE_UP), Due.GIVE_UP, execution)
        else:
            self._later(now + execution.delays.before + execution.delays.after, Due.GONE, execution)
        return operation

    def agent_is_back(self, machine: Machine, now: float) -> None:
        """Deliver what waited for the machine's agent."""
        for execution in list(self._executions.values()):
            if execution.machine is machine and execution.started is None and not execution.over:
                self._later(now, Due.DELIVER, execution)

    def preempt_operation(self, operation: Operation, now: float) -> None:
        """End an operation because a newer one on its machine takes its place; what it began goes on (seen)."""
        if operation.done:
            return
        text = "Operation execution has been preempted by a more recent operation."
        operation.fail(now, "OperationPreempted", text, Phase.CANCELED)
        command = self.commands.get(operation.machine.key, {}).get(operation.command.casefold())
        if operation.command and command is not None and command.provisioning is not Provisioning.DELETING:
            command.provisioning = Provisioning.CANCELED

    def take_down(self, machine: Machine, now: float, *, back: float | None) -> None:
        """Let everything give way to a power action. ``back``: seconds until the agent of another boot is ready."""
        for execution in [each for each in self._executions.values() if each.machine is machine]:
            self.preempt_operation(execution.operation, now)
        self.halt(machine)
        for execution in [each for each in self._executions.values() if each.machine is machine]:
            self._forget(execution)
        self._restarts.pop(machine.key, None)
        machine.restart()
        if machine.guest is GuestKind.SANDBOX:
            self._orders.append(Boot(machine))
        if back is not None and machine.agent is AgentState.READY:
            machine.agent = AgentState.NOT_READY
            operation = Operation("", machine, "", now, False)
            gone = Execution(0, machine, operation, Delays(0.0, 0.0), None, None)
            self._later(now + self._timing.scaled(back), Due.BACK, gone)

    def halt(self, machine: Machine) -> None:
        """End what runs in a machine that goes off, without a word: its operations go on until they are given up."""
        for execution in list(self._executions.values()):
            if execution.machine is not machine or execution.started is None or execution.ended:
                continue
            execution.cut = True
            if execution.script is not None and machine.guest is GuestKind.SANDBOX:
                self._orders.append(Kill(execution.id))

    # -- time ----------------------------------------------------------------------------------------------

    def due(self) -> float | None:
        """Return when something happens next, or None."""
        return self._agenda[0].at if self._agenda else None

    def advance(self, now: float) -> None:
        """Let everything happen that is due by now, each at its own time."""
        while self._agenda and self._agenda[0].at <= now:
            entry = heapq.heappop(self._agenda)
            self._happen(entry.due, entry.execution, entry.at)

    def take_orders(self) -> list[Order]:
        """Hand over the orders given since last time."""
        orders, self._orders = self._orders, []
        return orders

    def began(self, execution: int, now: float) -> None:
        """Learn that a sandboxed script starts; while it waited for others that were starting, its time did not count."""
        found = self._executions.get(execution)
        if found is None or found.over or found.cut or found.script is None:
            return
        found.started = now
        if found.command is not None:
            found.command.view.begin(now)
        if found.script.limit:
            self._later(now + found.script.limit, Due.TIME_OUT, found)

    def wished(self, execution: int, seconds: float | None, now: float) -> None:
        """Learn that a running script asked for a restart, or for none after all. Until it ends its seconds are real ones."""
        found = self._executions.get(execution)
        if found is None or found.cut:
            return
        if seconds is None:
            self._restarts.pop(found.machine.key, None)
        else:
            at = self._restarts[found.machine.key] = now + seconds
            self._later(at, Due.RESTART, found)

    def progress(self, execution: int, stdout: bytes, stderr: bytes) -> None:
        """Learn what a sandboxed script has printed until now."""
        found = self._executions.get(execution)
        if found is not None and found.command is not None and not found.ended:
            found.command.view.so_far(stdout, stderr)
            self._blobs.pour(found.command.properties, found.poured, stdout, stderr)

    def ended(self, execution: int, result: Result, now: float) -> None:
        """Learn how a sandboxed script ended."""
        found = self._executions.get(execution)
        if found is None:
            return
        if result.restart is not None and not found.cut:
            at = self._restarts[found.machine.key] = now + self._timing.scaled(result.restart)
            self._later(at, Due.RESTART, found)
        if not found.over and not found.cut and found.result is None:
            self._end(found, result, now)

    # -- inside --------------------------------------------------------------------------------------------

    def _new(
        self,
        operation: Operation,
        work: Work,
        command: Command | None,
        script: Script | None,
        *,
        silent: bool = False,
    ) -> Execution:
        machine = operation.machine
        delays = self._timing.delays(work, machine, operation.id)
        operation.delivered_at = operation.started + delays.before
        self._turn += 1
        execution = Execution(self._turn, machine, operation, delays, command, script)
        if not silent:
            self._executions[execution.id] = execution
            self._later(operation.started + delays.before, Due.DELIVER, execution)
            if machine.kind is not Kind.ARC:  # a command of an Arc machine that is away stays as it is (reported)
                self._later(operation.started + self._timing.scaled(GIVE_UP), Due.GIVE_UP, execution)
                self._later(operation.started + self._timing.scaled(UNREPORTED), Due.UNREPORTED, execution)
        return execution

    def _later(self, at: float, due: Due, execution: Execution) -> None:
        self._turn += 1
        heapq.heappush(self._agenda, _Entry(at, self._turn, due, execution))

    def _happen(self, due: Due, execution: Execution, at: float) -> None:
        if due is Due.GONE and execution.command:
            command = execution.command
            self.commands.get(command.machine.key, {}).pop(command.name.casefold(), None)
            execution.operation.succeed(at)
        elif due is Due.RESTART:
            self._restart(execution, at)
        elif due is Due.BACK:
            execution.machine.agent = AgentState.READY
            self.agent_is_back(execution.machine, at)
        elif due is not Due.GIVE_UP and (execution.over or execution.cut):
            return
        elif due is Due.DELIVER:
            self._deliver(execution, at)
        elif due is Due.END and execution.result is not None and execution.script is not None:
            self._end(execution, execution.result, at)
        elif due is Due.TIME_OUT and execution.result is None:
            self._orders.append(Kill(execution.id))
        elif due is Due.REFRESH and not execution.ended:
            self._refresh(execution, at)
        elif due in self._ways:
            self._ways[due](execution, at)

    def _restart(self, execution: Execution, now: float) -> None:
        """Take a machine down and up again: what runs in it ends without a word, and its agent is away for a while."""
        machine = execution.machine
        if self._restarts.get(machine.key) != now or not machine.running:
            return
        del self._restarts[machine.key]
        self.halt(machine)
        machine.restart()
        machine.agent = AgentState.NOT_READY
        self._orders.append(Boot(machine))
        self._later(now + self._timing.scaled(BOOT), Due.BACK, execution)

    def _deliver(self, execution: Execution, now: float) -> None:
        if execution.machine.agent is not AgentState.READY or execution.started is not None:
            return
        execution.started = now
        if execution.machine.handlers_denied:
            execution.ended = True
            self._later(now + execution.delays.after, Due.REPORT, execution)
            return
        if execution.command and self._already_ran(execution.command):
            self._later(now + execution.delays.after, Due.REPORT, execution)
            execution.ended = True
            return
        wrong = None
        if execution.command:
            prepared = prepare(execution.command, self._blobs)
            wrong, execution.script = (prepared, None) if isinstance(prepared, Result) else (None, prepared)
            execution.command.view.begin(now)
            if execution.command.flag("asyncExecution"):
                self._later(now + execution.delays.after, Due.REPORT, execution)
        if wrong is not None or execution.script is None:
            self._end(execution, wrong or Result(0), now)
            return
        self._run(execution, execution.script, now)

    def _already_ran(self, command: Command) -> bool:
        """Say whether the handler skips a command: it keeps the last sequence number of each name, and a
        deleted command's first successor starts at 0 again (handler source; reported).
        """
        if not self._remembers or command.machine.system is not System.LINUX:
            return False
        key = command.id.casefold()
        if command.sequence <= self._last_run.get(key, -1):
            return True
        self._last_run[key] = command.sequence
        return False

    def _run(self, execution: Execution, script: Script, now: float) -> None:
        if execution.machine.guest is GuestKind.SANDBOX:
            self.counts[execution.machine.id] += 1
            self._orders.append(Start(execution.id, execution.machine, script))
            if execution.command:
                self._later(now + self._every(), Due.REFRESH, execution)
            return
        plan = self._guests.answer(execution.machine, script, now)
        self.counts[execution.machine.id] += plan.ran
        execution.result = plan.result
        execution.ends = now + self._timing.scaled(plan.duration)
        self._later(execution.ends, Due.END, execution)
        if execution.command and plan.growing and plan.duration > REFRESH:
            self._later(now + self._timing.scaled(REFRESH), Due.REFRESH, execution)

    def _every(self) -> float:
        return max(_SOONEST_LOOK, self._timing.scaled(REFRESH))

    def _refresh(self, execution: Execution, now: float) -> None:
        """Refresh what a running command has printed; a scripted guest prints whole lines, evenly over time."""
        if execution.result is None:
            self._orders.append(Look(execution.id))
            self._later(now + self._every(), Due.REFRESH, execution)
        elif execution.command and execution.started is not None:
            share = (now - execution.started) / (execution.ends - execution.started)
            stdout, stderr = execution.result.stdout, execution.result.stderr
            stdout, stderr = lines(stdout, share), lines(stderr, share)
            execution.command.view.so_far(stdout, stderr)
            self._blobs.pour(execution.command.properties, execution.poured, stdout, stderr)
            if (then := now + self._timing.scaled(REFRESH)) < execution.ends:
                self._later(then, Due.REFRESH, execution)

    def _end(self, execution: Execution, result: Result, now: float) -> None:
        execution.result, execution.script, execution.ended = result, None, True
        command = execution.command
        if command is not None:
            command.view.end(result, now, command.done_text)
            self._blobs.pour(command.properties, execution.poured, result.stdout, result.stderr)
            if command.flag("asyncExecution"):
                if execution.operation.done and command.provisioning in _SETTLED:
                    self._forget(execution)
                return
        self._later(now + execution.delays.after, Due.REPORT, execution)

    def _report(self, execution: Execution, now: float) -> None:
        operation, command = execution.operation, execution.command
        if operation.done:
            if command is not None and command.provisioning is Provisioning.CANCELED:
                command.provisioning = Provisioning.SUCCEEDED  # seen of a preempted extension
            self._forget(execution)
        elif execution.machine.handlers_denied:
            operation.fail(now, *disallowed(execution.machine, managed=command is not None))
            self._settle(execution, now)
        elif command is None:
            operation.succeed(now, action_statuses(execution.machine, execution.result or Result(0)))
            self._forget(execution)
        elif self._is_failure(execution, command):
            operation.fail(now, *failure(execution.machine, command.view.message))
            self._settle(execution, now)
        else:
            operation.succeed(now)
            if self._lag:
                self._later(now + self._timing.scaled(self._lag), Due.SETTLE, execution)
            else:
                self._settle(execution, now)

    def _settle(self, execution: Execution, now: float) -> None:
        command = execution.command
        if command is not None and command.provisioning is not Provisioning.DELETING:
            failed = execution.operation.phase is Phase.FAILED
            command.provisioning = Provisioning.FAILED if failed else Provisioning.SUCCEEDED
        if execution.ended:
            self._forget(execution)

    def _is_failure(self, execution: Execution, command: Command) -> bool:
        failed = execution.result is not None and execution.result.exit_code != 0
        return failed and command.flag("treatFailureAsDeploymentFailure")

    def _give_up(self, execution: Execution, now: float) -> None:
        """Give up after 90 minutes; a script that runs goes on and keeps the machine busy."""
        if execution.operation.done:
            return
        execution.operation.fail(now, *gave_up(execution.machine, managed=execution.command is not None))
        if execution.command is not None:
            execution.command.provisioning = Provisioning.FAILED
        if execution.started is None or execution.cut:
            self._forget(execution)

    def _unreported(self, execution: Execution, now: float) -> None:
        """Fail what waits for an agent whose status blob is missing."""
        if execution.machine.agent is not AgentState.NO_STATUS or execution.started is not None:
            return
        if execution.operation.done:
            return
        execution.operation.fail(now, *not_reported(execution.machine))
        if execution.command is not None:
            execution.command.provisioning = Provisioning.FAILED
        self._forget(execution)

    def _supersede(self, command: Command, now: float) -> None:
        """End the run a command had before; its operation gives way to the newer one."""
        earlier = self._managed.pop(command.id.casefold(), None)
        if earlier is None:
            return
        if earlier.script is not None and earlier.machine.guest is GuestKind.SANDBOX:
            self._orders.append(Kill(earlier.id))
        provisioning = command.provisioning
        self.preempt_operation(earlier.operation, now)
        command.provisioning = provisioning
        self._forget(earlier)

    def _forget(self, execution: Execution) -> None:
        execution.over = True
        self._executions.pop(execution.id, None)
        if self._actions.get(execution.machine.key) is execution:
            del self._actions[execution.machine.key]
        if execution.command and self._managed.get(execution.command.id.casefold()) is execution:
            del self._managed[execution.command.id.casefold()]
