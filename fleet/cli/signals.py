"""From the signals of a terminal to requests to stop, from a verb's start to the end of its process.

Before a run exists, an interrupt ends the verb. Once one does, the first interrupt asks the run to stop, the second to
cancel and leave, and the third ends the process at once. A signal is counted where it arrives, whatever the event loop is
waiting for; a thread that hangs in a name look-up or in a sign-in never keeps the process alive.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from fleet.cli.terminal import run_loop

if TYPE_CHECKING:
    import asyncio

    from fleet.app.runs import Stoppable

T = TypeVar("T")

HANDLED = (signal.SIGINT, signal.SIGTERM)

LEAVE_WITHIN = 2.0
"""Seconds after which a process that is to be left ends, whatever still hangs in it."""


class Stage(Enum):
    """How far a verb is that carries a run out."""

    PREPARING = auto()
    """It has no run in its hands: an interrupt ends it."""
    CARRYING = auto()
    """A run is being made or carried out: interrupts are requests to it."""
    LEAVING = auto()
    """The run was left: its report is being written."""


@dataclass(slots=True)
class Stopping:
    """How often a person asked to stop, by which signal, and what becomes of it.

    ``last_words`` says how to continue: the last thing on stderr if the process is left before it could say so itself.
    """

    last_words: Callable[[], str] = str
    asked: int = 0
    by: signal.Signals | None = None
    listeners: list[Callable[[int], None]] = field(default_factory=list)
    """Receive how often it was asked."""
    _stage: Stage = Stage.PREPARING
    _passed: int = 0
    """How many requests were passed to the run."""
    _engine: Stoppable | None = None
    _who: str = ""
    _code: int | None = None
    """The exit code, once everything was said."""
    _loop: asyncio.AbstractEventLoop | None = None
    _alarm: threading.Timer | None = None

    @property
    def code(self) -> int:
        """The exit code of a process that a signal ends."""
        return 128 + (self.by or signal.SIGINT)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Receive the terminal's signals. Only the main thread may."""
        # Not anyio.open_signal_receiver: it hands signals to a task of a running loop. These must also be counted before
        # there is a loop, and while the main thread is busy elsewhere: the third ends a process whose loop does not turn.
        before = {number: signal.signal(number, self._received) for number in HANDLED}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if self._alarm is not None:
                self._alarm.cancel()

    def hold(self) -> None:
        """Keep interrupts for the run that is about to be made or taken over, from now on."""
        from asyncio import get_running_loop  # not above: a verb's help needs no event loop

        self._stage, self._loop = Stage.CARRYING, get_running_loop()

    @contextmanager
    def steering(self, engine: Stoppable, who: str) -> Iterator[None]:
        """Pass interrupts to the run, those that came already included."""
        self.hold()
        self._engine, self._who = engine, who
        self._pass_on()
        try:
            yield
        finally:
            self._stage, self._engine = Stage.LEAVING, None
            if self.asked >= 2:
                self._set_alarm()

    def finished(self, code: int) -> None:
        """Everything was said: from now on an interrupt ends the process at once, with this exit code."""
        self._stage, self._code = Stage.LEAVING, code

    def _received(self, number: int, frame: FrameType | None) -> None:
        """Count a signal. Called by Python between two instructions of the main thread."""
        self.asked += 1
        self.by = signal.Signals(number)
        over = self._code is not None or (self._stage is Stage.PREPARING and self.asked >= 2)
        if over or self.asked >= 3:
            self._leave()
        if self._stage is Stage.PREPARING:
            self._set_alarm()
            raise KeyboardInterrupt
        if self._stage is Stage.LEAVING and self.asked >= 2:
            self._set_alarm()
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._pass_on)

    def _pass_on(self) -> None:
        from fleet.run.events import StopKind

        while self._engine is not None and self._passed < self.asked:
            self._passed += 1
            for listener in self.listeners:
                listener(self._passed)
            self._engine.stop(StopKind.SOFT if self._passed == 1 else StopKind.HARD, self._who)

    def _set_alarm(self) -> None:
        if self._alarm is None:
            self._alarm = threading.Timer(LEAVE_WITHIN, self._leave)
            self._alarm.daemon = True
            self._alarm.start()

    def _leave(self) -> NoReturn:
        """End the process. The signal may have met anything half done, so nothing here may fail."""
        if self._code is None:
            for listener in self.listeners if self.asked >= 3 else ():
                with suppress(Exception):
                    listener(self.asked)
            with suppress(Exception):
                sys.stderr.flush()
            with suppress(Exception):
                os.write(2, f"{self.last_words().rstrip()}\n".encode(errors="backslashreplace"))
        os._exit(self.code if self._code is None else self._code)


def run_interruptible(work: Coroutine[Any, Any, T]) -> T:
    """Run what has no run in its hands; an interrupt ends it soon, whatever it waits for.

    Raises KeyboardInterrupt for SIGINT and SystemExit for SIGTERM.
    """
    stopping = Stopping(lambda: "terminated" if stopping.by is signal.SIGTERM else "interrupted")
    with stopping.listening():
        try:
            return run_loop(lambda: work)
        except KeyboardInterrupt:
            if stopping.by is not signal.SIGTERM:
                raise
        finally:
            work.close()  # an interrupt may come before it has begun, and Python would complain of that
    sys.stderr.write("terminated\n")
    sys.exit(stopping.code)
