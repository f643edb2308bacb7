"""Whether what a run is kept in is still there, looked at while the run goes: a long wait commits nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fleet.engine.ports import Kept

EVERY = 0.5
"""Seconds between two looks. A look is a few system calls, in another thread than the loop's."""


async def watch(kept: Sequence[Kept]) -> None:
    """Look again and again until cancelled. Raises :class:`fleet.errors.StateError` with the first loss."""
    while True:
        await asyncio.sleep(EVERY)
        for item in kept:
            await item.look()
