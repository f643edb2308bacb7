"""Reads the append blobs to which the service writes a script's streams."""

from __future__ import annotations

from fleet.azure.transport import Bare
from fleet.azure.wire.http import Response
from fleet.engine.ports import Added, Unread

VERSION = "2021-08-06"
"""``x-ms-version``: any from 2009-09-19 on knows ranges (REST spec)."""

_MARGIN = 64 * 1024


class AzureBlobs:
    """Blobs whose addresses are signed. Sends no token."""

    def __init__(self, bare: Bare) -> None:
        self._bare = bare

    async def added(self, url: str, start: int, most: int) -> Added | Unread:
        """Read what a blob has from byte ``start`` on, at most so many bytes. Never raises for what Azure says."""
        headers = {"x-ms-version": VERSION, "Range": f"bytes={start}-{start + most - 1}"}
        answer = await self._bare.get(url, headers, most + _MARGIN)
        if not isinstance(answer, Response):
            return Unread(0, answer.detail or answer.kind.value)
        if answer.status == 416:  # nothing lies behind the last byte (documented: InvalidRange)
            return Added(b"")
        if answer.status == 206 and answer.header("content-range").startswith(f"bytes {start}-"):
            return Added(answer.body[:most])
        if answer.status == 200:  # an empty blob, or a server that knows no ranges
            return Added(answer.body[start : start + most])
        return Unread(answer.status, answer.header("x-ms-error-code")[:80])
