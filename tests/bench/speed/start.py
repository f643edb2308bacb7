"""What it costs to start: CPU of ``fleet --help``, of a verb's help, and of a run until its first request."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.speed.processes import ROOT, Ended, client_folder, environment, fleet_words, wait_for
from tests.bench.speed.rows import Case

TIMES = 5
LONGEST_S = 60.0


def cpu_of(*words: str) -> float:
    """Return the seconds of CPU that a command takes: the best of a few."""
    return min(_ended(words).cpu for _ in range(TIMES))


def _ended(words: tuple[str, ...]) -> Ended:
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "fleet", *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        return wait_for(process, began)


def cpu_to_first_request(folder: Path) -> float:
    """Return the seconds of CPU that a run has taken when it connects to send its first request: the best of a few."""
    return min(_to_connection(folder / f"start{number}") for number in range(TIMES))


def _to_connection(folder: Path) -> float:
    """Let a run connect to a port where nobody answers, read what it has taken, and end it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LONGEST_S)
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        client_folder(folder, url, ca_file=None)
        with subprocess.Popen(
            fleet_words(Case(), folder),
            cwd=folder,
            env=environment(folder, ca_file=None),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                connection, _ = listener.accept()
                connection.close()
                return _taken(process.pid)
            finally:
                process.kill()


def _taken(pid: int) -> float:
    """Return a process's seconds of CPU so far, all threads (Linux; elsewhere 0)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))
