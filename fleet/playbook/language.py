"""Which program runs a script, by the step's ``shell`` and the script's first line, and what contradicts that.

No text is handed to a shell that it was not written for: what the first line names runs the script on Linux, and a step
that says something else is refused before anything is sent.
"""

from __future__ import annotations

from fleet.documents.places import shown
from fleet.errors import Problem
from fleet.guest.shebang import first_line, late_shebang, read_shebang
from fleet.playbook.model import Script, Shell
from fleet.targets.model import Os

_POWERSHELL = frozenset({Shell.PWSH, Shell.PWSH7})
_OTHERS = {".py": "python3", ".pl": "perl", ".rb": "ruby", ".js": "node", ".php": "php", ".lua": "lua"}
"""File names of languages that neither bash nor PowerShell reads, and what runs them."""

_SHELL_NAMES = (".sh", ".bash")
_POWERSHELL_NAMES = (".ps1",)


def wrong_line(shell: Shell, script: Script) -> Problem | None:
    """Say why a script cannot run as its first line and ``shell`` say, whatever the VM; None if nothing is known.

    The problem's place is that in the script, and its file the script's, empty for an inline one.
    """
    text = script.text
    named = read_shebang(text)
    if named is None:
        return _unnamed(shell, script)
    found = first_line(text)
    if not _agree(shell, named.program, powershell=named.is_powershell):
        message = f"the script's first line names {named.program or named.path}, and the step says shell: {shell}"
        hint = "remove shell, which lets the first line decide, or change one of the two"
        return Problem("other_interpreter", message, script.file, 1, 1, shown(found), hint=hint)
    if named.problem and not named.is_powershell:  # to PowerShell on Windows the line is a comment
        hint = "write the line as Linux runs it, such as #!/usr/bin/env python3 or #!/bin/bash -e"
        return Problem("first_line", named.problem, script.file, 1, 1, shown(found), hint=hint)
    return None


def wrong_system(shell: Shell, script: Script, system: Os, *, receipts: bool) -> str:
    """Say why a script whose text Fleet sends cannot run on an operating system; empty if nothing speaks against it.

    ``receipts`` says whether it goes inside the wrapper. Without one, Azure's handler on Linux runs it by its path, so
    only its first line counts there (handler source).
    """
    named = read_shebang(script.text)
    name = script.file.lower()
    if system is Os.WINDOWS:
        if shell in (Shell.BASH, Shell.SH):
            return f"a {shell.value} script cannot run on Windows"
        if named is not None and not named.is_powershell:
            return f"the script's first line names {named.program or named.path}, and Windows has PowerShell only"
        if shell is Shell.AUTO and name.endswith(_SHELL_NAMES):
            return "a bash script cannot run on Windows"
        return ""
    if shell in _POWERSHELL and (receipts or named is None):
        return "a PowerShell script cannot be carried to Linux"
    if named is not None and named.is_powershell and named.problem:
        return named.problem
    if shell is Shell.AUTO and named is None and name.endswith(_POWERSHELL_NAMES):
        return "a PowerShell script without a first line would be run by bash on Linux"
    return ""


def _unnamed(shell: Shell, script: Script) -> Problem | None:
    """Look at a script without a first line that counts."""
    if late := late_shebang(script.text):
        text = script.text.lstrip("\ufeff").lstrip()
        named = read_shebang(text)
        expected = Shell.BASH if shell is Shell.AUTO else shell
        if named is not None and (
            named.argument or not _agree(expected, named.program, powershell=named.is_powershell)
        ):
            message = "the #! line does not count here: it must be the first line and begin it"
            hint = "move it to the very start of the script"
            return Problem("first_line", message, script.file, late, 1, shown(first_line(text)), hint=hint)
    if shell is Shell.AUTO:
        other = next((program for end, program in _OTHERS.items() if script.file.lower().endswith(end)), "")
        if other:
            message = f"the script {script.file} does not name its interpreter, so a shell would run it"
            hint = f"begin it with #!/usr/bin/env {other}, or say which shell runs it"
            return Problem("first_line", message, script.file, 1, 1, hint=hint)
    return None


def _agree(shell: Shell, program: str, *, powershell: bool) -> bool:
    """Whether a step's shell is what the first line names. Another name is another interpreter: sh is not bash."""
    if shell is Shell.AUTO:
        return True
    return powershell if shell in _POWERSHELL else program == shell.value
