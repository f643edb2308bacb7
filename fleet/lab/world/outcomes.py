"""How Azure words the end of an execution. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.lab.wire import Json
from fleet.lab.world.machine_spec import System
from fleet.lab.world.scripted import Result, tail
from fleet.lab.world.world import Machine

_PUBLISHER = "Microsoft.CPlat.Core"


def failure(machine: Machine, message: str, *, managed: bool = True) -> tuple[str, str]:
    """Return code and text of an operation whose extension failed (agent's own tests; with double quotes until 2018)."""
    name = _handler(machine, managed=managed)
    return "VMExtensionProvisioningError", (
        f"VM has reported a failure when processing extension '{name}' (publisher '{_PUBLISHER}' and type '{name}'). "
        f"Error message: '{message}'."
    )


def disallowed(machine: Machine, *, managed: bool) -> tuple[str, str]:
    """Return code and text of an operation that the agent's extension policy refuses (agent's source)."""
    name = f"{_PUBLISHER}.{_handler(machine, managed=managed)}"
    text = (
        f"Extension will not be processed: failed to run extension '{name}' because it is not specified as an allowed "
        "extension. To run, add the extension to the list of allowed extensions in the policy file "
        "('/etc/waagent_policy.json')."
    )
    return failure(machine, text, managed=managed)


def not_reported(machine: Machine) -> tuple[str, str]:
    """Return code and text of an operation whose VM reported nothing (text as users posted it)."""
    return (
        "VMAgentStatusCommunicationError",
        f"VM '{machine.name}' has not reported status for VM agent or extensions. Please verify the VM has a running "
        "VM agent, and can establish outbound connections to Azure storage.",
    )


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
