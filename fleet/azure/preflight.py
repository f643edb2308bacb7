"""What can be read before a run: who signs in, with which rights, and how the VMs stand. Nothing reaches a guest."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fleet.azure.reading import Pace, Pause, Unread, gathered, read, read_list, sentence
from fleet.azure.transport import Transport
from fleet.azure.wire import run_command
from fleet.azure.wire.http import NoResponse, Request, Response
from fleet.clock import Clock
from fleet.targets.model import Target

if TYPE_CHECKING:
    from fleet.preflight.facts import Condition, Permissions, Principal
    from fleet.preflight.locks import Locks
    from fleet.preflight.patchers import Patching


class AzurePreflight:
    """The port ``Preflight`` over Azure Resource Manager.

    Reads are paced by ARM's limit for each subscription, so that looking does not use up what the run needs; a 429 is
    waited out within the bounds of :func:`fleet.azure.reading.read`. ``pause`` waits.
    """

    def __init__(self, transport: Transport, *, pause: Pause = asyncio.sleep) -> None:
        self._transport = transport
        self._pause = pause
        self._pace = Pace(transport, pause)

    async def principals(self) -> tuple[Principal, ...]:
        """Sign everybody in. Raises AzureUnusable where nobody can."""
        from fleet.azure.wire import preflight as wire
        from fleet.preflight.facts import Principal

        pool = self._transport.principals
        numbers = pool.present
        tokens = await asyncio.gather(*map(pool.token, numbers))
        said = {number: wire.claims(token or "") for number, token in zip(numbers, tokens, strict=True)}
        return tuple(
            Principal(
                number,
                tenant=said.get(number, {}).get("tid", ""),
                object_id=said.get(number, {}).get("oid", ""),
                application=said.get(number, {}).get("appid", ""),
                problem=str(pool.problems.get(number, "")),
            )
            for number in range(len(pool))
        )

    async def permissions(self, asked: Sequence[tuple[int, str]]) -> tuple[Permissions, ...]:
        """Read what each principal may do at each scope."""
        return await gathered(asked, lambda item: self._permissions(*item))

    async def _permissions(self, number: int, scope: str) -> Permissions:
        from fleet.azure.wire import preflight as wire
        from fleet.preflight.facts import Permissions

        sender = _InTheNameOf(self._transport, number)
        request = wire.permissions(scope)
        await self._pace.turn(request)
        found = await read_list(sender, request, self._pause)
        if found.unread is not None:
            return Permissions(number, scope, None, sentence(found.unread).partition(":")[0])
        told = wire.grants(found.rows)
        return Permissions(number, scope, None, told) if isinstance(told, str) else Permissions(number, scope, told)

    async def conditions(self, targets: Sequence[Target], *, commands: bool) -> tuple[Condition, ...]:
        """Read model and instance view of each VM in one call, and its managed commands in another."""
        return await gathered(targets, lambda target: self._condition(target, commands))

    async def locks(self, targets: Sequence[Target]) -> tuple[Locks, ...]:
        """Read the locks in the subscription of each target, one list each."""
        from fleet.azure.patchers import read_locks

        return await read_locks(self._transport, targets, self._pause)

    async def patching(self, targets: Sequence[Target]) -> Patching:
        """Read who else patches the targets, from Resource Graph."""
        from fleet.azure.patchers import read_patching

        return await read_patching(self._transport, targets, self._pause)

    async def _condition(self, target: Target, commands: bool) -> Condition:
        from fleet.azure.wire import preflight as wire
        from fleet.preflight.facts import Condition

        request = wire.vm_view(target)
        await self._pace.turn(request)
        answer = await read(self._transport, request, self._pause)
        if isinstance(answer, Unread):
            if answer.is_gone:
                return Condition(target, gone=True)
            found = Condition(target, why=sentence(answer))
        else:
            found = wire.condition(target, answer.json())
        if not commands:
            return found
        request = run_command.listing(target)
        await self._pace.turn(request)
        rows = await read_list(self._transport, request, self._pause)
        if rows.unread is not None:
            return replace(found, commands_why=sentence(rows.unread))
        named = wire.names(rows.rows)
        return replace(found, commands_why=named) if isinstance(named, str) else replace(found, commands=named)


class _InTheNameOf:
    """The transport, every call signed by one principal."""

    def __init__(self, transport: Transport, number: int) -> None:
        self._transport = transport
        self._number = number

    @property
    def clock(self) -> Clock:
        return self._transport.clock

    @property
    def base_url(self) -> str:
        return self._transport.base_url

    async def send(self, request: Request) -> Response | NoResponse:
        return await self._transport.send(request, principal=self._number)
