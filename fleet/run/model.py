"""How a job stands and how it ended: phases, statuses, causes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from fleet.run.longtext import LongText


class Phase(StrEnum):
    """Where a job is in its life; the table of moves is ``fleet.run.job``."""

    WAITING = "waiting"
    SUBMITTING = "submitting"
    FINDING = "finding"
    RUNNING = "running"
    DONE = "done"


class Status(StrEnum):
    """How a job ended. A closed list; part of the public contract."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    UNREACHABLE = "unreachable"
    UNVERIFIED = "unverified"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"
    NOT_STARTED = "not_started"


class CauseCode(StrEnum):
    """Why a job ended as it did. A closed list; part of the public contract (``docs/outcomes.md``)."""

    COMPLETED = "completed"
    EXIT_CODE = "exit_code"
    SIGNAL = "signal"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    NO_INTERPRETER = "no_interpreter"
    HANDLER_ERROR = "handler_error"
    WRAPPER_REFUSED = "wrapper_refused"
    OPERATION_FAILED = "operation_failed"
    GUEST_TIMEOUT = "guest_timeout"
    SERVICE_TIMEOUT = "service_timeout"
    CANCELLED = "cancelled"
    VM_NOT_RUNNING = "vm_not_running"
    VM_NOT_FOUND = "vm_not_found"
    AGENT_NOT_READY = "agent_not_ready"
    DISCONNECTED = "disconnected"
    FORBIDDEN = "forbidden"
    UNAUTHENTICATED = "unauthenticated"
    BUSY = "busy"
    LEASED_BY_OTHER_RUN = "leased_by_other_run"
    THROTTLED = "throttled"
    NOT_CONNECTED = "not_connected"
    REFUSED = "refused"
    NO_SLOT = "no_slot"
    NO_RECEIPT = "no_receipt"
    RECEIPT_MISMATCH = "receipt_mismatch"
    NO_EXIT_CODE = "no_exit_code"
    INTERRUPTED_IN_GUEST = "interrupted_in_guest"
    ANSWER_LOST = "answer_lost"
    OPERATION_GONE = "operation_gone"
    NO_ANSWER = "no_answer"
    INTERNAL_ERROR = "internal_error"
    EXISTS = "exists"
    UNCHANGED = "unchanged"
    WRONG_OUTPUT = "wrong_output"
    FAILED_WHEN = "failed_when"
    NOT_BACK = "not_back"
    REBOOT_NOT_SEEN = "reboot_not_seen"
    EARLIER_STEP = "earlier_step"
    WHEN_FALSE = "when_false"
    NOT_NEEDED = "not_needed"
    LEFT_SELECTION = "left_selection"
    BUDGET_FAILURES = "budget_failures"
    BUDGET_UNREACHABLE = "budget_unreachable"
    NOT_SENT = "not_sent"
    STOPPED_BY_USER = "stopped_by_user"
    CANCELLED_BY_USER = "cancelled_by_user"
    WAVE_REJECTED = "wave_rejected"
    APPROVAL_AWAITED = "approval_awaited"
    GATE_REFUSED = "gate_refused"
    GATE_UNANSWERED = "gate_unanswered"
    GATE_FACTS = "gate_facts"
    GATE_HEALTH = "gate_health"
    DEADLINE = "deadline"
    AZURE_UNUSABLE = "azure_unusable"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why, with a stable code, a sentence, and what a person can do next."""

    code: CauseCode
    message: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Extent:
    """What a receipt says of a whole stream: its length in bytes and its sha256 in hex, ``-`` if the VM made none."""

    length: int
    digest: str

    def fits(self, data: bytes) -> bool:
        """Whether this is the stream. Without a digest its length alone decides."""
        return len(data) == self.length and self.digest in ("-", hashlib.sha256(data).hexdigest())


_SURELY_OVER = frozenset(
    {CauseCode.NOT_BACK, CauseCode.REBOOT_NOT_SEEN, CauseCode.HANDLER_ERROR, CauseCode.WRAPPER_REFUSED}
)
"""Failures without an exit code after which no script runs: the VM was only looked at, or the script was not started."""


@dataclass(frozen=True)
class Outcome:
    """How one job ended.

    ``exit_code`` is the script's true one, or None where there is none. ``truncated`` says that the channel (4,096
    bytes a stream) cut the head of a stream, or that more may have been printed than the wrapper saw.
    ``stdout_extent`` and ``stderr_extent`` tell of the whole streams, where there is a receipt. ``verified`` says that
    a matching receipt, or the managed instance view, proves the exit code.
    """

    status: Status
    cause: Cause
    exit_code: int | None = None
    stdout: LongText = LongText()
    stderr: LongText = LongText()
    truncated: bool = False
    verified: bool = False
    replayed: bool = False
    boot_id: str = ""
    """The VM's boot, as the receipt told it; empty without a receipt."""
    stdout_extent: Extent | None = None
    stderr_extent: Extent | None = None

    @property
    def may_still_run(self) -> bool:
        """Whether the script may be running on the VM still, as far as anybody can know.

        A receipt is printed after the script's end, and a deleted command's script is ended (documented). When the
        service itself gives up, only the shell dies and its children go on (measured), or nobody knows.
        """
        match self.status:
            case Status.UNVERIFIED | Status.UNKNOWN:
                return True
            case Status.TIMED_OUT:
                return not self.boot_id
            case Status.FAILED:
                return not self.verified and self.exit_code is None and self.cause.code not in _SURELY_OVER
        return False


FAILURES = frozenset({Status.FAILED, Status.TIMED_OUT, Status.CANCELLED})
"""What counts against ``max_failures``: the script ran and did not end well."""

NOT_REACHED = frozenset({Status.UNREACHABLE, Status.UNVERIFIED, Status.UNKNOWN})
"""What counts against ``max_unreachable``: nothing certain came back."""

FINE_SKIPS = frozenset({CauseCode.WHEN_FALSE, CauseCode.NOT_NEEDED, CauseCode.LEFT_SELECTION})
"""Why a step is skipped as its playbook and its selection mean it: nothing is missing."""

NOT_RUN = frozenset({Status.SKIPPED, Status.NOT_STARTED})
"""Never sent."""
