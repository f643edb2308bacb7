"""The scripts of a restart: one asks for it, the other says whether the machine is back. Environment in, exit code out.

Both know the boot that was seen before by ``EXPECT_BOOT_ID``: the first does nothing in another boot, so a request that
arrives twice restarts once. Both may run any number of times. The second prints ``uptime_s``, seconds since the boot.
"""

from __future__ import annotations

from importlib.resources import files

from fleet.guest.delivery import Shell

SCHEDULED, NOT_YET = 81, 83
"""Exit codes of the first script that asked, and of the second while the machine is not back."""


def ask(shell: Shell) -> str:
    """Return the script that asks for a restart: 81 asked, 0 restarted already, 84 refused, 87 failed."""
    return _text("reboot", shell)


def back(shell: Shell) -> str:
    """Return the script that says whether the machine is back: 0 yes, 83 not yet."""
    return _text("back", shell)


def _text(name: str, shell: Shell) -> str:
    names = ("boot.ps1", "boots.ps1", f"{name}.ps1") if shell is Shell.PWSH else (f"{name}.sh",)
    return "".join(files("fleet.guest").joinpath(each).read_text(encoding="ascii") for each in names)
