"""Opens the state store that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fleet.config.load import Config
    from fleet.engine.run_store import Durations, RunStore
    from fleet.run.rate import Level
    from fleet.run.rates import Bucket


def open_store(config: Config) -> RunStore:
    """Return the store of the settings' state folder, which is made when something is first kept in it."""
    from fleet.store.sqlite.store import SqliteRuns

    return SqliteRuns(config.state_dir)


def durations_of(store: RunStore, config: Config | None) -> Durations:
    """Return how long targets took in the runs that a store keeps, and scripts in those that the settings' folder knows.

    Without settings nothing is known of scripts, and nothing is learned.
    """
    from fleet.store.durations import RunDurations
    from fleet.store.sqlite.durations import DurationTable
    from fleet.store.sqlite.threads import in_thread

    table = None if config is None else DurationTable(config.state_dir)
    return RunDurations(store, table, in_thread)


def levels_of(state_dir: Path, sign_in: str) -> Callable[[Bucket], Level]:
    """Return what finds the levels of a sign-in's rates, which other processes with this state folder see too."""
    from fleet.store.levels import shared_levels

    return shared_levels(state_dir, sign_in)
