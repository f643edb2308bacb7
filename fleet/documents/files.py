"""Files that a person names, read up to a bound in size and, where they are no plain files, in time."""

from __future__ import annotations

import errno
import os
import re
import selectors
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from fleet.errors import InvalidInput, Problem

MOST_READ = 1 << 20
"""Characters read of a file that a person named, if it is no plan: a mistaken name may be a disk or an endless device."""

PIPE_PATIENCE = 60.0
"""Seconds until a pipe must have been written and closed: ``<(command)`` may have to sign in first."""

_OWN_STREAM = re.compile(r"/dev/std(?:in|out|err)|/dev/fd/\d+|/proc/(?:self|\d+)/fd/\d+")
"""Names of what this process was given open: a pipe among these is a command's output, such as ``<(command)``."""

_PIECE = 1 << 16
_CONTINUATION = bytes(range(0x80, 0xC0))
"""Bytes that begin no character of UTF-8."""


def is_own_stream(path: Path) -> bool:
    """Say whether a path names what this process was given open, such as ``/dev/stdin``."""
    return _OWN_STREAM.fullmatch(str(path)) is not None


def read_text(path: Path, what: str, *, most: int = MOST_READ) -> str:
    """Read a file that a person named. Raises InvalidInput with a sentence, also for more than ``most`` characters."""
    try:
        return read_bounded(path, most)
    except FileNotFoundError:
        problem = Problem("no_file", f"{what} {path} does not exist", hint="check the path")
    except IsADirectoryError:
        problem = Problem("no_file", f"{path} is a folder, not {what}", hint="name a file in it")
    except UnicodeDecodeError as error:
        problem = Problem("not_utf8", f"{what} {path} is not UTF-8 text ({error.reason} at byte {error.start})")
    except OSError as error:
        problem = Problem("unreadable", f"{what} {path} cannot be read: {error.strerror}")
    raise InvalidInput([problem])


def read_bounded(path: Path, most: int, *, patience: float = PIPE_PATIENCE) -> str:
    """Read text of at most so many characters. Raises OSError, also for more, and UnicodeDecodeError.

    What is read, and what is not, says :func:`open_to_read`; a pipe is waited for ``patience`` seconds in all.
    """
    data, size = bytearray(), 0
    for piece in _pieces(path, patience):
        data += piece
        size += len(piece.translate(None, _CONTINUATION))
        if size > most:
            raise OSError(errno.EFBIG, f"it has more than {most} characters")
    return data.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")


def read_start(path: Path, most: int, *, patience: float = PIPE_PATIENCE) -> bytes:
    """Read the first ``most`` bytes of a file. Raises OSError, as :func:`read_bounded` does."""
    data = bytearray()
    for piece in _pieces(path, patience):
        data += piece
        if len(data) >= most:
            break
    return bytes(data[:most])


def open_to_read(path: Path) -> int:
    """Open a file without waiting for another process.

    Plain files and devices are read, and pipes that this process was given open: ``<(command)``, ``/dev/stdin``. Raises
    OSError for a folder, any other pipe, a socket, a disk and a terminal, which would be waited for or read by mistake.
    """
    try:
        _refuse(path, os.stat(path))  # noqa: PTH116  before it is opened: opening some devices does something
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags)
    except ValueError:
        raise OSError(errno.EINVAL, "its name holds a null character") from None
    try:
        _refuse(path, os.fstat(descriptor))
        if os.isatty(descriptor):
            raise OSError(errno.EINVAL, "it is a terminal, not a file")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _refuse(path: Path, found: os.stat_result) -> None:
    mode = found.st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if stat.S_ISFIFO(mode) and not is_own_stream(path):
        raise OSError(errno.EINVAL, "it is a named pipe, not a plain file")
    if stat.S_ISSOCK(mode):
        raise OSError(errno.EINVAL, "it is a socket, not a plain file")
    if stat.S_ISBLK(mode):
        raise OSError(errno.EINVAL, "it is a disk, not a plain file")


def _pieces(path: Path, patience: float) -> Iterator[bytes]:
    end = _now() + patience
    descriptor = open_to_read(path)
    try:
        while True:
            try:
                piece = os.read(descriptor, _PIECE)
            except BlockingIOError:
                _await(descriptor, end)
                continue
            if not piece:
                return
            yield piece
    finally:
        os.close(descriptor)


def _now() -> float:
    return time.monotonic()  # noqa: TID251  another process is waited for, outside of any event loop


def _await(descriptor: int, end: float) -> None:
    """Wait until a pipe has more, or is closed."""
    left = end - _now()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        if left <= 0 or not selector.select(left):
            raise TimeoutError(errno.ETIMEDOUT, "nothing more came through the pipe in time, and it was not closed")
