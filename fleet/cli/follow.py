"""A running script's output as it comes: asked of its VM, made safe for the terminal, shown once."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

from fleet.app import connect, plans, runs
from fleet.app.parameters import secrets_given
from fleet.cli.terminal import emit_bytes, say, warn
from fleet.clock import Clock, SystemClock
from fleet.config.load import Config
from fleet.errors import ExitCode, Refused, RunNotFound
from fleet.guest.envelope import wrapper_exit
from fleet.guest.live import News, Part
from fleet.guest.spool import Stream
from fleet.inspection.blob import BlobFollower
from fleet.inspection.follow import Follower, Places
from fleet.inspection.query import QueryFailed, Source
from fleet.playbook.model import Transport
from fleet.report import safe
from fleet.report.aggregate import aggregate
from fleet.report.model import JobRow
from fleet.report.verdict import exit_code
from fleet.run.command import blobs, delivery_key, is_wrapped
from fleet.run.kept import SavedRun
from fleet.run.model import Phase
from fleet.run.record import JobRecord
from fleet.run.state import Run

BEGIN_WITHIN = 60.0
"""Seconds that an accepted script may take to begin before somebody is told that it has not."""

_GLANCE = 0.5
"""Seconds between looks at the journal, at least. Reading a large one takes longer, and is done less often."""

_BEGUN = (Phase.SUBMITTING, Phase.FINDING, Phase.RUNNING)


@dataclass(slots=True)
class _Screen:
    """Writes parts of streams, each byte once, with a line on stderr wherever the stream changes."""

    head: str
    several: bool
    raw: bool
    quiet: int
    _decoders: dict[Stream, codecs.IncrementalDecoder] = field(default_factory=dict)
    _last: Stream | None = None
    _in_line: bool = False

    def show(self, stream: Stream, data: bytes, left_out: int) -> None:
        if left_out:
            say(f"-- {left_out:,} bytes of {stream} are left out here; --full fetches all once it has ended")
        if not data:
            return
        if self.several and stream is not self._last:
            self.end_line()
            say(f"-- {self.head}  {stream}", quiet=self.quiet)
        self._last, self._in_line = stream, not data.endswith(b"\n")
        if self.raw:
            emit_bytes(data)
            return
        if stream not in self._decoders:
            self._decoders[stream] = codecs.getincrementaldecoder("utf-8")("replace")
        text = self._decoders[stream].decode(data)
        emit_bytes(safe.terminal(text).encode("utf-8", "backslashreplace"))

    def end_line(self) -> None:
        if self._in_line and not self.raw:
            emit_bytes(b"\n")
            self._in_line = False


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

    config: Config
    row: int
    kept: SavedRun
    run: Run
    places: Places
    screen: _Screen
    clock: Clock
    _read_took: float = 0.0

    @property
    def job(self) -> JobRecord:
        return self.run.record().jobs[self.row]

    @property
    def ended(self) -> bool:
        return self.run.jobs[self.row].phase is Phase.DONE

    def read_again(self) -> None:
        """Read the journal as it is now."""
        begun = self.clock.now()
        self.kept = runs.saved(self.config, self.kept.run_id)
        self.run = runs.replay(self.kept)
        self._read_took = self.clock.now() - begun

    async def wait(self, until: float) -> None:
        """Wait until a moment, or until the journal says that a job that was under way has ended."""
        under_way = not self.ended
        while (left := until - self.clock.now()) > 0 and not (under_way and self.ended):
            await asyncio.sleep(min(left, max(_GLANCE, 10 * self._read_took)))
            if under_way and self.kept.live:
                self.read_again()

    def may_try_again(self, tries: int, exit_code: int) -> bool:
        """Whether another try follows, or may follow, the one after so many that ended so."""
        record, step = self.job, self.job.job.step
        if record.retries > tries:
            return True
        return self.kept.live and not self.ended and tries < step.flow.retries and exit_code not in step.ok_exit

    def show_from_the_start(self) -> None:
        """Another try has begun: what it prints begins anew."""
        self.places = Places(self.places.streams)
        self.screen.end_line()
        say(f"-- {self.screen.head}: try {self.job.retries + 1} begins", quiet=self.screen.quiet)

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
    config: Config, kept: SavedRun, run: Run, row: int, flags: Mapping[str, Any], environ: Mapping[str, str]
) -> int:
    """Show what a job prints until it has ended, and return the exit code that a report of its row alone has.

    Raises QueryFailed where the VM cannot be asked.
    """
    record = run.record().jobs[row]
    streams = tuple(stream for stream in Stream if flags["stream"] in ("both", stream))
    head = safe.terminal_line(f"{record.job.target.name}  {record.job.step.id}")
    screen = _Screen(head, len(streams) > 1, flags["raw"], flags["quiet"])
    session = _Session(config, row, kept, run, Places(streams), screen, SystemClock())
    secrets = secrets_given(kept.plan.declared, flags["given"], environ)
    urls = blobs(kept.plan, record.job, secrets)
    if Stream.STDOUT in streams and all(stream in urls for stream in streams):
        async with connect.blobs(config) as reader:
            followed = {stream: urls[stream] for stream in streams}
            code = await _through_blobs(session, lambda nonce: BlobFollower(reader, followed, nonce))
    else:
        code = await _asking(session, flags, environ)
    screen.end_line()
    # The script has ended: a run that goes on hears of it within its next look or two.
    if session.kept.live and not session.ended:
        await session.wait(session.clock.now() + BEGIN_WITHIN)
    return _told(session, code, flags["quiet"])


async def _asking(session: _Session, flags: Mapping[str, Any], environ: Mapping[str, str]) -> int | None:
    """Show everything, asking the VM. Return the wrapper's exit code where the VM told it."""
    plans.check_cloud(session.kept.plan, session.config, flags["lab"])
    async with connect.connect(session.config, flags["lab"], environ) as connection:
        follower = Follower(connection.cloud, connection.shared, session.clock, lambda: token_hex(16))
        return await _to_the_end(session, follower)


