"""Files at the moments at which another process, or the disk, gets in between: nothing is left open, nothing is lost."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.store.sqlite.files import make_file, obstacle, open_plain, write_private

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts what is open through /proc")


def still_open() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_file_that_cannot_be_closed_to_others_is_not_left_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk refuses the mode, the error is the disk's."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "not permitted")

    before = still_open()
    monkeypatch.setattr(os, "fchmod", refuse)
    with pytest.raises(PermissionError):
        make_file(tmp_path / "new")
    assert still_open() == before


def test_a_pipe_that_comes_between_two_looks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is opened is looked at once more, and closed again if it is no file."""
    file = tmp_path / "file"
    file.touch()
    before, real = still_open(), os.open

    def swapped(path: Path, flags: int, mode: int = 0o777) -> int:
        file.unlink()
        os.mkfifo(file)
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(OSError, match=r"regular|plain"):
        open_plain(file, os.O_RDWR)
    assert still_open() == before


def _busy(descriptor: int) -> None:
    raise BlockingIOError(errno.EWOULDBLOCK, "held")


def _unlinked(descriptor: int) -> None:
    os.unlink(os.readlink(f"/proc/self/fd/{descriptor}"))


@pytest.mark.parametrize("meets", [_busy, _unlinked])
def test_a_partial_file_that_was_tidied_away_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meets: Callable[[int], None]
) -> None:
    """Another process that tidies up may look at it before it is locked."""
    met: list[int] = []
    real = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        if not met:
            met.append(descriptor)
            meets(descriptor)
        real(descriptor, operation)

    before = still_open()
    monkeypatch.setattr(fcntl, "flock", flock)
    write_private(tmp_path / "report.json", "{}")
    assert met and (tmp_path / "report.json").read_text() == "{}"
    assert os.listdir(tmp_path) == ["report.json"] and still_open() == before


def test_a_disk_without_locks_is_written_to_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing is tidied up there either."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    write_private(tmp_path / "report.json", "{}")
    assert (tmp_path / "report.json").read_text() == "{}"


def test_what_stands_in_the_way_of_a_file_is_said(tmp_path: Path) -> None:
    """A folder, a missing folder, a name that no system takes."""
    assert obstacle(tmp_path) == "it is a folder"
    assert obstacle(tmp_path / "none" / "x").startswith("there is no folder")
    assert obstacle(tmp_path / "a\0b") == "its name holds a null character"
