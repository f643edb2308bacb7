"""Deletes or changes many managed commands: sends the calls that :class:`fleet.commands.bulk.Bulk` decides on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import anyio

from fleet.clock import Clock
from fleet.commands.bulk import Bulk, BulkAnswer, BulkKind, Ended, Send
from fleet.commands.model import Change, ManagedCommand
from fleet.engine.gather import task_group
from fleet.engine.ports import ManagedCommands, Reply
from fleet.engine.turns import SharedRates

Call = Callable[[int], Awaitable[Reply[BulkAnswer]]]


async def delete_commands(
    port: ManagedCommands, commands: Sequence[ManagedCommand], shared: SharedRates, seen: Callable[[], None]
) -> tuple[Ended, ...]:
    """Delete managed commands; ``seen`` hears of each once. Raises :class:`fleet.errors.AzureUnusable`."""

    async def call(item: int) -> Reply[BulkAnswer]:
        reply = await port.remove(commands[item])
        return Reply(reply.answer, reply.quota)

    bulk = Bulk(BulkKind.DELETE, [command.target for command in commands], shared.rates)
    await carry_out(bulk, call, shared.clock, lambda item, ended: seen())
    return tuple(bulk.ended[item] for item in range(len(commands)))


async def change_commands(
    port: ManagedCommands,
    commands: Sequence[ManagedCommand],
    wanted: Change,
    shared: SharedRates,
    seen: Callable[[], None],
) -> tuple[Ended, ...]:
    """Change managed commands, none of them twice. Raises :class:`fleet.errors.AzureUnusable`."""

    async def call(item: int) -> Reply[BulkAnswer]:
        reply = await port.change(commands[item], wanted)
        return Reply(reply.answer, reply.quota)

    bulk = Bulk(BulkKind.CHANGE, [command.target for command in commands], shared.rates)
    await carry_out(bulk, call, shared.clock, lambda item, ended: seen())
    return tuple(bulk.ended[item] for item in range(len(commands)))


async def carry_out(bulk: Bulk, call: Call, clock: Clock, seen: Callable[[int, Ended], None]) -> None:
    """Drive to the end; ``seen`` hears of each item once. Raises :class:`fleet.errors.AzureUnusable`.

    ``clock`` is the one by which the rates of ``bulk`` count.
    """
    arrived = asyncio.Event()

    async def one(item: int) -> None:
        reply = await call(item)
        bulk.heard(item, clock.now(), reply.answer, reply.quota)
        if item in bulk.ended:
            seen(item, bulk.ended[item])
        arrived.set()

    async with task_group() as tasks:
        while not bulk.finished:
            arrived.clear()
            effect = bulk.next(clock.now())
            if isinstance(effect, Send):
                bulk.sent(effect.item, clock.now())
                tasks.start_soon(one, effect.item)
                continue
            bulk.wait(clock.now())
            with anyio.move_on_after(None if effect.at is None else max(effect.at - clock.now(), 0.0)):
                await arrived.wait()
