"""More output through a narrow channel: both streams' ends, gzipped, in base64, divided over stdout and stderr.

Azure keeps the last 4,096 bytes of each stream (recorded). Text shrinks to a fifth or less, so two of them carry some
30 KB of it. The wrapper packs in the VM; this module is the same rule in Python, and opens what comes back. What comes
back is hostile until proven otherwise: nothing is unpacked beyond the lengths that the frame names, and those have a
bound.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import zlib
from dataclasses import dataclass

CHANNEL_TAIL = 4096
"""Bytes kept of the end of each stream, in both Run Commands (recorded, and handler source ``tailFile``)."""

MOST = 65_536
"""Bytes of both streams together in one pack, at most: what one row of a report may cost of memory."""

_ENDS = (32_768, 24_576, 16_384, 12_288, 8_192, 6_144)
"""How much of the end of each stream is tried, where the whole of both is too much."""

_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Ends:
    """The end of each stream, byte for byte."""

    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Pack:
    """What is printed in place of the streams: base64, and how many bytes of each stream are in it."""

    head: str
    """The part that goes to stdout, before the frame."""
    rest: str
    """The part that goes to stderr."""
    stdout: int
    stderr: int

    @property
    def field(self) -> str:
        """What the frame says of it."""
        return f"packed={self.stdout}:{self.stderr}:{len(self.head)}:{len(self.rest)} "


def pack(stdout: bytes, stderr: bytes, room: int) -> Pack | None:
    """Pack as much of the ends of both streams as fits; None if they fit as they are, or packing does not help.

    ``room`` is what the frame leaves of the channel's stdout, in bytes.
    """
    if len(stdout) <= room and len(stderr) <= CHANNEL_TAIL:
        return None
    whole = (MOST,) if len(stdout) + len(stderr) <= MOST else ()
    for end in (*whole, *_ENDS):
        out, err = stdout[-end:], stderr[-end:]
        text = base64.b64encode(gzip.compress(out + err, mtime=0)).decode("ascii")
        if len(text) <= room + CHANNEL_TAIL:
            return Pack(text[:room], text[room:], len(out), len(err))
    return None


def unpack(text: str, stdout: int, stderr: int) -> Ends:
    """Open a pack that should hold so many bytes of each stream.

    Raises ValueError for one that holds anything else, or more than :data:`MOST` bytes, unpacking no more than that.
    """
    total = stdout + stderr
    if total > MOST:
        raise ValueError("the pack names more bytes than one may hold")
    data = inflate(text, total) if total or text else b""
    return Ends(data[:stdout], data[stdout:])


def inflate(text: str, length: int) -> bytes:
    """Decode base64 and unpack gzip of exactly ``length`` bytes; memory is bounded by it. Raises ValueError."""
    try:
        return gunzip(base64.b64decode(text, validate=True), length)
    except binascii.Error as error:
        raise ValueError("not base64") from error


def gunzip(data: bytes, length: int) -> bytes:
    """Unpack one gzip member of exactly ``length`` bytes, and never more than that. Raises ValueError."""
    plain = gunzip_most(data, length)
    if len(plain) != length:
        raise ValueError("not as long as it says")
    return plain


def gunzip_most(data: bytes, most: int) -> bytes:
    """Unpack one gzip member of at most so many bytes, or none at all. Raises ValueError.

    A ``GZipStream`` of .NET into which nothing is written gives no byte at all.
    """
    if not data:
        return b""
    opener = zlib.decompressobj(_GZIP)
    try:
        plain = opener.decompress(data, most + 1)
    except zlib.error as error:
        raise ValueError("not gzip") from error
    if len(plain) > most or not opener.eof or opener.unused_data:
        raise ValueError("not as long as it says")
    return plain
