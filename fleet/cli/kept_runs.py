"""Reads kept runs for verbs that do nothing else meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet.cli.signals import run_interruptible

if TYPE_CHECKING:
    from fleet.config.load import Config
    from fleet.run.kept import RunSummary, SavedRun


def saved(config: Config, text: str) -> SavedRun:
    """Read a kept run by id, unique prefix or ``last``. Raises RunNotFound, StateError."""
    from fleet.app import runs
    from fleet.app.stores import open_store

    return run_interruptible(runs.saved(open_store(config), text))


def listed(config: Config) -> tuple[RunSummary, ...]:
    """List the kept runs, newest first. Raises StateError."""
    from fleet.app.stores import open_store

    return run_interruptible(open_store(config).list())
