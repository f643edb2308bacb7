"""What the cloud can answer, free of HTTP: the values that cross the Cloud port."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fleet.playbook.model import Identity, Transport, Webhook
from fleet.targets.model import Target


@dataclass(frozen=True, slots=True)
class Command:
    """One submission, ready for the wire. Secrets are kept out of its repr."""

    target: Target
    transport: Transport
    """``managed`` or ``action``; never ``auto``."""
    name: str
    """The managed command's name, deterministic: the same attempt always has the same name."""
    script: str = ""
    command_id: str = ""
    uri: str = field(default="", repr=False)
    """May be signed, as the blobs' addresses may."""
    timeout: float = 0.0
    """Seconds for the service's own limit (managed ``timeoutInSeconds``); beyond the wrapper's limit, 0 for none."""
    args: tuple[str, ...] = ()
    """Positional arguments of an unwrapped script; a wrapped one carries its own."""
    parameters: Mapping[str, str] = field(default_factory=dict, hash=False)
    protected: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    run_as: str | None = None
    run_as_password: str | None = field(default=None, repr=False)
    gallery: str = ""
    identity: Identity | None = None
    """Who downloads ``uri``."""
    powershell7: bool = False
    asynchronous: bool | None = None
    """None: where the time limit asks for it."""
    fail_deployment: bool | None = None
    """None: it is not named, and stays as a standing command has it."""
    tags: Mapping[str, str] | None = field(default=None, hash=False)
    """None: they are not named."""
    no_parameters: bool = False
    """Parameters are named and there are none: those that a standing command has go."""
    stdout_blob: str = field(default="", repr=False)
    stderr_blob: str = field(default="", repr=False)
    stdout_identity: Identity | None = None
    """Who writes ``stdout_blob``; None where its address is signed."""
    stderr_identity: Identity | None = None
    update: bool = False
    """The managed command is there and is to be changed (PATCH), not set whole (PUT)."""
    check_agent: bool = False
    """Read first whether the VM's agent reports; where Azure says that it does not, nothing is sent."""
    wave: int = 0
    """The wave that it belongs to: what was read of agents in an earlier one counts no more."""

    @property
    def source(self) -> str:
        """What the command runs, as a text to compare with what stands on a VM; see :func:`source_key`."""
        return source_key(self.script, self.uri, self.gallery, self.command_id)


def source_key(script: str, uri: str, gallery: str, command_id: str) -> str:
    """Tell a source by its script's digest, or by where it lies, without a signature."""
    if script:
        return hashlib.sha256(script.encode("utf-8", "surrogatepass")).hexdigest()
    return uri.partition("?")[0] or gallery or command_id


@dataclass(frozen=True, slots=True)
class Operation:
    """Where to ask about an accepted submission. URLs are signed: kept to resume, used byte for byte, never logged.

    One is kept, of 3.4 KB: the operation holds the result too (recorded). Journals of earlier versions have both.
    """

    transport: Transport
    status_url: str = field(default="", repr=False)
    """``Azure-AsyncOperation``."""
    location_url: str = field(default="", repr=False)
    """``Location``, where that is missing."""
    resource: str = ""
    """Managed: ARM id of the run command resource."""

    @property
    def links(self) -> tuple[str, ...]:
        """Return the URLs to ask at."""
        return tuple(link for link in (self.status_url, self.location_url) if link)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The service's error answer. ``status`` is HTTP's; ``retry_after`` in seconds when the service named one."""

    status: int
    code: str
    message: str
    retry_after: float | None = None
    holder: str = ""
    """Of a refusal ``LEASED``: the run that is at work on the VM."""
    until: float | None = None
    """When its lease is void at the latest, in epoch seconds."""


LEASED = "LeasedByOtherRun"
"""The code of a refusal of our own: another run is at work on the VM, so nothing was sent to the service.

