"""The end of SQLite's log, read by its documented layout: what is a power cut, and what is damage."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from fleet.store.sqlite.wal import End, end

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

    def __init__(self, order: str = ">", page: int = PAGE) -> None:
        self.order, self.page = order, page
        head = struct.pack(">6I", 0x377F0682 | (order == ">"), 3007000, page, 0, *SALT)
        self.running = checksum(head, order, (0, 0))
        self.bytes = head + struct.pack(">2I", *self.running)

    def add(self, number: int, salt: Pair = SALT, start: Pair | None = None, *, commits: bool = True) -> Log:
        """A frame that goes on from the one before, or from somewhere else; a commit, or one before it."""
        head, page = struct.pack(">2I", number, number * commits), bytes([number % 256]) * self.page
        begins = self.running if start is None else start
        running = checksum(page, self.order, checksum(head, self.order, begins))
        self.bytes += head + struct.pack(">4I", *salt, *running) + page
        if start is None and salt == SALT:
            self.running = running
        return self

    def end(self, tmp_path: Path, content: bytes | None = None) -> End:
        (tmp_path / "wal").write_bytes(self.bytes if content is None else content)
        return end(tmp_path / "wal")


def flipped(log: Log, place: int) -> bytes:
    return log.bytes[:place] + bytes([log.bytes[place] ^ 1]) + log.bytes[place + 1 :]


def log(frames: Sequence[int], order: str = ">") -> Log:
    made = Log(order)
    for number in frames:
        made.add(number)
    return made


SOUND = End()
FRAME = 24 + PAGE
EVERY_PAGE = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)


def tells(found: End, text: str, is_damaged: bool) -> bool:
    return text in found.said and found.is_damaged is is_damaged


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("frames", [(), (1,), (1, 2, 200)])
def test_a_sound_log_says_nothing(tmp_path: Path, order: str, frames: tuple[int, ...]) -> None:
    """Whichever byte order its checksums are computed in."""
    assert log(frames, order).end(tmp_path) == SOUND == End("", False)


def test_no_log_is_no_damage(tmp_path: Path) -> None:
    """None at all, or one whose header was never finished, or no frame followed it."""
    assert end(tmp_path / "none") == SOUND
    whole = log((1,)).bytes
    assert {log(()).end(tmp_path, whole[:size]) for size in range(33)} == {SOUND}
    assert log(()).end(tmp_path, b"\xff" * 32) == SOUND


@pytest.mark.parametrize("order", [">", "<"])
def test_every_byte_of_the_header_counts(tmp_path: Path, order: str) -> None:
    """One bit changed anywhere in it, and nothing after it can be believed."""
    made = log((1, 2), order)
    for place in range(32):
        assert tells(made.end(tmp_path, flipped(made, place)), "its first bytes are damaged", True), place
    assert tells(made.end(tmp_path, b"\xff" * 33), "its first bytes are damaged", True)


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_every_size_that_a_page_may_have(tmp_path: Path, page: int) -> None:
    """A power of two from 512 to 65,536; another size is damage, though its checksum holds."""
    assert Log(page=page).add(1).end(tmp_path) == SOUND
    for odd in (page - 1, page + 1, 256, 131072):
        assert tells(Log(page=odd).end(tmp_path, Log(page=odd).bytes + b"x" * 40), "first bytes are damaged", True)


@pytest.mark.parametrize("order", [">", "<"])
def test_the_last_commit_may_be_a_power_cuts(tmp_path: Path, order: str) -> None:
    """One bit changed in the last frame: mid-write or damage, nobody can tell; so it is told, and hinders nobody."""
    made = log((1, 2, 3), order)
    begin = len(made.bytes) - FRAME
    for place in [*range(begin, begin + 4), *range(begin + 16, begin + 40), len(made.bytes) - 1]:
        found = made.end(tmp_path, flipped(made, place))
        assert tells(found, "a power cut in mid-write, or damage later on", False), place


@pytest.mark.parametrize("order", [">", "<"])
def test_an_earlier_commit_is_damaged(tmp_path: Path, order: str) -> None:
    """Each commit is flushed before the next is begun: two that cannot be read are no power cut."""
    made = log((1, 2, 3), order)
    for place in [*range(32, 36), *range(48, 80), 32 + FRAME, 32 + FRAME + 100, 32 + 2 * FRAME - 1]:
        found = made.end(tmp_path, flipped(made, place))
        assert tells(found, "what was committed last in it can no longer be read", True), place


def test_a_damaged_salt_is_damage(tmp_path: Path) -> None:
    """A frame whose checksum goes on from ours was whole once, whatever its salt says now."""
    made = log((1, 2))
    begin = len(made.bytes) - FRAME
    for place in range(begin + 8, begin + 16):
        assert tells(made.end(tmp_path, flipped(made, place)), "can no longer be read", True), place
    assert tells(Log().add(1, OLD).end(tmp_path), "can no longer be read", True)


def test_an_unfinished_commit_is_no_damage(tmp_path: Path) -> None:
    """Frames without a commit after them, sound or not, and a frame that is cut off: nobody was told of them."""
    made = log((1, 2))
    assert {made.end(tmp_path, made.bytes[:size]) for size in range(32, len(made.bytes) + 1)} == {SOUND}
    assert made.end(tmp_path, flipped(made, len(made.bytes) - 1)[:-1]) == SOUND
    begun = log((1, 2)).add(3, commits=False).add(4, commits=False)
    assert begun.end(tmp_path) == SOUND
    assert begun.end(tmp_path, flipped(begun, len(begun.bytes) - 1)) == SOUND
    assert begun.end(tmp_path, flipped(begun, len(begun.bytes) - 1 - FRAME)) == SOUND


def test_a_commit_of_several_frames_is_one(tmp_path: Path) -> None:
    """Damage in its first frame loses one commit, as a power cut may; damage before it loses two."""
    made = log((1,)).add(2, commits=False).add(3, commits=False).add(4)
    first = 32 + FRAME + 30
    assert tells(made.end(tmp_path, flipped(made, first)), "a power cut in mid-write", False)
    assert tells(made.end(tmp_path, flipped(made, 60)), "can no longer be read", True)


def test_frames_of_an_older_log_are_no_damage(tmp_path: Path) -> None:
    """A log that was begun anew has them at its end: under another salt, not going on from ours."""
    made = log((1, 2)).add(3, OLD, start=(5, 6)).add(4, OLD, start=(7, 8))
    assert made.end(tmp_path) == SOUND
    assert Log().add(3, OLD, start=(5, 6)).end(tmp_path) == SOUND


def test_behind_what_does_not_check_older_frames_still_count_for_nothing(tmp_path: Path) -> None:
    """One lost commit of ours and old ones after it are one lost commit."""
    made = log((1, 2))
    made.bytes = flipped(made, len(made.bytes) - 1)
    assert tells(made.add(3, OLD, start=(5, 6)).end(tmp_path), "a power cut in mid-write", False)


def test_only_the_next_frame_can_go_on_from_ours(tmp_path: Path) -> None:
    """One behind it that fits by chance is as old as the one before it."""
    made = log((1, 2)).add(3, OLD, start=(5, 6))
    assert made.add(4, OLD, start=made.running).end(tmp_path) == SOUND
