"""The playbook as the rest of Fleet sees it: frozen, checked, without positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

from fleet.documents.durations import spelled
from fleet.targets.model import Kind


class Shell(StrEnum):
    """What runs the script in the VM. On Linux a script's first line goes before ``auto``, which is bash there and PowerShell
    on Windows; ``pwsh7`` asks for version 7."""

    AUTO = "auto"
    BASH = "bash"
    SH = "sh"
    PWSH = "pwsh"
    PWSH7 = "pwsh7"


class Transport(StrEnum):
    """Which Run Command carries the script. ``auto`` takes managed wherever it can."""

    AUTO = "auto"
    MANAGED = "managed"
    ACTION = "action"


class Lease(StrEnum):
    """What a run does about VMs that another run of the same state folder is at work on."""

    WAIT = "wait"
    """Ask again until the time to deliver is over; then the VM is unreachable."""
    REFUSE = "refuse"
    """The VM is unreachable at once."""
    NONE = "none"
    """Neither take leases nor heed them: for scripts that only read."""


class Turn(StrEnum):
    """What a step's turn depends on; steps stand in the order in which they are asked."""

    SUCCESS = "success"
    """Nothing above has gone wrong, or a rescue has taken care of it."""
    RESCUE = "rescue"
    """A step above has failed."""
    ALWAYS = "always"
    """Whatever happened, as long as the target was reached and no script can still be running."""
    NOTIFIED = "notified"
    """As ``success``, and a step above changed something and names this one."""
    GATE = "gate"
    """A gate asks for it, once the wave has ended: it tells how the targets are then."""


class Strategy(StrEnum):
    """How the targets of a wave go through the steps."""

    NODE = "node"
    """Each target by itself: its next step starts when the one before has ended there."""
    STEP = "step"
    """Together: a step starts when the one before has ended on every target of the wave."""


ParameterValue = str | int | float | bool | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A declared parameter. A secret one has no default and its value is never written anywhere.

    ``pattern`` is a regular expression that the whole text, or each item of a list, must match.
    """

    name: str
    type: str = "string"
    description: str = ""
    default: ParameterValue | None = None
    required: bool = False
    enum: tuple[ParameterValue, ...] = ()
    pattern: str = ""
    minimum: float | None = None
    maximum: float | None = None
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Amount:
    """A count or a percent, as written: ``5`` or ``5%``. Percents are floored where they are resolved."""

    value: float
    percent: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", float(self.value))  # as it comes back from a plan file, digest and all

    def of(self, total: int) -> int:
        """Resolve against a total: percents floored, counts as they are."""
        # Exact: in binary fractions 0.57% of 10,000 would be a hair less than 57.
        return int(Fraction(repr(self.value)) * total / 100) if self.percent else int(self.value)

    def __str__(self) -> str:
        text = f"{self.value:.6f}".rstrip("0").rstrip(".")
        return f"{text}%" if self.percent else text


@dataclass(frozen=True, slots=True)
class Selection:
    """Which targets: names, ids or globs, a leading ``!`` excludes; ``where`` is an expression as text."""

    subscriptions: tuple[str, ...] = ("all",)
    resource_groups: tuple[str, ...] = ()
    where: str = ""
    exclude: tuple[str, ...] = ()
    max: int | None = None
    kinds: tuple[Kind, ...] = ()
    """Empty: the kinds that ``where`` speaks of, else VMs only."""


@dataclass(frozen=True, slots=True)
class WavesBy:
    """Waves by something that targets have in common: group after group."""

    by: str
    """``zone``, ``location``, ``tag:NAME``, ...: see ``fleet.targets.traits``."""
    order: tuple[str, ...] = ()
    """Values that come first, in this order; the others follow in natural order."""
    each: tuple[Amount | str, ...] = ()
    """Waves inside each group: cumulative counts or percents of the group, or ``canary``."""
    canary: bool = False
    """Whether a wave that covers every OS, image, size and region goes before all groups."""


@dataclass(frozen=True, slots=True)
class Spread:
    """At most ``max`` targets of one group under way at once; percents are of the group, and at least one may go."""

    per: str
    """As ``WavesBy.by``. Targets that have no such value are not held back."""
    max: Amount

    def of(self, size: int) -> int:
        """How many targets of a group of this size may be under way at once."""
        return max(self.max.of(size), 1)

    def __str__(self) -> str:
        return f"{self.max} per {self.per}"


class Order(StrEnum):
    """Who comes first where nothing else decides."""

    NAME = "name"
    RANDOM = "random"
    """Drawn by lot from the run's seed: the same seed gives the same order, and a new VM moves no other."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Who is asked whether a wave may open, and for how long, in seconds."""

    url: str
    token_env: str = ""
    """The environment variable that holds the token to show; empty: none is shown."""
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class FactsCheck:
    """What must be true of at least a share of a wave's targets once it has ended."""

    condition: str
    min_share: Amount
    """A percent of the wave's targets."""

    def __str__(self) -> str:
        return f"{self.condition} on at least {self.min_share} of its targets"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """A step that must end well on a wave's targets once it has ended and settled."""

    step: str
    max_failed: Amount
    """Targets on which it may not end well; percents are of the wave's targets."""

    def __str__(self) -> str:
        return f"health step {self.step} not ok on at most {self.max_failed} of its targets"


