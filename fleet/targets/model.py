"""What a target is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from fleet.targets.glob import same_case


class Os(StrEnum):
    """The operating system family, which decides the shell and the form of results."""

    LINUX = "linux"
    WINDOWS = "windows"


class Kind(StrEnum):
    """What sort of machine a target is. These words stand in playbooks, selectors and reports alike."""

    VM = "vm"
    """A VM, those of flexible scale sets included, which are ordinary VMs (REST spec)."""
    SCALE_SET = "scale_set"
    """An instance of a uniform scale set."""
    ARC = "arc"
    """An Azure Arc machine: a server anywhere that Azure knows by its Connected Machine agent."""


@lru_cache(maxsize=1 << 15)
def kind_of(identity: str) -> Kind:
    """Tell the kind by a resource id, which nothing else can contradict; whatever is no other kind is a VM."""
    folded = same_case(identity)
    if "/providers/microsoft.hybridcompute/machines/" in folded:
        return Kind.ARC
    return Kind.SCALE_SET if "/virtualmachinescalesets/" in folded else Kind.VM


class Power(StrEnum):
    """A machine's power state as Azure names it, or an Arc machine's connection; Resource Graph lags behind both."""

    RUNNING = "running"
    STARTING = "starting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DEALLOCATING = "deallocating"
    DEALLOCATED = "deallocated"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    EXPIRED = "expired"
    """Disconnected for so long that its identity has run out."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Target:
    """One machine. Two targets are the same when their ids are equal without regard to case (ARM's rule)."""

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
    scale_set: str = ""
    """Name of the scale set that the machine belongs to, uniform or flexible."""
    availability_set: str = ""
    """Name of the availability set that a VM belongs to."""
    update_domain: str = ""
    """The machines that Azure may restart together, by a number in the set; empty where there is none or nobody asked."""
    fault_domain: str = ""
    """The machines that fail together, likewise."""

    @property
    def kind(self) -> Kind:
        """What sort of machine it is, by its id."""
        return kind_of(self.id)

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
class UnreadSubscription:
    """An entry of the list of subscriptions that cannot be read. ``id`` and ``name`` are None where they are not known."""

    label: str
    """Which entry it is: its position, and the name if that is known."""
    reason: str
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class UnreadScope:
    """What could not be read: named in plan and report, never silently missing.

    ``subject`` is the VM, or the entry of a list, that this is about. Empty: the subscription, of which not all machines
    could be listed.
    """

    subscription: str
    name: str
    code: str
    message: str
    subject: str = ""


VM_UNREADABLE = "vm_unreadable"
SUBSCRIPTION_UNREADABLE = "subscription_unreadable"


@dataclass(frozen=True, slots=True)
class TargetSet:
    """The targets that a selector let in, sorted, and what could not be read.

    ``notes`` name the VMs that are left out because Azure is still creating them.
    """

    targets: tuple[Target, ...]
    unread: tuple[UnreadScope, ...] = ()
    notes: tuple[str, ...] = ()
