"""Guests of Red Hat's kin, of SUSE and of Azure Linux: a database of their own, a mirror, and stand-ins for dnf, dnf5, tdnf,
zypper and rpm.

No real rpm is asked for, since few machines have one beside the package manager of their own.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fleet.lab.guests.packages import Package, Stock

_LOCK = "/var/lib/dnf/lock"
_STAND_INS = {
    "dnf": ("dnf", "yum", "rpm", "needs-restarting"),
    "dnf5": ("dnf", "dnf5", "yum", "rpm"),
    "tdnf": ("tdnf", "rpm"),
    "zypper": ("zypper", "rpm"),
}


def holding(left: str) -> str:
    """Return shell commands that hold the lock for so many seconds, a shell's expression."""
    return f'exec 9>>{_LOCK}\nflock 9\nsleep "{left}" &\n'


def tool_of(system: str, version: str) -> str:
    """Return the package manager of a distribution (its short name)."""
    if system == "azurelinux":
        return "tdnf" if version.startswith("3") else "dnf5"
    return "zypper" if system == "sles" else "dnf"


def furnish(root: Path, stock: Stock, mirror: str, stand_ins: Path, *, tool: str) -> None:
    """Give a guest its database and the programs that read it: ``dnf``, ``dnf5``, ``tdnf`` or ``zypper``, and what
    belongs to it.

    ``mirror`` is where the guest will find the mirror.
    """
    for folder in ("etc/dnf", "etc/tdnf/locks.d", "etc/yum.repos.d", "var/lib/rpm", "var/lib/dnf", "var/log"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    place = mirror if stock.updates.mirror == "up" else "/nowhere"
    (root / "etc/yum.repos.d/lab.repo").write_text(f"[lab]\nname=lab\nbaseurl=file://{place}\n", encoding="ascii")
    installed = [each for each in stock.packages if each.installed]
    (root / "var/lib/rpm/lab").write_text("".join(f"{each.name} {each.installed}\n" for each in installed), "ascii")
    locked = [each.name for each in installed if each.spec.hold and each.waits]
    for list_of_locks in ("etc/dnf/versionlock.list", "etc/tdnf/locks.d/lab.conf"):
        (root / list_of_locks).write_text("".join(f"{each}\n" for each in locked), "ascii")
    text = files("fleet.lab.guests").joinpath("rpm.sh").read_text(encoding="ascii")
    for name in _STAND_INS[tool]:
        (stand_ins / name).write_text(text, encoding="ascii")
        (stand_ins / name).chmod(0o755)


def write_mirror(folder: Path, stock: Stock) -> None:
    """Fill a new folder with the list of what the mirror has."""
    folder.mkdir(parents=True)
    (folder / "packages").write_text("".join(map(_line, stock.packages)), encoding="ascii")


def _line(package: Package) -> str:
    words = ("yes" if each else "no" for each in (package.spec.security, package.spec.reboot, package.spec.fails))
    return f"{package.name} {package.available} {' '.join(words)}\n"
