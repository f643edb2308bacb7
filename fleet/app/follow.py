"""Follows what a running script prints: asked of its VM, or read from the step's blobs, and shown once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Protocol

from fleet.app import connect
from fleet.app.connect import Opening
from fleet.app.parameters import secrets_given
from fleet.clock import Clock
from fleet.config.load import Config
from fleet.engine.run_store import RunStore
from fleet.errors import ExitCode, Refused, RunNotFound
from fleet.guest.envelope import wrapper_exit
from fleet.guest.live import News, Part
from fleet.guest.spool import Stream
from fleet.inspection.blob import BlobFollower
from fleet.inspection.follow import Follower, Places
from fleet.inspection.query import QueryFailed, Source
from fleet.playbook.model import Transport
from fleet.report.aggregate import aggregate
from fleet.report.model import JobRow
from fleet.report.verdict import exit_code
from fleet.run.command import blobs, delivery_key, is_wrapped
from fleet.run.kept import SavedRun
from fleet.run.model import Phase
from fleet.run.record import JobRecord
from fleet.run.state import Run

START_WITHIN = 60.0
"""Seconds that an accepted script may take to start before it is said that it has not."""

READ_EVERY = 0.5
"""Seconds between two reads of the journal."""

_BEGUN = (Phase.SUBMITTING, Phase.FINDING, Phase.RUNNING)


class Screen(Protocol):
    """Receives what one job prints, and what a person should know meanwhile."""

    def show(self, stream: Stream, data: bytes, left_out: int) -> None:
        """Receive the next bytes of a stream; ``left_out`` bytes before them are not shown."""
        ...

    def say(self, text: str) -> None:
        """Receive a note about the job: another try starts, or its script has not started yet."""
        ...

    def warn(self, text: str) -> None:
        """Receive a warning: what is shown may lack a part."""
        ...


@dataclass(frozen=True, slots=True)
class Followed:
    """How a followed job ended. ``row`` is its row by the journal, None where that does not know of its end yet."""

    row: JobRow | None
    exit: int | None
    """The script's exit code, as the VM or the journal has it."""
    code: int
    """The exit code of a report of this row alone."""


def row_to_follow(run: Run, chosen: Sequence[int], live: bool) -> int:
    """Choose the one row that can be followed: of one VM's steps the one under way, else the last that ended.

    Raises RunNotFound for several VMs, and Refused where nothing of it can be followed.
    """
    jobs = run.record().jobs
    if len({jobs[row].job.target.key for row in chosen}) > 1:
        raise RunNotFound("--follow shows one VM", hint="name it: fleet output RUN VM --follow", code="several_vms")
    under_way = [row for row in chosen if _has_begun(jobs[row])]
    ended = [row for row in chosen if jobs[row].phase is Phase.DONE and jobs[row].attempts]
    if not under_way and not ended:
        hint = "wait for its turn; `fleet show` tells" if live else "fleet resume goes on with the run"
        raise Refused(f"{jobs[chosen[0]].job.target.name}: the job has not begun", hint=hint, code="not_begun")
    row = under_way[0] if under_way else ended[-1]
    if not is_wrapped(run.plan, jobs[row].job.step) and under_way:
        raise Refused(
            f"{jobs[row].job.target.name}: a script without a receipt cannot be followed",
            hint="its output comes when it has ended; run.receipts: true keeps it where it can be followed",
            code="not_followed",
        )
    return row


def _has_begun(job: JobRecord) -> bool:
    return job.phase in _BEGUN or (job.phase is Phase.WAITING and job.possibly_sent)


@dataclass(slots=True)
class _Session:
    """One job being followed."""

    store: RunStore
    row: int
    run: Run
    known: int
    """How many events of the run are folded."""
    live: bool
    places: Places
    screen: Screen
    clock: Clock

    @property
    def job(self) -> JobRecord:
        return self.run.record().jobs[self.row]

    @property
    def ended(self) -> bool:
        return self.run.jobs[self.row].phase is Phase.DONE

    async def read_on(self) -> None:
        """Fold what has come to the journal of a live run meanwhile."""
        if not self.live:
            return
        tail = await self.store.events(self.run.run_id, after=self.known)
        for event in tail.events:
            self.run.apply(event)
        self.known, self.live = tail.last, tail.live

    async def wait(self, until: float) -> None:
        """Wait until a moment, or until the journal says that a job that was under way has ended."""
        under_way = not self.ended
        while (left := until - self.clock.now()) > 0 and not (under_way and self.ended):
            await asyncio.sleep(min(left, READ_EVERY))
            if under_way:
                await self.read_on()

    def may_try_again(self, tries: int, exit_code: int) -> bool:
        """Whether another try follows, or may follow, the one after so many that ended so."""
        record, step = self.job, self.job.job.step
        if record.retries > tries:
            return True
        return self.live and not self.ended and tries < step.flow.retries and exit_code not in step.ok_exit

    def show_from_the_start(self) -> None:
        """Another try has started: what it prints starts anew."""
        self.places = Places(self.places.streams)
        self.screen.say(f"try {self.job.retries + 1} begins")

    def show(self, news: News) -> None:
        for stream in self.places.streams:
            left_out, data = self.places.advance(stream, news.of(stream))
            self.screen.show(stream, data, left_out)

    def show_kept(self) -> bool:
        """Show the rest from the journal. False if it lacks bytes between what was shown and what it holds."""
        parts = {stream: _kept_part(self.job, stream) for stream in self.places.streams}
        if any(part is None or part.start > self.places.shown.get(stream, 0) for stream, part in parts.items()):
            return False
        for stream, part in parts.items():
            assert part is not None
            left_out, data = self.places.advance(stream, part)
            self.screen.show(stream, data, left_out)
        return True


