"""From the signals of a terminal to requests to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fleet.engine.loop import Engine
from fleet.run.events import StopKind


@dataclass(slots=True)
class Stopping:
    """How often a person asked to stop, and by which signal."""

    asked: int = 0
    by: signal.Signals | None = None
    listeners: list[Callable[[int], None]] = field(default_factory=list)


@contextmanager
def interrupts(engine: Engine, stopping: Stopping, who: str) -> Iterator[None]:
    """Turn the terminal's signals into requests to stop; the third ends the process at once."""
    loop = asyncio.get_running_loop()

    def asked(received: signal.Signals) -> None:
        stopping.asked += 1
        stopping.by = received
        for listener in stopping.listeners:
            listener(stopping.asked)
        if stopping.asked >= 3:
            os._exit(128 + received)
        engine.stop(StopKind.SOFT if stopping.asked == 1 else StopKind.HARD, who)

    handled = [signal.SIGINT, signal.SIGTERM]
    try:
        for number in handled:
            loop.add_signal_handler(number, asked, number)
    except NotImplementedError:  # Windows: the interrupt arrives as KeyboardInterrupt
        handled = []
    try:
        yield
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
