"""Fetches whole output: from beside the run where it was fetched before, from signed blobs, else from the VMs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from secrets import token_hex
from typing import Protocol

from fleet.app import connect, plans
from fleet.app.parameters import secrets_given
from fleet.clock import SystemClock
from fleet.config.load import Config
from fleet.engine.ports import Blobs
from fleet.errors import Refused
from fleet.guest.packing import CHANNEL_TAIL
from fleet.guest.spool import Stream
from fleet.inspection.blob import whole
from fleet.inspection.fetch import Fetcher
from fleet.inspection.query import QueryFailed, Source
from fleet.plan.model import Plan
from fleet.run.command import blobs, delivery_key, transport_of
from fleet.run.kept import SavedRun
from fleet.run.model import Extent
from fleet.run.record import JobRecord
from fleet.run.state import Run
from fleet.store.sqlite import outputs
from fleet.store.sqlite.runs import RunsFolder

Whole = Mapping[int, Mapping[str, bytes]]
"""Streams by row and name."""


class Teller(Protocol):
    """Receives what a person should know while output is fetched."""

    def say(self, text: str) -> None:
        """Receive a note."""
        ...

    def warn(self, text: str) -> None:
        """Receive a warning: something cannot be had, or may lack a part."""
        ...

    def fetching(self, what: str, length: int, done: int, count: int) -> None:
        """Receive that so many of the pieces of a stream with this many bytes have come."""
        ...


@dataclass(frozen=True, slots=True)
class _Missing:
    """A stream of which the report has the end only."""

    row: int
    job: JobRecord
    stream: Stream
    extent: Extent


async def fetch_missing(
    config: Config,
    kept: SavedRun,
    run: Run,
    chosen: Sequence[int],
    streams: Sequence[Stream],
    tell: Teller,
    *,
    lab: str | None,
    given: Sequence[str],
    environ: Mapping[str, str],
) -> tuple[Whole, bool]:
    """Return the streams of these rows that the report does not hold whole, and whether all of them could be had.

    What was fetched before is read from beside the run, and Azure is asked nothing. ``tell`` receives what cannot be had.
    ``given`` are parameters as at the command line, for the addresses of blobs. Raises Refused, AzureUnusable, StateError.
    """
    folder = RunsFolder(config.state_dir).folder(kept.run_id)
    found: defaultdict[int, dict[str, bytes]] = defaultdict(dict)
    missing: list[_Missing] = []
    for each in _missing(run, chosen, streams):
        data = _local(folder, each)
        if data is None:
            missing.append(each)
        else:
            found[each.row][each.stream] = data
    complete = _tell_unkept(run, chosen, tell)
    for each, data in await _from_blobs(config, kept, missing, given, environ, tell):
        missing.remove(each)
        outputs.keep(folder, each.job.job.id, each.stream, data)
        found[each.row][each.stream] = data
    async with AsyncExitStack() as stack:
        fetcher: Fetcher | None = None
        for each in missing:
            if fetcher is None:
                plans.check_cloud(kept.plan, config, lab)
                connection = await stack.enter_async_context(connect.connect(config, lab, environ))
                fetcher = Fetcher(connection.cloud, SystemClock(), lambda: token_hex(16))
            data = await _fetched(fetcher, kept, each, tell)
            if data is None:
                complete = False
                continue
            outputs.keep(folder, each.job.job.id, each.stream, data)
            found[each.row][each.stream] = data
    return found, complete


async def _from_blobs(
    config: Config,
    kept: SavedRun,
    missing: Sequence[_Missing],
    given: Sequence[str],
    environ: Mapping[str, str],
    tell: Teller,
) -> list[tuple[_Missing, bytes]]:
    """Return what lies whole in the signed blobs that a step wrote, where ``-e`` gives the secret of their addresses."""
    secrets = secrets_given(kept.plan.declared, given, environ)
    rows = [list(group) for _, group in groupby(missing, key=lambda each: each.row)]
    signed = [(row, urls) for row in rows if (urls := blobs(kept.plan, row[0].job.job, secrets))]
    if not signed:
        return []
    async with connect.blobs(config) as reader:
        return [held for row, urls in signed for held in await _row_from_blobs(reader, row, urls, tell)]


async def _row_from_blobs(
    reader: Blobs, row: Sequence[_Missing], urls: Mapping[Stream, str], tell: Teller
) -> list[tuple[_Missing, bytes]]:
    """Return those streams of one row whose blobs hold what the receipt vouches for; the others are told."""
    job = row[0].job
    where = f"{job.job.target.name} {job.job.step.id}"
    try:
        held = await whole(reader, urls, job.nonce)
    except Refused as error:
        tell.say(f"{where}: {error}; the VM is asked")
        return []
    found = []
    for each in (each for each in row if each.stream in held):
        if outputs.fits(held[each.stream], each.extent.length, each.extent.digest):
            found.append((each, held[each.stream]))
        else:
            why = "its blob does not hold what the receipt vouches for"
            tell.say(f"{where} {each.stream}: {why}; the VM is asked")
    return found


def _missing(run: Run, chosen: Sequence[int], streams: Sequence[Stream]) -> list[_Missing]:
    jobs = run.record().jobs
    return [
        _Missing(row, jobs[row], stream, extent)
        for row in chosen
        for stream in streams
        if (extent := _extent(jobs[row], stream)) is not None
    ]


def _extent(job: JobRecord, stream: Stream) -> Extent | None:
    """What the whole stream must be; None if the report holds all of it, or nothing is known of it."""
    outcome = job.outcome
    if outcome is None or not outcome.truncated:
        return None
    extent, text = outcome.stdout_extent, outcome.stdout
    if stream is Stream.STDERR:
        extent, text = outcome.stderr_extent, outcome.stderr
    return None if extent is None or len(text.encode("utf-8", "replace")) == extent.length else extent


def _local(folder: Path, each: _Missing) -> bytes | None:
    extent = each.extent
    return outputs.kept(folder, each.job.job.id, each.stream, length=extent.length, digest=extent.digest)


def _tell_unkept(run: Run, chosen: Sequence[int], tell: Teller) -> bool:
    """Say which rows may be cut and cannot be fetched, as a script without a receipt keeps nothing; False if any."""
    jobs = run.record().jobs
    bare = [jobs[row].job.target.name for row in chosen if _may_be_cut(jobs[row])]
    if bare:
        more = f" and {len(bare) - 1} more" if len(bare) > 1 else ""
        tell.warn(
            f"{bare[0]}{more}: scripts without a receipt keep no output in the VM; the last 4,096 bytes are all there is"
        )
    return not bare


def _may_be_cut(job: JobRecord) -> bool:
    outcome = job.outcome
    if outcome is None or outcome.stdout_extent is not None:
        return False
    return max(len(text.encode("utf-8", "replace")) for text in (outcome.stdout, outcome.stderr)) >= CHANNEL_TAIL - 3


async def _fetched(fetcher: Fetcher, kept: SavedRun, each: _Missing, tell: Teller) -> bytes | None:
    target = each.job.job.target
    what = f"{target.name} {each.job.job.step.id} {each.stream}"

    def progress(done: int, count: int) -> None:
        tell.fetching(what, each.extent.length, done, count)

    try:
        return await fetcher.fetch(_source(kept.plan, kept.run_id, each.job), each.stream, each.extent, progress)
    except QueryFailed as error:
        tell.warn(f"{what} could not be fetched: {error.cause.message}; {error.cause.hint}".rstrip("; "))
        return None


def _source(plan: Plan, run_id: str, record: JobRecord) -> Source:
    job = record.job
    return Source(job.target, transport_of(plan, job.step), delivery_key(run_id, job, record.retries), job.step.run_as)