def _kept_part(job: JobRecord, stream: Stream) -> Part | None:
    """What the journal holds of an ended job's stream; None if it is not known which bytes they are."""
    outcome = job.outcome
    if outcome is None:
        return None
    extent, text = outcome.stdout_extent, outcome.stdout
    if stream is Stream.STDERR:
        extent, text = outcome.stderr_extent, outcome.stderr
    if extent is None:
        return None
    data = text.encode("utf-8", "replace")
    return Part(extent.length - len(data), data, extent.length) if len(data) <= extent.length else None


async def follow(
    config: Config,
    store: RunStore,
    kept: SavedRun,
    run: Run,
    row: int,
    streams: Sequence[Stream],
    screen: Screen,
    clock: Clock,
    *,
    opening: Opening,
    given: Sequence[str],
    environ: Mapping[str, str],
) -> Followed:
    """Show what a job prints until it has ended, and return how it ended. ``run`` is ``kept`` folded, and is folded on.

    ``opening`` opens the cloud where the VM is to be asked. ``given`` are parameters as at the command line, for the
    addresses of blobs. Raises QueryFailed where the VM cannot be asked, AzureUnusable, StateError.
    """
    record = run.record().jobs[row]
    session = _Session(store, row, run, len(kept.events), kept.live, Places(tuple(streams)), screen, clock)
    urls = blobs(kept.plan, record.job, secrets_given(kept.plan.declared, given, environ))
    if Stream.STDOUT in streams and all(stream in urls for stream in streams):
        async with connect.blobs(config) as reader:
            followed = {stream: urls[stream] for stream in streams}
            code = await _through_blobs(session, lambda nonce: BlobFollower(reader, followed, nonce))
    else:
        async with opening() as connection:
            code = await _to_the_end(
                session, Follower(connection.cloud, connection.shared, clock, lambda: token_hex(16))
            )
    # The script has ended: a run that goes on sees that within its next look or two.
    if session.live and not session.ended:
        await session.wait(clock.now() + START_WITHIN)
    return _followed(session, code)


def _followed(session: _Session, code: int | None) -> Followed:
    """Say how the job ended, by the journal where it knows, else by what the VM keeps."""
    if session.ended:
        row = aggregate(session.run.record()).jobs[session.row]
        return Followed(row, row.exit_code, exit_code([row]))
    return Followed(None, code, ExitCode.OK if code in session.job.job.step.ok_exit else ExitCode.SCRIPT_FAILED)


async def _through_blobs(session: _Session, followed: Callable[[str], BlobFollower]) -> int | None:
    """Show everything, reading the step's blobs. Return the wrapper's exit code where the receipt came."""

    def told() -> int | None:
        receipt = follower.tails[Stream.STDOUT].receipt
        return None if receipt is None else wrapper_exit(receipt)

    def show_rest() -> None:
        for stream, tail in follower.tails.items():
            session.screen.show(stream, tail.rest(), 0)
        if not follower.proven:
            session.screen.warn(
                "the blobs do not hold what a receipt vouches for: what was shown may lack a part, or be another's"
            )

    tries, nonce = session.job.retries, session.job.nonce
    follower = followed(nonce)
    while True:
        over = session.ended
        news = await follower.news(over=over)
        for stream, data in (news or {}).items():
            session.screen.show(stream, data, 0)
        code = told()
        is_last = follower.whole and code is not None and not session.may_try_again(tries, code)
        if is_last or (over and news is None and not follower.troubled):
            show_rest()
            return code
        await session.read_on()
        if session.job.nonce not in ("", nonce):  # each try makes the blobs anew, once it is sent
            show_rest()
            session.show_from_the_start()
            tries, nonce = session.job.retries, session.job.nonce
            follower = followed(nonce)
        await session.wait(session.clock.now() + follower.pause)


async def _to_the_end(session: _Session, follower: Follower) -> int | None:
    """Show everything. Return the wrapper's exit code where the VM told it."""
    tries = session.job.retries
    patience = session.clock.now() + START_WITHIN
    while True:
        if session.job.retries != tries:
            tries = session.job.retries
            session.show_from_the_start()
        if session.ended and session.show_kept():
            return None
        was_ended = session.ended
        try:
            news = await follower.news(_source(session), session.places)
        except QueryFailed:
            await session.read_on()
            if not session.ended:
                raise
            session.screen.warn("the VM could not be asked for the rest; what follows may lack a part")
            return None
        await session.read_on()
        if news is not None:
            session.show(news)
            # Of a job that was given up or cancelled the VM may never tell an end.
            over = was_ended or (news.exit is not None and not session.may_try_again(tries, news.exit))
            if over and session.places.all_shown(news):
                return news.exit
        elif session.ended:
            return None
        elif session.clock.now() > patience:
            session.screen.say("the script has not begun yet")
            patience += START_WITHIN
        await session.wait(follower.ready_at())


def _source(session: _Session) -> Source:
    """Questions are managed commands whatever carries the job: an action runs beside nothing, they beside anything."""
    record = session.job
    key = delivery_key(session.run.run_id, record.job, record.retries)
    return Source(record.job.target, Transport.MANAGED, key, record.job.step.run_as)
