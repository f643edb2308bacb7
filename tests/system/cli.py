"""A person at a machine of their own: runs the real command in real processes, and looks at what it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fleet.cli.main import invoke
from tests.patience import stretched

ROOT = Path(__file__).parents[2]
LABS = Path(__file__).parent / "labs"
PLAYBOOKS = Path(__file__).parent / "playbooks"
SHIPPED = ROOT / "playbooks"


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> Any:
        """What ``-o json`` printed."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """What ``-o jsonl`` printed."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def last(self) -> str:
        """The last line on stderr."""
        return self.err.splitlines()[-1]


class Machine:
    """A home, a state folder and a working folder, all empty, and the ``fleet`` command."""

    def __init__(self, folder: Path) -> None:
        self.home, self.state, self.cwd = folder / "home", folder / "state", folder / "work"
        self.home.mkdir()
        self.cwd.mkdir()

    def environment(self, **more: str) -> dict[str, str]:
        """The machine's environment variables, and nothing of ours but what Python needs."""
        names = ("PATH", "PYTHONPATH", "LANG", "COVERAGE_PROCESS_START")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        own = {"HOME": str(self.home), "FLEET_STATE_DIR": str(self.state), "TERM": "xterm", "COLUMNS": "100"}
        return {**kept, **own, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), **more}

    def start_words(self, *args: object) -> list[str]:
        return [sys.executable, "-m", "fleet", *map(str, args)]

    def start(self, *args: object, env: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
        """Start a command and leave it running; its streams are pipes."""
        return subprocess.Popen(
            self.start_words(*args),
            cwd=self.cwd,
            env=self.environment(**(env or {})),
            text=True,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )

    def run(self, *args: object, env: dict[str, str] | None = None, limit: float = 90, **options: Any) -> Done:
        """Run a command to its end, which no traceback may precede."""
        return ended(self.start(*args, env=env, **options), limit)

    def resume(self, line: str, *more: object) -> Done:
        """Execute the command that a stopped run names as its last word."""
        words = line.split()
        assert words[:2] == ["fleet", "resume"]
        return self.run(*words[1:], *more)

    def written(self) -> Iterator[Path]:
        """Every file in the state folder and in the working folder."""
        for folder in (self.state, self.cwd):
            yield from (path for path in folder.rglob("*") if path.is_file())


def ended(process: subprocess.Popen[str], limit: float = 90) -> Done:
    """Wait for a command's end."""
    try:
        out, err = process.communicate(timeout=stretched(limit))
    finally:
        process.kill()
    assert "Traceback" not in (err or ""), err
    return Done(process.returncode, out or "", err or "")


def read_until(process: subprocess.Popen[str], enough: Callable[[list[Any]], bool]) -> list[Any]:
    """Read a ``-o jsonl`` stream until what has come so far is enough, or it ends."""
    assert process.stdout is not None
    events: list[Any] = []
    while not enough(events):
        line = process.stdout.readline()
        if not line:
            break
        events.append(json.loads(line))
    return events


def counted(events: list[Any], name: str) -> int:
    """How many events have this name."""
    return sum(1 for event in events if event["event"] == name)


def kill(process: subprocess.Popen[str]) -> None:
    """End a process as a power cut would, and close its pipes."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


class LabUp:
    """A lab in a process of its own: it lives on when a run is killed."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def flag(self) -> str:
        return f"--lab={self.url}"

    def state(self) -> Any:
        """What the lab counted."""
        with urllib.request.urlopen(f"{self.url}/lab/state") as answer:
            return json.load(answer)

    def executions(self, since: dict[str, int] | None = None) -> dict[str, int]:
        """How often a script really ran, by VM id, since an earlier count."""
        now = self.state()["executions"]
        return {vm: count - (since or {}).get(vm, 0) for vm, count in now.items() if count != (since or {}).get(vm, 0)}

    def requests(self) -> int:
        return sum(self.state()["requests"].values())

    def move(self, vm: str, **changes: str) -> None:
        """Change the power or the agent of a VM, by its id."""
        body = json.dumps({"id": vm, **changes}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/lab/machines", body, method="POST")).close()

    def fault(self, *rules: dict[str, object]) -> None:
        """Put these faults in force instead of all others; none puts everything right."""
        body = json.dumps(list(rules)).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/lab/faults", body, method="POST")).close()


@contextmanager
def lab_up(machine: Machine, file: Path | str) -> Iterator[LabUp]:
    """Serve a lab until the block ends."""
    process = machine.start("lab", "up", file, "-q", stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        yield LabUp(process.stdout.readline().strip())
    finally:
        process.terminate()
        process.communicate(timeout=stretched(30))


def wait_for(true: Callable[[], bool], limit: float = 30) -> None:
    """Look again and again until something is true: other processes tell nobody when they are ready."""
    end = time.monotonic() + stretched(limit)
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)


class Here:
    """The same command inside this process, for many small calls."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, *args: object) -> Done:
        self._capfd.readouterr()
        code = invoke([str(arg) for arg in args])
        out, err = self._capfd.readouterr()
        assert "Traceback" not in err and "internal error" not in err, err
        return Done(int(code), out, err)
