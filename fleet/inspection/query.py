"""Asks a VM about what its wrapper keeps: sends a reading script until its answer has come.

Nothing of this belongs to a run. Such a script changes nothing, so it is sent again as often as it takes, under a new
name each time, and a managed command of it is deleted whatever happens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio

from fleet.guest.spool import Absence
from fleet.inspection.paced import PacedCloud
from fleet.playbook.model import Transport
from fleet.run import answers as a
from fleet.run.answers import Command, Operation
from fleet.run.model import Cause, CauseCode
from fleet.run.retry import QUESTION, Bounds, GiveUp, backoff, is_unreadable, judge_refusal, not_connected
from fleet.targets.model import Target

A = TypeVar("A")

FIRST_LOOK = 0.3
"""Seconds between looks, at least."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a job's output is kept: the machine, the delivery's key, and how questions are sent."""

    target: Target
    transport: Transport
    key: str
    run_as: str | None = None


@dataclass(frozen=True, slots=True)
class Question(Generic[A]):
    """A script that prints an answer, and what finds the answer in what came back; None if there is none."""

    nonce: str
    script: str
    read: Callable[[str], A | Absence | None]


class QueryFailed(Exception):
    """An answer could not be had; ``cause`` says why and what to do. The rest goes on without it."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.message)
        self.cause = cause


class GuestQuery:
    """Asks through a cloud, under the rates that runs share. ``nonce`` gives fresh hex for each question.

    ``purpose`` is what the commands are called after their delivery: read, probe or free. ``bounds`` are those of a
    question; its patience is that of each answer.
    """

    def __init__(
        self,
        cloud: PacedCloud,
        nonce: Callable[[], str],
        purpose: str = "read",
        bounds: Bounds = QUESTION,
    ) -> None:
        self._cloud = cloud
        self._clock = cloud.clock
        self._nonce = nonce
        self._purpose = purpose
        self._bounds = bounds
        self._shortest = 0.0
        """Seconds that the quickest answer took: nobody looks much sooner, as each look counts too."""

    async def ask(self, source: Source, question: Callable[[str], Question[A]]) -> A | Absence:
        """Ask, again and again if need be, until there is an answer. Raises QueryFailed, AzureUnusable."""
        trouble = Cause(CauseCode.NO_ANSWER, "the VM gave no usable answer", "try again later")
        for tries in range(1, self._bounds.tries + 1):
            found = await self._once(source, question(self._nonce()), tries)
            if found is not None and not isinstance(found, Cause):
                return found
            trouble = found or trouble
        raise QueryFailed(trouble)

    async def _once(self, source: Source, asked: Question[A], tries: int) -> A | Absence | Cause | None:
        """Send a script once and wait for its answer. A cause says why there is none; then some time has passed."""
        command = self._command(source, asked)
        try:
            answer = (await self._cloud.submit(command)).answer
            if isinstance(answer, a.Refused):
                verdict = judge_refusal(answer.refusal, now=self._clock.now(), tries=tries, salt=asked.nonce)
                if isinstance(verdict, GiveUp):
                    raise QueryFailed(verdict.cause)
                await asyncio.sleep(max(verdict.at - self._clock.now(), 0.0))
                return verdict.cause
            if isinstance(answer, a.Lost):
                await asyncio.sleep(backoff(tries, asked.nonce))
                return not_connected(answer.detail, now=0.0, tries=tries, salt="").cause
            if answer.result is not None:
                return asked.read(_message(answer.result))
            return await self._await(source, answer.operation, asked)
        finally:
            if source.transport is Transport.MANAGED:
                with anyio.CancelScope(shield=True):  # of pieces side by side, one that fails cancels the others
                    await self._cloud.remove(source.target, command.name)

    async def _await(self, source: Source, operation: Operation, asked: Question[A]) -> A | Absence | Cause | None:
        begun, looks, hint = self._clock.now(), 0, 0.0
        while (age := self._clock.now() - begun) < self._bounds.patience:
            pause = max(FIRST_LOOK, 0.25 * age) if looks else max(FIRST_LOOK, 0.9 * self._shortest)
            await asyncio.sleep(max(pause, hint))
            answer = (await self._cloud.look(source.target, operation)).answer
            looks += 1
            if isinstance(answer, a.Finished):
                self._shortest = min(self._shortest or self._bounds.patience, self._clock.now() - begun)
                return asked.read(_message(answer.answer))
            if isinstance(answer, a.OperationFailed):
                return Cause(CauseCode.OPERATION_FAILED, f"{answer.code}: {answer.message}")
            if isinstance(answer, a.Refused) and is_unreadable(answer.refusal):
                return Cause(CauseCode.OPERATION_GONE, f"{answer.refusal.code}: {answer.refusal.message}")
            hint = (answer.refusal if isinstance(answer, a.Refused) else answer).retry_after or 0.0
        return None

    def _command(self, source: Source, asked: Question[A]) -> Command:
        """The script's command. Its name begins with the delivery's, so that one left behind can be told by its run."""
        return Command(
            target=source.target,
            transport=source.transport,
            name=f"{source.key}-{self._purpose}-{asked.nonce[:8]}",
            script=asked.script,
            timeout=self._bounds.patience,
            run_as=source.run_as,
        )


def _message(answer: a.Answer) -> str:
    return answer.combined if answer.combined is not None else f"{answer.stdout}\n[stderr]\n{answer.stderr}"
