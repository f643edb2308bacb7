"""What pretended machines print: the plain truth as the lab's scripted guests do, or one of the other endings.

The truth goes to the history, whatever is printed.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from fleet.guest import envelope
from fleet.guest.envelope import Opened
from fleet.guest.receipt import Receipt, printed, read, render
from fleet.lab.world.scripted import KILLED, Guests, Result, Script
from fleet.lab.world.scripted import Plan as Answer
from fleet.lab.world.world import Machine
from fleet.plan.model import JobId
from tests.verification.endings import BY_THE_MACHINE, Ending, met

SENTENCE = b"Last script execution didn't finish."

_BADLY_SET = "failed to get configuration: invalid configuration: Either 'source.script' has to be specified"
_NOT_STARTED = (
    (-202, _BADLY_SET),
    (3, _BADLY_SET),
    (-204, "failed to execute command: fork/exec /bin/sh: cannot allocate memory"),
    (-100, "failed to download script"),
    (-1, "failed to save script: no space left on device"),
    (1, "failed to create the data folder"),
)
"""Codes and words of handlers that could not start a script (handler source; 3 as recorded in 2022 and 2023)."""

_REFUSALS = (
    (125, "no space to keep the answer; the script was not started"),
    (127, "pwsh is not installed on this machine"),
)

_WRAPPER_CODES = (0, 0, 3, 125, 143, 255)
_JUNK = b"\n[stderr]\n" + b"\xff" * 600


@dataclass(frozen=True, slots=True)
class Errand:
    """What a script that reaches a machine belongs to: its job, and which try of it.

    ``opened`` if it is wrapped; ``command`` is the managed command's name, empty for the action.
    """

    job: JobId
    retry: int
    opened: Opened | None
    command: str


@dataclass(frozen=True, slots=True)
class Truth:
    """What a script really did: whether it ran now, how it ended, what it printed, for how long (seconds of the lab)."""

    fresh: bool
    exit_code: int
    stdout: str
    duration: float
    nonce: str = ""


class Watcher(Protocol):
    """Whoever keeps the truth."""

    def errand(self, machine: Machine, script: Script) -> Errand:
        """Say what a script belongs to."""
        ...

    def delivered(self, machine: Machine, script: Script, errand: Errand, truth: Truth, now: float) -> None:
        """A script has reached its machine."""
        ...

    def said(self, job: JobId, retry: int, ending: Ending) -> None:
        """Something else than the plain truth is reported of it."""
        ...

    def code(self, job: JobId, retry: int) -> int:
        """Return the exit code with which a try ended; 0 while it has not."""
        ...


class PlayedGuests:
    """Answers scripts as other guests do, and spoils some of the answers.

    Deliveries of one try are spoiled alike, as a machine that has lost a receipt once does not find it again.
    """

    def __init__(self, guests: Guests, watcher: Watcher, seed: int, chances: Mapping[Ending, float]) -> None:
        self.stopped_by: Callable[[Machine, Errand, float], Answer | None] = lambda machine, errand, now: None
        """Asked before a script starts: an answer where it is not to start at all."""
        self._guests = guests
        self._watcher = watcher
        self._seed = seed
        self._chances = {kind: chance for kind, chance in chances.items() if kind in BY_THE_MACHINE}
        self._nonces: list[str] = ["f" * 32]

    def answer(self, machine: Machine, script: Script, now: float) -> Answer:
        """Decide what the machine answers to a script that starts ``now``."""
        errand = self._watcher.errand(machine, script)
        if (refused := self.stopped_by(machine, errand, now)) is not None:
            return refused
        rng = random.Random(f"fleet-sim/guest/{self._seed}/{errand.job}/{errand.retry}") if self._chances else None
        ending = met(rng, self._chances, BY_THE_MACHINE) if rng else None
        if rng is not None and ending in (Ending.NOT_BEGUN, Ending.REFUSED):
            self._watcher.said(errand.job, errand.retry, ending)
            return Answer(_not_begun(ending, rng), 1.0, ran=False, growing=False)
        answer = self._guests.answer(machine, script, now)
        receipt, out, err = _opened(answer.result, errand)
        if rng is not None and ending is not None:
            result, out, code = self._spoiled(ending, errand, machine, answer.result, (receipt, out, err), rng)
            self._watcher.said(errand.job, errand.retry, ending)
        else:
            result, code = answer.result, answer.result.exit_code
        nonce = receipt.nonce if receipt else ""
        truth = Truth(answer.ran, code, out.decode("utf-8", "replace"), answer.duration, nonce)
        self._watcher.delivered(machine, script, errand, truth, now)
        if nonce:
            self._nonces.append(nonce)
        return replace(answer, result=result)

    def _spoiled(
        self,
        ending: Ending,
        errand: Errand,
        machine: Machine,
        result: Result,
        parts: tuple[Receipt | None, bytes, bytes],
        rng: random.Random,
    ) -> tuple[Result, bytes, int]:
        """Return what the machine says instead, what the script itself printed, and the true exit code."""
        receipt, out, err = parts
        code = result.exit_code
        if ending is Ending.KILLED or receipt is None:
            return Result(KILLED), b"", KILLED
        if ending in _ADDED:
            others = self._others(ending, errand, machine, rng)
            out, err = _ADDED[ending](out, err, receipt, others, rng)
            return _sealed(receipt, out, err, code), out, code
        if ending in (Ending.FOREIGN_INSTEAD, Ending.GUESSED_INSTEAD):
            out = out + _frames(receipt, out, err, self._others(ending, errand, machine, rng), good=True)
            return Result(code, out, err), out, code
        return _without_proof(ending, receipt, out, err, code, rng), out, code

    def _others(self, ending: Ending, errand: Errand, machine: Machine, rng: random.Random) -> list[str]:
        """Nonces that are not ours: of neighbours, or what a script can make of what it knows."""
        assert errand.opened is not None
        if ending in (Ending.FOREIGN_BESIDE, Ending.FOREIGN_INSTEAD):
            return [rng.choice([nonce for nonce in self._nonces if nonce != errand.opened.delivery.nonce])]
        return guesses(errand.opened.key, errand.job, errand.retry, machine.id)


def guesses(key: str, job: JobId, retry: int, target: str) -> list[str]:
    """Nonces that could be made of what stands in the path of a running script and in its machine's metadata."""
    run = key.removeprefix("fleet-").rpartition(f"-{job}")[0]
    again = f"/{retry}" if retry else ""
    known = (f"{run}/{job}/{target.casefold()}{again}", f"{run}/{job}{again}", run, key, "")
    return [hashlib.sha256(text.encode()).hexdigest()[:32] for text in known]


