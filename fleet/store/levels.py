"""The levels of Azure's rates in one file: what one process has sent counts for every other that keeps its runs there.

Each level is three numbers, changed under a lock of its own for a few microseconds; whoever does not get that lock at once
changes it without one, so nothing ever waits for a process that was stopped. Two calls that are then counted at the same
instant may count as one, for which the rates keep a reserve. The file may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from fleet.clock import wall_time
from fleet.errors import StateError
from fleet.run.rate import LONGEST_CALL, Level, OwnLevel
from fleet.run.rates import Bucket
from fleet.store.sqlite.files import make_folder, open_plain

FILE = "rates"
_MAGIC = b"fleet rates 2\n"
_HEADER, _RECORD, _RECORDS = 64, 56, 8192
"""Bytes before the records and of each one, a digest and three numbers; and how many there are. The file stays sparse."""

_PROBES = 64
"""Records that are tried for one bucket. Where all are taken, its level stays in this process."""

_NUMBERS = struct.Struct("<ddd")
"""When the bucket is full, when it would be by answers alone, and how many calls are away."""

_LAST = 1e11
"""Epoch seconds that no clock shows."""

_FARTHEST = 2 * 3600.0
"""Seconds. A moment that lies farther ahead was written under another clock."""

_QUIET = 10.0
"""Seconds after which another process that has counted nothing is taken to send nothing."""

_MOST_AWAY = 1000
"""Calls that are taken to be away at most, whatever the file says."""

_LOCK_TRIES = 50


class _Shared:
    """The file, open for as long as a level of it is used. Raises OSError for one of another kind.

    It is read and written, not mapped: a mapped file that somebody cuts short ends the process.
    """

    def __init__(self, path: Path) -> None:
        descriptor = open_plain(path, os.O_CREAT | os.O_RDWR)
        try:
            if not _read_at(descriptor, 1, 0):
                _write_at(descriptor, _MAGIC, 0)
            if _read_at(descriptor, len(_MAGIC), 0) != _MAGIC:
                raise OSError("not a file of levels")
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def read(self, offset: int, size: int) -> bytes:
        """Read so many bytes, or fewer at the end. Raises OSError."""
        return _read_at(self._descriptor, size, offset)

    def write(self, offset: int, data: bytes) -> None:
        """Write at once. Raises OSError."""
        _write_at(self._descriptor, data, offset)

    def lock(self, offset: int) -> bool:
        """Keep other processes from changing a record, if they let go of it at once; say whether that was so."""
        return any(_try_lock(self._descriptor, offset) for _ in range(_LOCK_TRIES))

    def unlock(self, offset: int) -> None:
        """Let others change the record again."""
        _unlock(self._descriptor, offset)


if sys.platform == "win32":

    def _read_at(descriptor: int, size: int, offset: int) -> bytes:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, size)

    def _write_at(descriptor: int, data: bytes, offset: int) -> None:
        os.lseek(descriptor, offset, os.SEEK_SET)
        os.write(descriptor, data)

    def _try_lock(descriptor: int, offset: int) -> bool:
        return True  # bytes that are locked there cannot be read meanwhile: the reserve has to do

    def _unlock(descriptor: int, offset: int) -> None: ...

else:
    import fcntl

    def _read_at(descriptor: int, size: int, offset: int) -> bytes:
        return os.pread(descriptor, size, offset)

    def _write_at(descriptor: int, data: bytes, offset: int) -> None:
        os.pwrite(descriptor, data, offset)

    def _try_lock(descriptor: int, offset: int) -> bool:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        except OSError:
            return False
        return True

    def _unlock(descriptor: int, offset: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, offset)


@dataclass(slots=True)
class _FileLevel:
    """A level in the file. See :class:`fleet.run.rate.Level`.

    The calls of a process that was killed stay away until nobody has called for as long as a call may take.
    """

    file: _Shared
    offset: int
    _own: OwnLevel = field(default_factory=OwnLevel)
    """What this process wrote last."""
    _others_at: float = 0.0
    """When another process was last seen to have written."""
    _is_cut_off: bool = False
    """The file could not be read or written: from then on the level is this process's own."""

    def add(self, at: float, seconds: float, *, away: int = 0) -> None:
        def change(level: OwnLevel) -> None:
            if max(level.full_at, level.answered_full_at) < at - LONGEST_CALL:
                level.away = 0
            level.add(at, seconds, away=away)

        self._change(at, change)

    def answer(self, at: float, seconds: float) -> None:
        self._change(at, lambda level: level.answer(at, seconds))

    def delay(self, until: float) -> None:
        self._change(0.0, lambda level: level.delay(until))

    def advance(self, at: float, until: float) -> None:
        level = self.read()
        if level != self._own:
            self._own, self._others_at = level, at
        if at - self._others_at > _QUIET:
            self._change(at, lambda level: level.advance(at, until))

    def _change(self, at: float, change: Callable[[OwnLevel], None]) -> None:
        locked = self.file.lock(self.offset)
        try:
            level = self.read()
            if level != self._own:
                self._others_at = max(self._others_at, at)
            change(level)
            self._own = level
            if not self._is_cut_off:
                self.file.write(self.offset, _NUMBERS.pack(level.full_at, level.answered_full_at, level.away))
        except OSError:
            self._is_cut_off = True
        finally:
            if locked:
                self.file.unlock(self.offset)

    def read(self) -> OwnLevel:
        if not self._is_cut_off:
            try:
                data = self.file.read(self.offset, _NUMBERS.size)
            except OSError:
                self._is_cut_off = True
            else:
                return _level(data)
        return replace(self._own)


def _level(data: bytes) -> OwnLevel:
    """Read a record; what is cut short, or cannot be meant, counts for nothing."""
    numbers = _NUMBERS.unpack(data) if len(data) == _NUMBERS.size else (0.0, 0.0, 0.0)
    full_at, answered, away = (each if 0.0 <= each < _LAST else 0.0 for each in numbers)
    return OwnLevel(full_at, answered, min(int(away), _MOST_AWAY))


def shared_levels(state_dir: Path, sign_in: str) -> Callable[[Bucket], Level]:
    """Return what finds the level of each bucket of a sign-in, in the state folder's file; the folder is made if need be.

    Where there can be no such file, levels are kept in this process alone.
    """
    file: _Shared | None = None
    with suppress(OSError, ValueError, StateError):
        make_folder(state_dir)
        file = _Shared(state_dir / FILE)

    def level_of(bucket: Bucket) -> Level:
        digest = hashlib.sha256(repr((sign_in, bucket)).encode()).digest()
        with suppress(OSError):
            if file is not None and (offset := _place(file, digest)) is not None:
                return _checked(_FileLevel(file, offset))
        return OwnLevel()

    return level_of


def _place(file: _Shared, digest: bytes) -> int | None:
    """Find the record of a bucket, or take a free one for it. None where too many others are in its way. Raises OSError.

    The record is read again after it was taken: another process may have taken it at the same time.
    """
    first = int.from_bytes(digest[:4], "big")
    for probe in range(_PROBES):
        start = _HEADER + (first + probe) % _RECORDS * _RECORD
        if not any(file.read(start, len(digest))):
            file.write(start, digest)
        if file.read(start, len(digest)) == digest:
            return start + len(digest)
    return None


def _checked(level: _FileLevel) -> _FileLevel:
    """Let a moment that cannot be meant count for nothing. Raises OSError."""
    now = level.read()
    if max(now.full_at, now.answered_full_at) > wall_time() + _FARTHEST:
        level.file.write(level.offset, _NUMBERS.pack(0.0, 0.0, 0))
    return level
