"""Starts a run or takes one over, carries it out, and reads it back."""

from __future__ import annotations

import os
import random
import secrets as randomness
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fleet.clock import Clock
from fleet.errors import FleetError, Refused, StateError
from fleet.run.model import Status

if TYPE_CHECKING:
    from fleet.app.connect import Connection
    from fleet.config.load import Config
    from fleet.engine.ports import Kept
    from fleet.plan.model import JobId, Plan
    from fleet.report.model import Report
    from fleet.run.answers import Command
    from fleet.run.events import Event, StopKind
    from fleet.run.kept import RunSummary, SavedRun
    from fleet.run.record import RunRecord
    from fleet.run.state import Run
    from fleet.store.sqlite.journal import Journal

RERUN = tuple(status for status in Status if status not in (Status.SUCCEEDED, Status.SKIPPED))
"""The statuses whose targets are run again where none are named."""


class Stoppable(Protocol):
    """A run that is carried out, as far as stopping it goes."""

    def stop(self, kind: StopKind, who: str) -> None:
        """Ask the run to stop. May be called from a signal handler of the loop."""
        ...


class StopHook(Protocol):
    """Decides when a run is asked to stop, such as the signals of a terminal."""

    def steering(self, engine: Stoppable, who: str) -> AbstractContextManager[None]:
        """Pass requests to stop to the engine while the context is open, those that came before included."""
        ...


class Stop:
    """Stops one run from the program that carries it out.

    Asked once, the run starts nothing more and waits for what runs. Asked twice, it cancels what it can and is left.
    """

    def __init__(self) -> None:
        self._engine: Stoppable | None = None
        self._who = ""
        self._asked = 0
        self._passed = 0

    def ask(self) -> None:
        """Ask the run to stop. Must be called in the thread of the run's event loop; before the run starts it counts too."""
        self._asked += 1
        self._pass_on()

    @contextmanager
    def steering(self, engine: Stoppable, who: str) -> Iterator[None]:
        """Pass requests to the engine while the context is open."""
        self._engine, self._who = engine, who
        self._pass_on()
        try:
            yield
        finally:
            self._engine = None

    def _pass_on(self) -> None:
        from fleet.run.events import StopKind

        while self._engine is not None and self._passed < self._asked:
            self._passed += 1
            self._engine.stop(StopKind.SOFT if self._passed == 1 else StopKind.HARD, self._who)


@dataclass(slots=True)
class OpenRun:
    """A run that this process owns."""

    run: Run
    journal: Journal
    epoch: int
    folder: Path
    state_dir: Path
    is_resumable: bool = True
    """Whether the run can be gone on with; false once its journal was lost."""


def begin(config: Config, plan: Plan, secrets: Mapping[str, str], clock: Clock, environ: Mapping[str, str]) -> OpenRun:
    """Make a new run on disk and own it. Raises StateError, and InvalidInput if a script cannot be carried or a gate's
    token is missing.
    """
    from fleet.app import plans
    from fleet.run import command
    from fleet.run.state import Run
    from fleet.store.sqlite.journal import create
    from fleet.store.sqlite.runs import RunsFolder, new_id

    plans.check_gates(plan, environ)
    runs = RunsFolder(config.state_dir)
    runs.prepare()
    run_id = new_id(clock.now(), random.SystemRandom())
    command.check(plan, run_id, secrets)
    folder = runs.folder(run_id)
    journal = create(folder, run_id=run_id, plan=plan, owner=owner(), now=clock.now())
    return OpenRun(Run(plan, run_id), journal, 1, folder, config.state_dir)


def take_over(config: Config, run_id: str, secrets: Mapping[str, str], clock: Clock) -> OpenRun:
    """Own a run that an earlier process left unfinished. Raises StateError, InvalidInput (a secret is missing)."""
    from fleet.store.sqlite.journal import open_for_writing
    from fleet.store.sqlite.runs import RunsFolder

    folder = RunsFolder(config.state_dir).folder(run_id)
    opened = open_for_writing(folder, owner=owner(), now=clock.now())
    return OpenRun(_folded(opened.plan, run_id, opened.events), opened.journal, opened.epoch, folder, config.state_dir)


def summaries(config: Config) -> Sequence[RunSummary]:
    """Return the runs that are kept, newest first."""
    from fleet.store.sqlite.runs import RunsFolder

    return RunsFolder(config.state_dir).list()


def saved(config: Config, text: str) -> SavedRun:
    """Read a kept run by id, unique prefix or ``last``. Raises RunNotFound, StateError."""
    from fleet.store.sqlite.journal import read
    from fleet.store.sqlite.runs import RunsFolder

    runs = RunsFolder(config.state_dir)
    return read(runs.folder(runs.find(text)))


