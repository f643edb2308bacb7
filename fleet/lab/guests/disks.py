"""The disks of a sandboxed guest: what its class says, told by a stand-in for df.

The folders of a guest lie on the host's disk, whose size and use say nothing of the guest. Whoever asks the kernel without df
still sees the host's.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from fleet.lab.world.machine_spec import DiskSpec

_KIB = 1024 * 1024


def table(disks: Mapping[str, DiskSpec]) -> str:
    """Return lines "source type KiB used-KiB mount-point", the root's first."""
    lines = []
    for number, (place, disk) in enumerate(sorted({"/": DiskSpec(), **disks}.items())):
        size = round(disk.size_gib * _KIB)
        lines.append(f"/dev/sda{number + 1} ext4 {size} {int(size * disk.used)} {place}")
    return "\n".join(lines) + "\n"


def furnish(root: Path, disks: Mapping[str, DiskSpec], stand_ins: Path) -> None:
    """Give a guest its disks' mount points and its df."""
    for place in disks:
        (root / place.lstrip("/")).mkdir(parents=True, exist_ok=True)
    (root / "var/lib/lab-disks").write_text(table(disks), encoding="ascii")
    stand_in = stand_ins / "df"
    stand_in.write_text(files("fleet.lab.guests").joinpath("df.sh").read_text(encoding="ascii"), encoding="ascii")
    stand_in.chmod(0o755)