def _opened(result: Result, errand: Errand) -> tuple[Receipt | None, bytes, bytes]:
    """Take an honest answer apart: its receipt, and both streams as the script printed them."""
    if errand.opened is None:
        return None, result.stdout, result.stderr
    reading = read(result.stdout.decode(), result.stderr.decode(), errand.opened.delivery.nonce)
    return reading.receipt, reading.stdout.encode(), reading.stderr.encode()


def _sealed(receipt: Receipt, out: bytes, err: bytes, code: int) -> Result:
    """The wrapper's answer, with a receipt for these streams."""
    return Result(code, *printed(_of(receipt, out, err), out, err))


def _of(receipt: Receipt, out: bytes, err: bytes, **changes: object) -> Receipt:
    streams = {
        "stdout_length": len(out),
        "stdout_digest": hashlib.sha256(out).hexdigest(),
        "stderr_length": len(err),
        "stderr_digest": hashlib.sha256(err).hexdigest(),
    }
    return replace(receipt, **{**streams, **changes})  # type: ignore[arg-type]


def _frames(receipt: Receipt, out: bytes, err: bytes, nonces: list[str], *, good: bool) -> bytes:
    """Receipts with other nonces for these streams, of a good end or of one that the script did not have."""
    end = 0 if good or receipt.exit_code != 0 else 3
    return b"".join(
        render(_of(receipt, out, err, nonce=nonce, exit_code=end, signal=None, timed_out=False)).encode()
        for nonce in nonces
    )


