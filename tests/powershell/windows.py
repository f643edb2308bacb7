"""A played Windows for tests: a folder with its state, and one PowerShell that runs every script against it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fleet.lab.guests.windows
from fleet.lab.guests.windows.powershell import SWITCHES, environment
from fleet.lab.guests.windows.state import VARIABLE, State, fresh, read, restarted, write
from tests.powershell.system import ON_WINDOWS

PARTS = Path(fleet.lab.guests.windows.__file__).parent
SCRIPTS = Path(__file__).parents[2] / "playbooks" / "scripts"
STOPWATCH = "[System.Diagnostics.Stopwatch]::StartNew()"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a script ended, and what it printed."""

    code: int
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()

    @property
    def words(self) -> dict[str, str]:
        """What the last line says."""
        assert self.lines and self.lines[-1].startswith("FLEET-RESULT "), (self.stdout, self.stderr)
        words = dict(word.split("=", 1) for word in self.lines[-1].split()[1:])
        assert words["code"] == str(self.code), (self.stdout, self.stderr)
        return words

    @property
    def state(self) -> tuple[int, str]:
        return self.code, self.words["state"]

    def named(self, word: str) -> list[str]:
        """The rest of each line that begins with this word and a colon."""
        return [line.removeprefix(f"{word}: ") for line in self.lines if line.startswith(f"{word}: ")]


class PowerShell:
    """One process, which runs one script after the other."""

    def __init__(self, program: str) -> None:
        words = [program, *SWITCHES, "-File", str(Path(__file__).parent / "serve.ps1")]
        self.process = subprocess.Popen(
            words,
            env=environment(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def run(self, before: str, script: Path, environment: Mapping[str, str]) -> Ended:
        """Run some text, and then a script in the same runspace."""
        assert self.process.stdin and self.process.stdout
        case = {"before": before, "script": str(script), "environment": dict(environment)}
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return Ended(answer["code"], answer["stdout"], answer["stderr"])

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class Windows:
    """A played Windows whose waits cost no time."""

    def __init__(self, shell: PowerShell, folder: Path, state: State) -> None:
        self.shell, self.folder = shell, folder
        folder.mkdir(exist_ok=True)
        write(state, folder)

    @property
    def state(self) -> State:
        return read(self.folder)

    @property
    def calls(self) -> list[str]:
        """What was asked of it or done to it, in order."""
        path = self.folder / "calls"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def change(self, **given: Any) -> None:
        write(self.state | given, self.folder)

    def restart(self) -> None:
        write(restarted(self.state), self.folder)

    def run(self, script: str, before: str = "", **given: str) -> Ended:
        """Run a shipped script. Its stopwatch is replaced by one that the played Windows moves on."""
        text = (SCRIPTS / script).read_text(encoding="ascii")
        path = self.folder / script
        path.write_text(text.replace(STOPWATCH, "(Start-PlayedWatch)"), encoding="ascii")
        given = {VARIABLE: str(self.folder)} | ({} if ON_WINDOWS else {"SystemDrive": "C:"}) | given
        return self.shell.run(f". '{PARTS / 'load.ps1'}'\n{before}", path, given)


def installed(state: State) -> list[str]:
    """The articles of what is installed."""
    return [update["kb"][0] for update in state["updates"] if update.get("installed")]


def update(number: int, *categories: str, **more: Any) -> State:
    """One update, KB and a number, of some categories; security if none is named."""
    return {
        "id": f"{number:08x}-0000-4000-8000-000000000000",
        "revision": 200,
        "title": f"Update {number}",
        "kb": [str(number)],
        "categories": list(categories) or ["security"],
        "size": 52_428_800,
        **more,
    }


def fresh_instant(**given: Any) -> State:
    """A Windows with nothing wrong, in which waiting costs no time."""
    return fresh(clock="instant") | given
