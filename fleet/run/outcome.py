"""From what the service says to how a job ended. The one place where a result becomes an outcome.

A receipt of ours decides before any sentence of the service. With receipts on, nothing else proves how the script ended.
Without them the managed instance view proves it, by its state and exit code together. A provisioning state never does, nor
does exit code 0 without ``executionState`` Succeeded (recorded: ``Running`` with exit code 0 after a failure). What the
service does not know stays unknown: a report that is missing says nothing of what ran.
"""

from __future__ import annotations

import re

from fleet.guest.receipt import Fault, Reading, Reason, Receipt, Verdict, read, read_combined, verify
from fleet.run.answers import Answer
from fleet.run.diagnosis import hint_of_failure
from fleet.run.model import Cause, CauseCode, Extent, Outcome, Status

UNFINISHED = "Last script execution didn't finish."
"""What the action's Linux handler says, as a success, after a reboot in mid-run (handler source)."""

EXIT_STATUS = re.compile(r"command terminated with exit status=(-?[0-9]{1,10})(?![0-9])", re.ASCII)
"""How the Linux handlers write the exit code of what they started."""

RETURNED = re.compile(r"non-zero exit code of: '(-?[0-9]{1,10})'", re.ASCII)
"""How the Windows handler of custom scripts writes it (seen)."""

KILLED = -1
"""The exit code that the Linux handler writes when a signal ended the command, as its own time limit does (source)."""

_KILLED_HINT = "a signal ended the command, as the service's own time limit does; its children may go on"

_LOWEST_HANDLER_CODE = -999
"""Lower codes are scripts' own: Windows has exit codes such as -1073741819. The handler's end at -224 (source)."""

UNEXPLAINED = "ProvisioningFailed"
"""Our own code of a managed command whose provisioning failed, and whose operation cannot be read any more."""

UNREPORTED = "ResultMissing"
"""Our own code of an action that succeeded, and whose result Azure does not have."""

_SAYS_NOTHING = frozenset({"InternalExecutionError", UNEXPLAINED, UNREPORTED})
_SENT_BUT_UNREPORTED = ("has not reported latest status", "has not reported status for")
_DO_NOT_RERUN_BLINDLY = "check the VM before running it again: the script may have run, and may still be running"


def judge_answer(answer: Answer, *, nonce: str | None, digest: str, ok_exit: tuple[int, ...]) -> Outcome:
    """Return how a finished command ended. ``nonce`` is None when the script went unwrapped (receipts off, uri ...)."""
    reading = _read(answer, nonce or "")
    if nonce is not None and reading.receipt is not None:
        verdict = verify(reading, nonce=nonce, digest=digest)
        if verdict.verified:
            return _by_receipt(reading, reading.receipt, verdict, ok_exit)
        return _unproven(reading, _mismatch(verdict.reason))
    if _is_unfinished(answer):
        message = "the VM restarted, or its agent did, while the script ran"
        return Outcome(
            Status.UNKNOWN, Cause(CauseCode.INTERRUPTED_IN_GUEST, message, "look at the VM before running again")
        )
    return _by_service(answer, reading, ok_exit, wrapped=nonce is not None)


def judge_failure(code: str, message: str, cancelled: bool, *, wrapped: bool = False) -> Outcome:
    """Return how an operation ended that has no result."""
    text = f"{code}: {message}" if message else code
    if is_preempted(code):
        why = f"another operation took this one's place, and how the script ended was not reported ({text})"
        return Outcome(Status.UNKNOWN, Cause(CauseCode.NO_ANSWER, why, _DO_NOT_RERUN_BLINDLY))
    if cancelled:
        return Outcome(Status.CANCELLED, Cause(CauseCode.CANCELLED, text))
    if found := EXIT_STATUS.search(message) or RETURNED.search(message):  # the form of 2018, that of custom scripts
        return _by_old_status(int(found.group(1)), text, wrapped=wrapped)
    if code == "VMExtensionProvisioningTimeout":
        hint = "the script ran too long, or the VM's agent did not report; look at the VM"
        return Outcome(Status.TIMED_OUT, Cause(CauseCode.SERVICE_TIMEOUT, text, hint))
    if code == "VMAgentStatusCommunicationError":
        hint = "check the VM's agent and its outbound access to Azure; the script may have run"
        return Outcome(Status.UNKNOWN, Cause(CauseCode.AGENT_NOT_READY, text, hint))
    if code in _SAYS_NOTHING or any(part in message for part in _SENT_BUT_UNREPORTED):
        return Outcome(Status.UNKNOWN, Cause(CauseCode.NO_ANSWER, text, _DO_NOT_RERUN_BLINDLY))
    return Outcome(Status.FAILED, Cause(CauseCode.OPERATION_FAILED, text, hint_of_failure(code, message)))


