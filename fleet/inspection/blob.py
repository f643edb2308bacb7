"""Follows a running script through the blobs that the service writes; its VM is asked nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from fleet.engine.ports import Blobs, Unread
from fleet.errors import Refused
from fleet.guest.spool import Stream
from fleet.guest.tail import Tail
from fleet.run.retry import BLOB, is_passing_status

MOST = 4 * 1024 * 1024
"""Bytes read at once, which bounds memory."""

SOONEST, LATEST = 1.0, 15.0
"""Seconds between reads: twice as many each time that nothing is new. The handler writes every 15 s (handler source)."""


@dataclass(slots=True)
class BlobFollower:
    """Reads the blobs of one job's streams. ``urls`` are signed, so secrets; they are told to nobody."""

    blobs: Blobs
    urls: Mapping[Stream, str] = field(repr=False)
    nonce: str
    tails: dict[Stream, Tail] = field(default_factory=dict)
    pause: float = SOONEST
    _read: dict[Stream, int] = field(default_factory=dict)
    _failed: dict[Stream, int] = field(default_factory=dict)
    """Reads of each stream in succession that failed in a way that can pass."""

    def __post_init__(self) -> None:
        self.tails = {stream: Tail(self.nonce if stream is Stream.STDOUT else "") for stream in self.urls}
        self._read = dict.fromkeys(self.urls, 0)
        self._failed = dict.fromkeys(self.urls, 0)

    async def news(self, *, over: bool) -> dict[Stream, bytes] | None:
        """Return what each stream has had since, None if nothing came at all. ``over``: the job has ended.

        Raises Refused where a blob cannot be read; one that is not there yet has nothing new.
        """
        found = {stream: await self._taken(stream, over) for stream in self.urls}
        new = any(came for came, _ in found.values())
        self.pause = SOONEST if new else min(2 * self.pause, LATEST)
        return {stream: shown for stream, (_, shown) in found.items()} if new else None

    @property
    def troubled(self) -> bool:
        """Whether the last read of a stream failed in a way that can pass: nothing new does not mean the end then."""
        return any(self._failed.values())

    @property
    def whole(self) -> bool:
        """Whether all streams have come as long as the receipt says."""
        receipt = self.tails[Stream.STDOUT].receipt
        errors = self.tails.get(Stream.STDERR)
        return receipt is not None and (errors is None or errors.shown >= receipt.stderr_length)

    @property
    def proven(self) -> bool:
        """Whether every byte shown is one that the receipt vouches for."""
        receipt = self.tails[Stream.STDOUT].receipt
        errors = self.tails.get(Stream.STDERR)
        if receipt is None or errors is None:
            return receipt is not None
        return errors.shown == receipt.stderr_length and receipt.stderr_digest in ("-", errors.digest)

    async def _taken(self, stream: Stream, over: bool) -> tuple[bool, bytes]:
        """Read once, and once more where a line end is held, so that lines are shown whole."""
        tail, data = self.tails[stream], await self._added(stream, over)
        shown = tail.take(data)
        if data and tail.waits:
            shown += tail.take(await self._added(stream, over))
        return bool(data), shown

    async def _added(self, stream: Stream, over: bool) -> bytes:
        answer = await self.blobs.added(self.urls[stream], self._read[stream], MOST)
        if not isinstance(answer, Unread):
            self._failed[stream] = 0
            self._read[stream] += len(answer.data)
            return answer.data
        if answer.status == 404 and not over:
            return b""
        self._failed[stream] += 1
        if not (is_passing_status(answer.status) and BLOB.allows(self._failed[stream], 0.0)):
            raise _refused(stream, answer)
        return b""


async def whole(blobs: Blobs, urls: Mapping[Stream, str], nonce: str) -> dict[Stream, bytes]:
    """Return everything that the blobs of an ended job's streams hold, without the receipt.

    Raises Refused where one cannot be read. What came is not judged here.
    """
    follower = BlobFollower(blobs, urls, nonce)
    found = {stream: bytearray() for stream in urls}
    while (news := await follower.news(over=True)) is not None or follower.troubled:
        for stream, data in (news or {}).items():
            found[stream] += data
        if follower.troubled:
            await asyncio.sleep(follower.pause)
    return {stream: bytes(found[stream] + tail.rest()) for stream, tail in follower.tails.items()}


def _refused(stream: Stream, answer: Unread) -> Refused:
    if answer.status == 404:
        hint = "was it deleted? --full asks the VM itself"
        return Refused(f"the blob of {stream} is not there", hint=hint, code="blob_missing")
    said = f"HTTP {answer.status} {answer.why}".rstrip() if answer.status else answer.why
    hint = "a signature needs the permission to read (r) and must not have ended; without -e the VM itself is asked"
    return Refused(f"the blob of {stream} cannot be read: {said}", hint=hint, code="blob_refused")
