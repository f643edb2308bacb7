"""The part of a cloud that questions to a VM need, under the rates that runs share."""

from __future__ import annotations

from collections.abc import Callable

from fleet.engine.ports import Cloud, Reply
from fleet.engine.turns import SharedRates, Turns
from fleet.run.answers import Command, LookAnswer, Operation, Refused, RemoveAnswer, SubmitAnswer
from fleet.targets.model import Target

REMOVED_WITHIN = 30.0
"""Seconds. A command that may be deleted only later is tried at once: it must not stay on its VM."""


class PacedCloud:
    """Sends a call when the shared rates allow it, counts it there, and passes on there what Azure says of its limits."""

    def __init__(self, cloud: Cloud, shared: SharedRates) -> None:
        self._cloud = cloud
        self._turns = Turns(shared)
        self.clock = shared.clock

    async def submit(self, command: Command) -> Reply[SubmitAnswer]:
        """Send a command once."""
        target = command.target
        await self._turns.submit(target)
        reply = await self._cloud.submit(command)
        self._pass_on(reply, self._turns.rates.lane(target).refused_submission)
        return reply

    async def look(self, target: Target, operation: Operation) -> Reply[LookAnswer]:
        """Read how an accepted command stands."""
        await self._turns.read(target)
        reply = await self._cloud.look(target, operation)
        self._pass_on(reply, self._turns.rates.lane(target).refused_read)
        return reply

    async def remove(self, target: Target, name: str) -> Reply[RemoveAnswer]:
        """Delete a managed command."""
        await self._turns.remove(target, REMOVED_WITHIN)
        reply = await self._cloud.remove(target, name)
        self._pass_on(reply, self._turns.rates.lane(target).refused_removal)
        return reply

    def _pass_on(
        self,
        reply: Reply[SubmitAnswer] | Reply[LookAnswer] | Reply[RemoveAnswer],
        refused: Callable[[float, float | None, str], None],
    ) -> None:
        now, answer = self._turns.now(), reply.answer
        if reply.quota is not None:
            self._turns.rates.note(now, reply.quota)
        if isinstance(answer, Refused) and answer.refusal.status == 429:
            refused(now, answer.refusal.retry_after, answer.refusal.code)
