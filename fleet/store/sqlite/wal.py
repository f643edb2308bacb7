"""SQLite's write-ahead log, as far as needed to see that its end cannot be read.

SQLite stops silently at the first frame whose checksum does not hold, since that is how a power cut looks. A frame that
is cut off counts for nothing here, nor do frames without a commit after them: both are an unfinished commit that nobody
was told about. Layout and checksum: SQLite documentation, "Database File Format", section 4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fleet.store.sqlite.files import read_plain

_HEADER = 32
_FRAME = 24
_MAGIC = 0x377F0682
"""The last bit says whether checksums are computed over big-endian words."""
_PAGES = frozenset(1 << power for power in range(9, 17))
"""The sizes that a page may have, in bytes."""


class End(NamedTuple):
    """What is wrong with a log's end: nothing, or a sentence, and whether only damage can have done it."""

    said: str = ""
    is_damaged: bool = False


def end(path: Path) -> End:
    """Say whether a log can be read to its end, or what of it cannot."""
    try:
        log = read_plain(path)
    except OSError:
        return End()
    if len(log) <= _HEADER:
        return End()
    magic, _, page, _, *salt, first, second = struct.unpack(">8I", log[:_HEADER])
    order = ">" if magic & 1 else "<"
    if magic & ~1 != _MAGIC or page not in _PAGES or _sum(log[:24], order, (0, 0)) != (first, second):
        said = f"the log {path} cannot be read: its first bytes are damaged; events at the end may be missing"
        return End(said, True)
    lost, was_whole = _lost_commits(log, page, (salt[0], salt[1]), order, (first, second))
    if not lost:
        return End()
    # Each commit is flushed before the next is begun, so a power cut loses one at most.
    if lost > 1 or was_whole:
        return End(f"the log {path} is damaged: what was committed last in it can no longer be read", True)
    return End(f"the log {path} cannot be read to its end: a power cut in mid-write, or damage later on")


def _lost_commits(
    log: bytes, page: int, salt: tuple[int, int], order: str, running: tuple[int, int]
) -> tuple[int, bool]:
    """Count the commits from the first frame on that does not check, and say whether that frame was whole once.

    Frames left over from before the log was begun anew bear another salt and come last; their checksums, which leave the
    salt out, do not go on from ours. One that does go on is ours, and only its salt is damaged.
    """
    lost, broken, was_whole = 0, False, False
    for frame in _frames(log, page):
        ours = frame.salt == salt
        if not broken:
            running = _sum(frame.page, order, _sum(frame.head, order, running))
            broken = not ours or frame.checksum != running
            was_whole = broken and frame.checksum == running
            ours = ours or was_whole
        lost += broken and ours and frame.is_commit
    return lost, was_whole


class _Frame(NamedTuple):
    head: bytes
    salt: tuple[int, int]
    checksum: tuple[int, int]
    page: bytes

    @property
    def is_commit(self) -> bool:
        return self.head[4:] != bytes(4)


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
