"""Output of VMs, written into a folder: the names are the VMs' own, and may be anything."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.cli.terminal import emit_pieces
from fleet.cli.verbs.output import write_streams
from fleet.report.aggregate import aggregate
from tests.unit.report import factory

NAMES = ("..", "../../etc/passwd", "/etc/passwd", "a\\b", "CON", "VM1", "vm1", "x" * 255, "\x1b[2J", "é", "")


def test_hostile_names_are_no_paths(tmp_path: Path) -> None:
    """Whatever VMs are called, case twins included, each row has its own private file right in the folder."""
    row = aggregate(factory.hostile("text")).jobs[0]
    folder = tmp_path / "out"
    write_streams([replace(row, name=name, stdout=name, stderr="") for name in NAMES], folder, quiet=1)
    written = sorted(path for path in folder.iterdir() if path.suffix == ".stdout")
    assert list(tmp_path.iterdir()) == [folder]
    assert [path.read_text(encoding="utf-8") for path in written] == list(NAMES)
    assert len({path.name.casefold() for path in written}) == len(NAMES)
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o600}
    assert all(path.name.isascii() and len(path.name) < 200 for path in written)


@pytest.mark.parametrize("last", ["end", "end\n"])
def test_long_output_is_whole_and_ends_its_last_line(capfdbinary: pytest.CaptureFixture[bytes], last: str) -> None:
    """However much is printed and however it comes in pieces: every byte, once, in order, and one line end at the end."""
    lines = [f"{number} \u00e9 \udcff\n" for number in range(200_000)]
    emit_pieces([*lines, "x" * 2_000_000, last])
    whole = "".join(lines) + "x" * 2_000_000 + "end\n"
    assert capfdbinary.readouterr().out == whole.encode("utf-8", errors="backslashreplace")


@pytest.mark.parametrize("end", ["", "\n"])
def test_one_long_piece_ends_its_line(capfdbinary: pytest.CaptureFixture[bytes], end: str) -> None:
    """A piece that is written at once leaves the terminal at the beginning of a line, too."""
    emit_pieces(["x" * 2_000_000 + end])
    assert capfdbinary.readouterr().out == b"x" * 2_000_000 + b"\n"


def test_nothing_is_printed_as_nothing(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """No data has no line."""
    emit_pieces([])
    assert capfdbinary.readouterr().out == b""
