"""What a guest is asked to run, what comes back, and how a scripted guest answers. Pure.

A client may wrap its users' scripts. The lab knows nothing of such wrappers; who starts a lab may hand in an
:class:`Envelope` that opens them, so that rules match the script inside and the answer looks as if the
wrapper had run.
"""

from __future__ import annotations

import codecs
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fleet.lab.world.machine_spec import RuleSpec, System
from fleet.lab.world.world import Machine

TAIL = 4096  # bytes of each stream the handlers keep (handler source: maxTailLen; recorded)
KILLED = -1  # Go's ExitStatus of a process ended by a signal (handler source)
TERMINATED = 143  # what a shell says of a script that SIGTERM ended
NO_SCRIPT = -202
NOT_EXECUTED = -204
NO_DOWNLOAD = -100
NO_BLOB = -101
NO_USER = -102
KNOWN_USERS = frozenset({"root", "azureuser"})
_SILENT = RuleSpec()


@dataclass(frozen=True, slots=True)
class Script:
    """One script to run: its text, where the handler puts it, and what it is given."""

    text: str
    folder: str
    arguments: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    limit: float = 0.0
    shell: str = ""
    """The shell that a managed command's source names."""
    words: tuple[str, ...] = ()
    """Parameters of a script for Windows, each a word: names, which begin with a dash, and values."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a script ended. ``exit_code`` -1 is a killed one, -100 and below are the handler's own.

    ``stdout`` and ``stderr`` are whole or at least their last 4,096 bytes.
    """

    exit_code: int
    stdout: bytes = b""
    stderr: bytes = b""
    message: str = ""
    restart: float | None = None
    """Seconds after which the guest wants to restart, if a script asked for it."""


class Opened(Protocol):
    """A wrapped script, opened.

    ``key``: deliveries with the same key run the inner script once; later ones return the kept answer.
    ``script``: the inner script's text, which the rules' expressions are searched in. ``limit``: seconds after which the
    wrapper ends it.
    """

    @property
    def key(self) -> str: ...
    @property
    def script(self) -> str: ...
    @property
    def env(self) -> Mapping[str, str]: ...
    @property
    def limit(self) -> float: ...

    def seal(
        self,
        *,
        exit_code: int | None,
        stdout: bytes,
        stderr: bytes,
        boot_id: str,
        started: float,
        ended: float,
        replayed: bool,
        timed_out: bool,
    ) -> tuple[int, bytes, bytes]:
        """Return what the wrapper would print: its exit code, stdout and stderr. ``exit_code`` is None if it timed out."""
        ...


