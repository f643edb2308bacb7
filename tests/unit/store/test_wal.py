"""The end of SQLite's log, read by its documented layout: what is a power cut, and what is damage."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from fleet.store.wal import unreadable_end

PAGE = 512
SALT, OLD = (11, 12), (7, 99)
Pair = tuple[int, int]


def checksum(data: bytes, order: str, start: Pair) -> Pair:
    """The checksum of SQLite's documentation, "Database File Format", 4.2."""
    one, two = start
    for place in range(0, len(data), 8):
        even, odd = struct.unpack(f"{order}2I", data[place : place + 8])
        one = (one + even + two) % 2**32
        two = (two + odd + one) % 2**32
    return one, two


class Log:
    """A log, frame by frame."""

    def __init__(self, order: str = ">") -> None:
        self.order = order
        head = struct.pack(">6I", 0x377F0682 | (order == ">"), 3007000, PAGE, 0, *SALT)
        self.running = checksum(head, order, (0, 0))
        self.bytes = head + struct.pack(">2I", *self.running)

    def add(self, number: int, salt: Pair = SALT, start: Pair | None = None) -> Log:
        """A frame that goes on from the one before, or from somewhere else."""
        head, page = struct.pack(">2I", number, number), bytes([number % 256]) * PAGE
        begins = self.running if start is None else start
        running = checksum(page, self.order, checksum(head, self.order, begins))
        self.bytes += head + struct.pack(">4I", *salt, *running) + page
        if start is None and salt == SALT:
            self.running = running
        return self

    def said(self, tmp_path: Path, content: bytes | None = None) -> str:
        (tmp_path / "wal").write_bytes(self.bytes if content is None else content)
        return unreadable_end(tmp_path / "wal")


def log(frames: Sequence[int], order: str = ">") -> Log:
    made = Log(order)
    for number in frames:
        made.add(number)
    return made


CUT = "a power cut in mid-write, or damage later on"
HEAD = "its first bytes are damaged"


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("frames", [(), (1,), (1, 2, 200)])
def test_a_sound_log_says_nothing(tmp_path: Path, order: str, frames: tuple[int, ...]) -> None:
    """Whichever byte order its checksums are computed in."""
    assert log(frames, order).said(tmp_path) == ""


def test_no_log_is_no_damage(tmp_path: Path) -> None:
    """None at all, or one whose header was never finished."""
    assert unreadable_end(tmp_path / "none") == ""
    whole = log((1,)).bytes
    assert [log(()).said(tmp_path, whole[:size]) for size in range(32)] == [""] * 32


@pytest.mark.parametrize("order", [">", "<"])
def test_every_byte_of_the_header_counts(tmp_path: Path, order: str) -> None:
    """One bit changed anywhere in it, and nothing after it can be believed."""
    made = log((1, 2), order)
    for place in range(32):
        damaged = bytearray(made.bytes)
        damaged[place] ^= 1
        assert HEAD in made.said(tmp_path, bytes(damaged)), place
    assert HEAD in made.said(tmp_path, b"\xff" * 32)


@pytest.mark.parametrize("order", [">", "<"])
def test_every_byte_of_a_frame_counts(tmp_path: Path, order: str) -> None:
    """One bit changed in the first frame, one in the middle or the last, also in its salt: the end cannot be read."""
    made = log((1, 2, 3), order)
    for place in [
        *range(32, 80),
        *range(80, len(made.bytes), 37),
        *range(len(made.bytes) - 540, len(made.bytes) - 500),
    ]:
        damaged = bytearray(made.bytes)
        damaged[place] ^= 1
        assert CUT in made.said(tmp_path, bytes(damaged)), place


def test_an_unfinished_frame_is_an_unfinished_commit(tmp_path: Path) -> None:
    """Cut anywhere, a log gives its whole frames; nobody was told of the last one."""
    made = log((1, 2))
    assert {made.said(tmp_path, made.bytes[:size]) for size in range(32, len(made.bytes) + 1)} == {""}
    damaged = bytearray(made.bytes)
    damaged[-1] ^= 1
    assert CUT in made.said(tmp_path, bytes(damaged))
    assert made.said(tmp_path, bytes(damaged[:-1])) == "", "the frame that is damaged is not whole"


def test_frames_of_an_older_log_are_no_damage(tmp_path: Path) -> None:
    """A log that was begun anew has them at its end: under another salt, not going on from ours."""
    made = log((1, 2)).add(3, OLD, start=(5, 6)).add(4, OLD, start=(7, 8))
    assert made.said(tmp_path) == ""
    only_old = Log().add(3, OLD, start=(5, 6))
    assert only_old.said(tmp_path) == ""


def test_a_frame_that_goes_on_from_ours_is_ours(tmp_path: Path) -> None:
    """Whatever its salt says: it is the salt that was damaged, and the frame is missing."""
    assert CUT in log((1, 2)).add(3, OLD).said(tmp_path)
    assert CUT in Log().add(1, OLD).said(tmp_path)
    assert CUT in log((1, 2)).add(3, OLD).add(4, OLD, start=(7, 8)).said(tmp_path)


def test_only_the_next_frame_can_go_on_from_ours(tmp_path: Path) -> None:
    """One behind it that fits by chance is as old as the one before it."""
    made = log((1, 2)).add(3, OLD, start=(5, 6))
    assert made.add(4, OLD, start=made.running).said(tmp_path) == ""
