"""The plan: everything that is decided before the first request, frozen and digested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NewType

from fleet import codec
from fleet.documents.durations import spelled
from fleet.playbook.model import (
    FactsCheck,
    Flow,
    HealthCheck,
    Lease,
    Parameter,
    ParameterValue,
    Properties,
    Script,
    Selection,
    Shell,
    Spread,
    StartRate,
    Strategy,
    Transport,
    Turn,
    Webhook,
)
from fleet.targets.model import Target, UnreadScope

JobId = NewType("JobId", int)
"""A job's place in the plan: target index x number of steps + step index. Stable for the life of a run."""


@dataclass(frozen=True, slots=True)
class PlaybookRef:
    """Which playbook, exactly."""

    name: str
    version: str
    digest: str
    title: str = ""
    owner: str = ""
    file: str = ""
    purpose: str = ""
    """Its label ``purpose``: what it is for, in its author's word."""


@dataclass(frozen=True, slots=True)
class Restart:
    """What makes a step part of a restart: it may run any number of times, and is tried until its patience ends.

    Only a definite answer ends the one that asks; the one that looks ends when the target is back. Seconds.
    """

    after: str
    """The step whose receipt told the boot before."""
    ask: str = ""
    """The step that asked, for the one that looks; empty for the one that asks."""
    patience: float = 600.0
    first_look: float = 0.0

    @property
    def looks(self) -> bool:
        return bool(self.ask)


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step with its script as text. ``digest`` is over everything that decides what runs in the VM."""

    id: str
    script: Script
    digest: str
    title: str = ""
    shell: Shell = Shell.AUTO
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    args: tuple[str, ...] = ()
    timeout: float = 1800.0
    ok_exit: tuple[int, ...] = (0,)
    run_as: str | None = None
    properties: Properties = field(default_factory=Properties)
    flow: Flow = field(default_factory=Flow)
    restart: Restart | None = None
    concurrency: int | None = None
    """On how many targets the step may run at once; None: as many as the run lets."""
    usual: tuple[float, ...] = ()
    """Seconds that earlier runs of the same script took: the deciles, from the shortest to the longest. Empty: unknown."""


@dataclass(frozen=True, slots=True)
class Wave:
    """Targets released together, as indexes into the plan's targets."""

    index: int
    label: str
    targets: tuple[int, ...]
    """In the order in which they are launched."""
    max_failures: int | None = None
    max_unreachable: int | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """What a wave waits for: the approval of one of the users ``by`` (none: of anybody who may steer), a webhook, or what
    was found on the targets of the wave before.
    """

    wave: int
    """The wave that waits. Beyond the last one nothing does: such a gate says how the run has ended."""
    by: tuple[str, ...] = ()
    webhook: Webhook | None = None
    facts: FactsCheck | None = None
    health: HealthCheck | None = None

    @property
    def check(self) -> FactsCheck | HealthCheck | None:
        """What it looks for on the targets of the wave before; None if it asks a person or a webhook."""
        return self.facts or self.health

    @property
    def is_approval(self) -> bool:
        """Whether a person is asked."""
        return self.webhook is None and self.check is None

    def __str__(self) -> str:
        if self.check is not None:
            return str(self.check)
        if self.webhook is None:
            return f"approval by {' or '.join(self.by) or 'anybody'}"
        return f"an answer of {self.webhook.url} within {spelled(self.webhook.timeout)}"


