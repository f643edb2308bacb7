"""How numbers, times and statuses are said, the same in every rendering."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from fleet.clock import iso
from fleet.errors import ExitCode
from fleet.run.model import Status
from fleet.targets.model import VM_UNREADABLE, Kind, UnreadScope

if TYPE_CHECKING:
    from fleet.report.model import Counts, Report

STATUS = {
    Status.SUCCEEDED: "succeeded",
    Status.FAILED: "failed",
    Status.TIMED_OUT: "timed out",
    Status.CANCELLED: "cancelled",
    Status.UNREACHABLE: "unreachable",
    Status.UNVERIFIED: "unverified",
    Status.UNKNOWN: "unknown",
    Status.SKIPPED: "skipped",
    Status.NOT_STARTED: "not started",
}

EXIT = {
    ExitCode.OK: "every selected target succeeded, with proof",
    ExitCode.INTERNAL: "internal error",
    ExitCode.SCRIPT_FAILED: "a script failed",
    ExitCode.NOT_REACHED: "no script failed, but not every target is proven",
    ExitCode.STOPPED: "stopped by a budget, a gate or a person",
    ExitCode.REFUSED: "refused: there was nothing to do",
    ExitCode.AZURE_UNUSABLE: "Azure could not be used",
    ExitCode.DEADLINE: "the deadline came first",
    ExitCode.DIFFERENCES: "differences found",
    ExitCode.INTERRUPTED: "interrupted; it can be resumed",
    ExitCode.TERMINATED: "terminated; it can be resumed",
}
"""What an exit code means, in a few words."""


KINDS = {Kind.VM: "VM", Kind.SCALE_SET: "scale-set instance", Kind.ARC: "Arc machine"}
"""What a machine of each kind is called."""


def unread(scope: UnreadScope) -> str:
    """Say that a VM, an entry of a list or a subscription could not be read, or not wholly."""
    if scope.subject:
        return f"{scope.subject} could not be read: {scope.message}"
    return f"subscription {scope.name or scope.subscription} could not be read: {scope.code}: {scope.message}"


def not_read(scopes: Iterable[UnreadScope]) -> str:
    """Count what could not be read: ``2 VMs and 1 subscription``."""
    from fleet.targets.expand import counted

    return counted(scopes)


def unread_heading(scopes: Iterable[UnreadScope]) -> str:
    """Return the heading of a list of what could not be read."""
    vms = {scope.code == VM_UNREADABLE for scope in scopes}
    return " and ".join(noun for noun, is_vm in (("VMs", True), ("subscriptions", False)) if is_vm in vms) + (
        " that could not be read"
    )


def number(value: int) -> str:
    """Say a count with thousands apart: ``12,345``."""
    return f"{value:,}"


def plural(value: int, noun: str) -> str:
    """Say a count of things: ``1 job``, ``2,000 jobs``."""
    return f"{number(value)} {noun}" if value == 1 else f"{number(value)} {noun}s"


def duration(seconds: float | None) -> str:
    """Say a duration: ``0.4s``, ``12s``, ``3m 05s``, ``2h 04m``; empty for None."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def moment(at: float | None) -> str:
    """Say a moment for people: ``2026-03-01 02:03:04 UTC``; empty for None."""
    return "" if at is None else f"{iso(at)[:10]} {iso(at)[11:19]} UTC"


def tally(counts: Counts) -> str:
    """Say how many rows ended how, worst first: ``40 failed, 360 succeeded``."""
    return ", ".join(f"{number(amount)} {STATUS[status]}" for status, amount in counts.present())


def scope(counts: Counts) -> str:
    """Say how large the run is: ``400 targets``, or ``800 jobs on 400 targets``."""
    targets = plural(counts.targets, "target")
    return targets if counts.total == counts.targets else f"{plural(counts.total, 'job')} on {targets}"


def verdict(report: Report) -> str:
    """Say in a few words what the exit code means."""
    return EXIT.get(ExitCode(report.exit_code), "")


def facts(found: Mapping[str, str]) -> str:
    """Say facts on one line: ``facts: kernel=6.1.0, state=converged``; empty without any."""
    told = ", ".join(f"{name}={value}" for name, value in found.items())
    return f"facts: {told}" if told else ""


CUT = "the beginning of the output was cut off"
"""Of a row whose streams were too long for the channel; which of them is not kept."""


def fetch_all(run: str, vm: str = "VM") -> str:
    """Say how to get the whole output of a VM."""
    return f"fleet output {run} {vm} --full fetches all of it"


def exit_text(code: int | None) -> str:
    """Say a script's exit code: ``exit 2``; empty when there is none."""
    return "" if code is None else f"exit {code}"
