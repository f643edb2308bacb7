"""The managed commands that lie on VMs: read them all, delete one, change one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from fleet.azure.reading import Unread, gathered, paced, read, read_list, sentence
from fleet.azure.transport import Transport
from fleet.azure.wire import managed as wire
from fleet.azure.wire import run_command, shapes
from fleet.azure.wire.arm import is_gone, not_done, quota
from fleet.azure.wire.http import Json, NoResponse, as_text, dig
from fleet.commands.model import Change, ManagedCommand
from fleet.engine.ports import CommandsOf, Reply
from fleet.engine.turns import Pause, SharedRates
from fleet.playbook.model import Transport as Way
from fleet.run.answers import Accepted, Lost, LostReason, Operation, Refusal, Refused, RemoveAnswer, Removed
from fleet.targets.model import Target


class AzureManaged:
    """The port ``ManagedCommands`` over Azure Resource Manager. Reads are paced and tried again; nothing else is."""

    def __init__(
        self, transport: Transport, *, pause: Pause = asyncio.sleep, shared: SharedRates | None = None
    ) -> None:
        self._transport = transport
        self._pause = pause
        self._reader = paced(transport, shared, pause)

    async def commands(self, targets: Sequence[Target], seen: Callable[[], None]) -> tuple[CommandsOf, ...]:
        """Read the commands of each target, in their order; ``seen`` hears of each that was read."""

        async def one(target: Target) -> CommandsOf:
            found = await self._of(target)
            seen()
            return found

        return await gathered(targets, one)

    async def _of(self, target: Target) -> CommandsOf:
        request = wire.listing(target)
        rows = await read_list(self._reader, request, self._pause)
        commands: list[ManagedCommand] = []
        reasons = [sentence(rows.unread)] if rows.unread is not None else []
        for position, row in enumerate(rows.rows, start=1):
            found, why = await self._whole(target, row, position)
            if found is not None:
                commands.append(found)
            reasons += [why] if why else []
        doubled = sorted(name for name, count in Counter(one.name.casefold() for one in commands).items() if count > 1)
        reasons += [f"command {name} is there several times" for name in doubled]
        kept = tuple(one for one in commands if one.name.casefold() not in doubled)
        return CommandsOf(target, kept, "; ".join(reasons))

    async def _whole(self, target: Target, row: Json, position: int) -> tuple[ManagedCommand | None, str]:
        """Read a row of the list, by itself where it came without its view; say why where it cannot be read."""
        name = as_text(dig(row, "name"))
        which = f"command {name[:80]}" if name and not shapes.text(name) else f"entry {position} of the list"
        found = wire.command(target, row)
        if found is None:
            return None, f"{which} could not be read: {wire.wrong(target, row)}"
        if wire.has_view(row):
            return found, ""
        request = run_command.reading(run_command.resource_id(target, found.name))
        answer = await read(self._reader, request, self._pause)
        if isinstance(answer, Unread):
            # As it is known where it is gone: then it may be running.
            return (found, "") if answer.is_gone else (None, f"{which} could not be read: {sentence(answer)}")
        if wrong := wire.wrong(target, answer.json()):
            return None, f"{which} could not be read: {wrong}"
        again = wire.command(target, answer.json())
        if again is None or again.name.casefold() != found.name.casefold():
            return None, f"{which} could not be read: the answer is about another command"
        return again, ""

    async def remove(self, command: ManagedCommand) -> Reply[RemoveAnswer]:
        """Delete one; one that is not there counts as removed."""
        answer = await self._transport.send(run_command.removal(command.target, command.name))
        left = quota(answer, command.target.subscription, command.target.location)
        if is_gone(answer):
            return Reply(Removed(), left)
        return Reply(not_done(answer, self._transport.clock.now()) or Removed(), left)

    async def change(self, command: ManagedCommand, change: Change) -> Reply[Accepted | Refused | Lost]:
        """Send a change once."""
        if why := wire.unchangeable(command, change):
            return Reply(Refused(Refusal(0, "NotSendable", f"not sent: {why}")))
        answer = await self._transport.send(wire.patch(command, change))
        left = quota(answer, command.target.subscription, command.target.location)
        failed = not_done(answer, self._transport.clock.now())
        if failed is not None or isinstance(answer, NoResponse):
            return Reply(failed or Lost(LostReason.MALFORMED), left)
        resource = run_command.resource_id(command.target, command.name)
        return Reply(Accepted(Operation(Way.MANAGED, resource=resource)), left)
