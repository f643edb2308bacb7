"""How Azure words the end of an execution. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.lab.classes import System
from fleet.lab.guests import Result, tail
from fleet.lab.wire import Json
from fleet.lab.world import Machine


def failure(machine: Machine, message: str) -> tuple[str, str]:
    """Return code and text of a managed command whose script's failure is to be the operation's (recorded)."""
    text = f"VM has reported a failure when processing extension '{_handler(machine, managed=True)}'."
    return "VMExtensionProvisioningError", f'{text} Error message: "{message}".'


def gave_up(machine: Machine, *, managed: bool) -> tuple[str, str]:
    """Return code and text of an operation of which the machine's agent said nothing in time (recorded)."""
    return (
        "VMExtensionProvisioningTimeout",
        f"Provisioning of VM extension {_handler(machine, managed=managed)} has timed out. Extension provisioning has "
        "taken too long to complete. The extension did not report a message. More information on "
        f"troubleshooting is available at https://aka.ms/vmextension{machine.system.value}troubleshoot",
    )


def action_statuses(machine: Machine, result: Result) -> list[Json]:
    """Return an action's result: one status on Linux, two on Windows (recorded). The exit code is nowhere."""
    out, err = tail(result.stdout), tail(result.stderr)
    if machine.system is System.LINUX:
        return [_status("ProvisioningState/succeeded", f"Enable succeeded: \n[stdout]\n{out}\n[stderr]\n{err}")]
    return [
        _status("ComponentStatus/StdOut/succeeded", out),
        _status("ComponentStatus/StdErr/succeeded", err),
    ]


def _status(code: str, message: str) -> Mapping[str, object]:
    return {"code": code, "level": "Info", "displayStatus": "Provisioning succeeded", "message": message}


def _handler(machine: Machine, *, managed: bool) -> str:
    family = "Linux" if machine.system is System.LINUX else "Windows"
    return f"RunCommand{'Handler' if managed else ''}{family}"
