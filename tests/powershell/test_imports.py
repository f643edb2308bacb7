"""What the tests of this folder import, on a Python for Windows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LIKE_WINDOWS = """
import asyncio, ctypes, importlib, os, pathlib, signal, subprocess, sys, tempfile
from unittest import mock
import aiohttp, anyio, click, cryptography, hypothesis, pytest, rich.console, structlog

for name in ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None
for name in ("chown", "fork", "geteuid", "getuid", "killpg", "setsid", "uname", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK"):
    vars(os).pop(name, None)
for name in ("SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGUSR1", "SIGUSR2"):
    vars(signal).pop(name, None)
opened = pathlib.Path.open
def no_proc(path, *words, **more):
    assert not str(path).startswith("/proc"), path
    return opened(path, *words, **more)
pathlib.Path.open = no_proc
sys.platform = "win32"
ctypes.windll = mock.MagicMock()
importlib.import_module("tests.conftest")
for package in ("fleet.guest", "fleet.lab.guests.windows", "tests.powershell"):
    for path in sorted(pathlib.Path(importlib.import_module(package).__file__).parent.glob("*.py")):
        importlib.import_module(package if path.stem == "__init__" else f"{package}.{path.stem}")
"""


def test_windows_can_import_what_it_runs() -> None:
    """The guest's scripts, the played Windows and these tests need no module, signal or call that only POSIX has."""
    words = [sys.executable, "-c", LIKE_WINDOWS]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
