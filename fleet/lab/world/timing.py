"""How long the service takes, as recorded, divided by the lab's speed. Pure."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from enum import StrEnum

from fleet.lab.world.machine_spec import System
from fleet.lab.world.world import Kind, Machine


class Work(StrEnum):
    """The kinds of long-running work."""

    ACTION = "action"
    PUT = "put"
    PATCH = "patch"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class _Span:
    shortest: float
    median: float
    spread: float
    before: float = 0.6  # part of the time before the script starts; recorded starts lie past the middle


# Recorded endTime - startTime of operations. Minimum and median are as recorded; the spread is narrower than
# the recorded one, whose tail is long scripts, not the service.
_RECORDED = {
    Work.ACTION: _Span(8.1, 18.3, 0.35),
    Work.PUT: _Span(6.6, 16.0, 0.19),
    Work.PATCH: _Span(10.2, 10.3, 0.05),
    Work.DELETE: _Span(10.2, 12.4, 0.15),
}
_WINDOWS_ACTION = _Span(20.3, 40.3, 0.35)
_INSTANCES = {Work.ACTION: _Span(10.5, 20.0, 0.35), Work.PUT: _Span(10.6, 28.4, 0.3)}
# An Arc machine ran a script 7 s after it was asked to, and the operation told so 2 minutes later.
_ARC = {Work.PUT: _Span(130.0, 137.0, 0.02, before=0.05), Work.DELETE: _Span(130.0, 136.0, 0.02, before=0.05)}
_ARC_HINTS = {Work.PUT: 120.0, Work.DELETE: 15.0}  # recorded Retry-After; Compute sends none for its commands
GIVE_UP = 5412.2  # recorded: the service gave up 90 minutes and 12 seconds after the start
UNREPORTED = 1500.0  # seen: 25 minutes until the service says that the VM has not reported
BOOT = 40.0  # seconds that a restart takes, until the agent is ready again
REFRESH = 15.0  # the handler refreshes a running command's output every 15 s (handler source)


@dataclass(frozen=True, slots=True)
class Delays:
    """Real seconds from acceptance to the script's start, and from its end to the operation's end."""

    before: float
    after: float


class Timing:
    """Draws delays; equal seeds and labels give equal delays."""

    def __init__(self, seed: int, speed: float) -> None:
        self._seed = seed
        self._speed = speed

    def scaled(self, seconds: float) -> float:
        """Turn seconds of the real service into seconds of this lab."""
        return seconds / self._speed

    def retry_after(self, work: Work) -> dict[str, str]:
        """Return the header that an Arc machine's answer to this work has, in whole seconds of this lab."""
        return {"Retry-After": str(math.ceil(self.scaled(_ARC_HINTS[work])))}

    def delays(self, work: Work, machine: Machine, label: str) -> Delays:
        """Draw the delays of one piece of work."""
        span = _span(work, machine)
        rng = random.Random(f"{self._seed}/{work}/{label}")
        whole = max(span.shortest, span.median * math.exp(rng.gauss(0.0, span.spread)))
        return Delays(self.scaled(whole * span.before), self.scaled(whole * (1 - span.before)))


def _span(work: Work, machine: Machine) -> _Span:
    if work is Work.ACTION and machine.system is System.WINDOWS:
        return _WINDOWS_ACTION
    own = {Kind.INSTANCE: _INSTANCES, Kind.ARC: _ARC}.get(machine.kind, {})
    return own.get(work, _RECORDED[work])
