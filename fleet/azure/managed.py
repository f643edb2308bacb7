"""The managed commands that lie on VMs: read them all, delete one, change one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from fleet.azure.reading import Pace, Pause, Unread, gathered, read, read_list, sentence
from fleet.azure.transport import Transport
from fleet.azure.wire import managed as wire
from fleet.azure.wire import run_command
from fleet.azure.wire.arm import not_done, quota
from fleet.azure.wire.http import NoResponse, Response
from fleet.engine.ports import CommandsOf, Reply
from fleet.playbook.model import Transport as Way
from fleet.run.answers import Accepted, Lost, LostReason, Operation, Refusal, Refused, RemoveAnswer, Removed
from fleet.run.managed import Change, ManagedCommand
from fleet.targets.model import Target


class AzureManaged:
    """The port ``ManagedCommands`` over Azure Resource Manager. Reads are paced and tried again; nothing else is."""

    def __init__(self, transport: Transport, *, pause: Pause = asyncio.sleep) -> None:
        self._transport = transport
        self._pause = pause
        self._pace = Pace(transport, pause)

    async def commands(self, targets: Sequence[Target], seen: Callable[[], None]) -> tuple[CommandsOf, ...]:
        """Read the commands of each target, in their order; ``seen`` hears of each that was read."""

        async def one(target: Target) -> CommandsOf:
            found = await self._of(target)
            seen()
            return found

        return await gathered(targets, one)

    async def _of(self, target: Target) -> CommandsOf:
        request = wire.listing(target)
        await self._pace.turn(request)
        rows = await read_list(self._transport, request, self._pause)
        commands: list[ManagedCommand] = []
        why = sentence(rows.unread) if rows.unread is not None else ""
        for row in rows.rows:
            found = wire.command(target, row)
            if found is not None and not wire.has_view(row):
                found = await self._read(found)
            if found is None:
                why = why or "a command could not be read"
            else:
                commands.append(found)
        return CommandsOf(target, tuple(commands), why)

    async def _read(self, found: ManagedCommand) -> ManagedCommand | None:
        """Read one with its view; as it is known where that fails: then it may be running."""
        request = run_command.reading(run_command.resource_id(found.target, found.name))
        await self._pace.turn(request)
        answer = await read(self._transport, request, self._pause)
        if isinstance(answer, Unread):
            return None if answer.status != 404 else found
        return wire.command(found.target, answer.json()) or found

    async def remove(self, command: ManagedCommand) -> Reply[RemoveAnswer]:
        """Delete one; one that is not there counts as removed."""
        answer = await self._transport.send(run_command.removal(command.target, command.name))
        left = quota(answer, command.target.subscription, command.target.location)
        if isinstance(answer, Response) and answer.status == 404:
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
