"""Which packages a machine of the lab has, and which updates wait for it. Pure.

All machines of a class see the same mirror, which has one version of each package; they differ by what is installed,
drawn from the machine's id and so from the lab's seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fleet.lab.world.machine_spec import PackageSpec, UpdatesSpec


class Family(StrEnum):
    """How a distribution keeps its packages."""

    DEB = "deb"
    RPM = "rpm"
    OTHER = "other"


_FAMILIES = {
    "ubuntu": Family.DEB,
    "debian": Family.DEB,
    "redhat": Family.RPM,
    "almalinux": Family.RPM,
    "sles": Family.RPM,
    "azurelinux": Family.RPM,
}


@dataclass(frozen=True, slots=True)
class Package:
    """One package of a machine: what is installed (nothing: empty), and what the mirror has."""

    name: str
    installed: str
    available: str
    spec: PackageSpec

    @property
    def waits(self) -> bool:
        """Whether an update waits."""
        return self.installed not in ("", self.available)


@dataclass(frozen=True, slots=True)
class Stock:
    """The packages of one machine, sorted by name, and what stands in the way of updating them."""

    family: Family = Family.OTHER
    packages: tuple[Package, ...] = ()
    updates: UpdatesSpec = field(default_factory=UpdatesSpec)


def stock(updates: UpdatesSpec, system: str, vm_id: str) -> Stock:
    """Draw the packages of a machine of this distribution (its short name)."""
    family = _FAMILIES.get(system, Family.OTHER)
    given = updates.packages if updates.packages is not None else _DEFAULTS.get(system, {})
    rng = random.Random(f"packages/{vm_id}")
    return Stock(family, tuple(sorted(_drawn(given, rng), key=lambda each: each.name)), updates)


def _drawn(given: Mapping[str, PackageSpec], rng: random.Random) -> Iterator[Package]:
    for name, spec in given.items():
        available = spec.available or spec.installed
        waits = rng.random() < spec.chance
        yield Package(name, spec.installed if waits else available, available, spec)
        if spec.brings and spec.brings not in given:
            brought = PackageSpec(installed=available, reboot=spec.reboot, security=spec.security)
            yield Package(spec.brings, "" if waits else available, available, brought)


def _package(installed: str, available: str | None = None, chance: float = 1.0, **more: object) -> PackageSpec:
    return PackageSpec.model_validate({"installed": installed, "available": available, "chance": chance, **more})


_DEFAULTS: Mapping[str, Mapping[str, PackageSpec]] = {
    "ubuntu": {
        "bash": _package("5.1-6ubuntu1.1"),
        "ca-certificates": _package("20230311ubuntu0.22.04.1", "20240203~22.04.1", 0.5),
        "curl": _package("7.81.0-1ubuntu1.15", "7.81.0-1ubuntu1.20", 0.5, security=True),
        "docker-ce": _package("24.0.7-1", "27.3.1-1", 0.1, hold=True),
        "libc6": _package("2.35-0ubuntu3.6", "2.35-0ubuntu3.9", 0.3, security=True),
        "linux-image-azure": _package(
            "6.5.0.1021.22", "6.8.0.1021.25", 0.2, security=True, reboot=True, brings="linux-image-6.8.0-1021-azure"
        ),
        "openssh-server": _package("8.9p1-3ubuntu0.6", "8.9p1-3ubuntu0.10", 0.4, security=True),
        "openssl": _package("3.0.2-0ubuntu1.14", "3.0.2-0ubuntu1.18", 0.6, security=True),
        "rsyslog": _package("8.2112.0-2ubuntu2.2"),
        "sudo": _package("1.9.9-1ubuntu2.4"),
        "tzdata": _package("2023c-0ubuntu0.22.04.2", "2024b-0ubuntu0.22.04", 0.7),
        "vim": _package("8.2.3995-1ubuntu2.15", "8.2.3995-1ubuntu2.21", 0.5),
    },
    "debian": {
        "bash": _package("5.2.15-2"),
        "base-files": _package("12.4+deb12u5", "12.4+deb12u8", 0.5),
        "curl": _package("7.88.1-10+deb12u5", "7.88.1-10+deb12u8", 0.5, security=True),
        "libc6": _package("2.36-9+deb12u4", "2.36-9+deb12u9", 0.3, security=True),
        "linux-image-cloud-amd64": _package(
            "6.1.76-1", "6.1.119-1", 0.2, security=True, reboot=True, brings="linux-image-6.1.0-28-cloud-amd64"
        ),
        "nginx": _package("1.22.1-9", "1.22.1-9+deb12u1", 0.1, hold=True),
        "openssh-server": _package("9.2p1-2+deb12u2", "9.2p1-2+deb12u3", 0.4, security=True),
        "openssl": _package("3.0.11-1~deb12u2", "3.0.15-1~deb12u1", 0.6, security=True),
        "sudo": _package("1.9.13p3-1+deb12u1"),
        "tzdata": _package("2024a-0+deb12u1", "2024b-0+deb12u1", 0.7),
    },
    "redhat": {
        "bash": _package("5.1.8-6.el9"),
        "curl": _package("7.76.1-26.el9", "7.76.1-31.el9", 0.5, security=True),
        "glibc": _package("2.34-83.el9", "2.34-125.el9", 0.1, security=True, reboot=True),
        "kernel": _package("5.14.0-362.el9", "5.14.0-503.el9", 0.2, security=True, reboot=True),
        "openssh-server": _package("8.7p1-34.el9", "8.7p1-43.el9", 0.4, security=True),
        "openssl": _package("3.0.7-24.el9", "3.0.7-28.el9", 0.6, security=True),
        "sudo": _package("1.9.5p2-9.el9"),
        "tzdata": _package("2024a-1.el9", "2024b-2.el9", 0.7),
        "vim-minimal": _package("8.2.2637-20.el9", "8.2.2637-21.el9", 0.5),
    },
    "azurelinux": {
        "bash": _package("5.2.15-3.azl3"),
        "curl": _package("8.8.0-1.azl3", "8.11.1-2.azl3", 0.5, security=True),
        "kernel": _package("6.6.51.1-5.azl3", "6.6.64.2-1.azl3", 0.2, security=True, reboot=True),
        "openssh-server": _package("9.8p1-1.azl3", "9.8p1-4.azl3", 0.4, security=True),
        "openssl": _package("3.3.0-2.azl3", "3.3.2-1.azl3", 0.6, security=True),
        "sudo": _package("1.9.15p5-1.azl3"),
        "tzdata": _package("2024a-1.azl3", "2024b-1.azl3", 0.7),
    },
    "sles": {
        "bash": _package("4.4-150400.25.22"),
        "curl": _package("8.0.1-150400.5.32", "8.0.1-150400.5.56", 0.5, security=True),
        "kernel-azure": _package("5.14.21-150400.14.75", "5.14.21-150400.14.96", 0.2, security=True, reboot=True),
        "libopenssl1_1": _package("1.1.1l-150400.7.57", "1.1.1l-150400.7.72", 0.6, security=True),
        "libzypp": _package("17.31.22-150400.3.43", "17.35.8-150400.3.85", 0.3),
        "sudo": _package("1.9.9-150400.4.26"),
        "timezone": _package("2024a-150000.75.28", "2024b-150000.75.34", 0.7),
    },
}
