"""Work in virtual time."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress

import pytest

from fleet.rehearsal import virtual


@pytest.mark.parametrize("fails", [False, True])
def test_an_interrupt_is_never_lost(fails: bool) -> None:
    """Also where the work takes it for the end of a task of its own, and then ends well or fails."""

    async def deaf() -> None:
        with suppress(asyncio.CancelledError):
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(60.0)
        if fails:
            raise ValueError("of the work")

    with pytest.raises(KeyboardInterrupt):
        virtual.run(deaf())