``retry_after`` names when to ask again; without it nobody waits.
"""

AWAY = "MachineAway"
"""The code of a refusal of our own: the Arc machine is not connected, so nothing was sent to it."""


NO_AGENT = "AgentNotReady"
"""The code of a refusal of our own: Azure says that the VM's agent does not report, so nothing was sent to it."""

EXTENSIONS_OFF = "extension operations are disallowed"
"""What Azure's own refusal says of a VM on which extension operations are switched off (seen in public reports)."""


class LostReason(StrEnum):
    """Why there is no answer."""

    NOT_CONNECTED = "not_connected"
    """No byte of the request left: nothing was asked."""
    RESET = "reset"
    TIMEOUT = "timeout"
    SERVER_ERROR = "server_error"
    """5xx: the service does not say whether it acted."""
    MALFORMED = "malformed"
    """An answer that cannot be read."""
    CRASHED = "crashed"
    """Fleet itself ended between sending and hearing."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The submission was accepted; ``operation`` tells where to ask, unless the answer already holds the ``result``."""

    operation: Operation
    retry_after: float | None = None
    result: Answer | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The service said no and did not act (4xx)."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Lost:
    """No usable answer. For a read this is harmless; for a submission it means: unknown whether it acted."""

    reason: LostReason
    detail: str = ""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class StillRunning:
    """Not ended yet. ``retry_after`` in seconds when the service named one."""

    retry_after: float | None = None
    started: str = ""
    """How a managed command's instance view shows that its script has started; empty if it does not show it."""


@dataclass(frozen=True, slots=True)
class AgentReport:
    """Whether a VM's agent reports to Azure, and what Azure says of it."""

    ready: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service says the command did in the VM.

    Managed: ``execution_state`` and ``exit_code`` of the instance view, both streams apart. Action on Linux: both
    streams in ``combined`` and no exit code. Action on Windows: the streams apart and no exit code.
    """

    execution_state: str = ""
    execution_message: str = ""
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    combined: str | None = None
    started: str = ""
    """When the script started, as the instance view writes it; empty where nobody says."""
    ended: str = ""
    statuses: tuple[str, ...] = ()
    """What further statuses of the instance view say."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The command ended and the service tells how."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class OperationFailed:
    """The operation itself ended ``Failed`` or ``Canceled``, with the service's code and message."""

    code: str
    message: str
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """How a managed command stood when it was found."""

    source: str = ""
    """By :func:`source_key`."""
    started: str = ""
    """When its script started last, as the instance view writes it; empty if never."""
    running: bool = False
    """It is being set up, or its script has not ended."""


@dataclass(frozen=True, slots=True)
class Found:
    """A managed command of that name exists."""

    operation: Operation
    mark: Mark = field(default_factory=Mark)


@dataclass(frozen=True, slots=True)
class Missing:
    """No managed command of that name exists."""


@dataclass(frozen=True, slots=True)
class Removed:
    """The managed command is being deleted, or was not there."""


SubmitAnswer = Accepted | Refused | Lost
LookAnswer = StillRunning | Finished | OperationFailed | Refused | Lost
FindAnswer = Found | Missing | Refused | Lost
RemoveAnswer = Removed | Refused | Lost
AgentAnswer = AgentReport | Refused | Lost


@dataclass(frozen=True, slots=True)
class Question:
    """What a gate's webhook is asked: whom, and what it is told (plain JSON)."""

    webhook: Webhook
    body: Mapping[str, object] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Said:
    """The webhook said whether the wave may open."""

    go: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Silent:
    """It said nothing that means anything, or nothing at all."""

    detail: str


GateAnswer = Said | Silent


@dataclass(frozen=True, slots=True)
class Quota:
    """What the answer's headers said is left: bucket name to remaining calls.

    Names are ``reads``, ``writes``, ``deletes`` (ARM's, of this principal and subscription) and the Compute policy
    names as sent, such as ``UpdateVMSubscriptionMaximum``. ``subscription`` is the id asked about.
    """

    subscription: str
    location: str
    remaining: Mapping[str, int] = field(default_factory=dict, hash=False)
