"""Polls for directives from other terminals, and acknowledges each once it is journalled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fleet.engine.loop import Engine
from fleet.engine.ports import Directives
from fleet.errors import StateError
from fleet.run.directives import sentence
from fleet.run.events import Directive, Event
from fleet.run.state import Run

EVERY = 0.5
"""Seconds between two looks: a person waits no longer for an answer."""


class DirectiveInbox:
    """Takes up the directives of one run. ``observe`` must see every event of it."""

    def __init__(self, directives: Directives, run: Run) -> None:
        self._directives = directives
        self._run = run
        self._heard: set[str] = set()
        self._next_look: asyncio.TimerHandle

    @contextmanager
    def open(self, engine: Engine) -> Iterator[None]:
        """Look for directives while the block lasts; those that wait already come before anything is launched."""
        loop = asyncio.get_running_loop()

        def look() -> None:
            self._take_up(engine)
            self._next_look = loop.call_later(EVERY, look)

        look()
        try:
            yield
        finally:
            self._next_look.cancel()

    def observe(self, event: Event) -> None:
        """Answer a directive that is on disk now."""
        if isinstance(event, Directive) and event.directive:
            self._answer(event)

    def _answer(self, event: Directive) -> None:
        with suppress(StateError):  # whoever asked looks into the journal instead
            self._directives.answer(event.directive, f"{sentence(event)}; {standing(self._run)}")

    def _take_up(self, engine: Engine) -> None:
        for event in self._directives.pending():
            if self._run.control.has(event.directive):
                self._answer(event)  # journalled by an owner that ended before it could say so
            elif event.directive not in self._heard:
                self._heard.add(event.directive)
                engine.hear(event)


def standing(run: Run) -> str:
    """Say in a few words how far a run is."""
    waiting = len(run.jobs) - run.done - run.in_flight
    return f"{run.done:,} of {len(run.jobs):,} jobs ended, {run.in_flight:,} in flight, {waiting:,} waiting"
