"""What a run leaves for its readers: one record per job, whether it has ended or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleet.plan.model import Job, Plan
from fleet.run.events import Directive, GateAnswered, GateJudged
from fleet.run.model import Cause, CauseCode, Outcome, Phase


@dataclass(frozen=True, slots=True)
class LeftCommand:
    """A managed command that may still lie on its VM, by the try that sent it."""

    retry: int
    cause: Cause | None = None
    """Why Azure did not delete it; None where it was not to be deleted, as its script may still run."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One in-scope target and step. ``outcome`` is None while the job has not ended. Times are epoch seconds."""

    job: Job
    phase: Phase
    outcome: Outcome | None = None
    attempts: int = 0
    possibly_sent: bool = False
    """A submission may have reached the VM: a job that then waits to be sent again may have run already."""
    may_have_run_twice: bool = False
    """Its request was lost, was not found, and was sent again, and no receipt keeps the two apart."""
    operation: str = ""
    """The id of Azure's operation or the managed command's name: enough to find it, free of signatures."""
    started: float | None = None
    """When the accepted submission left."""
    ended: float | None = None
    leftovers: tuple[LeftCommand, ...] = ()
    """The run has ended, and these managed commands of the job may still lie on its VM."""
    retries: int = 0
    """How often the script was run again."""
    earlier: Outcome | None = None
    """How the try before the open one ended."""
    facts: Mapping[str, str] = field(default_factory=dict, hash=False)
    waits: Cause | None = None
    """Why it was not sent yet, where that was tried."""
    rescued: bool = False
    """It failed, and a rescue step took care of its target."""
    nonce: str = field(default="", repr=False)
    """What the receipt of its present try must carry; empty before that was sent, and where no receipt is due."""

    @property
    def left(self) -> bool:
        """Whether a managed command of the job may still lie on its VM."""
        return bool(self.leftovers)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The whole run as it stands."""

    run_id: str
    plan: Plan
    jobs: tuple[JobRecord, ...]
    started: float
    ended: float | None = None
    """None while the run goes on or was left unfinished."""
    stop_cause: CauseCode | None = None
    """Why launching stopped early: a budget, a person, the deadline, Azure unusable; None if it did not."""
    stop_message: str = ""
    directives: tuple[Directive, ...] = ()
    """What people asked of the run from elsewhere while it went on."""
    gates: tuple[GateAnswered, ...] = ()
    """What webhooks said."""
    judged: tuple[GateJudged, ...] = ()
    """What was decided about waves by what was found on their targets."""