class Envelope(Protocol):
    """Opens wrapped scripts."""

    def open(self, delivered: str, environment: Mapping[str, str]) -> Opened | None:
        """Return the opened script, or None if it is not wrapped."""
        ...

    def asks_for(self, delivered: str) -> str | None:
        """Return the key whose kept output a script wants to read, or None if it is no such script."""
        ...

    def show(self, delivered: str, kept: tuple[bytes, bytes] | None, exit_code: int | None) -> tuple[bytes, bytes]:
        """Return what that script prints where this output is kept, or has come so far; None where nothing is.

        ``exit_code`` is None while the inner script runs.
        """
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What a scripted guest is going to do: the answer, how long it takes (model seconds), and whether it
    counts. ``growing``: its output comes while it runs; a wrapper prints when the script has ended.
    """

    result: Result
    duration: float
    ran: bool
    growing: bool = True


class Guests(Protocol):
    """Whoever answers scripts in place of machines."""

    def answer(self, machine: Machine, script: Script, now: float) -> Plan:
        """Decide what the guest answers to a script that starts ``now``."""
        ...


@dataclass(frozen=True, slots=True)
class _Kept:
    result: Result
    started: float
    ended: float
    timed_out: bool

    def so_far(self, now: float) -> tuple[bytes, bytes]:
        """What has been printed until now."""
        share = (now - self.started) / (self.ended - self.started) if now < self.ended else 1.0
        return lines(self.result.stdout, share), lines(self.result.stderr, share)


class ScriptedGuests:
    """Answers scripts by rules, and keeps the answers of wrapped scripts by their key."""

    def __init__(self, seed: int, speed: float, envelope: Envelope | None = None) -> None:
        self._seed = seed
        self._speed = speed
        self._envelope = envelope
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._turns: dict[str, int] = {}

    def answer(self, machine: Machine, script: Script, now: float) -> Plan:
        """Decide what the guest answers to a script that starts ``now``."""
        if script.user and script.user not in KNOWN_USERS:
            return Plan(unknown_user(script.user), 0.0, ran=False)
        if self._envelope and (key := self._envelope.asks_for(script.text)) is not None:
            kept = self._kept.get((machine.key, key))
            streams = kept.so_far(now) if kept else None
            code = kept.result.exit_code if kept and now >= kept.ended else None
            return Plan(Result(0, *self._envelope.show(script.text, streams, code)), 1.0, ran=False)
        opened = self._envelope.open(script.text, script.environment) if self._envelope else None
        if opened is None:
            rule, duration = self._ruling(machine, script.text)
            return self._limited(Plan(_spoken(rule, machine), duration, ran=True), script)
        return self._wrapped(machine, script, opened, now)

    def _wrapped(self, machine: Machine, script: Script, opened: Opened, now: float) -> Plan:
        slot = (machine.key, opened.key)
        kept = self._kept.get(slot)
        replayed = kept is not None
        if kept is None:
            kept = self._kept[slot] = self._begun(machine, opened, now)
        code, stdout, stderr = opened.seal(
            exit_code=None if kept.timed_out else kept.result.exit_code,
            stdout=kept.result.stdout,
            stderr=kept.result.stderr,
            boot_id=machine.boot_id,
            started=kept.started,
            ended=kept.ended,
            replayed=replayed,
            timed_out=kept.timed_out,
        )
        left = max(0.0, kept.ended - now) * self._speed
        return self._limited(Plan(Result(code, stdout, stderr), left, ran=not replayed, growing=False), script)

    def _begun(self, machine: Machine, opened: Opened, now: float) -> _Kept:
        rule, duration = self._ruling(machine, opened.script)
        spoken = _spoken(rule, machine)
        if duration <= opened.limit:
            return _Kept(spoken, now, now + duration / self._speed, timed_out=False)
        share = opened.limit / duration
        cut = Result(TERMINATED, lines(spoken.stdout, share), lines(spoken.stderr, share))
        return _Kept(cut, now, now + opened.limit / self._speed, timed_out=True)

    def _ruling(self, machine: Machine, text: str) -> tuple[RuleSpec, float]:
        rule = next((rule for rule in machine.rules if re.search(rule.when, text)), _SILENT)
        turn = self._turns[machine.key] = self._turns.get(machine.key, 0) + 1
        rng = random.Random(f"{self._seed}/duration/{machine.key}/{turn}")
        return rule, rng.uniform(*rule.duration)

    def _limited(self, plan: Plan, script: Script) -> Plan:
        if script.limit and plan.duration > script.limit:
            return Plan(Result(KILLED), script.limit, plan.ran)
        return plan


def lines(stream: bytes, share: float) -> bytes:
    """Return the first lines of a stream, as large a share of them: a scripted guest prints evenly over time."""
    each = stream.splitlines(keepends=True)
    return b"".join(each[: int(len(each) * share)])


def named(values: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return parameters as a script for Windows gets them: by name (documented), those without a name by their place."""
    return tuple(word for name, value in values for word in ((f"-{name}", value) if name else (value,)))


def unknown_user(user: str) -> Result:
    """Return what the managed handler reports when the run-as user is not there (handler source, exit code
    -102).
    """
    text = f"Failed to lookup RunAs user '{user}'. Looks like user does not exist. Error: user: unknown user {user}"
    return Result(NO_USER, message=text)


def tail(stream: bytes) -> str:
    """Return the last 4,096 bytes of a stream as the handler's JSON carries them.

    The cut minds no character (recorded), and Go's encoder writes U+FFFD for every byte that is not UTF-8.
    """
    return stream[-TAIL:].decode("utf-8", errors="fleet-lab-go")


def _one_byte_at_a_time(problem: UnicodeError) -> tuple[str, int]:
    if isinstance(problem, UnicodeDecodeError):
        return "\ufffd", problem.start + 1
    raise problem


codecs.register_error("fleet-lab-go", _one_byte_at_a_time)


def _spoken(rule: RuleSpec, machine: Machine) -> Result:
    return Result(_code(rule.exit, machine), _filled(rule.stdout, machine), _filled(rule.stderr, machine))


def _code(code: int, machine: Machine) -> int:
    """Return an exit code as the guest's system keeps it: eight bits on Linux, a signed number of 32 on Windows."""
    if machine.system is System.LINUX:
        return code & 0xFF
    return code - 2**32 if code >= 2**31 else code


def _filled(text: str, machine: Machine) -> bytes:
    words = {
        "{name}": machine.name,
        "{group}": machine.group.name,
        "{location}": machine.location,
        "{size}": machine.size,
        "{os}": machine.system.value,
        "{n}": str(machine.number),
    }
    for word, value in words.items():
        text = text.replace(word, value)
    return text.encode("utf-8", errors="surrogateescape")
