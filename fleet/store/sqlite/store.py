"""The state store on SQLite: the promises of :class:`fleet.engine.run_store.RunStore`, kept in one folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio

from fleet.engine.run_store import ALL
from fleet.run.model import Extent
from fleet.store.sqlite.threads import in_thread

if TYPE_CHECKING:
    from fleet.engine.run_store import RunFilter, RunJournal, Tail, Takeover
    from fleet.plan.model import Plan
    from fleet.run.events import Directive
    from fleet.run.kept import RunSummary, SavedRun
    from fleet.store.sqlite import journal
    from fleet.store.sqlite.directives import DirectiveFiles
    from fleet.store.sqlite.leases import FileLeases
    from fleet.store.sqlite.threads import Work

T = TypeVar("T")


class SqliteRuns:
    """Keeps runs, directives and leases under ``state_dir``, which need not exist yet. See :class:`RunStore`.

    Holds nothing open itself, so it may be used from several event loops. ``work`` does what blocks.
    """

    def __init__(self, state_dir: Path, work: Work = in_thread) -> None:
        from fleet.store.sqlite.runs import RunsFolder

        self._state_dir = state_dir
        self._runs = RunsFolder(state_dir)
        self._work = work

    async def create(self, run_id: str, plan: Plan, *, owner: str, now: float) -> RunJournal:
        """Keep a new run and own it."""
        from fleet.store.sqlite import journal

        folder = self._runs.folder(run_id)

        def make() -> journal.Journal:
            self._runs.prepare()
            return journal.create(folder, run_id=run_id, plan=plan, owner=owner, now=now)

        return await self._owned(make, lambda made: made)

    async def take_over(self, run_id: str, *, owner: str, now: float) -> Takeover:
        """Own a kept run and read it."""
        from fleet.store.sqlite import journal

        folder = self._runs.folder(run_id)
        return await self._owned(
            lambda: journal.open_for_writing(folder, owner=owner, now=now), lambda taken: taken.journal
        )

    async def read(self, run_id: str) -> SavedRun:
        """Return a run as it is now."""
        from fleet.store.sqlite import journal

        folder = self._runs.folder(run_id)
        return await self._work(lambda: journal.read(folder))

    async def events(self, run_id: str, *, after: int) -> Tail:
        """Return the events that follow one."""
        from fleet.store.sqlite import journal

        folder = self._runs.folder(run_id)
        return await self._work(lambda: journal.tail(folder, after))

    async def find(self, text: str) -> str:
        """Return the id that a text stands for."""
        return await self._work(lambda: self._runs.find(text))

    async def list(self, wanted: RunFilter = ALL) -> tuple[RunSummary, ...]:
        """Return the runs that the filter admits, newest first."""
        found = await self._work(lambda: self._runs.list(wanted.ids))
        return tuple(run for run in found if wanted.admits(run))

    async def output(self, run_id: str, job: int, stream: str, extent: Extent) -> bytes | None:
        """Return a whole stream that was kept."""
        from fleet.store.sqlite import outputs

        folder = self._runs.folder(run_id)
        return await self._work(lambda: outputs.kept(folder, job, stream, extent))

    async def keep_output(self, run_id: str, job: int, stream: str, data: bytes) -> None:
        """Keep a whole stream."""
        from fleet.store.sqlite import outputs

        folder = self._runs.folder(run_id)
        await self._work(lambda: outputs.keep(folder, job, stream, data))

    async def keep_report(self, run_id: str, name: str, pieces: Iterable[str]) -> str:
        """Keep a report in the run's folder."""
        from fleet.store.sqlite.files import write_private

        path = self._runs.folder(run_id) / name
        await self._work(lambda: write_private(path, pieces))
        return str(path)

    def directives(self, run_id: str) -> SqliteDirectives:
        """Return the directives of one run."""
        from fleet.store.sqlite.directives import DirectiveFiles

        return SqliteDirectives(DirectiveFiles(self._runs.folder(run_id)), self._work)

    async def leases(self, cloud: str) -> FileLeases:
        """Open the leases of a cloud's VMs."""
        from fleet.store.sqlite.files import make_folder
        from fleet.store.sqlite.leases import FileLeases

        def opened() -> FileLeases:
            make_folder(self._state_dir)
            return FileLeases(self._state_dir, cloud)

        return await self._work(opened)

    async def _owned(self, work: Callable[[], T], journal_of: Callable[[T], RunJournal]) -> T:
        """Do work that ends with a journal. If the caller is cancelled meanwhile, the run is released again."""
        task = asyncio.ensure_future(self._work(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                await asyncio.wait([task])
            if not task.cancelled() and task.exception() is None:
                await journal_of(task.result()).close()
            raise


class SqliteDirectives:
    """The directives of one run, in files of its folder."""

    def __init__(self, files: DirectiveFiles, work: Work) -> None:
        self._files = files
        self._work = work

    async def leave(self, event: Directive) -> None:
        """Leave a directive for the run's owner."""
        await self._work(lambda: self._files.leave(event))

    async def pending(self) -> Sequence[Directive]:
        """Return what waits for the owner."""
        return await self._work(lambda: list(self._files.pending()))

    async def answer(self, directive: str, text: str) -> None:
        """Say what became of a directive."""
        await self._work(lambda: self._files.answer(directive, text))

    async def answered(self, directive: str) -> str | None:
        """Return the answer, once."""
        return await self._work(lambda: self._files.answered(directive))

    async def withdraw(self, directive: str) -> None:
        """Remove a directive that still waits."""
        await self._work(lambda: self._files.withdraw(directive))
