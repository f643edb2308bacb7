"""The report: what happened, as a value. Times are epoch seconds UTC; they become text in the renderings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fleet.plan.model import PlaybookRef
from fleet.run.longtext import LongText
from fleet.run.model import FAILURES, FINE_SKIPS, NOT_REACHED, NOT_RUN, Cause, CauseCode, Status
from fleet.targets.model import UnreadScope

SCHEMA = "urn:fleet:report:v2"
"""The name of the report's JSON shape. It changes only when a reader of the old shape would break."""


@dataclass(frozen=True)
class JobRow:
    """One in-scope target and step, and how it ended. Every target and step has exactly one row."""

    target: str
    subscription: str
    resource_group: str
    name: str
    location: str
    os: str
    step: str
    wave: int
    status: Status
    cause: Cause
    exit_code: int | None = None
    stdout: LongText = LongText()
    stderr: LongText = LongText()
    truncated: bool = False
    attempts: int = 0
    verified: bool = False
    operation: str = ""
    started: float | None = None
    ended: float | None = None
    kind: str = "vm"
    """What sort of machine: ``vm``, ``scale_set`` or ``arc``."""
    retries: int = 0
    rescued: bool = False
    facts: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def duration_s(self) -> float | None:
        """Seconds from the accepted submission to the answer; None if the job has not both."""
        if self.started is None or self.ended is None:
            return None
        return max(0.0, round(self.ended - self.started, 3))


@dataclass(frozen=True)
class Group:
    """Rows with the same step, status, reason, exit code, output and facts, shown once.

    ``names`` is the folded text of their labels, ``jobs`` their places in the report's rows. ``cause`` is true of every
    row: where messages or hints differ in what is a row's own, such as the VM's name, that is masked (``reasons``).
    """

    status: Status
    cause: Cause
    exit_code: int | None
    step: str
    names: str
    jobs: tuple[int, ...]
    stdout: LongText = LongText()
    stderr: LongText = LongText()
    rescued: bool = False
    facts: Mapping[str, str] = field(default_factory=dict, hash=False)
    truncated: bool = False
    verified: bool = False

    @property
    def count(self) -> int:
        return len(self.jobs)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows ended in each status; statuses that nobody had count 0."""

    targets: int
    total: int
    by_status: Mapping[Status, int] = field(hash=False)

    def __getitem__(self, status: Status) -> int:
        return self.by_status.get(status, 0)

    def any_of(self, statuses: frozenset[Status]) -> int:
        """Return how many rows ended in one of ``statuses``."""
        return sum(self[status] for status in statuses)

    def present(self) -> Iterator[tuple[Status, int]]:
        """Yield the statuses that somebody had, worst first."""
        return ((status, self[status]) for status in WORST_FIRST if self[status])


@dataclass(frozen=True, slots=True)
class Stopped:
    """Why launching stopped before everything was sent."""

    cause: CauseCode
    message: str


@dataclass(frozen=True, slots=True)
class WaveRow:
    """One wave: its size in targets, and when its first job started and its last one ended."""

    index: int
    label: str
    targets: int
    started: float | None = None
    ended: float | None = None


class GateKind(StrEnum):
    """Who or what decides at a gate."""

    APPROVAL = "approval"
    WEBHOOK = "webhook"
    FACTS = "facts"
    HEALTH = "health"


class GateState(StrEnum):
    """What became of it."""

    PASSED = "passed"
    REFUSED = "refused"
    OPEN = "open"
    """The run has not come to it, or ended before it did."""


@dataclass(frozen=True, slots=True)
class GateRow:
    """One gate of the plan, and what was decided there.

    ``wave`` is the index of the wave that a person or a webhook opens, or whose targets were looked at. ``met`` of ``of``
    targets were as a gate on facts or health wants them, and ``missed`` names the first of the others.
    """

    kind: GateKind
    wave: int
    asks: str
    state: GateState
    at: float | None = None
    why: str = ""
    met: int | None = None
    of: int | None = None
    missed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step, and the digest that says which script it was."""

    id: str
    title: str
    digest: str


@dataclass(frozen=True, slots=True)
class Leftover:
    """A managed command that the run could not delete, or did not, since its script may still be running.

    ``cause`` says why Azure did not delete it; None where the run did not ask for that.
    """

    target: str
    command: str
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A run, finished or not, as its readers see it."""

    run: str
    playbook: PlaybookRef
    started: float
    ended: float | None
    exit_code: int
    counts: Counts
    groups: tuple[Group, ...]
    jobs: tuple[JobRow, ...]
    title: str = ""
    stopped: Stopped | None = None
    unread: tuple[UnreadScope, ...] = ()
    waves: tuple[WaveRow, ...] = ()
    steps: tuple[StepRow, ...] = ()
    notes: tuple[str, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    gates: tuple[GateRow, ...] = ()
    plan: str = ""
    """The plan's digest: equal digests mean the same work on the same targets."""
    subscriptions: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Subscription id to name."""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Target id to the shortest name that means only this target; not part of the JSON."""

    @property
    def failures(self) -> tuple[Group, ...]:
        """Groups whose script ran and did not end well."""
        return self._groups(FAILURES)

    @property
    def not_reached(self) -> tuple[Group, ...]:
        """Groups of which nothing certain came back."""
        return self._groups(NOT_REACHED)

    @property
    def not_run(self) -> tuple[Group, ...]:
        """Groups that were never sent, though they were meant to be."""
        return tuple(group for group in self._groups(NOT_RUN) if group.cause.code not in FINE_SKIPS)

    @property
    def left_out(self) -> tuple[Group, ...]:
        """Groups that the playbook itself means not to be sent here."""
        fine = FINE_SKIPS - {CauseCode.LEFT_SELECTION}
        return tuple(group for group in self._groups(NOT_RUN) if group.cause.code in fine)

    @property
    def gone(self) -> tuple[Group, ...]:
        """Groups on targets that the selection did not let in any more when the plan was applied."""
        return tuple(group for group in self._groups(NOT_RUN) if group.cause.code is CauseCode.LEFT_SELECTION)

    @property
    def successes(self) -> tuple[Group, ...]:
        return self._groups(frozenset({Status.SUCCEEDED}))

    def _groups(self, statuses: frozenset[Status]) -> tuple[Group, ...]:
        return tuple(group for group in self.groups if group.status in statuses)

    def slowest(self, limit: int = 10) -> tuple[JobRow, ...]:
        """Return at most ``limit`` rows that took longest, longest first; empty if only one has a time."""
        timed = [row for row in self.jobs if row.duration_s is not None]
        timed.sort(key=lambda row: -(row.duration_s or 0.0))
        return tuple(timed[:limit]) if len(timed) > 1 else ()

    def label(self, row: JobRow) -> str:
        """Return the name that means only this row's target."""
        return self.labels.get(row.target, row.name)


WORST_FIRST = (
    Status.FAILED,
    Status.TIMED_OUT,
    Status.CANCELLED,
    Status.UNKNOWN,
    Status.UNVERIFIED,
    Status.UNREACHABLE,
    Status.NOT_STARTED,
    Status.SKIPPED,
    Status.SUCCEEDED,
)
"""The order in which statuses are shown everywhere: what needs a person comes first."""
