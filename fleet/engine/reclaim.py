"""Room on a VM that is full: a Cloud that takes away what ended runs left there, and only then.

A VM holds 25 managed commands (documented). One more is refused; then, and not before, the leftovers of Fleet's own ended
runs are looked for and deleted, and the submission may be sent again a little later. Other tools' commands are never
touched, nor is one that may still be running. Nothing here decides about the run: the refusal goes to it as it came, with
the moment at which asking again makes sense.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from fleet.clock import Clock
from fleet.commands.model import chosen
from fleet.engine.ports import Cloud, ManagedCommands, Reply
from fleet.engine.wrapper import WrappedCloud
from fleet.run import answers as a
from fleet.run.retry import is_full, said
from fleet.targets.model import Target

AT_ONCE = 5
"""Leftovers deleted at most for one refusal: a VM may be written 4 times a minute for long (recorded)."""
ROOM_AFTER = 15.0
"""Seconds after which a place is asked for again: a delete is over after 10 to 12 (recorded)."""

Known = Callable[[Sequence[str]], Awaitable[Mapping[str, bool]]]
"""Says of those of these runs that are kept here whether they have ended."""


class SlotReclaimingCloud(WrappedCloud):
    """Carries commands to ``cloud``, and makes room on VMs that have none left."""

    def __init__(self, cloud: Cloud, managed: ManagedCommands, known: Known, clock: Clock) -> None:
        super().__init__(cloud)
        self._managed = managed
        self._known = known
        self._clock = clock

    async def submit(self, command: a.Command) -> Reply[a.SubmitAnswer]:
        """Send a command once. Refused for want of a place, it names when to ask again if one is being freed."""
        reply = await self._cloud.submit(command)
        answer = reply.answer
        if not (isinstance(answer, a.Refused) and is_full(answer.refusal)):
            return reply
        replies = await self._make_room(command.target)
        if any(isinstance(freed, a.Removed) for freed in replies):
            return replace(reply, answer=a.Refused(replace(answer.refusal, retry_after=ROOM_AFTER)))
        why = next((said(freed.refusal) for freed in replies if isinstance(freed, a.Refused)), "")
        if not why:
            return reply
        message = f"{answer.refusal.message} Leftovers could not be deleted: {why}"
        return replace(reply, answer=a.Refused(replace(answer.refusal, message=message)))

    async def _make_room(self, target: Target) -> list[a.RemoveAnswer]:
        """Begin to delete leftovers and return the answers."""
        (found,) = await self._managed.commands((target,), lambda: None)
        known = await self._known([command.run for command in found.commands if command.run])
        left = chosen(found.commands, (), True, self._clock.now(), known)[:AT_ONCE]
        return [(await self._managed.remove(command)).answer for command in left]
