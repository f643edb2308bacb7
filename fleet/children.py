"""What a program that Fleet starts gets to know of its environment: no more than it needs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

_NAMES = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "TZ", "TMPDIR", "LANG", "LANGUAGE",
        # Windows: where programs, settings and temporary files lie
        "USERPROFILE", "HOMEDRIVE", "HOMEPATH", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "ALLUSERSPROFILE",
        "PROGRAMFILES", "PROGRAMFILES(X86)", "PROGRAMW6432", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT",
        "TEMP", "TMP", "USERNAME", "USERDOMAIN", "COMPUTERNAME", "OS", "PROCESSOR_ARCHITECTURE", "NUMBER_OF_PROCESSORS",
    }
)  # fmt: skip


def environment(given: Mapping[str, str], more: Callable[[str], bool] = lambda name: False) -> dict[str, str]:
    """Return the variables that any program needs, and those whose name, in capitals, ``more`` lets pass.

    Everything else stays with Fleet: parameters, secrets that settings and flags name, tokens of gates.
    """
    return {
        name: value
        for name, value in given.items()
        if (upper := name.upper()) in _NAMES or upper.startswith("LC_") or more(upper)
    }