@dataclass(frozen=True, slots=True)
class Gate:
    """What a wave waits for: a person, a webhook, or what was found on the targets of the wave before."""

    wave: int | str
    """The wave it stands before, or, for what was found, after: its number from 1, ``each``, or its label."""
    by: tuple[str, ...] = ()
    """Users of the machine who may approve; empty: anybody who may steer the run."""
    webhook: Webhook | None = None
    """Who is asked instead of a person."""
    facts: FactsCheck | None = None
    health: HealthCheck | None = None

    @property
    def looks_back(self) -> bool:
        """Whether it stands after its wave, and looks at what was found there."""
        return self.facts is not None or self.health is not None


@dataclass(frozen=True, slots=True)
class StartRate:
    """At most so many VMs start in any stretch of so many seconds."""

    count: int
    per: float

    def __str__(self) -> str:
        return f"{self.count:,} in {spelled(self.per)}"


@dataclass(frozen=True, slots=True)
class Rollout:
    """How the run spreads over the targets. Times in seconds; None means no limit (or the config's)."""

    waves: tuple[Amount | str, ...] | WavesBy = ()
    """Cumulative counts or percents of the frozen targets, or ``canary``; empty means one wave of all."""
    order: Order = Order.NAME
    slow_start: bool | None = None
    """None: where a budget is set, which it then protects."""
    rate: StartRate | None = None
    spread: Spread | None = None
    gates: tuple[Gate, ...] = ()
    concurrency: Amount | None = None
    max_failures: Amount | None = None
    max_unreachable: Amount | None = None
    wave_max_failures: Amount | None = None
    """Of each wave: percents are of the wave's targets."""
    wave_max_unreachable: Amount | None = None
    strict: bool = True
    soak: float = 0.0
    deadline: float | None = None
    lease: Lease = Lease.WAIT
    strategy: Strategy = Strategy.NODE


def goes_by(rollout: Rollout) -> frozenset[str]:
    """What a rollout wants to know of targets to group them: see ``fleet.targets.traits``."""
    waves = {rollout.waves.by} if isinstance(rollout.waves, WavesBy) else set()
    return frozenset(waves | ({rollout.spread.per} if rollout.spread else set()))


class OnExisting(StrEnum):
    """What becomes of a managed command that already has the name a step gives its own."""

    UPDATE = "update"
    REPLACE = "replace"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Identity:
    """The managed identity that fetches or writes a blob: one id of a user-assigned one, or none for the VM's own."""

    client_id: str = ""
    object_id: str = ""


@dataclass(frozen=True, slots=True)
class Script:
    """What a step runs: a text, a command, a uri or a gallery's script. A file is read when the playbook is loaded."""

    text: str = ""
    file: str = ""
    """Where ``text`` came from, relative to the playbook; empty for inline scripts."""
    command_id: str = ""
    """A built-in command of the service (``RunShellScript`` style id); carried by the action only."""
    uri: str = ""
    """A script the VM downloads itself; carried by managed commands only, unwrapped. A template."""
    gallery: str = ""
    """A version of a script in a gallery, by its resource id; carried by managed commands only, unwrapped."""
    identity: Identity | None = None
    """Who downloads ``uri``; None where it is public or signed."""

    @property
    def is_text(self) -> bool:
        """Whether the script's text travels with the command, and so may be wrapped."""
        return not (self.command_id or self.uri or self.gallery)


