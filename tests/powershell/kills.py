"""Kills at random moments, of a wrapper and its script or of one of the two, and the delivery that is sent again."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fleet.guest.receipt import Receipt, read
from fleet.lab.guests.windows.machine import quote
from tests.powershell.guest import AGAIN, Answer, Guest, Started, delivery, verified

KINDS = ("all", "wrapper", "script")
SCRIPT = """
[IO.File]::AppendAllText({ran}, 'x')
'before'
Start-Sleep -Milliseconds {pause}
[IO.File]::AppendAllText({end}, 'x')
'after'
exit 7
"""


@dataclass(frozen=True)
class Trial:
    """What was killed and when, and what is wrong with what followed; empty if nothing is."""

    kind: str
    moment: float
    said: str
    wrong: str


def trials(pwsh: str, times: int, seed: int) -> Iterator[Trial]:
    """Kill so many deliveries, a third of them in each way, at moments that follow from the seed."""
    rng = random.Random(seed)
    longest = _duration(pwsh)
    for number in range(times):
        kind, moment, pause = KINDS[number % 3], rng.uniform(0.1, 1.1 * longest), rng.randrange(1500)
        with tempfile.TemporaryDirectory() as folder:
            yield _trial(Guest(pwsh, Path(folder)), kind, moment, pause)


def _duration(pwsh: str) -> float:
    """How long a delivery takes here and now, so that moments of kills lie all over it."""
    with tempfile.TemporaryDirectory() as folder:
        before = time.monotonic()
        Guest(pwsh, Path(folder)).deliver(delivery("Start-Sleep -Milliseconds 700")).answer()
        return time.monotonic() - before


def _trial(guest: Guest, kind: str, moment: float, pause: int) -> Trial:
    ran, end = guest.folder / "ran", guest.folder / "end"
    script = SCRIPT.format(ran=quote(str(ran)), end=quote(str(end)), pause=pause)
    first = guest.deliver(delivery(script))
    time.sleep(moment)
    _kill(guest, first, kind)
    told = first.answer() if kind == "script" else None
    order = delivery(script, nonce=AGAIN)
    answer, receipt = verified(order, guest.deliver(order).answer())
    wrong = _wrong(ran, end, kind, answer, receipt)
    if told is not None and not wrong:
        wrong = _other(told, answer, receipt)
    said = (
        "interrupted" if receipt.interrupted else f"exit {receipt.exit_code}{', replayed' if receipt.replayed else ''}"
    )
    return Trial(kind, moment, said, wrong)


def _kill(guest: Guest, first: Started, kind: str) -> None:
    if kind != "script":
        first.kill(alone=kind == "wrapper")
        return
    try:
        os.kill(int((guest.place() / "child").read_text("ascii").split()[0]), signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return  # it has not begun, or has ended


def _wrong(ran: Path, end: Path, kind: str, answer: Answer, receipt: Receipt) -> str:
    runs, ends = (len(path.read_text("ascii")) if path.exists() else 0 for path in (ran, end))
    if runs > 1 or ends > 1:
        return f"it ran {runs} times"
    if receipt.interrupted:
        return "" if kind != "script" else "the wrapper was not killed"
    if receipt.exit_code == 7:
        return (
            "" if (runs, ends, answer.stdout) == (1, 1, "before\nafter\n") else f"exit 7, and it came to {runs}, {ends}"
        )
    return (
        "" if kind == "script" and receipt.exit_code == 128 + signal.SIGKILL else f"it ended with {receipt.exit_code}"
    )


def _other(told: Answer, answer: Answer, receipt: Receipt) -> str:
    """What is wrong with a second answer beside the first, whose wrapper was left alone."""
    before = read(told.stdout, told.stderr, "0123456789abcdef")
    if before.receipt is None:
        return "the first delivery has no receipt"
    same = (before.receipt.exit_code, before.stdout) == (receipt.exit_code, answer.stdout) and receipt.replayed
    return "" if same else "the second answer is another one"
