"""What is kept of a run: all of it, or one line of the list of runs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleet.plan.model import Plan
    from fleet.run.events import Event


class RunState(StrEnum):
    """How a kept run stands."""

    LIVE = "live"
    """A process is carrying it out now."""
    ENDED = "ended"
    UNFINISHED = "unfinished"
    """Begun and neither ended nor live: it can be resumed."""
    DAMAGED = "damaged"
    """Not a journal, or one that cannot be read."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of the list.

    ``created`` in epoch seconds, 0.0 where unknown; ``detail`` says why it is damaged.
    """

    id: str
    state: RunState
    playbook: str = ""
    created: float = 0.0
    targets: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SavedRun:
    """A run as its journal tells it. Times are epoch seconds.

    ``live`` says that a process holds it now. ``damage`` is empty, or a sentence about what is wrong;
    ``events`` is then the good part before it.
    """

    run_id: str
    plan: Plan
    events: tuple[Event, ...]
    epoch: int
    created: float
    live: bool
    damage: str = ""
