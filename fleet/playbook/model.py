"""The playbook as the rest of Fleet sees it: frozen, checked, without positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

from fleet.targets.model import Kind


class Shell(StrEnum):
    """What runs the script in the VM. ``auto`` is bash on Linux and PowerShell on Windows; ``pwsh7`` asks for version 7."""

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
class Rollout:
    """How the run spreads over the targets. Times in seconds; None means no limit (or the config's)."""

    waves: tuple[Amount | str, ...] = ()
    """Cumulative counts or percents of the frozen targets, or ``canary``; empty means one wave of all."""
    concurrency: Amount | None = None
    max_failures: Amount | None = None
    max_unreachable: Amount | None = None
    strict: bool = True
    soak: float = 0.0
    deadline: float | None = None
    lease: Lease = Lease.WAIT


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
    fail_deployment: bool = False
    """Whether a failed script fails the deployment of the command, too."""
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Tags of the managed command; templates without secrets."""
    command: str = ""
    """The name of a standing command: it stays on the VM when the run is over."""
    on_existing: OnExisting = OnExisting.UPDATE
    stdout_blob: str = ""
    """Append blob for the whole standard output; a template, which may hold a secret (a signature)."""
    stderr_blob: str = ""
    blob_identity: Identity | None = None
    """Who writes the blobs; None where their addresses are signed."""


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
    run_as: str | None = None
    properties: Properties = field(default_factory=Properties)


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
