"""A played Windows VM with a real PowerShell: deliveries as Azure's handler brings them, streams cut as Azure cuts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from fleet.guest.delivery import Delivery, Shell, script_digest, secret_parameters
from fleet.guest.packing import CHANNEL_TAIL
from fleet.guest.receipt import Receipt, read, verify
from fleet.guest.wrapper import wrap
from fleet.guest.wrapper_pwsh import entry
from fleet.lab.guests.windows.machine import WindowsMachine
from fleet.lab.guests.windows.powershell import merged
from tests.patience import stretched
from tests.powershell.system import wait_until_gone

KEY = "run-step"
NONCE, AGAIN = "0123456789abcdef", "fedcba9876543210"


def delivery(script: str, *, nonce: str = NONCE, timeout: float = 60.0, key: str = KEY, **more: object) -> Delivery:
    return Delivery(script, Shell.PWSH, key=key, nonce=nonce, timeout=timeout, **more)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Answer:
    """What a script ended with: each stream's last 4,096 bytes, as the channel gives them."""

    code: int
    stdout: str
    stderr: str

    @property
    def message(self) -> str:
        """Both streams as a reader of them gets them."""
        return f"{self.stdout}\n[stderr]\n{self.stderr}"


@dataclass(frozen=True)
class Started:
    """A script that runs. It leads a process group of its own."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def answer(self, within: float = 120.0) -> Answer:
        code = self.process.wait(stretched(within))
        return Answer(code, _tail(self.out), _tail(self.err))

    def kill(self, *, alone: bool = False) -> None:
        """Kill the wrapper and what it started, or the wrapper alone, and wait until it is gone.

        On Windows what it started always ends with it.
        """
        if sys.platform == "win32":
            self.process.kill()
        else:
            (os.kill if alone else os.killpg)(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if sys.platform != "win32" and not alone:
            wait_until_gone(self.process.pid)


class Guest:
    def __init__(self, pwsh: str, folder: Path) -> None:
        self.machine = WindowsMachine(folder / "windows", pwsh)
        self.folder = folder
        self._numbers = count()

    @property
    def spool(self) -> Path:
        return self.machine.data / "Fleet" / "receipts"

    def place(self, key: str = KEY) -> Path:
        return self.spool / entry(key)

    def start(self, text: str, arguments: dict[str, str] | None = None, **environment: str) -> Started:
        number = next(self._numbers)
        script = self.folder / f"script{number}.ps1"
        script.write_bytes(text.replace("\n", "\r\n").encode("ascii"))
        out, err = (self.folder / f"{number}.{end}" for end in ("out", "err"))
        with open(out, "wb") as stdout, open(err, "wb") as stderr:
            process = subprocess.Popen(
                self.machine.command(script, arguments),
                env=merged(self.machine.environment(os.environ), **environment),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        return Started(process, out, err)

    def run(self, text: str, **environment: str) -> Answer:
        return self.start(text, **environment).answer()

    def deliver(self, order: Delivery, secrets: dict[str, str] | None = None, **environment: str) -> Started:
        return self.start(wrap(order), dict(secret_parameters(secrets or {})), **environment)

    def receipt(self, order: Delivery, **environment: str) -> tuple[Answer, Receipt]:
        """Deliver, and return what came with its verified receipt; the answer's streams are the script's."""
        return verified(order, self.deliver(order, **environment).answer())


def verified(order: Delivery, answer: Answer) -> tuple[Answer, Receipt]:
    """Return an answer and its receipt, which must prove the streams; ends of lines are those of Linux then."""
    reading = read(answer.stdout, answer.stderr, order.nonce)
    assert reading.receipt is not None, answer
    verdict = verify(reading, nonce=order.nonce, digest=script_digest(order))
    assert verdict.verified or reading.receipt.script_digest == "-", (verdict, answer)
    streams = (stream.replace("\r\n", "\n") for stream in (reading.stdout, reading.stderr))
    return Answer(answer.code, *streams), reading.receipt


def _tail(file: Path) -> str:
    return file.read_bytes()[-CHANNEL_TAIL:].decode("utf-8", "replace")
