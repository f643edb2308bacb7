"""Opens the state store that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleet.config.load import Config
    from fleet.engine.run_store import Durations, RunStore


def open_store(config: Config) -> RunStore:
    """Return the store of the settings' state folder, which is made when something is first kept in it."""
    from fleet.store.sqlite.store import SqliteRuns

    return SqliteRuns(config.state_dir)


def durations_in(store: RunStore) -> Durations:
    """Return how long targets took in the runs that a store keeps."""
    from fleet.store.durations import RunDurations

    return RunDurations(store)
