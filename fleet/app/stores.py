"""Opens the state store that the settings name."""

from __future__ import annotations

from fleet.config.load import Config
from fleet.engine.run_store import Durations, RunStore
from fleet.store.durations import RunDurations
from fleet.store.sqlite.store import SqliteRuns


def open_store(config: Config) -> RunStore:
    """Return the store of the settings' state folder, which is made when something is first kept in it."""
    return SqliteRuns(config.state_dir)


def durations_in(store: RunStore) -> Durations:
    """Return how long targets took in the runs that a store keeps."""
    return RunDurations(store)
