"""What differs between a Windows and the Linux that plays one, for the tests of this folder."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path

import pytest

from fleet.lab.guests.windows.machine import quote

ON_WINDOWS = sys.platform == "win32"


def plays(what: str) -> pytest.MarkDecorator:
    """Skip a test on Windows, which has ``what`` itself: it cannot be given a state there."""
    return pytest.mark.skipif(ON_WINDOWS, reason=f"plays {what}, which this Windows has itself")


def on_linux(why: str) -> pytest.MarkDecorator:
    """Skip a test on Windows, because of something that only Linux has."""
    return pytest.mark.skipif(ON_WINDOWS, reason=why)


def is_administrator() -> bool:
    """Say whether this process may change the owner of a folder. Where Windows is played, any user may."""
    if sys.platform == "win32":
        return bool(ctypes.windll.shell32.IsUserAnAdmin())
    return True


administrator = pytest.mark.skipif(not is_administrator(), reason="needs an administrator of Windows")


def code(number: int) -> int:
    """Return how a process that ends with this number ends here: Linux keeps the lowest byte."""
    return number if ON_WINDOWS else number % 256


def wait_until_gone(group: int) -> None:
    """Wait until no process of a killed group is left, not even one that its new parent has not waited for yet."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError(f"the process group {group} stays")


def is_alive(pid: int) -> bool:
    """Say whether a process runs."""
    if sys.platform == "win32":
        kernel = ctypes.WinDLL("kernel32")
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = ctypes.c_void_p(kernel.OpenProcess(0x100000, False, pid))  # the right to wait for it
        if not handle.value:
            return False
        try:
            return bool(kernel.WaitForSingleObject(handle, 0) == 258)  # it would have to wait
        finally:
            kernel.CloseHandle(handle)
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def sleeper(seconds: int, *words: str) -> list[str]:
    """Return a command that sleeps, with some words behind it. Its command line shows ``sleep(SECONDS)``."""
    program = getattr(sys, "_base_executable", None) or sys.executable  # that of a venv starts another process
    return [program, "-c", f"__import__('time').sleep({seconds})", *words]


def sleeping(seconds: int, more: str = "") -> str:
    """Return a line of PowerShell that starts such a command."""
    program, *words = sleeper(seconds)
    return f"Start-Process {quote(program)} -ArgumentList {','.join(quote(word) for word in words)} -NoNewWindow {more}"


def read_text(path: Path) -> str:
    """Return the text of a file that PowerShell wrote."""
    return path.read_text(encoding="utf-8-sig")


LINE = os.linesep.encode()
"""What ends a line that a script prints."""
