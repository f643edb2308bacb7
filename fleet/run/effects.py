"""What to do next, in the imperative. Effects are values; the engine carries them out."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.plan.model import JobId
from fleet.run.model import CauseCode


@dataclass(frozen=True, slots=True)
class Submit:
    """Send the job's command; with ``update`` as a change of the standing one that is there."""

    job: JobId
    attempt: int
    update: bool = False
    retry: int = 0


@dataclass(frozen=True, slots=True)
class Look:
    """Read how the job's operation stands."""

    job: JobId


@dataclass(frozen=True, slots=True)
class Find:
    """Look whether the managed command of a lost submission exists, or how a standing one is before it is sent."""

    job: JobId


@dataclass(frozen=True, slots=True)
class AskAgent:
    """Read whether the agent of the job's VM reports: its command was accepted and shows no start."""

    job: JobId


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete the job's managed command: clean-up after reading, or cancel."""

    job: JobId


@dataclass(frozen=True, slots=True)
class Expire:
    """Give the job up: its time is over."""

    job: JobId


@dataclass(frozen=True, slots=True)
class OpenWave:
    """Release the next wave."""

    wave: int


@dataclass(frozen=True, slots=True)
class AwaitApproval:
    """Wait for a person to approve a wave."""

    wave: int


@dataclass(frozen=True, slots=True)
class AskGate:
    """Ask a gate's webhook whether its wave may open. ``gate`` is its place in the plan, ``within`` are seconds."""

    gate: int
    ask: int
    within: float


@dataclass(frozen=True, slots=True)
class BeginHealth:
    """Start the steps that a wave's gates ask for."""

    wave: int


@dataclass(frozen=True, slots=True)
class JudgeGate:
    """Decide whether what was found on a wave's targets is what its gate wants."""

    gate: int
    go: bool
    met: int
    of: int
    missed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StopLaunching:
    """Launch nothing more, for this cause."""

    cause: CauseCode
    message: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Everything is done: end the run."""


@dataclass(frozen=True, slots=True)
class Halt:
    """Leave the run as it stands, to be resumed: a person stopped it and nothing is in flight that should be awaited."""


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Nothing to do before ``at`` (epoch seconds) unless an event arrives; None means only an event can help."""

    at: float | None


Effect = (
    Submit
    | Look
    | Find
    | AskAgent
    | Remove
    | Expire
    | OpenWave
    | AwaitApproval
    | AskGate
    | BeginHealth
    | JudgeGate
    | StopLaunching
    | Finish
    | Halt
    | WaitUntil
)