@dataclass(frozen=True, slots=True)
class Properties:
    """What a step asks of its run command beyond script, environment and time, as the service has it."""

    transport: Transport = Transport.AUTO
    """Which Run Command carries this step; a choice made here goes before the run's."""
    parameters: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Named parameters of an unwrapped script; templates. A secret one travels protected."""
    password: str = ""
    """The password of ``run_as``: an expression that names a secret parameter."""
    asynchronous: bool | None = None
    """Whether provisioning ends when the script starts; None: where the time limit asks for it."""
    fail_deployment: bool | None = None
    """Whether a failed script fails the deployment of the command, too; None: the step does not name it."""
    tags: Mapping[str, str] | None = field(default=None, hash=False)
    """Tags of the managed command; templates without secrets. None: the step does not name them."""
    no_parameters: bool = False
    """Whether the step names parameters, environment or arguments and gives none."""
    command: str = ""
    """The name of a standing command: it stays on the VM when the run is over."""
    on_existing: OnExisting = OnExisting.UPDATE
    stdout_blob: str = ""
    """Append blob for the whole standard output; a template, which may hold a secret (a signature)."""
    stderr_blob: str = ""
    blob_identity: Identity | None = None
    """Who writes the blobs; None where their addresses are signed."""
    stdout_identity: Identity | None = None
    """Who writes the blob of standard output; None: who writes both."""
    stderr_identity: Identity | None = None

    @property
    def stdout_writer(self) -> Identity | None:
        """The identity that writes ``stdout_blob``; None where its address is signed."""
        return self.blob_identity if self.stdout_identity is None else self.stdout_identity

    @property
    def stderr_writer(self) -> Identity | None:
        """The identity that writes ``stderr_blob``; None where its address is signed."""
        return self.blob_identity if self.stderr_identity is None else self.stderr_identity


@dataclass(frozen=True, slots=True)
class Fact:
    """Where a fact is found in a step's output; exactly one of the three is given."""

    regex: str = ""
    """RE2 syntax; the fact is its first group, or the whole match where it has none."""
    key: str = ""
    """The fact is what stands behind ``KEY=``."""
    path: str = ""
    """A path such as ``os.release`` or ``disks[0].free`` into JSON."""


@dataclass(frozen=True, slots=True)
class Flow:
    """When a step has its turn, what it finds out, and how its end is judged beside the exit code.

    Conditions are expressions as text (``fleet.targets.grammar``), empty for none.
    """

    turn: Turn = Turn.SUCCESS
    when: str = ""
    collect: Mapping[str, Fact] = field(default_factory=dict, hash=False)
    ok_stdout: str = ""
    """A regular expression (RE2) that must be found in standard output."""
    failed_when: str = ""
    changed_when: str = ""
    """Whether a success changed something; a success without this condition did."""
    notify: tuple[str, ...] = ()
    retries: int = 0
    retry_delay: float = 0.0
    """Seconds between the end of one try and the start of the next."""


class Reboot(StrEnum):
    """Whether a target is restarted after a step that succeeded there."""

    NEVER = "never"
    IF_NEEDED = "if_needed"
    """Where the step's exit code asks for it, or its ``reboot_when`` is true."""
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Step:
    """One script, run once on each target."""

    id: str
    script: Script
    title: str = ""
    shell: Shell = Shell.AUTO
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Templates (``fleet.playbook.template``), kept as text; the plan renders them for each target."""
    args: tuple[str, ...] = ()
    """Templates, too; never with a secret."""
    timeout: float = 1800.0
    ok_exit: tuple[int, ...] = (0,)
    concurrency: Amount | None = None
    """On how many targets it may run at once, whatever the rollout lets."""
    run_as: str | None = None
    properties: Properties = field(default_factory=Properties)
    flow: Flow = field(default_factory=Flow)
    reboot: Reboot = Reboot.NEVER
    reboot_when: str = ""
    """A condition under which ``if_needed`` restarts, beside the exit codes that ask for it."""
    reboot_timeout: float | None = None
    """Seconds that a target has to come back; None: what its operating system usually needs."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where a step's script begins, if it is inline, and where its shell is named: line and column, 0 for nowhere."""

    script: tuple[int, int] = (0, 0)
    shell: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Playbook:
    """One playbook, valid as far as its text can tell. ``digest`` is over its text and its script files."""

    name: str
    version: str
    title: str
    owner: str
    description: str
    digest: str
    file: str
    parameters: tuple[Parameter, ...]
    selection: Selection
    rollout: Rollout
    steps: tuple[Step, ...]
    report: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    places: Mapping[str, Places] = field(default_factory=dict, hash=False, compare=False)
    """By the ids of the steps."""