async def _through_blobs(session: _Session, followed: Callable[[str], BlobFollower]) -> int | None:
    """Show everything, reading the step's blobs. Return the wrapper's exit code where the receipt came."""

    def told() -> int | None:
        receipt = follower.tails[Stream.STDOUT].receipt
        return None if receipt is None else wrapper_exit(receipt)

    def show_rest() -> None:
        for stream, tail in follower.tails.items():
            session.screen.show(stream, tail.rest(), 0)
        if not follower.proven:
            warn("the blobs do not hold what a receipt vouches for: what was shown may lack a part, or be another's")

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
        if session.kept.live:
            session.read_again()
        if session.job.nonce not in ("", nonce):  # each try makes the blobs anew, once it is sent
            show_rest()
            session.show_from_the_start()
            tries, nonce = session.job.retries, session.job.nonce
            follower = followed(nonce)
        await session.wait(session.clock.now() + follower.pause)


async def _to_the_end(session: _Session, follower: Follower) -> int | None:
    """Show everything. Return the wrapper's exit code where the VM told it."""
    tries = session.job.retries
    patience = session.clock.now() + BEGIN_WITHIN
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
            if session.kept.live:
                session.read_again()
            if not session.ended:
                raise
            warn("the VM could not be asked for the rest; what follows may lack a part")
            return None
        if session.kept.live:
            session.read_again()
        if news is not None:
            session.show(news)
            # Of a job that was given up or cancelled the VM may never tell an end.
            over = was_ended or (news.exit is not None and not session.may_try_again(tries, news.exit))
            if over and session.places.all_shown(news):
                return news.exit
        elif session.ended:
            return None
        elif session.clock.now() > patience:
            say(f"-- {session.screen.head}: the script has not begun yet", quiet=session.screen.quiet)
            patience += BEGIN_WITHIN
        await session.wait(follower.ready_at())


def _source(session: _Session) -> Source:
    """Questions are managed commands whatever carries the job: an action runs beside nothing, they beside anything."""
    record = session.job
    key = delivery_key(session.kept.run_id, record.job, record.retries)
    return Source(record.job.target, Transport.MANAGED, key, record.job.step.run_as)


def _told(session: _Session, code: int | None, quiet: int) -> int:
    """Say how the job ended, by the journal where it knows, else by what the VM keeps."""
    if session.ended:
        row: JobRow = aggregate(session.run.record()).jobs[session.row]
        exit_text = "" if row.exit_code is None else f", exit code {row.exit_code}"
        say(f"-- {session.screen.head}  {row.status.value}{exit_text}", quiet=quiet)
        return exit_code([row])
    say(f"-- {session.screen.head}  ended in the VM, exit code {code}", quiet=quiet)
    return ExitCode.OK if code in session.job.job.step.ok_exit else ExitCode.SCRIPT_FAILED
