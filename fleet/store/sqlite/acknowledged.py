"""How far a run's journal was acknowledged, in a file of its own, so that a lost end of the journal shows.

SQLite takes a log that breaks off for a commit that was never finished, and the chain of the events cannot know what
followed its last link. So the writer notes here, after each commit and before anybody is told of it, how many events
there are and the last one's chain value. The note is not flushed: a flush would double the cost of a commit. It survives
the death of the process; after a power cut it may be an older one, which claims less and is never wrong.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from fleet.errors import StateError
from fleet.store.sqlite.files import open_new, open_plain, read_plain

FILE = "acknowledged"
MAKING = ".acknowledged.new"
"""The name of a note that is being made: under its own name it is whole from the first moment."""

_LINE = re.compile(rb"([0-9]{12}) ([0-9a-f]{64}) ([0-9a-f]{8})\n")
_LENGTH = 87
"""Bytes of the line, always: it is written over in one call, within one sector of a disk."""
_TRIES = 3
_PAUSE = 0.002
"""Seconds between readings: a reader may meet the writer within its call."""


class Acknowledged(NamedTuple):
    """So many events were on disk, and this was the last one's chain value."""

    events: int
    chain: str


def read(folder: Path) -> Acknowledged | None:
    """Return what the note says; None where there is none, as in runs of versions that made none.

    Read it before the journal: a writer may be at work. Raises StateError ``journal_damaged`` for a note that is there
    and is not as it was written, since events may then be missing that nothing else knows of.
    """
    path = folder / FILE
    found = _read(path)
    for _ in range(_TRIES - 1):
        if not isinstance(found, str):
            break
        time.sleep(_PAUSE)
        found = _read(path)
    if isinstance(found, str):
        raise StateError(
            f"the note {path} of what was acknowledged is damaged ({found}); events may be missing at the journal's end",
            hint="put back a copy of the run's folder if there is one",
            code="journal_damaged",
        )
    return found


def _read(path: Path) -> Acknowledged | str | None:
    """Read the note once; text says what is wrong with it."""
    try:
        content = read_plain(path, most=_LENGTH + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    line = _LINE.fullmatch(content)
    if line is None:
        return "it is empty" if not content else "it is not one whole line"
    if f"{zlib.crc32(content[:77]):08x}".encode() != line[3]:
        return "its checksum does not fit"
    return Acknowledged(int(line[1]), line[2].decode())


class Note:
    """The writer's hand on the note. One thread uses it."""

    def __init__(self, folder: Path, count: int, chain: str) -> None:
        """Open the note, made (0600) where it is missing, and have it on disk. Raises OSError."""
        self._path = folder / FILE
        is_new = not os.path.lexists(self._path)
        if is_new:
            _make(self._path, folder / MAKING, _line(count, chain))
        self._descriptor: int | None = open_plain(self._path, os.O_RDWR)
        if is_new:
            return
        try:
            if sys.platform != "win32":
                os.fchmod(self._descriptor, 0o600)
            self.write(count, chain)
            if self._descriptor is not None:
                os.fsync(self._descriptor)
        except BaseException:
            self.close()
            raise

    def write(self, count: int, chain: str) -> None:
        """Say that so many events are on disk. A note that cannot be written claims less, and hinders nobody.

        One that was written in part is removed: it would be taken for damage.
        """
        if self._descriptor is None:
            return
        try:
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            _put(self._descriptor, _line(count, chain))
        except OSError:
            if isinstance(_read(self._path), str):
                self.close()
                with suppress(OSError):
                    self._path.unlink()

    def close(self) -> None:
        """Let go of the file. Safe to repeat."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _make(path: Path, making: Path, line: bytes) -> None:
    """Make a note that is whole, and on disk, when it gets its name."""
    with suppress(FileNotFoundError):
        making.unlink()
    try:
        with os.fdopen(open_new(making), "wb", buffering=0) as file:
            _put(file.fileno(), line)
            os.fsync(file.fileno())
        making.rename(path)
    except BaseException:
        with suppress(OSError):
            making.unlink()
        raise


def _put(descriptor: int, line: bytes) -> None:
    """Write all of a line; a disk may take it in pieces."""
    while line:
        written = os.write(descriptor, line)
        if not written:
            raise OSError(errno.EIO, "Nothing was written")
        line = line[written:]


def _line(count: int, chain: str) -> bytes:
    said = f"{count:012} {chain}".encode()
    return b"%b %08x\n" % (said, zlib.crc32(said))
