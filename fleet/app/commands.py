"""Deletes or changes many managed commands: sends the calls that :class:`fleet.commands.bulk.Bulk` decides on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from fleet.clock import Clock
from fleet.commands.bulk import Bulk, BulkAnswer, BulkKind, Ended, Send
from fleet.commands.model import Change, ManagedCommand
from fleet.engine.ports import ManagedCommands, Reply

Call = Callable[[int], Awaitable[Reply[BulkAnswer]]]


async def delete_commands(
    port: ManagedCommands, commands: Sequence[ManagedCommand], principals: int, clock: Clock, seen: Callable[[], None]
) -> tuple[Ended, ...]:
    """Delete managed commands; ``seen`` hears of each once. Raises :class:`fleet.errors.AzureUnusable`."""

    async def call(item: int) -> Reply[BulkAnswer]:
        reply = await port.remove(commands[item])
        return Reply(reply.answer, reply.quota)

    bulk = Bulk(BulkKind.DELETE, [command.target for command in commands], principals)
    await carry_out(bulk, call, clock, lambda item, ended: seen())
    return tuple(bulk.ended[item] for item in range(len(commands)))


async def change_commands(
    port: ManagedCommands,
    commands: Sequence[ManagedCommand],
    wanted: Change,
    principals: int,
    clock: Clock,
    seen: Callable[[], None],
) -> tuple[Ended, ...]:
    """Change managed commands, none of them twice. Raises :class:`fleet.errors.AzureUnusable`."""

    async def call(item: int) -> Reply[BulkAnswer]:
        reply = await port.change(commands[item], wanted)
        return Reply(reply.answer, reply.quota)

    bulk = Bulk(BulkKind.CHANGE, [command.target for command in commands], principals)
    await carry_out(bulk, call, clock, lambda item, ended: seen())
    return tuple(bulk.ended[item] for item in range(len(commands)))


async def carry_out(bulk: Bulk, call: Call, clock: Clock, seen: Callable[[int, Ended], None]) -> None:
    """Drive to the end; ``seen`` hears of each item once. Raises :class:`fleet.errors.AzureUnusable`."""
    arrived = asyncio.Event()

    async def one(item: int) -> None:
        reply = await call(item)
        bulk.heard(item, clock.now(), reply.answer, reply.quota)
        if item in bulk.ended:
            seen(item, bulk.ended[item])
        arrived.set()

    try:
        async with asyncio.TaskGroup() as tasks:
            while not bulk.finished:
                arrived.clear()
                effect = bulk.next(clock.now())
                if isinstance(effect, Send):
                    bulk.sent(effect.item, clock.now())
                    tasks.create_task(one(effect.item))
                    continue
                delay = None if effect.at is None else max(effect.at - clock.now(), 0.0)
                with suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await arrived.wait()
    except BaseExceptionGroup as group:
        raise _first(group) from None


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
