"""Starts a run or takes one over, carries it out, and reads it back."""

from __future__ import annotations

import os
import random
import secrets as randomness
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import anyio

from fleet.app import plans
from fleet.app.connect import Connection
from fleet.app.leases import leasing
from fleet.app.steer import user
from fleet.clock import Clock
from fleet.engine.directives import DirectiveInbox
from fleet.engine.loop import Engine
from fleet.engine.ports import Kept
from fleet.engine.run_store import Durations, RunJournal, RunStore
from fleet.errors import FleetError, Refused, StateError
from fleet.plan.model import JobId, Plan
from fleet.plan.rerun import narrowed
from fleet.report.aggregate import aggregate
from fleet.report.model import Report
from fleet.run import command
from fleet.run.answers import Command
from fleet.run.events import Event, StopKind
from fleet.run.kept import SavedRun
from fleet.run.model import Status
from fleet.run.record import RunRecord
from fleet.run.run_id import new_id
from fleet.run.state import Run

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
        while self._engine is not None and self._passed < self._asked:
            self._passed += 1
            self._engine.stop(StopKind.SOFT if self._passed == 1 else StopKind.HARD, self._who)


@dataclass(slots=True)
class OpenRun:
    """A run that this process owns."""

    run: Run
    journal: RunJournal
    store: RunStore
    durations: Durations | None = None
    """What learns how long its scripts took."""
    is_resumable: bool = True
    """Whether the run can be gone on with; false once its journal was lost."""


async def begin(
    store: RunStore,
    plan: Plan,
    secrets: Mapping[str, str],
    clock: Clock,
    environ: Mapping[str, str],
    durations: Durations | None = None,
) -> OpenRun:
    """Keep a new run and own it. Raises StateError, and InvalidInput if a script cannot be carried or a gate's token is
    missing.
    """
    plans.check_gates(plan, environ)
    now = clock.now()
    run_id = new_id(now, random.SystemRandom())
    command.check(plan, run_id, secrets)
    return OpenRun(Run(plan, run_id), await store.create(run_id, plan, owner=owner(), now=now), store, durations)


async def take_over(store: RunStore, run_id: str, clock: Clock, durations: Durations | None = None) -> OpenRun:
    """Own a run that an earlier process left unfinished. Raises StateError."""
    taken = await store.take_over(run_id, owner=owner(), now=clock.now())
    return OpenRun(_folded(taken.plan, run_id, taken.events), taken.journal, store, durations)


async def saved(store: RunStore, text: str) -> SavedRun:
    """Read a kept run by id, unique prefix or ``last``. Raises RunNotFound, StateError."""
    return await store.read(await store.find(text))


def replay(kept: SavedRun) -> Run:
    """Fold a kept run's events."""
    return _folded(kept.plan, kept.run_id, kept.events)


def _folded(plan: Plan, run_id: str, events: Iterable[Event]) -> Run:
    run = Run(plan, run_id)
    for event in events:
        run.apply(event)
    return run


def report_of(kept: SavedRun) -> Report:
    """Return the report of a kept run, also of one that goes on."""
    return aggregate(replay(kept).record())


def plan_again(kept: SavedRun, statuses: Sequence[Status] = RERUN) -> Plan:
    """Return the plan of a run that has ended, over its targets that ended with one of these statuses.

    Raises Refused where the run has not ended, or no target ended so.
    """
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
    run = opened.run
    failure: FleetError | None = None

    def command_of(job: JobId) -> Command:
        return run.command(job, secrets)

    try:
        async with leasing(connection, clock, opened.run, opened.store) as (cloud, observers, leases):
            inbox = DirectiveInbox(opened.store.directives(run.run_id), run)
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
                shared=connection.shared,
            )
            with stop.steering(engine, owner()):
                async with inbox.open(engine):
                    await engine.drive(opened.journal.epoch, owner(), connection.principals, waits=waits)
    except FleetError as error:
        failure = error
        if isinstance(error, StateError):
            opened.run = await _as_kept(opened)
    finally:
        with anyio.CancelScope(shield=True):  # a scope that is cancelled would cut this short again and again
            await opened.journal.close()
    if (loss := opened.journal.loss) is not None:
        opened.is_resumable = False
        opened.run = _as_known(opened, run)
        failure = loss
    if failure is not None:
        raise failure
    if opened.durations is not None:
        await opened.durations.learn(run.run_id, clock.now(), run.looks.took())
    return run.record()


def _as_known(opened: OpenRun, run: Run) -> Run:
    """The run of a lost journal, as it was known here; a submission that was only intended was not sent."""
    saved = opened.journal.saved
    return run if saved is None else _folded(run.plan, run.run_id, saved)


async def _as_kept(opened: OpenRun) -> Run:
    """The run as the store has it: what could not be written did not happen, and is never reported."""
    try:
        return replay(await opened.store.read(opened.run.run_id))
    except StateError:
        return opened.run  # the store can be neither written nor read; the error says so


def _each(*observers: Callable[[Event], None]) -> Callable[[Event], None]:
    def observe(event: Event) -> None:
        for observer in observers:
            observer(event)

    return observe
