"""Public fakes for tests of anything built on Fleet: a scripted cloud, a journal in memory, a clock moved by hand.

They keep the promises of the real ones; one set of contract tests runs over both.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field

from fleet.engine.ports import Holder, Reply
from fleet.errors import StateError
from fleet.guest import envelope
from fleet.plan.model import Plan
from fleet.playbook.model import Transport
from fleet.run import answers as a
from fleet.run.answers import Command, LostReason, Operation, Refusal
from fleet.run.events import Event
from fleet.targets.model import Target


class HandClock:
    """A clock that stands still until it is moved. Epoch seconds."""

    def __init__(self, now: float = 0.0) -> None:
        self._now = now

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        assert seconds >= 0, "a clock never runs backwards"
        self._now += seconds


@dataclass(slots=True)
class _Kept:
    plan: Plan
    created: float
    events: list[Event] = field(default_factory=list)
    epoch: int = 0
    holder: MemoryJournal | None = None


@dataclass(frozen=True, slots=True)
class MemoryRun:
    """A run as it is kept: its plan, its events, the epoch taken last, and whether an owner holds it now."""

    run_id: str
    plan: Plan
    events: tuple[Event, ...]
    epoch: int
    created: float
    live: bool


class MemoryRuns:
    """The durable world of :class:`MemoryJournal`: what survives when an owner is killed.

    ``failing`` names the appends, counted from 1 over all runs, that meet a full disk.
    """

    def __init__(self, failing: Container[int] = ()) -> None:
        self._runs: dict[str, _Kept] = {}
        self._failing = failing
        self.appends = 0
        """How many appends were tried."""

    def create(self, run_id: str, plan: Plan, *, now: float = 0.0) -> MemoryJournal:
        """Begin a run under epoch 1. Raises StateError ``run_exists``."""
        if run_id in self._runs:
            raise StateError(f"the run {run_id} exists already", code="run_exists")
        self._runs[run_id] = _Kept(plan, now)
        return self.open_for_writing(run_id)

    def open_for_writing(self, run_id: str) -> MemoryJournal:
        """Take a run over under the next epoch. Raises StateError ``run_is_live``, ``no_journal``."""
        kept = self._find(run_id)
        if kept.holder is not None:
            raise StateError(f"the run {run_id} is being carried out", code="run_is_live")
        kept.epoch += 1
        kept.holder = MemoryJournal(self, run_id, kept.epoch)
        return kept.holder

    def read(self, run_id: str) -> MemoryRun:
        """Return a run as it stands. Raises StateError ``no_journal``."""
        kept = self._find(run_id)
        return MemoryRun(run_id, kept.plan, tuple(kept.events), kept.epoch, kept.created, kept.holder is not None)

    def drop_lock(self, run_id: str) -> None:
        """Let go of the run as the kernel does when its owner dies, or as a person who deletes the lock file.

        The journal of the owner before stays usable until somebody else takes the run over.
        """
        self._find(run_id).holder = None

    def _find(self, run_id: str) -> _Kept:
        if run_id not in self._runs:
            raise StateError(f"there is no run {run_id}", code="no_journal")
        return self._runs[run_id]

    def _keep(self, journal: MemoryJournal, events: Sequence[Event]) -> None:
        kept = self._find(journal.run_id)
        if kept.epoch != journal.epoch:
            raise StateError(f"another owner has taken over the run {journal.run_id}", code="lease_lost")
        self.appends += 1
        if self.appends in self._failing:
            raise StateError("the disk is full", hint="free some space and resume", code="disk_full")
        kept.events += events

    def _let_go(self, journal: MemoryJournal) -> None:
        kept = self._find(journal.run_id)
        if kept.holder is journal:
            kept.holder = None


class MemoryJournal:
    """A journal whose disk is a :class:`MemoryRuns`; fenced, and ended by its first failure."""

    def __init__(self, runs: MemoryRuns, run_id: str, epoch: int) -> None:
        self._runs = runs
        self._failure: StateError | None = None
        self.run_id = run_id
        self.epoch = epoch

    async def append(self, events: Sequence[Event]) -> None:
        """Keep all these events, or raise StateError and keep none."""
        assert all(event.durable for event in events), "only durable events are journalled"
        if not events:
            return
        if self._failure is not None:
            raise StateError(str(self._failure), hint=self._failure.hint, code=self._failure.code)
        try:
            self._runs._keep(self, events)
        except StateError as error:
            self._failure = error
            raise

    async def close(self) -> None:
        """Let go of the run. Safe to repeat."""
        self._failure = self._failure or StateError("the journal is closed", code="journal_closed")
        self._runs._let_go(self)


class MemoryLeases:
    """The leases of one cloud's VMs, for as many runs as share them."""

    def __init__(self) -> None:
        self.held: dict[str, Holder] = {}
        """Who holds which VM, by the target's key."""

    async def take(self, target: Target, run_id: str, *, now: float, until: float) -> Holder | None:
        """Take a VM's lease or renew it, unless another run holds it."""
        holder = self.held.get(target.key)
        if holder is not None and holder.run_id != run_id and holder.until > now:
            return holder
        self.held[target.key] = Holder(run_id, until)
        return None

    def release(self, target: Target, run_id: str) -> None:
        """Let go of a VM that this run holds."""
        holder = self.held.get(target.key)
        if holder is not None and holder.run_id == run_id:
            del self.held[target.key]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What one submission meets. Times in seconds of the event loop's clock."""

    exit_code: int = 0
    stdout: str = "done\n"
    stderr: str = ""
    duration: float = 2.0
    starts: float = 0.0
    """Seconds until the script starts, infinite for never; its duration counts from then."""
    latency: float = 0.05
    refuse: Refusal | None = None
    lose: LostReason | None = None
    """No usable answer; the command runs all the same, unless it is ``not_connected`` or ``arrives`` is false."""
    arrives: bool = True
    fail: tuple[str, str] | None = None
    """The operation ends without a result: code and message."""
    boot_id: str = "boot-1"


