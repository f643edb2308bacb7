"""Whether a step fits an operating system and its transport: shell, built-in command, size, time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fleet.plan.model import Plan, PlannedStep
from fleet.plan.transport import is_action
from fleet.playbook.language import wrong_system
from fleet.playbook.model import Shell
from fleet.targets.model import Os

ACTION_SCRIPT = 262_144
"""The action's Linux handler takes scripts up to this many bytes, counted on their base64 (handler source)."""

MANAGED_SCRIPT = 262_144
"""The managed handler declares the same bound and does not check it (handler source)."""

ACTION_SECONDS = 90 * 60
"""After this time the service gives an action up (documented, recorded)."""

BUILT_IN = {
    Os.LINUX: frozenset({"RunShellScript", "ifconfig", "RemoveRunCommandLinuxExtension"}),
    Os.WINDOWS: frozenset(
        {"RunPowerShellScript", "DisableNLA", "DisableWindowsUpdate", "EnableAdminAccount", "EnableEMS"}
        | {"EnableRemotePS", "EnableWindowsUpdate", "IPConfig", "RDPSettings", "RemoveRunCommandWindowsExtension"}
        | {"ResetRDPCert", "SetRDPPort", "IMDSCertCheck", "Windows_WindowsActivation_Validation"}
    ),
}
"""Built-in commands by system (recorded list of 2023-12, and two from the documentation)."""


@dataclass(frozen=True, slots=True)
class Incompatibility:
    """Why a step does not fit; ``fatal`` if it cannot work at all. ``kind`` is ``shell``, ``size`` or ``time``."""

    kind: str
    what: str
    next: str = ""
    fatal: bool = True


def misfits(plan: Plan, step: PlannedStep, system: Os, size: int) -> Iterator[Incompatibility]:
    """Say what does not fit between a step and a system. ``size`` is the script's, as sent, in bytes; 0 for none."""
    if step.script.command_id:
        yield from _built_in(step.script.command_id, system)
    elif text := _wrong_shell(plan, step, system):
        yield Incompatibility(
            "shell", text, f"narrow targets.where to the other system, or give a script for {system.value}"
        )
    yield from _size(plan, step, system, size)
    if is_action(step, plan.transport) and step.timeout > ACTION_SECONDS:
        hint = "use --transport managed, or a shorter timeout"
        yield Incompatibility("time", "the action is given up after 90 minutes, before the step's own time limit", hint)


def _built_in(command: str, system: Os) -> Iterator[Incompatibility]:
    known = {name.casefold(): owner for owner, names in BUILT_IN.items() for name in names}
    owner = known.get(command.casefold())
    if owner is None:
        yield Incompatibility(
            "shell", f"{command} is no built-in command that Fleet knows", "check its spelling", fatal=False
        )
    elif owner is not system:
        hint = f'narrow targets.where to os == "{owner.value}"'
        yield Incompatibility(
            "shell", f"{command} is a built-in command for {owner.value}, not for {system.value}", hint
        )


def _wrong_shell(plan: Plan, step: PlannedStep, system: Os) -> str:
    if step.script.is_text:
        return wrong_system(step.shell, step.script, system, receipts=plan.receipts)
    language = _language_of(step)
    if system is Os.WINDOWS and language in (Shell.BASH, Shell.SH):
        return f"a {language.value} script cannot run on Windows"
    if system is Os.LINUX and language is Shell.PWSH:
        return "a PowerShell script cannot be carried to Linux"
    return ""


def _language_of(step: PlannedStep) -> Shell:
    """Tell what a script that the VM downloads is written in: by ``shell``, else by its name; ``auto`` for no idea."""
    if step.shell is not Shell.AUTO:
        return Shell.PWSH if step.shell is Shell.PWSH7 else step.shell
    name = step.script.uri.partition("?")[0].lower()
    if name.endswith(".ps1"):
        return Shell.PWSH
    return Shell.BASH if name.endswith((".sh", ".bash")) else Shell.AUTO


def encoded(size: int) -> int:
    """How many bytes a script of ``size`` bytes has as base64, which is what the action's handler counts."""
    return -(-size // 3) * 4


def too_long(size: int) -> str:
    """Say that a script, encoded, is too long for the action."""
    return f"the script is too long for the action: {size:,} bytes encoded, {ACTION_SCRIPT:,} at most"


def _size(plan: Plan, step: PlannedStep, system: Os, size: int) -> Iterator[Incompatibility]:
    if is_action(step, plan.transport):
        if system is Os.LINUX and encoded(size) > ACTION_SCRIPT:
            yield Incompatibility(
                "size", too_long(encoded(size)), "let a short script fetch the rest, or use --transport managed"
            )
    elif size > MANAGED_SCRIPT:
        text = f"the script has {size:,} bytes; beyond {MANAGED_SCRIPT:,} nothing is promised"
        yield Incompatibility("size", text, "let a short script fetch the rest", fatal=False)
