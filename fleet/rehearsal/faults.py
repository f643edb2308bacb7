"""The faults of a pretend Azure: of requests on their way, and of its VMs."""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """What can happen to one request on its way, there or back."""

    UNCONNECTED = "unconnected"
    """No byte leaves."""
    RESET = "reset"
    """Dropped before it is carried out."""
    LOST = "lost"
    """Carried out; the answer is dropped."""
    LATE = "late"
    """Given up by the client, and carried out after that."""
    HANG = "hang"
    """Carried out and never answered: the client waits for its whole time-out."""
    ERROR = "5xx"
    """Answered 500, 502, 503 or 504, not carried out."""
    ERROR_AFTER = "5xx-after"
    """Carried out, then answered so."""
    TORN = "torn"
    """Carried out; the answer is cut short or garbled."""
    THROTTLED = "429"
    BUSY = "409"
    UNAUTHORIZED = "401"
    SLOW = "slow"
    """Carried out, answered seconds late."""


class VmFault(StrEnum):
    """A fault that a share of the pretend VMs has."""

    AGENT_DOWN = "agent-down"
    STOPPED = "stopped"
    FAILING = "failing"
    STRAGGLER = "straggler"


AnyFault = Fault | VmFault


def parse_fault(text: str) -> AnyFault:
    """Return the fault of requests or of VMs with this name. Raises ValueError."""
    for kind in (VmFault, Fault):
        if text in [member.value for member in kind]:
            return kind(text)
    raise ValueError(text)
