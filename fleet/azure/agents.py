"""Which VMs' agents report to Azure, read shortly before commands are sent: one list for the VMs of a subscription.

A list holds all VMs, so a wave costs one list for each subscription, and not a read for each VM. Only a VM that the list
calls not ready is read by itself, because its agent may have come back since. The only VM that a wave sends to is read by
itself as well: that costs the same one request, and the list of a large subscription has many pages.

What cannot be read stops nothing: the command is sent.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from fleet.azure.reading import Rows, Sender, Unread, read_list, sentence
from fleet.azure.wire import agents as wire
from fleet.azure.wire import compute
from fleet.logs import Log
from fleet.targets.model import Target

log = Log("fleet.azure")

FRESH = 60.0
"""Seconds for which a list counts within a wave. Azure itself notices a silent agent only after some minutes."""

PATIENCE = 30.0
"""Seconds that the list of a subscription may take in all: what is sent must not wait longer for it."""


@dataclass(slots=True)
class _Subscription:
    """What is known of the VMs of a subscription, and since when."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    asking: int = 0
    """Commands that wait for the list."""
    wave: int = -1
    """The wave in which anything was read last."""
    listed: float | None = None
    alone: float | None = None
    """When a VM was last read in place of the list."""
    states: dict[str, wire.VmState] = field(default_factory=dict)
    is_logged: bool = False
    """The log says already that the list cannot be read."""


class Agents:
    """The agents of the VMs that one run sends to, by the lists of their subscriptions."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._subscriptions: dict[str, _Subscription] = {}

    async def is_doubtful(self, target: Target, wave: int) -> bool:
        """Say whether the VM's own view must be read before anything is sent to it in this wave."""
        known = self._subscriptions.setdefault(target.subscription.casefold(), _Subscription())
        known.asking += 1
        try:
            async with known.lock:
                return await self._is_doubtful(known, target, wave)
        finally:
            known.asking -= 1

    async def _is_doubtful(self, known: _Subscription, target: Target, wave: int) -> bool:
        now = self._sender.clock.now()
        if known.wave != wave:
            known.wave, known.listed, known.alone = wave, None, None
        if not _is_fresh(known.listed, now):
            await asyncio.sleep(0)  # the other commands of this round ask now
            if known.asking == 1 and not _is_fresh(known.alone, now):
                known.alone = now
                return True
            known.states = await self._list(known, target.subscription)
            known.listed = self._sender.clock.now()
        found = known.states.get(target.key)
        return found is not None and wire.is_doubtful(found, known.states.values())

    async def _list(self, known: _Subscription, subscription: str) -> dict[str, wire.VmState]:
        """Read the states of a subscription's VMs, as far as that goes; no read is sent twice."""
        request = compute.list_vms(subscription, status_only=True)
        try:
            async with asyncio.timeout(PATIENCE):
                found = await read_list(self._sender, request, asyncio.sleep, attempts=1)
        except TimeoutError:
            found = Rows(unread=Unread(0, "timeout", f"the list took longer than {PATIENCE:g} s"))
        if found.unread is not None and not known.is_logged:
            known.is_logged = True
            log.warning("agents_unread", subscription=subscription, reason=sentence(found.unread))
        return wire.read_states(found.rows)


def _is_fresh(at: float | None, now: float) -> bool:
    return at is not None and 0 <= now - at < FRESH
