"""Fetches what the channel cut off: the whole streams that the wrapper keeps in the VM, piece by piece.

Nothing of this belongs to the run. A reader changes nothing a script did, so it is sent again as often as it takes, and
the run's journal, which says what the streams must be, stays as it is.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from fleet.clock import Clock
from fleet.engine.ports import Cloud
from fleet.guest.spool import LARGEST, Absence, Piece, Stream, Wanted, joined, read_piece, reader
from fleet.playbook.model import Transport
from fleet.run import answers as a
from fleet.run.answers import Command, Operation
from fleet.run.model import Cause, CauseCode, Extent
from fleet.run.retry import GiveUp, backoff, judge_refusal, not_connected
from fleet.targets.model import Os, Target

AT_ONCE = 4
"""Readers on one VM at a time, managed: several run side by side (documented), and each start and removal counts
against the twelve calls, and four more a minute, that a VM has (documented). The action takes one at a time."""

FIRST_LOOK = 0.3
"""Seconds between looks, at least."""
TRIES = 8
PATIENCE = 600.0
"""Seconds that one reader may take to answer."""
_OVERHEAD = 4096
"""Bytes that packing may add to a stream, at most, beside a thousandth of it."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a job's output is kept: the machine, the delivery's key, and how it was delivered."""

    target: Target
    transport: Transport
    key: str
    run_as: str | None = None


class NotFetched(Exception):
    """A stream could not be had; ``cause`` says why and what to do. The rest goes on without it."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.message)
        self.cause = cause


Progress = Callable[[int, int], None]
"""Told after each piece: how many of how many have come."""


@dataclass(slots=True)
class Fetcher:
    """Fetches streams through a cloud. ``nonce`` gives fresh hex for each question."""

    cloud: Cloud
    clock: Clock
    nonce: Callable[[], str]
    _shortest: float = 0.0
    """Seconds that the quickest reader took: nobody looks much sooner, as each look counts too."""

    async def fetch(self, source: Source, stream: Stream, extent: Extent, progress: Progress) -> bytes:
        """Return a whole stream, proven by the length and digest of the receipt. Raises NotFetched, AzureUnusable.

        Memory is bounded by ``extent``, of which nothing above 64 MiB is asked for: the VM keeps no more.
        """
        if extent.length == 0:
            return b""
        if extent.length > LARGEST:
            raise NotFetched(
                _gone(f"the VM keeps the last 64 MiB of a stream, and this one had {extent.length:,} bytes")
            )
        first = await self._piece(source, stream, 0)
        if first.total > extent.length + extent.length // 1000 + _OVERHEAD:
            raise NotFetched(_wrong("what the VM offers is longer than the script's output can be"))
        progress(1, first.count)
        pieces = [first, *await self._others(source, stream, first.count, progress)]
        try:
            data = joined(pieces, extent.length)
        except ValueError as error:
            raise NotFetched(_wrong(f"what the VM keeps is not what the script printed: {error}")) from error
        if extent.digest not in ("-", hashlib.sha256(data).hexdigest()):
            raise NotFetched(_wrong("what the VM keeps is not what the script printed: its digest differs"))
        return data

    async def _others(self, source: Source, stream: Stream, count: int, progress: Progress) -> list[Piece]:
        places = asyncio.Semaphore(AT_ONCE if source.transport is Transport.MANAGED else 1)
        done = 1

        async def one(number: int) -> Piece:
            nonlocal done
            async with places:
                piece = await self._piece(source, stream, number)
            done += 1
            progress(done, count)
            return piece

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(number)) for number in range(1, count)]
        except* Exception as several:
            raise several.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _piece(self, source: Source, stream: Stream, number: int) -> Piece:
        trouble = Cause(CauseCode.NO_ANSWER, "the VM gave no usable answer", "try again later")
        for tries in range(1, TRIES + 1):
            wanted = Wanted(source.key, stream, number, self.nonce())
            found = await self._ask(source, wanted, tries)
            if isinstance(found, Piece):
                return found
            if isinstance(found, Absence):
                raise NotFetched(_absent(found))
            trouble = found or trouble
        raise NotFetched(trouble)

    async def _ask(self, source: Source, wanted: Wanted, tries: int) -> Piece | Absence | Cause | None:
        """Send a reader once and wait for its answer. A cause says why there is none; then some time has passed."""
        command = _command(source, wanted)
        try:
            answer = (await self.cloud.submit(command)).answer
            if isinstance(answer, a.Refused):
                verdict = judge_refusal(answer.refusal, now=self.clock.now(), tries=tries, salt=wanted.nonce)
                if isinstance(verdict, GiveUp):
                    raise NotFetched(verdict.cause)
                await asyncio.sleep(max(verdict.at - self.clock.now(), 0.0))
                return verdict.cause
            if isinstance(answer, a.Lost):
                await asyncio.sleep(backoff(tries, wanted.nonce))
                return not_connected(answer.detail, now=0.0, tries=tries, salt="").cause
            return await self._await(source, answer.operation, wanted)
        finally:
            if source.transport is Transport.MANAGED:
                await self.cloud.remove(source.target, command.name)

    async def _await(self, source: Source, operation: Operation, wanted: Wanted) -> Piece | Absence | Cause | None:
        begun, looks, hint = self.clock.now(), 0, 0.0
        while (age := self.clock.now() - begun) < PATIENCE:
            pause = max(FIRST_LOOK, 0.25 * age) if looks else max(FIRST_LOOK, 0.9 * self._shortest)
            await asyncio.sleep(max(pause, hint))
            answer = (await self.cloud.look(source.target, operation)).answer
            looks += 1
            if isinstance(answer, a.Finished):
                self._shortest = min(self._shortest or PATIENCE, self.clock.now() - begun)
                return read_piece(_message(answer.answer), wanted)
            if isinstance(answer, a.OperationFailed):
                return Cause(CauseCode.OPERATION_FAILED, f"{answer.code}: {answer.message}")
            if isinstance(answer, a.Refused) and answer.refusal.status in (403, 404, 410):
                return Cause(CauseCode.OPERATION_GONE, f"{answer.refusal.code}: {answer.refusal.message}")
            hint = (answer.refusal if isinstance(answer, a.Refused) else answer).retry_after or 0.0
        return None


def _command(source: Source, wanted: Wanted) -> Command:
    """The reader's command. Its name begins with the delivery's, so that one left behind can be told by its run."""
    return Command(
        target=source.target,
        transport=source.transport,
        name=f"{source.key}-read-{wanted.nonce[:8]}",
        script=reader(wanted, windows=source.target.os is Os.WINDOWS),
        timeout=PATIENCE,
        run_as=source.run_as,
    )


def _message(answer: a.Answer) -> str:
    return answer.combined if answer.combined is not None else f"{answer.stdout}\n[stderr]\n{answer.stderr}"


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