def is_preempted(code: str) -> bool:
    """Return whether a cancelled operation only gave way to a later one: nobody cancelled what it had started."""
    return code.casefold() == "operationpreempted"


def unchanged(cause: Cause, started: str) -> Cause:
    """Say of a standing command's result that it is an earlier one: Azure does not run again what has not changed."""
    ended = f"; that ended with: {cause.message}" if cause.message else ""
    message = f"not run again, because nothing had changed: this is the result of {started}{ended}"
    return Cause(CauseCode.UNCHANGED, message, "to run it again, change the step, or run with receipts on")


def _read(answer: Answer, nonce: str) -> Reading:
    if answer.combined is not None:
        return read_combined(answer.combined, nonce)
    return read(answer.stdout, answer.stderr, nonce)


def _mismatch(reason: Reason) -> Cause:
    message = f"the receipt does not match: {reason}"
    if reason is Reason.UNHASHED_SCRIPT:
        hint = "the VM has no tool to hash its script: install one of sha256sum, openssl, busybox, shasum"
        return Cause(CauseCode.RECEIPT_MISMATCH, message, hint)
    return Cause(CauseCode.RECEIPT_MISMATCH, message, "do not trust this row")


def _is_unfinished(answer: Answer) -> bool:
    """Whether the handler says that the script was cut off. A message that holds streams ends with a script's own words."""
    combined = answer.combined or ""
    return answer.execution_message == UNFINISHED or (
        "[stdout]" not in combined and combined.strip().endswith(UNFINISHED)
    )


def _by_receipt(reading: Reading, receipt: Receipt, verdict: Verdict, ok_exit: tuple[int, ...]) -> Outcome:
    status, cause = _receipt_status(receipt, ok_exit)
    return Outcome(
        status,
        cause,
        exit_code=_shell_code(receipt),
        stdout=reading.stdout,
        stderr=reading.stderr,
        truncated=verdict.truncated,
        verified=status is not Status.UNKNOWN,
        replayed=receipt.replayed,
        boot_id=receipt.boot_id,
        stdout_extent=Extent(receipt.stdout_length, receipt.stdout_digest),
        stderr_extent=Extent(receipt.stderr_length, receipt.stderr_digest),
    )


def _receipt_status(receipt: Receipt, ok_exit: tuple[int, ...]) -> tuple[Status, Cause]:
    if receipt.interrupted:
        message = "the script was begun and cut off in the VM; it was not begun again"
        return Status.UNKNOWN, Cause(CauseCode.INTERRUPTED_IN_GUEST, message, "look at the VM before running again")
    if receipt.timed_out:
        return Status.TIMED_OUT, Cause(CauseCode.GUEST_TIMEOUT, "the step's time-out ended the script in the VM")
    if (found := _fault_cause(receipt)) is not None:
        return Status.FAILED, found
    code = _shell_code(receipt)
    assert code is not None, "only an interrupted script ends without a code or a signal"
    if receipt.signal is not None and code not in ok_exit:
        return Status.FAILED, Cause(CauseCode.SIGNAL, f"exit code {code}: ended by signal {receipt.signal}")
    return _exit_status(code, ok_exit)


