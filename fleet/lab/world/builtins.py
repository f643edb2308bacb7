"""The built-in commands of the action API, as the service lists them (ids and types recorded)."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.lab.wire import Json
from fleet.lab.world.machine_spec import System

_SCHEMA = "http://schema.management.azure.com/schemas/2016-11-17/runcommands.json"


@dataclass(frozen=True, slots=True)
class Builtin:
    """One built-in command: its documentation, the script that runs when none is given, its parameters."""

    id: str
    system: System
    label: str
    description: str
    script: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()

    def summary(self) -> Json:
        """Render it as an item of the list."""
        return {
            "$schema": _SCHEMA,
            "id": self.id,
            "osType": self.system.value.capitalize(),
            "label": self.label,
            "description": self.description,
        }

    def document(self) -> Json:
        """Render it whole (recorded key order: script and parameters first)."""
        parameters = [{"name": name, "type": "string", "required": False} for name in self.parameters]
        return {"script": list(self.script), "parameters": parameters, **self.summary()}


def _linux(id: str, label: str, description: str, *script: str, parameters: tuple[str, ...] = ()) -> Builtin:
    return Builtin(id, System.LINUX, label, description, script, parameters)


def _windows(id: str, label: str, *script: str, parameters: tuple[str, ...] = ()) -> Builtin:
    return Builtin(id, System.WINDOWS, label, f"{label}.", script or (f"Write-Output {id}",), parameters)


_ALL = (
    _windows("DisableNLA", "Disable Network Level Authentication"),
    _windows("DisableWindowsUpdate", "Disable Windows Update Automatic Updates"),
    _windows("EnableAdminAccount", "Enable administrator account"),
    _windows("EnableEMS", "Enable EMS"),
    _windows("EnableRemotePS", "Enable remote PowerShell"),
    _windows("EnableWindowsUpdate", "Enable Windows Update Automatic Updates"),
    _linux("ifconfig", "List network configuration", "Shows all network interfaces.", "ifconfig"),
    _windows("IPConfig", "List IP configuration", "ipconfig /all"),
    _windows("RDPSettings", "Verify RDP Listener Settings"),
    _linux(
        "RemoveRunCommandLinuxExtension",
        "Removes the internal RunCommandLinux extension",
        "Removes the extension that earlier commands left, so that a stuck one can be used again.",
        "true",
    ),
    _windows("RemoveRunCommandWindowsExtension", "Removes the internal RunCommandWindows extension"),
    _windows("ResetRDPCert", "Restore RDP Authentication mode to defaults"),
    _windows(
        "RunPowerShellScript",
        "Executes a PowerShell script",
        "Write-Output 'This is a sample script'",
        parameters=("arg1", "arg2"),
    ),
    _linux(
        "RunShellScript",
        "Executes a Linux shell script",
        "The script is given in the script property; parameters are optional.",
        "echo This is a sample script",
        "echo Optional parameters: $0 $1",
        parameters=("arg1", "arg2"),
    ),
    _windows("SetRDPPort", "Set Remote Desktop port", parameters=("RDPPORT",)),
)


def find(id: str) -> Builtin | None:
    """Find a built-in command, whatever the case of its id."""
    return next((each for each in _ALL if each.id.casefold() == id.casefold()), None)


def listed() -> tuple[Builtin, ...]:
    """Return all built-in commands in the service's order."""
    return _ALL
