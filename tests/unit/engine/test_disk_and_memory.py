"""A journal that fails in mid-run: what was not written is not told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fleet.app import runs
from fleet.app.connect import Connection
from fleet.app.runs import OpenRun
from fleet.cli.signals import Stopping
from fleet.clock import SystemClock
from fleet.config import load
from fleet.errors import StateError
from fleet.run.events import Event, RunEnded
from fleet.run.state import Run
from fleet.store.sqlite.store import SqliteRuns
from fleet.store.sqlite.threads import at_once
from fleet.testing import ScriptedCloud
from tests.unit.run.factory import plan
from tests.virtual import VirtualLoop, run


class FullDisk:
    """The real journal, on a disk that takes everything but the last word."""

    def __init__(self, journal: Any) -> None:
        self._journal = journal

    async def append(self, events: Sequence[Event]) -> None:
        if any(isinstance(event, RunEnded) for event in events):
            raise StateError("the disk is full", code="disk_full")
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        with loop.outside():
            await self._journal.append(events)

    async def look(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        with loop.outside():
            await self._journal.look()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        with loop.outside():
            await self._journal.close()


def test_what_could_not_be_written_is_not_reported(tmp_path: Path) -> None:
    """After a failed write the run is what its journal says: unfinished, so that it is resumed and not taken for done."""

    async def drive() -> Run:
        settings, _ = load.load(
            flags={}, environ={"FLEET_STATE_DIR": str(tmp_path / "state")}, cwd=tmp_path, home=tmp_path
        )
        store = SqliteRuns(settings.state_dir, at_once)
        opened: OpenRun = await runs.begin(store, plan(3), {}, SystemClock(), {})
        opened.journal = FullDisk(opened.journal)  # type: ignore[assignment]
        in_memory = opened.run
        connection = Connection(ScriptedCloud(), None, None, None, "lab")  # type: ignore[arg-type]
        with pytest.raises(StateError, match="full"):
            await runs.carry_out(opened, connection, {}, SystemClock(), lambda event: None, Stopping())
        assert in_memory.finished
        return opened.run

    left = run(drive())
    assert not left.finished
    assert [state.outcome is not None for state in left.jobs] == [True, True, True]