def _foreign(out: bytes, err: bytes, receipt: Receipt, nonces: list[str], rng: random.Random) -> tuple[bytes, bytes]:
    frames = _frames(receipt, out, err, nonces, good=False)
    return (out + frames, err) if rng.random() < 0.7 else (out, err + frames)


def _guessed(out: bytes, err: bytes, receipt: Receipt, nonces: list[str], rng: random.Random) -> tuple[bytes, bytes]:
    return out + _frames(receipt, out, err, nonces, good=False), err


def _sentence(out: bytes, err: bytes, receipt: Receipt, nonces: list[str], rng: random.Random) -> tuple[bytes, bytes]:
    return out, err + SENTENCE + rng.choice((b"", b"\n"))


def _not_utf8(out: bytes, err: bytes, receipt: Receipt, nonces: list[str], rng: random.Random) -> tuple[bytes, bytes]:
    return out + b"\xff\xfe\n", err + rng.choice((b"", b"\xe4"))


_ADDED = {
    Ending.FOREIGN_BESIDE: _foreign,
    Ending.GUESSED_BESIDE: _guessed,
    Ending.SENTENCE: _sentence,
    Ending.NOT_UTF8: _not_utf8,
}
"""What the script prints in addition, under a receipt that covers it."""


def _without_proof(ending: Ending, receipt: Receipt, out: bytes, err: bytes, code: int, rng: random.Random) -> Result:
    """What comes back where no receipt proves how the script ended."""
    match ending:
        case Ending.FORGED:
            return _forged(receipt, out, err, code, rng)
        case Ending.TORN:
            whole = _sealed(receipt, out, err, code)
            return replace(whole, stdout=whole.stdout[: -rng.randint(5, 300)])
        case Ending.ALTERED:
            return _altered(receipt, out, err, code, rng)
        case Ending.UNHASHED:
            return _sealed(replace(receipt, script_digest="-"), out, err, code)
        case Ending.INTERRUPTED:
            cut = replace(receipt, exit_code=None, signal=None, timed_out=False, interrupted=True)
            return _sealed(cut, out, err, envelope.INTERRUPTED_EXIT)
        case _:
            return Result(rng.choice((code, *_WRAPPER_CODES)), out, err)


def _forged(receipt: Receipt, out: bytes, err: bytes, code: int, rng: random.Random) -> Result:
    """Two receipts with our nonce: the script has read it, and says that it ended otherwise.

    One kind fits the streams before it better than the true one fits what it stands behind, whose bytes are not UTF-8.
    """
    end = {"exit_code": 0 if receipt.exit_code != 0 else 3, "signal": None, "timed_out": False}
    forged = render(_of(receipt, out, err, **end)).encode()
    match rng.choice(("better", "before", "after", "stderr")):
        case "better":
            digest = rng.choice(("-", receipt.script_digest))
            better = _of(receipt, out, err, stderr_length=1500, stderr_digest="-", script_digest=digest, **end)
            return _sealed(receipt, out + render(better).encode() + _JUNK, b"\xff", code)
        case "before":
            return _sealed(receipt, out + forged, err, code)
        case "after":
            whole = _sealed(receipt, out, err, code)
            return replace(whole, stdout=whole.stdout + forged.lstrip(b"\n"))
        case _:
            return _sealed(receipt, out, err + forged, code)


def _altered(receipt: Receipt, out: bytes, err: bytes, code: int, rng: random.Random) -> Result:
    """A receipt of other streams, or of another script."""
    match rng.choice(("script", "byte", "lost")):
        case "script":
            return _sealed(replace(receipt, script_digest=hashlib.sha256(b"another").hexdigest()), out, err, code)
        case "byte":
            return Result(code, *printed(_of(receipt, out[:-1] + b"!", err), out, err))
        case _:
            return Result(code, *printed(_of(receipt, out + b"more\n", err), out, err))


def _not_begun(ending: Ending, rng: random.Random) -> Result:
    if ending is Ending.NOT_BEGUN:
        code, words = rng.choice(_NOT_STARTED)
        return Result(code, message=words)
    code, words = rng.choice(_REFUSALS)
    return Result(code, b"", f"fleet: {words}\n".encode())
