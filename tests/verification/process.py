"""One life of Fleet's process: it takes the run over, drives it, and ends by itself or by what a scenario has in store."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from fleet.azure.cloud import AzureCloud
from fleet.azure.credentials import TokenSource
from fleet.clock import Clock
from fleet.engine.loop import Engine, Nonces
from fleet.engine.ports import Cloud, Journal, Reply
from fleet.errors import AzureUnusable, FleetError
from fleet.plan.model import JobId, Plan
from fleet.rehearsal.network import MemoryTransport, Network
from fleet.report.aggregate import aggregate
from fleet.run import answers as a
from fleet.run.answers import Command, GateAnswer, Operation, Question, Silent
from fleet.run.events import AnswerUnusable, ApprovalAwaited, Event, RunOpened, StopKind, WaveApproved, WaveRejected
from fleet.run.state import Run
from fleet.targets.model import Target
from tests.verification import canary
from tests.verification.call import CALL, NO_JOB, Call
from tests.verification.gates import Keepers
from tests.verification.history import History, Shown
from tests.verification.scenario import RUN_ID, Blow, Interruption

CloudOf = Callable[[MemoryTransport], Cloud]
"""How a process reaches Azure. Tests of the checker hand in clouds that misbehave."""


class End(StrEnum):
    """How a life ended."""

    FINISHED = "finished"
    LEFT = "left"
    """By itself, before the run's end: stopped, or something failed."""
    DEAD = "dead"
    FROZEN = "frozen"
    """It still stands somewhere, and may go on."""


class Tokens:
    """A principal's tokens, until there are none."""

    def __init__(self, word: str = "token") -> None:
        self.gone = False
        self._word = word
        self._number = 0

    async def token(self, *, tenant: str | None = None, claims: str | None = None) -> str:
        if self.gone:
            raise AzureUnusable("the sign-in has expired", hint="az login")
        return f"{self._word}-{self._number}"

    def forget(self, token: str) -> None:
        """Give another one next time: who refuses a token wants a fresh one."""
        self._number += token == f"{self._word}-{self._number}"


@dataclass(slots=True)
class _Named:
    """The cloud, noting on whose behalf each call is made."""

    cloud: Cloud
    epoch: int

    def _ask(self, kind: str, target: Target, name: str) -> None:
        job, retry = job_of(name)
        CALL.set(Call(job, kind, self.epoch, target.key, retry))

    async def submit(self, command: Command) -> Reply[a.SubmitAnswer]:
        self._ask("submit", command.target, command.name)
        return await self.cloud.submit(command)

    async def look(self, target: Target, operation: Operation) -> Reply[a.LookAnswer]:
        CALL.set(Call(NO_JOB, "look", self.epoch, target.key))
        return await self.cloud.look(target, operation)

    async def find(self, target: Target, name: str) -> Reply[a.FindAnswer]:
        self._ask("find", target, name)
        return await self.cloud.find(target, name)

    async def remove(self, target: Target, name: str) -> Reply[a.RemoveAnswer]:
        self._ask("remove", target, name)
        return await self.cloud.remove(target, name)

    async def agent(self, target: Target) -> Reply[a.AgentAnswer]:
        CALL.set(Call(NO_JOB, "agent", self.epoch, target.key))
        return await self.cloud.agent(target)


def job_of(name: str) -> tuple[JobId, int]:
    """The job, and the try of it, whose command has this name."""
    job, _, retry = name.removeprefix(f"fleet-{RUN_ID}-").partition("-r")
    return JobId(int(job)), int(retry or 0)


