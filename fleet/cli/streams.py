"""The three standard streams, whatever the process that started this one left of them."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

STDOUT_HINT = "free some space, or write the output elsewhere"
"""What to do where stdout cannot be written."""


class BestEffort(io.FileIO):
    """A stream of messages that never fails: what cannot be written is dropped, and the work goes on.

    It keeps nothing back, so an interrupt that comes while it writes makes no message appear twice.
    """

    def write(self, data: object) -> int:
        rest = memoryview(data).cast("B")  # type: ignore[arg-type]  # FileIO takes any buffer
        size = rest.nbytes
        while rest:
            try:
                written = super().write(rest)
            except OSError:  # a full disk, a reader that went away
                return size
            rest = rest[written:] if written else rest[:0]
        return size


def prepare() -> bool:
    """Give each standard stream that is closed a place, and let messages never fail. Say whether stdout was closed.

    A file that is opened later would get the number of a closed stream, and be written to by mistake.
    """
    closed = [number for number in range(3) if _take(number)]
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  it lives as long as the process
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None or sys.platform != "win32":
        encoding = "utf-8" if sys.stderr is None else sys.stderr.encoding
        raw: Any = BestEffort(2, "w", closefd=False)
        sys.stderr = io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace", write_through=True)
    return 1 in closed


def to_nowhere() -> None:
    """Let stdout swallow everything from now on, what is left in its buffer included."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _take(number: int) -> bool:
    """Open the null device under a number that is free. Lower ones are taken, so it is the one that is given out."""
    try:
        os.fstat(number)
    except OSError:
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        return True
    return False
