"""How long targets and scripts took in earlier runs: the next run starts the longest first, and looks at the right time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fleet.errors import StateError

if TYPE_CHECKING:
    from fleet.engine.run_store import RunStore
    from fleet.plan.launch_order import Times
    from fleet.store.sqlite.durations import DurationTable
    from fleet.store.sqlite.threads import Work


class RunDurations:
    """Reads durations of targets out of the journals that a store keeps, and those of scripts out of a table."""

    def __init__(self, runs: RunStore, table: DurationTable | None = None, work: Work | None = None) -> None:
        self._runs = runs
        self._table = table
        self._work = work

    async def newest(self, playbook: str, cloud: str) -> Times:
        """See :class:`fleet.engine.run_store.Durations`."""
        from fleet.engine.run_store import RunFilter
        from fleet.plan.launch_order import NO_TIMES, Times
        from fleet.run.kept import RunState
        from fleet.run.times import times_of

        try:
            ended = await self._runs.list(RunFilter(playbook=playbook, states=frozenset({RunState.ENDED})))
            for summary in ended[:1]:
                kept = await self._runs.read(summary.id)
                if kept.plan.cloud == cloud:
                    return Times(kept.run_id, times_of(kept.plan, kept.events))
        except StateError:
            pass
        return NO_TIMES

    async def usual(self, scripts: Sequence[str]) -> Mapping[str, Sequence[float]]:
        """See :class:`fleet.engine.run_store.Durations`."""
        table = self._table
        return {} if table is None or self._work is None else await self._work(lambda: table.usual(scripts))

    async def learn(self, run_id: str, at: float, took: Mapping[str, Sequence[float]]) -> None:
        """See :class:`fleet.engine.run_store.Durations`."""
        table = self._table
        if table is not None and self._work is not None and took:
            await self._work(lambda: table.learn(run_id, at, took))
