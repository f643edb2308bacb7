"""SQLite's write-ahead log, as far as needed to see that its end cannot be read.

SQLite stops silently at the first frame whose checksum does not hold, since that is how a power cut looks.
Only whole frames of the present log count here: a cut-off last frame is an unfinished commit that nobody was
told about. Layout and checksum: SQLite documentation, "Database File Format", section 4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

_HEADER = 32
_FRAME = 24
_MAGIC = 0x377F0682
"""The last bit says whether checksums are computed over big-endian words."""


def unreadable_end(path: Path) -> str:
    """Return a sentence if whole frames at the end of the log do not check, else the empty text."""
    try:
        log = path.read_bytes()
    except OSError:
        return ""
    if len(log) < _HEADER:
        return ""
    magic, _, page, _, *salt, first, second = struct.unpack(">8I", log[:_HEADER])
    order = ">" if magic & 1 else "<"
    if magic & ~1 != _MAGIC or _sum(log[:24], order, (0, 0)) != (first, second):
        return f"the log {path} cannot be read: its first bytes are damaged; events at the end may be missing"
    if _is_sound(list(_frames(log, page)), (salt[0], salt[1]), order, (first, second)):
        return ""
    return f"the log {path} cannot be read to its end: a power cut in mid-write, or damage later on"


def _is_sound(frames: Sequence[_Frame], salt: tuple[int, int], order: str, running: tuple[int, int]) -> bool:
    """Say whether the checksums hold for all frames that bear this salt.

    Frames left over from before the log was begun anew bear another one. They come last, and their checksums, which
    leave the salt out, do not go on from ours: a frame that does go on is ours, its salt damaged.
    """
    ours = max((number for number, frame in enumerate(frames, 1) if frame.salt == salt), default=0)
    for frame in frames[:ours]:
        running = _sum(frame.page, order, _sum(frame.head, order, running))
        if (frame.salt, frame.checksum) != (salt, running):
            return False
    rest = frames[ours : ours + 1]
    return not any(_sum(old.page, order, _sum(old.head, order, running)) == old.checksum for old in rest)


class _Frame(NamedTuple):
    head: bytes
    salt: tuple[int, int]
    checksum: tuple[int, int]
    page: bytes


def _frames(log: bytes, page: int) -> Iterator[_Frame]:
    """Yield the whole frames of a log; what is cut off at its end is none."""
    for start in range(_HEADER, len(log) - _FRAME - page + 1, _FRAME + page):
        one, two, three, four = struct.unpack(">4I", log[start + 8 : start + _FRAME])
        yield _Frame(log[start : start + 8], (one, two), (three, four), log[start + _FRAME : start + _FRAME + page])


def _sum(data: bytes, order: str, start: tuple[int, int]) -> tuple[int, int]:
    one, two = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & 0xFFFFFFFF
        two = (two + odd + one) & 0xFFFFFFFF
    return one, two
