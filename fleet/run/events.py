"""Every fact that changes a run, in the past tense.

Durable events are journalled before anything is done or shown because of them; the others (``durable = False``) are
cheap to lose: after a crash the same question is simply asked again. All times are epoch seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from fleet.plan.model import JobId
from fleet.run.answers import Answer, LostReason, Mark, Operation, Quota, Refusal
from fleet.run.directive_events import Directive as Directive
from fleet.run.directive_events import Freeing as Freeing
from fleet.run.directive_events import FreeingStage as FreeingStage
from fleet.run.directive_events import JobUnstuck as JobUnstuck
from fleet.run.directive_events import LimitsChanged as LimitsChanged
from fleet.run.directive_events import RunCancelled as RunCancelled
from fleet.run.directive_events import RunPaused as RunPaused
from fleet.run.directive_events import RunUnpaused as RunUnpaused
from fleet.run.directive_events import StopKind as StopKind
from fleet.run.directive_events import WaveApproved as WaveApproved
from fleet.run.directive_events import WaveRejected as WaveRejected
from fleet.run.model import CauseCode


@dataclass(frozen=True, slots=True)
class RunOpened:
    """An owner took the run under ``epoch``; epoch 1 starts it, higher ones resume it.

    ``principals`` is how many sign its calls from now on: it belongs to whoever carries the run, not to the plan.
    """

    at: float
    epoch: int
    owner: str = ""
    principals: int = 1
    waits: bool = True
    """Whether the owner stays while a person is awaited; otherwise it leaves the run as it stands."""
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class WaveOpened:
    """The jobs of a wave may start."""

    at: float
    wave: int
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class SubmissionIntended:
    """A submission is about to leave. On disk before its first byte is sent.

    ``retry`` counts the runs of the script that were asked for before and failed: 0 for the first. The first submission
    of a try names the ``nonce`` that its receipt must carry; later ones carry the same. It is empty where the script goes
    unwrapped, and in journals of versions that derived it.
    """

    at: float
    job: JobId
    attempt: int
    retry: int = 0
    nonce: str = field(default="", repr=False)
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class SubmissionAccepted:
    """The service accepted it."""

    at: float
    job: JobId
    operation: Operation
    retry_after: float | None = None
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class SubmissionRefused:
    """The service said no and did not act."""

    at: float
    job: JobId
    refusal: Refusal
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class SubmissionLost:
    """No usable answer came: unknown whether the service acted, except for ``not_connected``."""

    at: float
    job: JobId
    reason: LostReason
    detail: str = ""
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class CommandFound:
    """The managed command of a lost submission exists after all; or a standing one does, before anything is sent."""

    at: float
    job: JobId
    operation: Operation
    mark: Mark = field(default_factory=Mark)
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class CommandMissing:
    """The managed command of a lost submission, or a standing one, was not there at this look."""

    at: float
    job: JobId
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class ResultReceived:
    """The service told how the command ended."""

    at: float
    job: JobId
    answer: Answer
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class ResultFailed:
    """The operation ended without a result: the service's own failure."""

    at: float
    job: JobId
    code: str
    message: str
    cancelled: bool = False
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class ResultUnreadable:
    """The operation can no longer be read (gone, forbidden): what it did stays unknown."""

    at: float
    job: JobId
    refusal: Refusal
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class AnswerUnusable:
    """Fleet failed on what it was told about one job: a defect of its own, which ends that job and no other."""

    at: float
    job: JobId
    detail: str
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class AgentSeen:
    """The agent of a job's VM was read: the job's command was accepted and showed no start in its time."""

    at: float
    job: JobId
    ready: bool
    detail: str = ""
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class JobExpired:
    """The time to deliver, or to wait for an answer, is over.

    ``detail`` is what the last request met; empty if nothing, and in journals of versions that did not keep it.
    """

    at: float
    job: JobId
    detail: str = ""
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class StopRequested:
    """A person asked the run to stop."""

    at: float
    kind: StopKind
    who: str = ""
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class ApprovalAwaited:
    """The run has come to a wave that a person must approve."""

    at: float
    wave: int
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class GateAsked:
    """A gate's webhook is about to be asked, the ``ask``-th time. ``gate`` is its place in the plan."""

    at: float
    gate: int
    ask: int
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class GateAnswered:
    """It said whether the wave may open. Nobody is asked again about that."""

    at: float
    gate: int
    go: bool
    why: str = ""
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class GateSilent:
    """It gave no answer that means anything; asking again is safe."""

    at: float
    gate: int
    detail: str
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class HealthBegun:
    """A wave has ended and settled: the steps that its gates ask for may start on its targets."""

    at: float
    wave: int
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class GateJudged:
    """What was found on a wave's targets was held against a gate. Nobody looks at that again.

    ``met`` of the ``of`` targets were as the gate wants them; ``missed`` names the first of the others.
    """

    at: float
    gate: int
    go: bool
    met: int
    of: int
    missed: tuple[str, ...] = ()
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class LaunchStopped:
    """Nothing more will be launched: every waiting job is ``not_started`` for this cause."""

    at: float
    cause: CauseCode
    message: str = ""
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class CommandRemoved:
    """The managed command of an ended (or cancelled) try of a job was deleted, or could not be (``detail``)."""

    at: float
    job: JobId
    detail: str = ""
    retry: int = 0
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class RunEnded:
    """Every job is done and clean-up is over."""

    at: float
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class LookBegun:
    """A read about a running job, or of the agent of its VM, is on its way."""

    at: float
    job: JobId
    durable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class SeenRunning:
    """The job had not ended at this look. ``started`` is how its script's start shows; empty if it does not show."""

    at: float
    job: JobId
    retry_after: float | None = None
    started: str = ""
    durable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class LookFailed:
    """The read itself failed; reading again is safe. ``detail`` says how, in words."""

    at: float
    job: JobId
    status: int = 0
    retry_after: float | None = None
    code: str = ""
    detail: str = ""
    durable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class FindBegun:
    """A look for the managed command of a lost submission is on its way."""

    at: float
    job: JobId
    durable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class RemovalBegun:
    """A delete is on its way."""

    at: float
    job: JobId
    durable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class RemovalFailed:
    """The delete was refused or lost; deleting again is safe. Kept, so that a report can say why a command stayed."""

    at: float
    job: JobId
    status: int = 0
    retry_after: float | None = None
    code: str = ""
    message: str = ""
    durable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class QuotaSeen:
    """The service told how many calls are left."""

    at: float
    quota: Quota
    durable: ClassVar[bool] = False


Event = (
    RunOpened
    | WaveOpened
    | SubmissionIntended
    | SubmissionAccepted
    | SubmissionRefused
    | SubmissionLost
    | CommandFound
    | CommandMissing
    | ResultReceived
    | ResultFailed
    | ResultUnreadable
    | AnswerUnusable
    | AgentSeen
    | JobExpired
    | StopRequested
    | RunPaused
    | RunUnpaused
    | RunCancelled
    | LimitsChanged
    | JobUnstuck
    | ApprovalAwaited
    | WaveApproved
    | WaveRejected
    | GateAsked
    | GateAnswered
    | GateSilent
    | HealthBegun
    | GateJudged
    | LaunchStopped
    | CommandRemoved
    | RunEnded
    | LookBegun
    | SeenRunning
    | LookFailed
    | FindBegun
    | RemovalBegun
    | RemovalFailed
    | QuotaSeen
)
