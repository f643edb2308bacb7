"""Where runs are kept: the port of the state store, and the values that pass it. Protocols only.

Every store keeps the same promises (``tests/contracts/test_run_store.py`` runs over each of them). What is not about one
run, such as how long scripts took, is a port of its own next to this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fleet.engine.ports import Journal, Kept, Leases
from fleet.errors import StateError
from fleet.run.model import Extent

if TYPE_CHECKING:
    from fleet.plan.launch_order import Times
    from fleet.plan.model import Plan
    from fleet.run.events import Directive, Event
    from fleet.run.kept import RunState, RunSummary, SavedRun


class RunJournal(Journal, Kept, Protocol):
    """The journal of a run that this process owns."""

    @property
    def epoch(self) -> int:
        """The owner's number: 1 for the first, one more for each that takes the run over."""
        ...

    @property
    def loss(self) -> StateError | None:
        """Why nothing of this journal can be found any more; None while it can. Final once it is closed."""
        ...

    @property
    def saved(self) -> tuple[Event, ...] | None:
        """After a loss: the events that happened, as far as they are known, without submissions that were not sent."""
        ...

    async def close(self) -> None:
        """Keep what waits and release the run. Safe to repeat."""
        ...


class RunLeases(Leases, Kept, Protocol):
    """The VM leases of one cloud, opened for one run."""

    @property
    def loss(self) -> StateError | None:
        """That the leases were removed or replaced; None as far as has been seen."""
        ...

    async def close(self) -> None:
        """Finish what was asked. Leases that are held stay held."""
        ...


class Directives(Protocol):
    """What people ask of one run from elsewhere, and the answers to them."""

    async def leave(self, event: Directive) -> None:
        """Leave a directive for the run's owner, durably. Raises StateError."""
        ...

    async def pending(self) -> Sequence[Directive]:
        """Return what waits for the owner, oldest first. What cannot be read is left out."""
        ...

    async def answer(self, directive: str, text: str) -> None:
        """Say what became of a directive, which waits no longer. Raises StateError."""
        ...

    async def answered(self, directive: str) -> str | None:
        """Return the answer, once; None while there is none."""
        ...

    async def withdraw(self, directive: str) -> None:
        """Remove a directive that still waits."""
        ...


@dataclass(frozen=True, slots=True)
class Takeover:
    """A run taken over: the journal to continue, and what it holds so far."""

    journal: RunJournal
    plan: Plan
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Tail:
    """What a run's journal holds after an event that is known already.

    ``last`` is the number of the newest event, counted from 1: the place to read on from. ``damage`` is empty, or a
    sentence; ``events`` is then the good part before it.
    """

    events: tuple[Event, ...]
    last: int
    live: bool
    damage: str = ""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which kept runs to list. None allows all."""

    ids: frozenset[str] | None = None
    playbook: str | None = None
    states: frozenset[RunState] | None = None

    def admits(self, run: RunSummary) -> bool:
        """Whether a run is to be listed."""
        return (
            (self.ids is None or run.id in self.ids)
            and (self.playbook is None or run.playbook == self.playbook)
            and (self.states is None or run.state in self.states)
        )


ALL = RunFilter()


class RunStore(Protocol):
    """Keeps runs. Any number of processes may use one at the same time; one of them at most owns a run.

    Ids come from :func:`fleet.run.run_id.new_id`. Raises StateError where the store cannot be used, and RunNotFound for an
    id that is not one.
    """

    async def create(self, run_id: str, plan: Plan, *, owner: str, now: float) -> RunJournal:
        """Keep a new run, durably, and own it under epoch 1. Raises StateError ``run_exists``, ``disk_full``."""
        ...

    async def take_over(self, run_id: str, *, owner: str, now: float) -> Takeover:
        """Own a run under the next epoch, and read it.

        Raises StateError ``run_is_live`` while it has an owner, ``journal_damaged``, ``newer_version``, ``no_journal``.
        """
        ...

    async def read(self, run_id: str) -> SavedRun:
        """Return a run as it is now, also while it is live. Raises StateError when not even its plan can be read."""
        ...

    async def events(self, run_id: str, *, after: int) -> Tail:
        """Return the events that follow event number ``after`` (0: all). Raises StateError ``no_journal``."""
        ...

    async def find(self, text: str) -> str:
        """Return the id that an id, a unique prefix of one, or ``last`` stands for. Raises RunNotFound."""
        ...

    async def list(self, wanted: RunFilter = ALL) -> tuple[RunSummary, ...]:
        """Return the runs that the filter admits, newest first; one that cannot be read is listed as damaged."""
        ...

    async def output(self, run_id: str, job: int, stream: str, extent: Extent) -> bytes | None:
        """Return a whole stream that was kept; None if none was, or it does not fit."""
        ...

    async def keep_output(self, run_id: str, job: int, stream: str, data: bytes) -> None:
        """Keep a whole stream with its run, in place of an earlier one."""
        ...

    async def keep_report(self, run_id: str, name: str, pieces: Iterable[str]) -> str:
        """Keep a report with its run under a file's name, in place of an earlier one. Return where it is, for a person."""
        ...

    def directives(self, run_id: str) -> Directives:
        """Return the directives of one run."""
        ...

    async def leases(self, cloud: str) -> RunLeases:
        """Open the leases of a cloud's VMs. Raises StateError ``leases_unusable``."""
        ...


class Durations(Protocol):
    """How long targets took in earlier runs."""

    async def newest(self, playbook: str, cloud: str) -> Times:
        """Return the times of the newest run of a playbook in a cloud that has ended; none where none can be read."""
        ...

    async def usual(self, scripts: Sequence[str]) -> Mapping[str, Sequence[float]]:
        """Return the seconds that these scripts took, in order; one of which nothing is known is left out.

        A script is named by :func:`fleet.run.times.script_key`. What cannot be read is not known.
        """
        ...

    async def learn(self, run_id: str, at: float, took: Mapping[str, Sequence[float]]) -> None:
        """Keep what the scripts of a run took. What cannot be kept is forgotten."""
        ...