def _fault_cause(receipt: Receipt) -> Cause | None:
    """Return what the wrapper saw go wrong, which no exit code excuses; None where it saw nothing."""
    code = _shell_code(receipt)
    match receipt.fault:
        case Fault.NO_ROOM:
            hint = "make room on the VM's disk, then rerun this VM"
            return Cause(CauseCode.DISK_FULL, "the VM's disk was full; the script was not started", hint)
        case Fault.DISK_FULL:
            message = f"exit code {code}, and the VM's disk was full when the script ended: output may be missing"
            return Cause(
                CauseCode.DISK_FULL, message, "check the VM and what the script had to write; make room on its disk"
            )
        case Fault.OUT_OF_MEMORY:
            message = f"exit code {code}: the kernel's out-of-memory killer ran while the script did"
            return Cause(CauseCode.OUT_OF_MEMORY, message, "check the VM before running again; it needs more memory")
        case Fault.NO_INTERPRETER:
            message = f"exit code {code}: the VM has no program that can run the script; none of its lines ran"
            return Cause(
                CauseCode.NO_INTERPRETER, message, "read its stderr, install the interpreter, then rerun this VM"
            )
    return None


def _shell_code(receipt: Receipt) -> int | None:
    """The exit code as a shell would tell it: 128 and the number of the signal that ended the script."""
    if receipt.fault == Fault.NO_ROOM:
        return None
    return 128 + receipt.signal if receipt.signal is not None else receipt.exit_code


def _exit_status(exit_code: int, ok_exit: tuple[int, ...]) -> tuple[Status, Cause]:
    if exit_code in ok_exit:
        return Status.SUCCEEDED, Cause(CauseCode.COMPLETED)
    return Status.FAILED, Cause(CauseCode.EXIT_CODE, f"exit code {exit_code}")


def _by_service(answer: Answer, reading: Reading, ok_exit: tuple[int, ...], *, wrapped: bool) -> Outcome:
    """Judge what came without a receipt by the instance view."""
    if (handler := _handler_failure(answer)) is not None:
        return _by_handler(reading, *handler, ok_exit, wrapped=wrapped)
    state = answer.execution_state.casefold()
    if answer.exit_code is None and state == "failed":
        message = f"Azure says that the command failed: {answer.execution_message or 'and not why'}"
        return _said(reading, Status.FAILED, Cause(CauseCode.OPERATION_FAILED, message))
    if answer.exit_code is None or not state:
        code = CauseCode.NO_RECEIPT if wrapped else CauseCode.NO_EXIT_CODE
        return _unproven(reading, Cause(code, "Azure says that the script ended, and nothing proves how"))
    if own := _ended_by_service(answer, state, answer.exit_code):
        return _said(reading, *own)
    exit_code = _command_code(answer, state, answer.exit_code)
    if wrapped:
        return _wrapper_ended(reading, exit_code)
    if state == "succeeded" or (state == "failed" and exit_code != 0):
        status, cause = _exit_status(exit_code, ok_exit)
        return Outcome(status, cause, exit_code=exit_code, stdout=reading.stdout, stderr=reading.stderr, verified=True)
    message = f"the service says {answer.execution_state} with exit code {answer.exit_code}: {answer.execution_message}"
    return _unproven(reading, Cause(CauseCode.NO_EXIT_CODE, message))


_FAILED_WORDS = "enable failed"
"""How the Linux handler of the action begins the message of a command that failed (seen)."""


def _handler_failure(answer: Answer) -> tuple[int | None, str] | None:
    """Return the exit code and the words of an action's handler that says that its command failed; None if it does not.

    What stands before the streams is the handler's own. Scripts write what follows.
    """
    if answer.combined is None:
        return None
    words = " ".join(answer.combined.partition("[stdout]")[0].split()) or answer.execution_message
    if answer.execution_state.casefold() != "failed" and not words.casefold().startswith(_FAILED_WORDS):
        return None
    if answer.exit_code is not None:
        return answer.exit_code, answer.execution_message or words
    found = EXIT_STATUS.search(words)
    return (int(found.group(1)) if found else None), words


