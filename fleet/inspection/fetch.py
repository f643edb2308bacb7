"""Fetches what the channel cut off: the whole streams that the wrapper keeps in the VM, piece by piece.

Nothing of this belongs to the run. A reader changes nothing a script did, so it is sent again as often as it takes, and
the run's journal, which says what the streams must be, stays as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from fleet.engine.gather import gather
from fleet.engine.ports import Cloud
from fleet.engine.turns import SharedRates
from fleet.guest.spool import LARGEST, Absence, Piece, Stream, Wanted, joined, read_piece, reader
from fleet.inspection.paced import PacedCloud
from fleet.inspection.query import GuestQuery, QueryFailed, Question, Source
from fleet.playbook.model import Transport
from fleet.run.model import Cause, CauseCode, Extent
from fleet.targets.model import Os

AT_ONCE = 4
"""Readers on one VM at a time, managed: several run side by side (documented), and each start and removal counts
against the twelve calls, and four more a minute, that a VM has (documented). The action takes one at a time."""

_OVERHEAD = 4096
"""Bytes that packing may add to a stream, at most, beside a thousandth of it."""


Progress = Callable[[int, int], None]
"""Told after each piece: how many of how many have come."""


class Fetcher:
    """Fetches streams through a cloud. ``nonce`` gives fresh hex for each question."""

    def __init__(self, cloud: Cloud, shared: SharedRates, nonce: Callable[[], str]) -> None:
        self._asker = GuestQuery(PacedCloud(cloud, shared), nonce)

    async def fetch(self, source: Source, stream: Stream, extent: Extent, progress: Progress) -> bytes:
        """Return a whole stream, proven by the length and digest of the receipt. Raises QueryFailed, AzureUnusable.

        Memory is bounded by ``extent``, of which nothing above 64 MiB is asked for: the VM keeps no more.
        """
        if extent.length == 0:
            return b""
        if extent.length > LARGEST:
            raise QueryFailed(
                _gone(f"the VM keeps the last 64 MiB of a stream, and this one had {extent.length:,} bytes")
            )
        first = await self._piece(source, stream, 0)
        if first.total > extent.length + extent.length // 1000 + _OVERHEAD:
            raise QueryFailed(_wrong("what the VM offers is longer than the script's output can be"))
        progress(1, first.count)
        pieces = [first, *await self._others(source, stream, first.count, progress)]
        try:
            data = joined(pieces, extent.length)
        except ValueError as error:
            raise QueryFailed(_wrong(f"what the VM keeps is not what the script printed: {error}")) from error
        if extent.digest not in ("-", hashlib.sha256(data).hexdigest()):
            raise QueryFailed(_wrong("what the VM keeps is not what the script printed: its digest differs"))
        return data

    async def _others(self, source: Source, stream: Stream, count: int, progress: Progress) -> tuple[Piece, ...]:
        done = 1

        async def one(number: int) -> Piece:
            nonlocal done
            piece = await self._piece(source, stream, number)
            done += 1
            progress(done, count)
            return piece

        return await gather(range(1, count), one, at_once=AT_ONCE if source.transport is Transport.MANAGED else 1)

    async def _piece(self, source: Source, stream: Stream, number: int) -> Piece:
        def question(nonce: str) -> Question[Piece]:
            wanted = Wanted(source.key, stream, number, nonce)
            script = reader(wanted, windows=source.target.os is Os.WINDOWS)
            return Question(nonce, script, lambda message: read_piece(message, wanted))

        found = await self._asker.ask(source, question)
        if isinstance(found, Absence):
            raise QueryFailed(_absent(found))
        return found


def _absent(absence: Absence) -> Cause:
    if absence is Absence.RUNNING:
        hint = "wait until it ends, then ask again"
        return Cause(CauseCode.NO_ANSWER, "the script has not ended in the VM", hint)
    return _gone("the VM does not keep this output any more")


def _gone(message: str) -> Cause:
    hint = "a VM keeps output for seven days, 256 MiB in all, and loses it when its disk is replaced; run again for new"
    return Cause(CauseCode.OPERATION_GONE, message, hint)


def _wrong(message: str) -> Cause:
    return Cause(CauseCode.RECEIPT_MISMATCH, message, "do not trust this VM's output; look at the VM")