@dataclass(frozen=True, slots=True)
class Limits:
    """Resolved limits: counts are absolute, times in seconds, None means none."""

    concurrency: int = 500
    concurrency_per_subscription: int | None = None
    max_failures: int | None = None
    max_unreachable: int | None = None
    strict: bool = True
    slow_start: bool = False
    """Whether the targets under way in a wave grow 1, 2, 4, ...; plans of before it was there had none."""
    spread: Spread | None = None
    soak: float = 0.0
    deadline: float | None = None
    deliver_timeout: float = 1800.0
    """How long a submission may be refused (throttled, busy, not connected) before its target is unreachable."""
    start_timeout: float = 600.0
    """How long an accepted managed command may show no start before its VM's agent is read."""
    answer_grace: float = 600.0
    """How long after a step's own time-out its answer is waited for before it is unknown."""
    rate: StartRate | None = None

    @property
    def to_start(self) -> float:
        """Seconds in which an accepted command must start: to deliver is to start, so the shorter of the two limits."""
        return min(self.start_timeout, self.deliver_timeout)

    @property
    def at_once(self) -> int:
        """How many jobs may be in flight at most: each of them reserves a part of a strict budget."""
        maxima = (self.max_failures, self.max_unreachable) if self.strict else ()
        return min([self.concurrency, *(maximum + 1 for maximum in maxima if maximum is not None)])


@dataclass(frozen=True, slots=True)
class Job:
    """One step on one target."""

    id: JobId
    target: Target
    step: PlannedStep
    wave: int


@dataclass(frozen=True, slots=True)
class Scope:
    """What the targets were chosen by, kept so that a later look can tell whether the same would be chosen again."""

    selection: Selection = field(default_factory=Selection)
    subscriptions: tuple[str, ...] = ()
    limit: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    pick: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Left:
    """A target, by its place in the plan, that the plan's selection did not let in any more when it was applied."""

    target: int
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Frozen targets x steps in waves. Equal digests mean the same work, but for targets that have left since."""

    playbook: PlaybookRef
    targets: tuple[Target, ...]
    steps: tuple[PlannedStep, ...]
    waves: tuple[Wave, ...]
    limits: Limits = field(default_factory=Limits)
    transport: Transport = Transport.AUTO
    receipts: bool = True
    declared: tuple[Parameter, ...] = ()
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict, hash=False)
    """Values of the parameters that are not secret. Secret values are never part of a plan."""
    unread: tuple[UnreadScope, ...] = ()
    report: tuple[str, ...] = ()
    cloud: str = "public"
    """Which cloud the targets belong to: a name, a URL, or ``lab``. A run is never carried over to another."""
    scope: Scope = field(default_factory=Scope)
    lease: Lease = Lease.WAIT
    """What to do about VMs that another run is at work on."""
    gates: tuple[Gate, ...] = ()
    timed_by: str = ""
    """The kept run whose durations decide the order inside the waves; empty where none is known."""
    strategy: Strategy = Strategy.NODE
    notes: tuple[str, ...] = ()
    """What a reader of the plan and of the report should know: VMs that are left out while Azure creates them."""
    left: tuple[Left, ...] = ()
    """Targets that keep their rows and are not run. Known when the plan is applied, so never part of a plan file."""

    @property
    def digest(self) -> str:
        """The sha256, in hex, of the canonical JSON of the plan as it was frozen."""
        return codec.digest(replace(self, left=()))

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the declared secret parameters."""
        return tuple(parameter.name for parameter in self.declared if parameter.secret)

    @property
    def body(self) -> int:
        """How many steps a wave consists of. Those behind them run when a gate asks for them."""
        return sum(step.flow.turn is not Turn.GATE for step in self.steps)

    def health_steps(self, wave: int) -> tuple[PlannedStep, ...]:
        """The steps that gates ask for once the wave of this index has ended."""
        asked = {gate.health.step for gate in self.gates if gate.health is not None and gate.wave == wave + 1}
        return tuple(step for step in self.steps if step.id in asked)

    def __len__(self) -> int:
        return len(self.targets) * len(self.steps)

    def job_id(self, target: int, step: int) -> JobId:
        return JobId(target * len(self.steps) + step)

    def step_index(self, job: JobId) -> int:
        return job % len(self.steps)

    def target_index(self, job: JobId) -> int:
        return job // len(self.steps)

    def jobs(self) -> Iterator[Job]:
        """Yield every job, target by target."""
        wave_of = {target: wave.index for wave in self.waves for target in wave.targets}
        for index, target in enumerate(self.targets):
            for position, step in enumerate(self.steps):
                yield Job(self.job_id(index, position), target, step, wave_of[index])
