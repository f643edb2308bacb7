"""The three standard streams, whatever the process that started this one left of them."""

from __future__ import annotations

import io
import os
import sys

STDOUT_HINT = "free some space, or write the output elsewhere"
"""What to do where stdout cannot be written."""


class BestEffort(io.FileIO):
    """A stream of messages that never fails: what cannot be written is dropped, and the work goes on."""

    def write(self, data: object) -> int:
        size = memoryview(data).nbytes  # type: ignore[arg-type]  # FileIO takes any buffer
        try:
            written = super().write(data)  # type: ignore[arg-type]
        except OSError:  # a full disk, a reader that went away
            return size
        return size if written is None else written


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
        raw = io.BufferedWriter(BestEffort(2, "w", closefd=False))
        sys.stderr = io.TextIOWrapper(
            raw, encoding=encoding, errors="backslashreplace", line_buffering=True, write_through=True
        )
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
