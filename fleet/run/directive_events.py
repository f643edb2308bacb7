"""What people ask of a run from elsewhere, as events: each is journalled with who asked and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from fleet.plan.model import JobId


class StopKind(StrEnum):
    """How hard a person asked the run to stop."""

    SOFT = "soft"
    """Launch nothing more; keep what arrives."""
    HARD = "hard"
    """Also cancel what can be cancelled."""


@dataclass(frozen=True, slots=True)
class RunPaused:
    """A person asked from elsewhere to launch nothing more for now. ``directive`` is the id of what they asked."""

    at: float
    who: str = ""
    why: str = ""
    directive: str = ""
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class RunUnpaused:
    """A person asked from elsewhere to launch again."""

    at: float
    who: str = ""
    why: str = ""
    directive: str = ""
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class RunCancelled:
    """A person ended the run from elsewhere, for good: what has not begun is ``not_started``."""

    at: float
    kind: StopKind
    who: str = ""
    why: str = ""
    directive: str = ""
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class LimitsChanged:
    """A person changed limits from elsewhere: absolute counts; None leaves one as it is, -1 takes it away.

    With ``wave`` the budgets are those of that wave, beside the run's.
    """

    at: float
    concurrency: int | None = None
    max_failures: int | None = None
    max_unreachable: int | None = None
    who: str = ""
    why: str = ""
    directive: str = ""
    wave: int | None = None
    durable: ClassVar[bool] = True


class Freeing(StrEnum):
    """How a person ends a job's script from elsewhere."""

    DELETED = "deleted"
    """Its managed command is deleted, which ends it."""
    IN_GUEST = "in_guest"
    """Its processes are ended inside the VM; its wrapper still reports."""


class FreeingStage(StrEnum):
    """How far a person has come with it."""

    ASKED = "asked"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class JobUnstuck:
    """A person ends the script of one try of a job from elsewhere: first asked for, then done or failed.

    ``vm`` is the name of its target. What the script itself is proven to have done counts all the same.
    """

    at: float
    job: JobId
    retry: int = 0
    how: Freeing = Freeing.DELETED
    stage: FreeingStage = FreeingStage.ASKED
    vm: str = ""
    who: str = ""
    why: str = ""
    directive: str = ""
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class WaveApproved:
    """A person approved a wave."""

    at: float
    wave: int
    who: str = ""
    why: str = ""
    directive: str = ""
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class WaveRejected:
    """A person rejected a wave: what has not begun is ``not_started``."""

    at: float
    wave: int
    who: str = ""
    why: str = ""
    directive: str = ""
    durable: ClassVar[bool] = True


Directive = RunPaused | RunUnpaused | RunCancelled | LimitsChanged | JobUnstuck | WaveApproved | WaveRejected
"""What a person asks of a run from elsewhere; ``fleet.run.directives`` takes it over."""
