"""The only loop: effect -> journal -> world -> event.

Order of things, for each round: ask the run what to do until it has nothing to do now; bring every event of the round to
disk in one commit; only then act on the world and tell observers. What a crash can lose was therefore neither sent nor
shown. Applying before the commit is safe for the same reason: memory goes with the process.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from fleet.clock import Clock
from fleet.engine.gather import most_telling
from fleet.engine.ports import Cloud, Gatekeeper, Journal, Kept, Reply
from fleet.engine.turns import SharedRates
from fleet.engine.watch import watch
from fleet.errors import AzureUnusable, StateError, defect
from fleet.plan.model import JobId
from fleet.run import answers as a
from fleet.run import effects as f
from fleet.run import events as e
from fleet.run.agent import is_checked
from fleet.run.answers import Command, Operation
from fleet.run.command import command_name
from fleet.run.gates.webhooks import question
from fleet.run.job import SECOND_LOOK_AFTER, is_earlier_result, is_too_early
from fleet.run.model import Phase
from fleet.run.retry import is_unreadable
from fleet.run.state import Run
from fleet.run.translate import (
    agent_event,
    begun,
    find_event,
    gate_event,
    look_event,
    removal_event,
    submission_event,
    unread_event,
)

ROUND = 256
"""Events brought to disk together at most."""

GAP = 0.02
"""Seconds from one round to the next, at least: what arrives meanwhile is decided, and brought to disk, together."""

Observer = Callable[[e.Event], None]
Commands = Callable[[JobId], Command]
Nonces = Callable[[], str]
"""Draws 32 hexadecimal digits that nothing outside can guess."""

_RUN_ENDING = (AzureUnusable, StateError)
"""What a call may raise that is about the whole run. Anything else is a defect that one job met."""


class Engine:
    """Drives one run to its end, or to where a person stopped it."""

    def __init__(
        self,
        run: Run,
        cloud: Cloud,
        journal: Journal,
        clock: Clock,
        commands: Commands,
        observe: Observer,
        gatekeeper: Gatekeeper | None = None,
        *,
        nonces: Nonces,
        kept: Sequence[Kept] = (),
        shared: SharedRates | None = None,
    ) -> None:
        self._run = run
        self._cloud = cloud
        self._journal = journal
        self._clock = clock
        self._commands = commands
        self._observe = observe
        self._gatekeeper = gatekeeper
        self._nonces = nonces
        self._kept = kept
        self._shared = shared
        """The rates that others use too; None where the run is alone with its own."""
        self._inbox: deque[e.Event] = deque()
        self._arrived = asyncio.Event()
        self._halted = False
        self._calls: set[asyncio.Task[None]] = set()
        """What is on the wire."""
        self._next_round = 0.0
        """The moment of the event loop's clock before which no round begins."""
        self._ahead = 0.0
        """Seconds by which the run's own time is ahead of the clock: the clock was set back between two owners."""

    def _now(self) -> float:
        return self._clock.now() + self._ahead

    def stop(self, kind: e.StopKind, who: str) -> None:
        """Ask the run to stop. May be called from a signal handler of the loop."""
        self._put(e.StopRequested(self._now(), kind, who))

    def hear(self, directive: e.Directive) -> None:
        """Take up what a person asks from elsewhere; it holds from now on, and observers see it once it is on disk."""
        self._put(replace(directive, at=self._now()))

    async def drive(self, epoch: int, owner: str, principals: int = 1, *, waits: bool = True) -> None:
        """Run until finished or halted; ``principals`` is how many sign the calls.

        Where a person must approve a wave, it goes on waiting if ``waits``, and halts if not.


        Raises :class:`fleet.errors.StateError` when the journal fails, another owner took the run or something of
        ``kept`` is gone, and :class:`fleet.errors.AzureUnusable` when nothing can be asked of Azure; the run can be resumed
        after either, if its journal is there.
        """
        self._ahead = max(self._run.latest - self._clock.now(), 0.0)
        if self._shared is not None:
            now = self._now()
            self._run.join(self._shared.rates, now, now - self._shared.clock.now())
        await self._commit([e.RunOpened(self._now(), epoch, owner, principals, waits)])
        try:
            # asyncio's own group: a task costs a third of one in anyio's (17 against 55 µs), each call is cancelled by
            # itself, and a cancelled call is cancelled once, not again at each wait.
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(watch(self._kept)) if self._kept else None
                while not (self._run.finished or self._halted):
                    wake = await self._round(tasks)
                    if not (self._run.finished or self._halted):
                        await self._wait(wake)
                if watching is not None:
                    watching.cancel()
                for call in self._calls:  # a run is left in spite of them only where a person insists
                    call.cancel()
        except* Exception as group:
            with suppress(StateError):
                await self._keep_arrived()
            error = most_telling(group)
            raise error from error.__cause__
        if self._halted:
            await self._keep_arrived()
            await self._keep_lost()

    async def _round(self, tasks: asyncio.TaskGroup) -> float | None:
        """Take what has arrived and what is due now, commit it, act on it. Return when to look again."""
        events: list[e.Event] = []
        calls: list[Coroutine[Any, Any, None]] = []
        self._arrived.clear()
        while self._inbox:
            events.append(self._apply(self._inbox.popleft()))
        wake: float | None = self._now()
        while len(events) < ROUND and not self._run.finished:
            effect = self._run.next(self._now())
            if isinstance(effect, f.WaitUntil):
                wake = effect.at
                if self._shared is not None:
                    self._run.wait(self._now())
                break
            if isinstance(effect, f.Halt):
                self._halted = True
                break
            events.append(self._apply(self._begun(effect)))
            if (call := self._call(effect)) is not None:
                calls.append(call)
        try:
            await self._journal.append([event for event in events if event.durable])
        except BaseException:
            for call in calls:
                call.close()
            raise
        for call in calls:
            task = tasks.create_task(call)
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
        for event in events:
            self._observe(event)
        return wake

    async def _keep_arrived(self) -> None:
        """Bring what has arrived to disk before the run is left, so that the next owner need not ask again."""
        arrived = [event for event in self._inbox if event.durable]
        self._inbox.clear()
        if arrived:
            await self._commit(arrived)

    async def _keep_lost(self) -> None:
        """Bring to disk that submissions on the wire have no answer: whether they arrived is found out by a resume."""
        detail = "the run was left before it came"
        lost = [
            e.SubmissionLost(self._now(), state.job.id, a.LostReason.TIMEOUT, detail)
            for state in self._run.jobs
            if state.phase is Phase.SUBMITTING
        ]
        if lost:
            await self._commit([*lost])

    async def _wait(self, wake: float | None) -> None:
        """Wait for an event, or for the moment ``wake``."""
        alarm = None
        if wake is not None:
            alarm = asyncio.get_running_loop().call_later(max(wake - self._now(), 0.0), self._arrived.set)
        try:
            await self._arrived.wait()
        finally:
            if alarm is not None:
                alarm.cancel()
        loop = asyncio.get_running_loop()
        if (early := self._next_round - loop.time()) > 0:
            await asyncio.sleep(early)
        self._next_round = loop.time() + GAP

    async def _commit(self, events: list[e.Event]) -> None:
        for event in events:
            self._apply(event)
        await self._journal.append(events)
        for event in events:
            self._observe(event)

    def _apply(self, event: e.Event) -> e.Event:
        self._run.apply(event)
        return event

    def _begun(self, effect: f.Effect) -> e.Event:
        """The event by which an effect begins.

        The first intent of a try names the nonce of its receipt, and the end of a job's time what its last request met.
        """
        event = begun(effect, self._now())
        if isinstance(event, e.JobExpired):
            trouble = self._run.jobs[event.job].trouble  # of a look that failed nothing else is on disk
            return replace(event, detail=trouble.message if trouble else "")
        if isinstance(event, e.SubmissionIntended) and self._run.is_without_nonce(event.job):
            return replace(event, nonce=self._nonces())
        return event

    def _call(self, effect: f.Effect) -> Coroutine[Any, Any, None] | None:
        match effect:
            case f.Submit(job):
                return self._about(job, partial(self._submit, job, effect.update))
            case f.Look(job):
                return self._about(job, partial(self._look, job))
            case f.Find(job):
                return self._about(job, partial(self._find, job))
            case f.AskAgent(job):
                return self._about(job, partial(self._ask_agent, job))
            case f.Remove(job):
                return self._about(job, partial(self._remove, job), removal=True)
            case f.AskGate(gate, within=within):
                return self._ask(gate, within)
            case _:
                return None

    async def _about(self, job: JobId, call: Callable[[], Awaitable[None]], *, removal: bool = False) -> None:
        """Make a call about one job. What fails in it unexpectedly ends that job, or is a removal to be repeated."""
        try:
            await call()
        except _RUN_ENDING:
            raise
        except Exception as error:
            if removal:
                self._put(e.RemovalFailed(self._now(), job, message=defect(error)))
            else:
                self._put(e.AnswerUnusable(self._now(), job, defect(error)))

    async def _submit(self, job: JobId, update: bool) -> None:
        state = self._run.jobs[job]
        command = replace(self._commands(job), update=update, check_agent=is_checked(state), wave=state.job.wave)
        reply = await self._cloud.submit(command)
        now = self._now()
        self._hear(reply, submission_event(reply.answer, now, job))
        if isinstance(reply.answer, a.Accepted) and reply.answer.result is not None:
            # It answers the first look, which needs no request. All are taken in one round, and so come to disk together.
            self._put(e.LookBegun(now, job))
            self._put(e.ResultReceived(now, job, reply.answer.result))

    async def _look(self, job: JobId) -> None:
        operation = self._run.jobs[job].operation or Operation(self._run.jobs[job].transport)
        reply = await self._cloud.look(self._run.jobs[job].job.target, operation)
        state, answer, now = self._run.jobs[job], reply.answer, self._now()
        if isinstance(answer, a.Finished) and is_earlier_result(state, answer.answer):
            self._hear(reply, e.SeenRunning(now, job))
        elif isinstance(answer, a.Refused) and is_too_early(state, answer.refusal.status, now):
            pause = max(answer.refusal.retry_after or 0.0, SECOND_LOOK_AFTER)
            self._hear(reply, replace(unread_event(answer, now, job), retry_after=pause))
        else:
            self._hear(reply, look_event(answer, now, job))

    async def _find(self, job: JobId) -> None:
        state = self._run.jobs[job]
        reply = await self._cloud.find(state.job.target, self._name(job, state.retry))
        surveying = state.phase is Phase.WAITING  # nothing is lost: the look comes before the submission
        if surveying and isinstance(reply.answer, a.Refused) and is_unreadable(reply.answer.refusal):
            self._hear(reply, e.SubmissionRefused(self._now(), job, reply.answer.refusal))
        else:
            self._hear(reply, find_event(reply.answer, self._now(), job))

    async def _ask_agent(self, job: JobId) -> None:
        reply = await self._cloud.agent(self._run.jobs[job].job.target)
        self._hear(reply, agent_event(reply.answer, self._now(), job))

    async def _remove(self, job: JobId) -> None:
        state = self._run.jobs[job]
        retry = state.removals[0]
        reply = await self._cloud.remove(state.job.target, self._name(job, retry))
        self._hear(reply, removal_event(reply.answer, self._now(), job, retry))

    async def _ask(self, gate: int, within: float) -> None:
        assert self._gatekeeper is not None, "whoever drives a plan with webhooks can ask them"
        try:
            asked = question(self._run.plan, self._run.run_id, gate, (state.outcome for state in self._run.jobs))
            answer = await self._gatekeeper.ask(asked, within)
        except _RUN_ENDING:
            raise
        except Exception as error:
            answer = a.Silent(defect(error))
        self._put(gate_event(answer, self._now(), gate))

    def _name(self, job: JobId, retry: int) -> str:
        return command_name(self._run.run_id, self._run.jobs[job].job, retry)

    def _hear(self, reply: Reply[Any], event: e.Event) -> None:
        if reply.quota is not None:
            self._put(e.QuotaSeen(event.at, reply.quota))
        self._put(event)

    def _put(self, event: e.Event) -> None:
        self._inbox.append(event)
        self._arrived.set()
