"""From what the service says to how a job ended. The one place where a result becomes an outcome.

Never trusted: a provisioning state, and exit code 0 without ``executionState`` Succeeded (recorded: ``Running`` with exit
code 0 after a failure). What proves success is a matching receipt, or the managed instance view.
"""

from __future__ import annotations

import re

from fleet.guest.receipt import Reading, Receipt, Verdict, read, read_combined, verify
from fleet.run.answers import Answer
from fleet.run.model import Cause, CauseCode, Extent, Outcome, Status

UNFINISHED = "Last script execution didn't finish."
"""What the action's Linux handler says, as a success, after a reboot in mid-run (handler source)."""

EXIT_STATUS = re.compile(r"command terminated with exit status=(-?\d+)")


def judge_answer(answer: Answer, *, nonce: str | None, digest: str, ok_exit: tuple[int, ...]) -> Outcome:
    """Judge a finished command. ``nonce`` is None when the script went unwrapped (receipts off, built-in, uri)."""
    if UNFINISHED in (answer.execution_message, (answer.combined or "").strip()[-len(UNFINISHED) :]):
        message = "the VM restarted, or its agent did, while the script ran"
        return Outcome(
            Status.UNKNOWN, Cause(CauseCode.INTERRUPTED_IN_GUEST, message, "look at the VM before running again")
        )
    reading = _read(answer, nonce or "")
    if nonce is not None:
        verdict = verify(reading, nonce=nonce, digest=digest)
        if reading.receipt is not None and verdict.verified:
            return _by_receipt(reading, reading.receipt, verdict, ok_exit)
        if reading.receipt is not None:
            cause = Cause(
                CauseCode.RECEIPT_MISMATCH, f"the receipt does not match: {verdict.reason}", "do not trust this row"
            )
            return _unproven(reading, cause)
    return _by_service(answer, reading, ok_exit, wrapped=nonce is not None)


def judge_failure(code: str, message: str, cancelled: bool) -> Outcome:
    """Judge an operation that ended without a result."""
    text = f"{code}: {message}" if message else code
    if cancelled:
        return Outcome(Status.CANCELLED, Cause(CauseCode.CANCELLED, text))
    if found := EXIT_STATUS.search(message):  # the form of 2018, and of handlers that cannot start the script
        exit_code = int(found.group(1))
        return Outcome(Status.FAILED, Cause(CauseCode.EXIT_CODE, text), exit_code=exit_code)
    if code == "VMExtensionProvisioningTimeout":
        hint = "the script ran too long, or the VM's agent did not report; look at the VM"
        return Outcome(Status.TIMED_OUT, Cause(CauseCode.SERVICE_TIMEOUT, text, hint))
    if code == "VMAgentStatusCommunicationError":
        hint = "check the VM's agent and its outbound access to Azure"
        return Outcome(Status.UNREACHABLE, Cause(CauseCode.AGENT_NOT_READY, text, hint))
    return Outcome(Status.FAILED, Cause(CauseCode.OPERATION_FAILED, text))


def unchanged(cause: Cause, started: str) -> Cause:
    """Say of a standing command's result that it is an earlier one: Azure does not run again what has not changed."""
    ended = f"; that ended with: {cause.message}" if cause.message else ""
    message = f"not run again, because nothing had changed: this is the result of {started}{ended}"
    return Cause(CauseCode.UNCHANGED, message, "to run it again, change the step, or run with receipts on")


def _read(answer: Answer, nonce: str) -> Reading:
    if answer.combined is not None:
        return read_combined(answer.combined, nonce)
    return read(answer.stdout, answer.stderr, nonce)


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
    code = _shell_code(receipt)
    assert code is not None, "only an interrupted script ends without a code or a signal"
    if receipt.signal is not None and code not in ok_exit:
        return Status.FAILED, Cause(CauseCode.SIGNAL, f"exit code {code}: ended by signal {receipt.signal}")
    return _exit_status(code, ok_exit)


def _shell_code(receipt: Receipt) -> int | None:
    """The exit code as a shell would tell it: 128 and the number of the signal that ended the script."""
    return 128 + receipt.signal if receipt.signal is not None else receipt.exit_code


def _exit_status(exit_code: int, ok_exit: tuple[int, ...]) -> tuple[Status, Cause]:
    if exit_code in ok_exit:
        return Status.SUCCEEDED, Cause(CauseCode.COMPLETED)
    return Status.FAILED, Cause(CauseCode.EXIT_CODE, f"exit code {exit_code}")


def _by_service(answer: Answer, reading: Reading, ok_exit: tuple[int, ...], *, wrapped: bool) -> Outcome:
    state = answer.execution_state.casefold()
    if answer.exit_code is None or not state:
        code = CauseCode.NO_RECEIPT if wrapped else CauseCode.NO_EXIT_CODE
        return _unproven(reading, Cause(code, "Azure says that the script ended, and nothing proves how"))
    if state in ("timedout", "canceled"):
        status = Status.TIMED_OUT if state == "timedout" else Status.CANCELLED
        code = CauseCode.GUEST_TIMEOUT if state == "timedout" else CauseCode.CANCELLED
        return _proven(answer, reading, status, Cause(code, answer.execution_message))
    if answer.exit_code < 0:
        return _proven(answer, reading, Status.FAILED, Cause(CauseCode.HANDLER_ERROR, answer.execution_message))
    if wrapped and state == "succeeded":
        return _unproven(reading, Cause(CauseCode.NO_RECEIPT, "the script's receipt is missing from its output"))
    if state == "succeeded" or (state == "failed" and answer.exit_code != 0):
        return _proven(answer, reading, *_exit_status(answer.exit_code, ok_exit))
    message = f"the service says {answer.execution_state} with exit code {answer.exit_code}: {answer.execution_message}"
    return _unproven(reading, Cause(CauseCode.NO_EXIT_CODE, message))


def _proven(answer: Answer, reading: Reading, status: Status, cause: Cause) -> Outcome:
    return Outcome(
        status, cause, exit_code=answer.exit_code, stdout=reading.stdout, stderr=reading.stderr, verified=True
    )


def _unproven(reading: Reading, cause: Cause) -> Outcome:
    return Outcome(Status.UNVERIFIED, cause, stdout=reading.stdout, stderr=reading.stderr)