@dataclass(slots=True)
class _Execution:
    command: Command
    behaviour: Behaviour
    ends: float
    replayed: bool
    started: float = 0.0


class ScriptedCloud:
    """A Cloud in memory: ``behave(command, n)`` says what the n-th submission of a command (from 1) meets.

    Like a guest, it runs one content of a command once and answers later deliveries of it from what it kept;
    ``executions`` counts what really ran, by VM. Everything happens in the loop's time, so a virtual loop costs nothing.
    """

    def __init__(self, behave: Callable[[Command, int], Behaviour] = lambda command, n: Behaviour()) -> None:
        self._behave = behave
        self.executions: Counter[str] = Counter()
        self.submissions: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.most_at_once = 0
        self.agents: dict[str, a.AgentAnswer] = {}
        """What a read of a VM's agent is answered, by the target's key; the others are ready."""
        self._running: dict[str, _Execution] = {}
        self._ran: dict[str, tuple[Behaviour, float]] = {}

    async def submit(self, command: Command) -> Reply[a.SubmitAnswer]:
        self.calls["submit"] += 1
        self.submissions[command.name] += 1
        behaviour = self._behave(command, self.submissions[command.name])
        await asyncio.sleep(behaviour.latency)
        if behaviour.refuse is not None:
            return Reply(a.Refused(behaviour.refuse))
        if behaviour.lose is LostReason.NOT_CONNECTED:
            return Reply(a.Lost(behaviour.lose))
        if behaviour.arrives:
            self._run(command, behaviour)
        if behaviour.lose is not None:
            return Reply(a.Lost(behaviour.lose))
        return Reply(a.Accepted(self._operation(command.target, command.transport, command.name)))

    async def look(self, target: Target, operation: Operation) -> Reply[a.LookAnswer]:
        self.calls["look"] += 1
        await asyncio.sleep(0.02)
        execution = self._running.get(operation.resource)
        if execution is None:
            return Reply(a.Refused(Refusal(404, "ResourceNotFound", "no such command")))
        if (now := asyncio.get_running_loop().time()) < execution.ends:
            return Reply(a.StillRunning(started=f"at {execution.started}" if now >= execution.started else ""))
        if execution.behaviour.fail is not None:
            return Reply(a.OperationFailed(*execution.behaviour.fail))
        return Reply(a.Finished(_answer(execution)))

    async def find(self, target: Target, name: str) -> Reply[a.FindAnswer]:
        self.calls["find"] += 1
        await asyncio.sleep(0.02)
        execution = self._running.get(f"{target.key}/{name}")
        if execution is None:
            return Reply(a.Missing())
        running = asyncio.get_running_loop().time() < execution.ends
        mark = a.Mark(execution.command.source, f"at {execution.started}", running)
        return Reply(a.Found(self._operation(target, Transport.MANAGED, name), mark))

    async def remove(self, target: Target, name: str) -> Reply[a.RemoveAnswer]:
        self.calls["remove"] += 1
        await asyncio.sleep(0.02)
        self._running.pop(f"{target.key}/{name}", None)
        return Reply(a.Removed())

    async def agent(self, target: Target) -> Reply[a.AgentAnswer]:
        self.calls["agent"] += 1
        await asyncio.sleep(0.02)
        return Reply(self.agents.get(target.key, a.AgentReport(True)))

    def _run(self, command: Command, behaviour: Behaviour) -> None:
        place = f"{command.target.key}/{command.name}"
        content = f"{place}/{command.source}"
        now = asyncio.get_running_loop().time()
        replayed = content in self._ran
        if not replayed:
            self._ran[content] = behaviour, now + behaviour.starts
            self.executions[command.target.key] += behaviour.starts < math.inf
        behaviour, started = self._ran[content]
        self._running[place] = _Execution(
            command, behaviour, max(now, started) + (0.0 if replayed else behaviour.duration), replayed, started
        )
        self.most_at_once = max(self.most_at_once, len(self._running))

    @staticmethod
    def _operation(target: Target, transport: Transport, name: str) -> Operation:
        return Operation(transport, resource=f"{target.key}/{name}")


def _answer(execution: _Execution) -> a.Answer:
    """What the service would say: through the wrapper's receipt where the script is wrapped."""
    behaviour, command = execution.behaviour, execution.command
    code, out, err = behaviour.exit_code, behaviour.stdout.encode(), behaviour.stderr.encode()
    opened = envelope.open(command.script, {})
    if opened is not None:
        code, out, err = opened.seal(
            exit_code=code,
            stdout=out,
            stderr=err,
            boot_id=behaviour.boot_id,
            started=0.0,
            ended=1.0,
            replayed=execution.replayed,
        )
    stdout, stderr = out.decode(errors="replace"), err.decode(errors="replace")
    if command.transport is Transport.ACTION:
        return a.Answer(combined=f"Enable succeeded: \n[stdout]\n{stdout}\n[stderr]\n{stderr}")
    state = "Succeeded" if code == 0 else "Failed"
    return a.Answer(state, "Execution completed", code, stdout, stderr, started=f"at {execution.started}")
