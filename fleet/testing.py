"""Public fakes for tests of anything built on Fleet: a scripted cloud, a journal in memory, a clock moved by hand.

They keep the promises of the real ones; one set of contract tests runs over both.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field

from fleet.engine.ports import Holder, Reply
from fleet.engine.run_store import ALL, RunFilter, Tail, Takeover
from fleet.errors import StateError
from fleet.guest import envelope
from fleet.plan.model import Plan
from fleet.playbook.model import Transport
from fleet.run import answers as a
from fleet.run.answers import Command, LostReason, Operation, Refusal
from fleet.run.events import Directive, Event, RunEnded
from fleet.run.kept import RunState, RunSummary, SavedRun
from fleet.run.model import Extent
from fleet.run.run_id import check, find
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
    outputs: dict[tuple[int, str], bytes] = field(default_factory=dict)
    reports: dict[str, str] = field(default_factory=dict)
    directives: MemoryDirectives = field(default_factory=lambda: MemoryDirectives())


class MemoryRuns:
    """A state store in memory: what survives when an owner is killed. See :class:`fleet.engine.run_store.RunStore`.

    ``failing`` names the appends, counted from 1 over all runs, that meet a full disk.
    """

    def __init__(self, failing: Container[int] = ()) -> None:
        self._runs: dict[str, _Kept] = {}
        self._leases: dict[str, MemoryLeases] = {}
        self._failing = failing
        self.appends = 0
        """How many appends were tried."""

    async def create(self, run_id: str, plan: Plan, *, owner: str = "test", now: float = 0.0) -> MemoryJournal:
        """Keep a new run and own it under epoch 1."""
        if check(run_id) in self._runs:
            raise StateError(f"the run {run_id} exists already", code="run_exists")
        self._runs[run_id] = _Kept(plan, now)
        return (await self.take_over(run_id, owner=owner, now=now)).journal

    async def take_over(self, run_id: str, *, owner: str = "test", now: float = 0.0) -> MemoryTakeover:
        """Own a run under the next epoch, and read it."""
        kept = self._find(run_id)
        if kept.holder is not None:
            raise StateError(f"the run {run_id} is being carried out", code="run_is_live")
        kept.epoch += 1
        kept.holder = MemoryJournal(self, run_id, kept.epoch)
        return MemoryTakeover(kept.holder, kept.plan, tuple(kept.events))

    async def read(self, run_id: str) -> SavedRun:
        """Return a run as it is now."""
        kept = self._find(run_id)
        return SavedRun(run_id, kept.plan, tuple(kept.events), kept.epoch, kept.created, kept.holder is not None)

    async def events(self, run_id: str, *, after: int) -> Tail:
        """Return the events that follow one."""
        kept = self._find(run_id)
        if after > len(kept.events):
            return Tail((), after, kept.holder is not None, f"event {after} of run {run_id} is missing")
        return Tail(tuple(kept.events[after:]), len(kept.events), kept.holder is not None)

    async def find(self, text: str) -> str:
        """Return the id that a text stands for."""
        newest = (await self.list())[0].id if self._runs else ""
        return find(text, self._runs, lambda: newest, "memory")

    async def list(self, wanted: RunFilter = ALL) -> tuple[RunSummary, ...]:
        """Return the runs that the filter admits, newest first."""
        found = sorted((self._summary(run_id) for run_id in self._runs), key=lambda run: (run.created, run.id))
        return tuple(run for run in reversed(found) if wanted.admits(run))

    async def output(self, run_id: str, job: int, stream: str, extent: Extent) -> bytes | None:
        """Return a whole stream that was kept."""
        data = self._find(run_id).outputs.get((job, stream))
        return data if data is not None and extent.fits(data) else None

    async def keep_output(self, run_id: str, job: int, stream: str, data: bytes) -> None:
        """Keep a whole stream."""
        self._find(run_id).outputs[job, stream] = data

    async def keep_report(self, run_id: str, name: str, pieces: Iterable[str]) -> str:
        """Keep a report."""
        self._find(run_id).reports[name] = "".join(pieces)
        return f"memory:{run_id}/{name}"

    def directives(self, run_id: str) -> MemoryDirectives:
        """Return the directives of one run."""
        return self._find(run_id).directives

    async def leases(self, cloud: str) -> MemoryLeases:
        """Open the leases of a cloud's VMs."""
        return self._leases.setdefault(cloud, MemoryLeases())

    def kept(self, run_id: str) -> tuple[Event, ...]:
        """Return a run's events, for a test without an event loop."""
        return tuple(self._find(run_id).events)

    def drop_lock(self, run_id: str) -> None:
        """Release the run as the kernel does when its owner dies, or as a person who deletes the lock file.

        The journal of the owner before stays usable until another takes the run over.
        """
        self._find(run_id).holder = None

    def _find(self, run_id: str) -> _Kept:
        if check(run_id) not in self._runs:
            raise StateError(f"there is no run {run_id}", code="no_journal")
        return self._runs[run_id]

    def _summary(self, run_id: str) -> RunSummary:
        kept = self._runs[run_id]
        state = RunState.ENDED if any(isinstance(event, RunEnded) for event in kept.events) else RunState.UNFINISHED
        state = state if kept.holder is None else RunState.LIVE
        return RunSummary(run_id, state, kept.plan.playbook.name, kept.created, len(kept.plan.targets))

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
    """A journal whose disk is a :class:`MemoryRuns`; fenced, and ended by its first failure. It is never lost."""

    loss: StateError | None = None
    saved: tuple[Event, ...] | None = None

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

    async def look(self) -> None:
        """Find the journal where it was."""

    async def close(self) -> None:
        """Release the run. Safe to repeat."""
        self._failure = self._failure or StateError("the journal is closed", code="journal_closed")
        self._runs._let_go(self)


@dataclass(frozen=True, slots=True)
class MemoryTakeover(Takeover):
    """A run taken over in memory."""

    journal: MemoryJournal


class MemoryDirectives:
    """What people ask of one run, and the answers."""

    def __init__(self) -> None:
        self._waiting: dict[str, Directive] = {}
        self._answers: dict[str, str] = {}

    async def leave(self, event: Directive) -> None:
        """Leave a directive for the run's owner."""
        self._waiting[event.directive] = event

    async def pending(self) -> Sequence[Directive]:
        """Return what waits for the owner, oldest first."""
        return [self._waiting[directive] for directive in sorted(self._waiting)]

    async def answer(self, directive: str, text: str) -> None:
        """Say what became of a directive, which waits no longer."""
        self._answers[directive] = text
        await self.withdraw(directive)

    async def answered(self, directive: str) -> str | None:
        """Return the answer, once."""
        return self._answers.pop(directive, None)

    async def withdraw(self, directive: str) -> None:
        """Remove a directive that still waits."""
        self._waiting.pop(directive, None)


class MemoryLeases:
    """The leases of one cloud's VMs, for as many runs as share them. They are never lost."""

    loss: StateError | None = None

    def __init__(self) -> None:
        self.held: dict[str, Holder] = {}
        """Who holds which VM, by the target's key."""

    async def look(self) -> None:
        """Find the leases where they were."""

    async def close(self) -> None:
        """Leave what is held as it is."""

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
