"""What happened in a simulated run, as told by those who cannot flatter the engine: the disk, the lab and the wire."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from fleet.lab.world.spec import FaultKind
from fleet.plan.model import JobId, Plan
from fleet.rehearsal.faults import Fault
from fleet.report.model import JobRow, Report
from fleet.run.events import Event
from fleet.run.record import RunRecord
from tests.verification.endings import Ending


@dataclass(frozen=True, slots=True)
class Kept:
    """An event on disk: under which epoch, and when it came to be there."""

    epoch: int
    at: float
    event: Event


@dataclass(frozen=True, slots=True)
class Delivery:
    """A script that reached a guest. ``fresh``: it really ran; otherwise the guest returned what it had kept.

    ``left`` is when the request that brought it left its process. ``exit_code`` and ``stdout`` are the script's own (the
    wrapper's code, where that ended it), whatever was printed.
    """

    job: JobId
    target: str
    at: float
    fresh: bool
    exit_code: int
    stdout: str
    ends: float
    left: float
    retry: int = 0
    """Which try of the job it was: 0 for the first."""
    nonce: str = ""
    """Of the receipt that the wrapper prints; empty where the script goes unwrapped."""


@dataclass(slots=True)
class Departure:
    """A request that left a process: which job's, of what kind (submit, look, find, remove), and what came of it.

    ``target`` is a target's key; a look names no job.
    ``answered`` is the status that the lab gave, 0 for none; ``self_inflicted`` that the lab's own buckets refused it.
    """

    job: JobId
    kind: str
    subscription: str
    epoch: int
    at: float
    target: str = ""
    answered: int = 0
    self_inflicted: bool = False
    retry: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """An event that a process told its observers, so that a person may have seen it."""

    epoch: int
    event: Event


@dataclass(slots=True)
class History:
    """One simulated run, complete. Moments are epoch seconds."""

    plan: Plan
    run_id: str
    began: float
    ended: float = 0.0
    finished: bool = False
    kept: list[Kept] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    departures: list[Departure] = field(default_factory=list)
    damage: str = ""
    """What is wrong with the journal, as its reader says."""
    shown: list[Shown] = field(default_factory=list)
    stops: list[tuple[float, float]] = field(default_factory=list)
    """From when to when a person had asked to stop: to the end of that process."""
    rows: tuple[JobRow, ...] = ()
    """The report, aggregated from a fold of what is on disk."""
    report: Report | None = None
    """The whole report that these rows stand in."""
    left: list[Report] = field(default_factory=list)
    """What the command line would have shown of a run that a person stopped."""
    unlisted: tuple[str, ...] = ()
    """VMs and subscriptions of the lists that could not be read; they are not in the plan."""
    misplaced: tuple[str, ...] = ()
    """VMs whose entries are in order, and that were not found."""
    lives: list[RunRecord] = field(default_factory=list)
    """What each process that ended by itself said of the run."""
    owners: int = 0
    troubles: list[str] = field(default_factory=list)
    """What a process died of that no scenario had in store: tracebacks."""
    disturbed: frozenset[str] = frozenset()
    """Targets (by key) to which something happened in mid-run."""
    cut: frozenset[str] = frozenset()
    """Targets (by key) that went off or were deleted in mid-run, which ends what runs there without a word."""
    lossy: bool = False
    """Whether answers, or the questions for them, could be lost on the wire."""
    written: dict[str, bytes] = field(default_factory=dict)
    """All that was written of a run with a secret: on disk, in reports, in logs, to whoever watched."""
    said: dict[tuple[JobId, int], Counter[Ending]] = field(default_factory=dict)
    """How the end of each try (by job and number) was reported, and how often, where it was not the plain truth."""
    gives_up: float = math.inf
    """Seconds after which this Azure gives up a command by itself."""
    faults: frozenset[FaultKind] = frozenset()
    """Of the lab's own."""
    untold: list[JobId] = field(default_factory=list)
    """Whose scripts ran in such a run without the secret."""
    met: Counter[Fault] = field(default_factory=Counter)
    """How many requests met each fault of the wire."""
    peak: int = 0
    """The most jobs that a process itself held in flight."""


def runs_of(history: History) -> defaultdict[JobId, list[Delivery]]:
    """What really ran, by job."""
    found: defaultdict[JobId, list[Delivery]] = defaultdict(list)
    for delivery in history.deliveries:
        if delivery.fresh:
            found[delivery.job].append(delivery)
    return found
