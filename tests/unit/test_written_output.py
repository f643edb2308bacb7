"""Output of VMs, written into a folder: the names are the VMs' own, and may be anything."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

from fleet.cli.output import write_streams
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