def _by_handler(
    reading: Reading, exit_code: int | None, words: str, ok_exit: tuple[int, ...], *, wrapped: bool
) -> Outcome:
    """Judge an action that its handler calls failed. No receipt proves its exit code, so it cannot succeed."""
    if exit_code is None or _LOWEST_HANDLER_CODE <= exit_code < KILLED:
        return _said(reading, Status.FAILED, Cause(CauseCode.HANDLER_ERROR, words))
    if exit_code == KILLED:
        return _said(reading, Status.TIMED_OUT, Cause(CauseCode.SERVICE_TIMEOUT, words, _KILLED_HINT))
    if wrapped:
        return _wrapper_ended(reading, exit_code)
    if exit_code in ok_exit:
        message = f"the service says exit code {exit_code}, which the step accepts, and nothing proves it"
        return _unproven(reading, Cause(CauseCode.NO_EXIT_CODE, message))
    cause = Cause(CauseCode.EXIT_CODE, f"exit code {exit_code}, as the service reports it")
    return Outcome(Status.FAILED, cause, exit_code=exit_code, stdout=reading.stdout, stderr=reading.stderr)


def _ended_by_service(answer: Answer, state: str, exit_code: int) -> tuple[Status, Cause] | None:
    """How the service itself ended the command, or could not start it: such a code is never the script's."""
    message = answer.execution_message
    if state == "timedout":
        return Status.TIMED_OUT, Cause(CauseCode.GUEST_TIMEOUT, message)
    if state == "canceled":
        return Status.CANCELLED, Cause(CauseCode.CANCELLED, message)
    if state == "succeeded":
        return None
    status = _command_code(answer, state, exit_code)
    if status == KILLED and EXIT_STATUS.search(message):
        return Status.TIMED_OUT, Cause(CauseCode.SERVICE_TIMEOUT, message, _KILLED_HINT)
    could_not = message.casefold().startswith("execution failed") and not EXIT_STATUS.search(message)
    if _LOWEST_HANDLER_CODE <= status < 0 or (could_not and exit_code > 0):
        return Status.FAILED, Cause(CauseCode.HANDLER_ERROR, message)
    return None


def _command_code(answer: Answer, state: str, exit_code: int) -> int:
    """The exit code of what the handler started. Handlers of 2022 and 2023 gave 3 for each failure (recorded)."""
    found = EXIT_STATUS.search(answer.execution_message) if state == "failed" else None
    return int(found.group(1)) if found else exit_code


def _wrapper_ended(reading: Reading, exit_code: int) -> Outcome:
    """A code without a receipt is the wrapper's, and says nothing about the script, unless it says that none started."""
    line = _refusal(reading.stderr)
    if exit_code in (125, 127) and line:
        return _said(reading, Status.FAILED, Cause(CauseCode.WRAPPER_REFUSED, line))
    if exit_code == 0:
        return _unproven(reading, Cause(CauseCode.NO_RECEIPT, "the script's receipt is missing from its output"))
    message = f"the wrapper ended with {exit_code} before it could print the script's receipt"
    return _unproven(reading, Cause(CauseCode.NO_RECEIPT, message))


def _refusal(stderr: str) -> str:
    """The line by which the wrapper says why it started nothing; empty if its last line is another."""
    line = stderr.rstrip().rpartition("\n")[2].strip()
    said = line.startswith("fleet: ") and line.endswith(("the script was not started", "on this machine"))
    return line.removeprefix("fleet: ")[:500] if said else ""


def _by_old_status(exit_code: int, text: str, *, wrapped: bool) -> Outcome:
    """Judge an exit code that stands in the text of a failed operation: nothing proves it."""
    if exit_code == KILLED:
        return Outcome(Status.TIMED_OUT, Cause(CauseCode.SERVICE_TIMEOUT, text))
    if wrapped:
        return Outcome(Status.UNVERIFIED, Cause(CauseCode.NO_RECEIPT, text))
    if exit_code < 0:
        return Outcome(Status.FAILED, Cause(CauseCode.HANDLER_ERROR, text))
    return Outcome(Status.FAILED, Cause(CauseCode.EXIT_CODE, text), exit_code=exit_code)


def _said(reading: Reading, status: Status, cause: Cause) -> Outcome:
    return Outcome(status, cause, stdout=reading.stdout, stderr=reading.stderr)


def _unproven(reading: Reading, cause: Cause) -> Outcome:
    return _said(reading, Status.UNVERIFIED, cause)
