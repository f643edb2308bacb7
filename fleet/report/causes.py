"""What every status and cause means, and what to do next. ``docs/outcomes.md`` says the same, by test."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.run.model import Cause, CauseCode, Status


@dataclass(frozen=True, slots=True)
class Explanation:
    """A sentence, and what to do next."""

    sentence: str
    next: str


STATUSES = {
    Status.SUCCEEDED: Explanation(
        "The script ran and its exit code was right, proven by a receipt from inside the VM or by the "
        "service's own record.",
        "Nothing.",
    ),
    Status.FAILED: Explanation(
        "The script ran, or could not be started in the VM, and did not succeed.",
        "Read its output and its cause.",
    ),
    Status.TIMED_OUT: Explanation(
        "The time limit ended the script, or Azure's own ended the wait for it.",
        "Look at the VM, or raise the step's timeout.",
    ),
    Status.CANCELLED: Explanation(
        "The script was cancelled while it ran.", "Look how far it came before running it again."
    ),
    Status.UNREACHABLE: Explanation(
        "The command could not be delivered; the script did not run.",
        "Mend what the cause names, then rerun these.",
    ),
    Status.UNVERIFIED: Explanation(
        "Something came back, and nothing in it proves what ran and how it ended.",
        "Check these targets another way; keep receipts on.",
    ),
    Status.UNKNOWN: Explanation(
        "The command was sent and no certain answer came back; the script may have run.",
        "Look at the VM before running it again.",
    ),
    Status.SKIPPED: Explanation(
        "Not sent, because of how the steps above ended on the same target, or because a condition says so.",
        "Read its cause.",
    ),
    Status.NOT_STARTED: Explanation(
        "Not sent because launching had stopped.", "Decide about the cause, then rerun the not started ones."
    ),
}

CAUSES = {
    CauseCode.COMPLETED: Explanation("The script ended with an exit code that the step accepts.", "Nothing."),
    CauseCode.EXIT_CODE: Explanation(
        "The script ended with an exit code that the step does not accept.",
        "Read its output, mend it, rerun the failed ones.",
    ),
    CauseCode.SIGNAL: Explanation(
        "A signal ended the script; the exit code is 128 and the signal's number.",
        "Look for memory shortage or a reboot on the VM.",
    ),
    CauseCode.OUT_OF_MEMORY: Explanation(
        "SIGKILL ended the script, and the kernel's out-of-memory killer ran while the script did.",
        "Check what the script left half done; give the VM more memory, or the script less work.",
    ),
    CauseCode.DISK_FULL: Explanation(
        "The VM's disk was full: the script was not started, or its output may be incomplete; the message says which.",
        "Make room on the VM's disk. Where the script ran, check the VM before running it again.",
    ),
    CauseCode.NO_INTERPRETER: Explanation(
        "The VM does not have the program that runs the script; no line of it ran.",
        "Read its stderr, install the program or change the script's first line, then rerun.",
    ),
    CauseCode.HANDLER_ERROR: Explanation(
        "Azure's handler in the VM could not run the script.",
        "Read its message; check disk space and the user of run_as.",
    ),
    CauseCode.WRAPPER_REFUSED: Explanation(
        "Fleet's wrapper in the VM did not start the script, for a reason that it gives; nothing ran.",
        "Correct what its message names, then rerun the failed ones.",
    ),
    CauseCode.OPERATION_FAILED: Explanation(
        "Azure's operation failed before it had a result.", "Read its message; look at the VM's extensions."
    ),
    CauseCode.GUEST_TIMEOUT: Explanation(
        "The step's time-out ended the script in the VM.",
        "Raise the step's timeout, or find what the script waits for.",
    ),
    CauseCode.SERVICE_TIMEOUT: Explanation(
        "Azure gave up waiting for the VM, or its own time limit killed the command.",
        "Look at the VM and at its agent; the script may still run.",
    ),
    CauseCode.CANCELLED: Explanation(
        "Somebody cancelled the command; the row names who and why where Fleet knows.",
        "Look how far the script came before running it again.",
    ),
    CauseCode.VM_NOT_RUNNING: Explanation("The VM is not running.", "Start it, then rerun the unreachable ones."),
    CauseCode.VM_NOT_FOUND: Explanation(
        "The VM is gone, is being deleted, or has moved, since it was listed.",
        "Plan again; the next plan will not name it.",
    ),
    CauseCode.AGENT_NOT_READY: Explanation(
        "The VM's agent does not report to Azure. If the command had been accepted, the script may have run: the row is"
        " `unknown`.",
        "Check the agent, the VM's outbound access and `allowExtensionOperations`; then rerun the unreachable ones.",
    ),
    CauseCode.DISCONNECTED: Explanation(
        "The Arc machine is not connected to Azure; nothing was sent, as it would run whenever the machine is back.",
        "Start it, see that its Connected Machine agent reaches Azure, then rerun the unreachable ones.",
    ),
    CauseCode.FORBIDDEN: Explanation(
        "The credential, a policy or a deny assignment does not allow commands on this VM.",
        "Read its hint, which names the right and its scope, or the policy; `fleet rbac` prints the rights.",
    ),
    CauseCode.UNAUTHENTICATED: Explanation(
        "Azure did not accept the credential.", "Sign in again, then rerun what was not reached and not started."
    ),
    CauseCode.BUSY: Explanation(
        "Another command or operation held the VM until the time to deliver was over.",
        "Find it or wait for its end, then rerun.",
    ),
    CauseCode.LEASED_BY_OTHER_RUN: Explanation(
        "Another run kept in the same state folder was at work on this VM; nothing was sent.",
        "Wait for the other run's end, or end it; then rerun the unreachable ones.",
    ),
    CauseCode.THROTTLED: Explanation(
        "The subscription's limit of calls left no room until the time to deliver was over.",
        "Lower the concurrency, or run when the subscription is less busy.",
    ),
    CauseCode.NOT_CONNECTED: Explanation(
        "No connection to Azure; nothing was sent.", "Check the network, the proxy and `azure.cloud`."
    ),
    CauseCode.REFUSED: Explanation(
        "Azure refused the command, for a reason that does not pass by itself.",
        "Read its message and its hint, which names the lock, the version or what was not found; nothing ran.",
    ),
    CauseCode.NO_SLOT: Explanation(
        "The VM holds as many managed commands as it can.",
        "Make room with `fleet commands list` and `fleet commands delete`; where its hint names a lock, remove that first.",
    ),
    CauseCode.NO_RECEIPT: Explanation(
        "The output came without the receipt that proves the run; an exit code beside it is not the script's.",
        "Look at the VM; output of more than 4,096 bytes printed after the end can push the receipt out.",
    ),
    CauseCode.RECEIPT_MISMATCH: Explanation(
        "The output holds a receipt of something else, two that differ, or one that does not say what ran.",
        "Do not trust the output; look at the VM.",
    ),
    CauseCode.NO_EXIT_CODE: Explanation(
        "The service gave no exit code that can be trusted, and the script ran without a receipt.",
        "Switch receipts on, or use the managed transport.",
    ),
    CauseCode.INTERRUPTED_IN_GUEST: Explanation(
        "The script was begun and cut off, by a restart of the VM or of its agent.",
        "Look at the VM before running it again.",
    ),
    CauseCode.ANSWER_LOST: Explanation(
        "The answer to the submission was lost: it may have been accepted.",
        "Look at the VM before running it again.",
    ),
    CauseCode.OPERATION_GONE: Explanation(
        "The operation was accepted and can no longer be read.",
        "Look at the VM; check the right to read operations.",
    ),
    CauseCode.NO_ANSWER: Explanation(
        "The command was accepted and no answer has been read, or Azure says that it has none.",
        "Resume the run, or look at the VM.",
    ),
    CauseCode.INTERNAL_ERROR: Explanation(
        "Fleet failed on what it was told about this VM: a defect of Fleet, which ended this job and no other.",
        "Report it with the message; look at the VM before running it again.",
    ),
    CauseCode.EXISTS: Explanation(
        "A managed command of the step's `command` is on the VM already, and the step says to leave it alone.",
        "Choose another name, or `on_existing: update`.",
    ),
    CauseCode.UNCHANGED: Explanation(
        "The standing command was the same as before, so Azure did not run it again: this is its earlier result.",
        "To run it again, change it, or run with receipts on.",
    ),
    CauseCode.WRONG_OUTPUT: Explanation(
        "The exit code was right, and the output does not hold what `ok.stdout` asks for.",
        "Read its output.",
    ),
    CauseCode.FAILED_WHEN: Explanation(
        "The exit code was right, and the step's `failed_when` is true.", "Read its facts and its output."
    ),
    CauseCode.NOT_BACK: Explanation(
        "The VM was asked to restart and did not come back in time.",
        "Look at its boot diagnostics; rerun once it is back.",
    ),
    CauseCode.REBOOT_NOT_SEEN: Explanation(
        "The VM was asked to restart and answers, in the boot from before or in one that is too old to be the new one.",
        "Look why it did not go down; then rerun.",
    ),
    CauseCode.WHEN_FALSE: Explanation(
        "The step's `when` is false on this target, as the playbook means it.", "Nothing."
    ),
    CauseCode.NOT_NEEDED: Explanation(
        "The step's turn did not come: nothing above failed, nothing that was changed named it, or no gate asked for it.",
        "Nothing.",
    ),
    CauseCode.LEFT_SELECTION: Explanation(
        "The plan's selection did not let the VM in any more when the plan was applied.",
        "Make a new plan if it should be run.",
    ),
    CauseCode.EARLIER_STEP: Explanation(
        "An earlier step on this target did not succeed.", "Mend that step; then rerun."
    ),
    CauseCode.BUDGET_FAILURES: Explanation(
        "Launching stopped because more jobs failed than `max_failures` allows.",
        "Mend the failures, then rerun the not started ones.",
    ),
    CauseCode.BUDGET_UNREACHABLE: Explanation(
        "Launching stopped because more targets were not reached than `max_unreachable` allows.",
        "Find what they have in common, then rerun.",
    ),
    CauseCode.NOT_SENT: Explanation(
        "The run has not ended, and this job was not sent yet.",
        "Wait for the run's end, or `fleet resume` it if nobody carries it out.",
    ),
    CauseCode.CANCELLED_BY_USER: Explanation(
        "Somebody cancelled the run with `fleet cancel` before this job began.",
        "Read why; `fleet rerun RUN:not_started`.",
    ),
    CauseCode.WAVE_REJECTED: Explanation(
        "Somebody rejected a wave with `fleet reject` before this job began.", "Read why before a new run."
    ),
    CauseCode.APPROVAL_AWAITED: Explanation(
        "The run waits for somebody to approve the next wave.", "`fleet approve RUN`, or `fleet reject RUN`."
    ),
    CauseCode.GATE_REFUSED: Explanation(
        "The webhook of a gate did not let the next wave go.", "Read why; then run again on what was not started."
    ),
    CauseCode.GATE_UNANSWERED: Explanation(
        "The webhook of a gate gave no answer in its time.",
        "See that it answers, then run again on what was not started.",
    ),
    CauseCode.GATE_FACTS: Explanation(
        "Too few targets of a wave had the facts that the gate after it asks for.",
        "Look at the targets it names; then run again on what was not started.",
    ),
    CauseCode.GATE_HEALTH: Explanation(
        "A health step did not end well on too many targets of a wave.",
        "Look at the targets it names; then run again on what was not started.",
    ),
    CauseCode.STOPPED_BY_USER: Explanation(
        "The run was stopped by a person before this job was sent.",
        "`fleet resume` the run when you are ready.",
    ),
    CauseCode.DEADLINE: Explanation(
        "The deadline came before this job was sent.", "Rerun the not started ones in the next window."
    ),
    CauseCode.AZURE_UNUSABLE: Explanation(
        "Azure could not be used any more: no token, no rights or no service.",
        "Mend the access, then rerun the not started ones.",
    ),
}


def message(cause: Cause) -> str:
    """Return the cause's own message, or the sentence for its code."""
    return cause.message or CAUSES[cause.code].sentence.rstrip(".")


def hint(cause: Cause) -> str:
    """Return the cause's own hint, or what its code suggests; empty if there is nothing to do."""
    if cause.hint or cause.code is CauseCode.COMPLETED:
        return cause.hint
    step = CAUSES[cause.code].next.rstrip(".").replace("`", "")
    return "" if step == "Nothing" else step
