"""How far a run's journal was acknowledged, in a file of its own, so that a lost end of the journal shows.

SQLite takes a log that breaks off for a commit that was never finished, and the chain of the events cannot know what
followed its last link. So the writer notes here, after each commit and before anybody is told of it, how many events
there are and the last one's chain value. The note is not flushed: a flush would double the cost of a commit. It survives
the death of the process; after a power cut it may be an older one, which claims less and is never wrong.
"""

from __future__ import annotations

import os
import re
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from fleet.store.files import is_plain_file

FILE = "acknowledged"

_LINE = re.compile(rb"([0-9]{12}) ([0-9a-f]{64}) ([0-9a-f]{8})\n")
_OPEN = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_LENGTH = 87
"""Bytes of the line, always: it is written over in one call, within one sector of a disk."""


class Acknowledged(NamedTuple):
    """So many events were on disk, and this was the last one's chain value."""

    events: int
    chain: str


def read(folder: Path) -> Acknowledged | None:
    """Return what the note says; None where there is none, or it is not whole.

    Read it before the journal: a writer may be at work.
    """
    try:
        if not is_plain_file(folder / FILE):
            return None
        with (folder / FILE).open("rb") as file:
            line = _LINE.fullmatch(file.read(_LENGTH + 1))
    except OSError:
        return None
    if line is None or f"{zlib.crc32(line[0][:77]):08x}".encode() != line[3]:
        return None
    return Acknowledged(int(line[1]), line[2].decode())


class Note:
    """The writer's hand on the note. One thread uses it."""

    def __init__(self, folder: Path, count: int, chain: str) -> None:
        """Open the note, made (0600) where it is missing, and have it on disk. Raises OSError."""
        self._descriptor: int | None = os.open(folder / FILE, _OPEN, 0o600)
        try:
            if sys.platform != "win32":
                os.fchmod(self._descriptor, 0o600)
            self.write(count, chain)
            os.fsync(self._descriptor)
        except BaseException:
            self.close()
            raise

    def write(self, count: int, chain: str) -> None:
        """Say that so many events are on disk. A note that cannot be written claims less, and hinders nobody."""
        if self._descriptor is None:
            return
        said = f"{count:012} {chain}".encode()
        with suppress(OSError):
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, b"%b %08x\n" % (said, zlib.crc32(said)))

    def close(self) -> None:
        """Let go of the file. Safe to repeat."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