class Process:
    """An owner of the run. Made anew after each end of the one before."""

    def __init__(
        self,
        plan: Plan,
        keepers: Keepers,
        network: Network,
        clock: Clock,
        history: History,
        epoch: int,
        interruption: Interruption | None,
        cloud_of: CloudOf | None = None,
        secrets: Mapping[str, str] | None = None,
        *,
        nonces: Nonces,
    ) -> None:
        self.epoch = epoch
        self.interruption = interruption
        self.ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._plan = plan
        self._keepers = keepers
        self._secrets = secrets or {}
        self._nonces = nonces
        self._clock = clock
        self._history = history
        self._dead = False
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._tokens = Tokens(canary.TOKEN)
        sources: tuple[TokenSource, ...] = (self._tokens,)
        transport = MemoryTransport(network, sources, lambda: self)
        cloud = AzureCloud(transport) if cloud_of is None else cloud_of(transport)
        self._cloud: Cloud = _Named(cloud, epoch)
        self._engine: Engine | None = None
        self._task: asyncio.Task[None] | None = None
        self._timers: list[asyncio.TimerHandle] = []

    async def passed(self) -> None:
        """The gate to the world: a frozen process stands at it, a dead one never comes past it."""
        await self._thawed.wait()
        if self._dead:
            await asyncio.get_running_loop().create_future()

    def start(self, journal: Journal, events: tuple[Event, ...]) -> None:
        """Begin to live: fold what is kept, and drive the run from there."""
        run = Run(self._plan, RUN_ID)
        for event in events:
            run.apply(event)
        self._task = asyncio.get_running_loop().create_task(self._live(run, journal))
        self._arm()

    async def finish(self) -> None:
        """Take the process out of the world, whatever it is doing."""
        self._dead = True
        for timer in self._timers:
            timer.cancel()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._task

    def die(self) -> None:
        """kill -9: from now on nothing it does has an effect."""
        self._dead = True
        self._end(End.DEAD)

    async def _live(self, run: Run, journal: Journal) -> None:
        def command_of(job: JobId) -> Command:
            return run.command(job, self._secrets)

        def observe(event: Event) -> None:
            if isinstance(event, AnswerUnusable):
                self._history.troubles.append(event.detail)
            if not self._dead:
                self._history.shown.append(Shown(self.epoch, event))
                self._history.peak = max(self._history.peak, run.in_flight)
                if isinstance(event, RunOpened | ApprovalAwaited) and run.awaiting is not None:
                    self._call_a_person(run.awaiting)

        self._engine = Engine(run, self._cloud, journal, self._clock, command_of, observe, self, nonces=self._nonces)
        try:
            await self._engine.drive(self.epoch, "simulated")
        except FleetError:
            self._end(End.LEFT)  # told to a person, who resumes
        except Exception:
            self._history.troubles.append(traceback.format_exc())
            self._end(End.LEFT)
        if not self.ended.done():
            record = run.record()
            self._history.lives.append(record)
            if run.stop is not None and not run.finished:
                self._history.left.append(aggregate(record, interrupted=True))
            self._end(End.FINISHED if run.finished else End.LEFT)

    async def ask(self, question: Question, within: float) -> GateAnswer:
        """Ask a webhook over a wire that reaches it, unless this process does not."""
        await self.passed()
        await asyncio.sleep(min(self._keepers.pause, within))
        await self.passed()
        return (
            Silent("no answer in time") if self._keepers.pause > within else await self._keepers.ask(question, within)
        )

    def _call_a_person(self, wave: int) -> None:
        """Have a person decide about a wave, from another terminal, after a while."""
        kind = WaveApproved if self._keepers.approve(self._plan, wave) else WaveRejected
        assert self._engine is not None
        decision = kind(0.0, wave, "simulated", directive=f"wave-{wave}-{self.epoch}")
        loop = asyncio.get_running_loop()
        self._timers.append(loop.call_later(self._keepers.pause, self._engine.hear, decision))

    def _end(self, how: End) -> None:
        if not self.ended.done():
            self.ended.set_result(how)

    def _arm(self) -> None:
        """Set off what this life has in store at a moment (what it has at a write, its journal carries out)."""
        if self.interruption is None:
            return
        blows: dict[Blow, Callable[[], None]] = {
            Blow.KILLED: self.die,
            Blow.SOFT_STOP: lambda: self._stop(StopKind.SOFT),
            Blow.HARD_STOP: lambda: self._stop(StopKind.HARD),
            Blow.SIGNED_OUT: self._sign_out,
            Blow.FROZEN: self._freeze,
        }
        if (blow := blows.get(self.interruption.blow)) is not None:
            self._timers.append(asyncio.get_running_loop().call_later(self.interruption.at, blow))

    def _stop(self, kind: StopKind) -> None:
        if self._engine is not None:
            self._engine.stop(kind, "simulated")

    def _sign_out(self) -> None:
        self._tokens.gone = True

    def _freeze(self) -> None:
        assert self.interruption is not None
        if self.ended.done():
            return
        self._thawed.clear()
        self._timers.append(asyncio.get_running_loop().call_later(self.interruption.lasts, self._thawed.set))
        self._end(End.FROZEN)
