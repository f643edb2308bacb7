"""How long targets took in the newest kept run of a playbook: the next run launches the longest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet.errors import StateError

if TYPE_CHECKING:
    from fleet.engine.run_store import RunStore
    from fleet.plan.launch_order import Times


class RunDurations:
    """Reads durations out of the journals that a store keeps."""

    def __init__(self, runs: RunStore) -> None:
        self._runs = runs

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
