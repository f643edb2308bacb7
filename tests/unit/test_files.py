"""Reading what a person named: bounded in size and in time, and only what is a file."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.documents.files import MOST_READ, open_to_read, read_bounded, read_start, read_text
from fleet.errors import InvalidInput


@pytest.fixture
def pipe() -> Iterator[tuple[Path, int]]:
    """A pipe that this process was given, and the end into which its command writes."""
    reading, writing = os.pipe()
    yield Path(f"/dev/fd/{reading}"), writing
    os.close(reading)


def test_a_command_that_is_named_is_read(pipe: tuple[Path, int]) -> None:
    """`<(command)` is read to its end, whatever the pieces it comes in."""
    path, writing = pipe
    os.write(writing, b"kind: Playbook\r\nna\xc3")
    os.write(writing, b"\xafve\n")
    os.close(writing)
    assert read_text(path, "the playbook") == "kind: Playbook\nnaïve\n"


def test_a_command_that_does_not_end_is_given_up(pipe: tuple[Path, int]) -> None:
    """What comes in time is read, and then nothing is waited for any longer."""
    path, writing = pipe
    os.write(writing, b"kind: ")
    with pytest.raises(TimeoutError, match="not closed"):
        read_bounded(path, 100, patience=0.05)
    os.close(writing)


def test_a_command_that_writes_without_end_is_read_to_its_bound(pipe: tuple[Path, int]) -> None:
    """More than the bound is refused although the pipe is open still."""
    path, writing = pipe
    os.write(writing, b"x" * 4096)
    with pytest.raises(OSError, match="more than 4000 characters"):
        read_bounded(path, 4000)
    os.close(writing)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """A named pipe and a socket would be waited for, a terminal reads the keyboard; a null character ends a name."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for name in ("pipe", "link", "socket"):
            with pytest.raises(
                InvalidInput, match=rf"the playbook .*{name} cannot be read: it is a .*, not a plain file"
            ):
                read_text(tmp_path / name, "the playbook")
    _, terminal = os.openpty()
    with pytest.raises(OSError, match="it is a terminal"):
        open_to_read(Path(os.ttyname(terminal)))
    with pytest.raises(InvalidInput, match="null character"):
        read_text(tmp_path / "a\0b", "the playbook")


def test_a_device_is_read_to_its_bound() -> None:
    """The null device is empty, one that never ends has too much."""
    assert read_text(Path("/dev/null"), "the settings") == ""
    with pytest.raises(InvalidInput, match=f"more than {MOST_READ} characters"):
        read_text(Path("/dev/zero"), "the playbook")
    assert read_start(Path("/dev/zero"), 10) == bytes(10)


def test_nothing_stays_open(tmp_path: Path) -> None:
    """Whatever it was and however it ended."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"\xff")
    before = len(os.listdir("/proc/self/fd"))
    for name in ("pipe", "file", "none", "."):
        with pytest.raises(InvalidInput):
            read_text(tmp_path / name, "it")
    assert len(os.listdir("/proc/self/fd")) == before


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), st.integers(0, 80))
def test_the_bound_counts_characters(tmp_path_factory: pytest.TempPathFactory, text: str, most: int) -> None:
    """Of one byte or of four; line ends are read as one character each, whatever the system."""
    path = tmp_path_factory.getbasetemp() / "text"
    path.write_bytes(text.encode())
    try:
        assert read_bounded(path, most) == re.sub("\r\n?", "\n", text)
        assert len(text) <= most
    except OSError:
        assert len(text) > most
