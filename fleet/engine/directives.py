"""Passes what people ask of a run from elsewhere to the engine that carries it out, and answers once it is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fleet.engine.loop import Engine
from fleet.engine.run_store import Directives
from fleet.errors import StateError
from fleet.run.directives import sentence
from fleet.run.events import Directive, Event
from fleet.run.state import Run

READ_EVERY = 0.5
"""Seconds between two reads: a person waits no longer for an answer."""


class DirectiveInbox:
    """Receives the directives of one run. ``observe`` must see every event of it."""

    def __init__(self, directives: Directives, run: Run) -> None:
        self._directives = directives
        self._run = run
        self._passed: set[str] = set()
        self._due: list[Directive] = []
        """Kept in the journal and not answered yet."""
        self._wake = asyncio.Event()
        self._closing = False

    @asynccontextmanager
    async def open(self, engine: Engine) -> AsyncIterator[None]:
        """Receive directives while the block lasts; those that wait already come before anything is launched."""
        await self._receive(engine)
        serving = asyncio.ensure_future(self._serve(engine))  # no task group: an error of the block leaves as it came
        try:
            yield
        finally:
            self._closing = True
            self._wake.set()
            await serving

    def observe(self, event: Event) -> None:
        """Answer a directive that is kept now, soon."""
        if isinstance(event, Directive) and event.directive:
            self._due.append(event)
            self._wake.set()

    async def _serve(self, engine: Engine) -> None:
        while not self._closing:
            with suppress(TimeoutError):
                async with asyncio.timeout(READ_EVERY):
                    await self._wake.wait()
            self._wake.clear()
            await self._answer()
            if not self._closing:
                await self._receive(engine)
        await self._answer()

    async def _answer(self) -> None:
        while self._due:
            event = self._due.pop(0)
            with suppress(StateError):  # whoever asked reads the journal instead
                await self._directives.answer(event.directive, f"{sentence(event)}; {standing(self._run)}")

    async def _receive(self, engine: Engine) -> None:
        with suppress(StateError):  # what cannot be read now is read at the next time
            for event in await self._directives.pending():
                if self._run.control.has(event.directive):
                    self._due.append(event)  # journalled by an owner that ended before it could say so
                elif event.directive not in self._passed:
                    self._passed.add(event.directive)
                    engine.hear(event)
        await self._answer()


def standing(run: Run) -> str:
    """Say in a few words how far a run is."""
    waiting = len(run.jobs) - run.done - run.in_flight
    return f"{run.done:,} of {len(run.jobs):,} jobs ended, {run.in_flight:,} in flight, {waiting:,} waiting"