def replay(kept: SavedRun) -> Run:
    """Fold a kept run's events."""
    return _folded(kept.plan, kept.run_id, kept.events)


def _folded(plan: Plan, run_id: str, events: Iterable[Event]) -> Run:
    from fleet.run.state import Run

    run = Run(plan, run_id)
    for event in events:
        run.apply(event)
    return run


def report_of(kept: SavedRun) -> Report:
    """Return the report of a kept run, also of one that goes on."""
    from fleet.report.aggregate import aggregate

    return aggregate(replay(kept).record())


def plan_again(kept: SavedRun, statuses: Sequence[Status] = RERUN) -> Plan:
    """Return the plan of a run that has ended, over its targets that ended with one of these statuses.

    Raises Refused where the run has not ended, or no target ended so.
    """
    from fleet.plan.rerun import narrowed
    from fleet.report.aggregate import aggregate

    past = replay(kept)
    if not past.finished:
        state = "is going on" if kept.live else "was left unfinished"
        hint = f"go on with it first: fleet resume {kept.run_id}; otherwise what it began could run twice"
        raise Refused(f"run {kept.run_id} {state}", hint=hint, code="run_unfinished")
    rows = aggregate(past.record()).jobs
    plan = narrowed(kept.plan, {row.target for row in rows if row.status in statuses})
    if not plan.targets:
        names = ", ".join(status.value for status in statuses)
        hint = f"fleet show {kept.run_id} shows how they ended"
        raise Refused(f"no target of run {kept.run_id} ended {names}", hint=hint)
    return plan


def new_nonce() -> str:
    """Draw the nonce of a receipt."""
    return randomness.token_hex(16)


def owner() -> str:
    """Who holds a run: user, machine and process."""
    from fleet.app.steer import user

    return f"{user()}@{socket.gethostname()}/{os.getpid()}"


async def carry_out(
    opened: OpenRun,
    connection: Connection,
    secrets: Mapping[str, str],
    clock: Clock,
    observe: Callable[[Event], None],
    stop: StopHook,
    *,
    waits: bool = True,
) -> RunRecord:
    """Drive the run to its end, or to where a person stopped it, and return how it stands.

    The first interrupt stops launching, the second cancels what can be cancelled and leaves. Raises StateError and
    AzureUnusable; after either ``opened.run`` is what is on disk, and the run can be resumed. If its files were removed or
    replaced, ``opened.run`` is what they held and ``opened.is_resumable`` is false.
    """
    from fleet.app.leases import leasing
    from fleet.engine.directives import DirectiveInbox
    from fleet.engine.loop import Engine
    from fleet.store.sqlite.directives import Directives

    run = opened.run
    failure: FleetError | None = None

    def command_of(job: JobId) -> Command:
        return run.command(job, secrets)

    try:
        async with leasing(connection, clock, opened.run, opened.state_dir) as (cloud, observers, leases):
            inbox = DirectiveInbox(Directives(opened.folder), run)
            seen = _each(observe, inbox.observe, *observers)
            kept: tuple[Kept, ...] = (opened.journal, *leases)
            engine = Engine(
                run,
                cloud,
                opened.journal,
                clock,
                command_of,
                seen,
                connection.gatekeeper,
                nonces=new_nonce,
                kept=kept,
            )
            with stop.steering(engine, owner()), inbox.open(engine):
                await engine.drive(opened.epoch, owner(), connection.principals, waits=waits)
    except FleetError as error:
        failure = error
        if isinstance(error, StateError):
            opened.run = _on_disk(opened)
    finally:
        await opened.journal.close()
    if (loss := opened.journal.loss) is not None:
        opened.is_resumable = False
        opened.run = _as_known(opened, run)
        failure = loss
    if failure is not None:
        raise failure
    return run.record()


def _as_known(opened: OpenRun, run: Run) -> Run:
    """The run of a lost journal, as it was known here; a submission that was only intended was not sent."""
    saved = opened.journal.saved
    return run if saved is None else _folded(run.plan, run.run_id, saved)


def _on_disk(opened: OpenRun) -> Run:
    """The run as its journal has it: what could not be written did not happen, and is never reported."""
    from fleet.store.sqlite.journal import read

    try:
        return replay(read(opened.folder))
    except StateError:
        return opened.run  # the disk can be neither written nor read; the error says so


def _each(*observers: Callable[[Event], None]) -> Callable[[Event], None]:
    def observe(event: Event) -> None:
        for observer in observers:
            observer(event)

    return observe
