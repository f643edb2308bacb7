"""What a target is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fleet.targets.glob import same_case


class Os(StrEnum):
    """The operating system family, which decides the shell and the form of results."""

    LINUX = "linux"
    WINDOWS = "windows"


class Power(StrEnum):
    """A VM's power state as Azure names it; Resource Graph lags behind the truth."""

    RUNNING = "running"
    STARTING = "starting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DEALLOCATING = "deallocating"
    DEALLOCATED = "deallocated"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Target:
    """One VM. Two targets are the same VM when their ids are equal without regard to case (ARM's rule)."""

    id: str
    subscription: str
    subscription_name: str
    resource_group: str
    name: str
    location: str
    os: Os
    size: str = ""
    image: str = ""
    zone: str = ""
    power: Power = Power.UNKNOWN
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def key(self) -> str:
        """The id in the one case used for comparing."""
        return same_case(self.id)


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription that the credential can see."""

    id: str
    name: str
    tenant: str = ""
    state: str = "Enabled"


@dataclass(frozen=True, slots=True)
class UnreadScope:
    """A subscription whose VMs could not be listed: named in plan and report, never silently missing."""

    subscription: str
    name: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class TargetSet:
    """The targets that a selector let in, sorted, and the scopes that could not be read."""

    targets: tuple[Target, ...]
    unread: tuple[UnreadScope, ...] = ()
