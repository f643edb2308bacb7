"""The life of one job, as a table.

======================  =========================  ==================================================
phase                   event                      becomes
======================  =========================  ==================================================
waiting                 SubmissionIntended         submitting
submitting              SubmissionAccepted         running
submitting              SubmissionRefused          waiting (again, later) or done
submitting              SubmissionLost             waiting (not connected, or receipts make it safe),
                                                   finding (managed) or done: unknown
finding                 CommandFound               running
finding                 CommandMissing             waiting: same attempt, same name (unwrapped: after a second look)
finding                 ResultUnreadable           done: unknown (the VM is gone, or may not be read)
running                 ResultReceived             done: as judged
running                 ResultFailed               done: as judged
running                 ResultUnreadable           done: unknown
running                 CommandRemoved             done: cancelled
waiting finding running JobExpired                 done: unreachable, or unknown once something was sent
any                     what is not listed         stays (a late answer to a question no longer open)
======================  =========================  ==================================================

Sent but never answered is *unknown*, not failed: it is never sent again blindly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fleet.plan.model import Job
from fleet.playbook.model import Transport
from fleet.run import events as e
from fleet.run.answers import LostReason, Operation
from fleet.run.judge import judge_answer, judge_failure
from fleet.run.model import Cause, CauseCode, Outcome, Phase, Status
from fleet.run.retry import GiveUp, backoff, judge_refusal, not_connected

SECOND_FIND_AFTER = 60.0
"""Seconds between the two looks for a missing managed command whose script goes unwrapped."""

RESEND_AFTER = 2.0
"""An action whose answer was lost is sent again after this: the guest runs it once and returns the kept answer."""


@dataclass(slots=True)
class JobState:
    """One job's standing. Written only by :func:`advance`. Moments are epoch seconds."""

    job: Job
    transport: Transport
    nonce: str | None
    """None when the script goes unwrapped; then only the managed instance view can prove an exit code."""
    digest: str = ""
    """What a receipt must name as the script's digest."""
    phase: Phase = Phase.WAITING
    attempt: int = 0
    """Submissions so far. All of them carry the same name and key, so that one that arrived twice runs once."""
    due: float = 0.0
    """The moment of the next thing to do: launch while waiting, find, look."""
    calling: bool = False
    """A request about this job is on the wire."""
    possibly_sent: bool = False
    """A submission may have reached the VM."""
    first_intended: float | None = None
    intended: float | None = None
    operation: Operation | None = None
    looks: int = 0
    missing: int = 0
    removal_due: float | None = None
    """The moment to delete the managed command: after its result was read, or to cancel it."""
    removing: bool = False
    removed: bool = False
    """The managed command was deleted, or is being deleted."""
    removal_tries: int = 0
    trouble: Cause | None = None
    """Why the last submission or look did not work out; stands if time runs out."""
    deadline: float | None = None
    """The moment at which the job is given up."""
    outcome: Outcome | None = None
    ended: float | None = None

    @property
    def salt(self) -> str:
        return f"{self.job.id}"

    @property
    def in_flight(self) -> bool:
        """Whether the job holds a slot: something was sent, or is about to be."""
        return self.phase in (Phase.SUBMITTING, Phase.FINDING, Phase.RUNNING) or self.held_back

    @property
    def held_back(self) -> bool:
        """Whether the job waits to be sent again although it may have arrived already."""
        return self.phase is Phase.WAITING and self.possibly_sent

    @property
    def tried(self) -> bool:
        """Whether the job waits to be sent again after a refusal: it may yet turn out to be out of reach."""
        return self.phase is Phase.WAITING and self.attempt > 0 and not self.possibly_sent


def advance(state: JobState, event: Any) -> None:
    """Move the job by one event; what the table does not list leaves it as it is."""
    move = _MOVES.get((state.phase, type(event)))
    if move is not None:
        move(state, event)


def end(state: JobState, at: float, outcome: Outcome) -> None:
    """The job is done."""
    state.phase, state.outcome, state.ended, state.calling = Phase.DONE, outcome, at, False
    state.deadline = None


def _intended(state: JobState, event: e.SubmissionIntended) -> None:
    state.phase, state.calling = Phase.SUBMITTING, True
    state.attempt = event.attempt
    state.intended = event.at
    if state.first_intended is None:
        state.first_intended = event.at


def _accepted(state: JobState, event: e.SubmissionAccepted) -> None:
    _run(state, event.operation)


def _run(state: JobState, operation: Operation) -> None:
    state.phase, state.calling, state.possibly_sent = Phase.RUNNING, False, True
    state.operation, state.looks = operation, 0


def _refused(state: JobState, event: e.SubmissionRefused) -> None:
    state.calling = False
    verdict = judge_refusal(event.refusal, now=event.at, tries=state.attempt, salt=state.salt)
    if isinstance(verdict, GiveUp):
        end(state, event.at, _never_answered(state, verdict.cause))
        return
    state.phase, state.due, state.trouble = Phase.WAITING, verdict.at, verdict.cause


def _lost(state: JobState, event: e.SubmissionLost) -> None:
    state.calling = False
    if event.reason is LostReason.NOT_CONNECTED:
        again = not_connected(event.detail, now=event.at, tries=state.attempt, salt=state.salt)
        state.phase, state.due, state.trouble = Phase.WAITING, again.at, again.cause
        return
    state.possibly_sent = True
    state.trouble = Cause(CauseCode.ANSWER_LOST, _lost_text(event), "look at the VM before running again")
    if state.transport is Transport.MANAGED:
        state.phase, state.due, state.missing = Phase.FINDING, event.at, 0
    elif state.nonce is not None:
        state.phase = Phase.WAITING
        state.due = event.at + max(RESEND_AFTER, backoff(state.attempt, state.salt))
    else:
        end(state, event.at, Outcome(Status.UNKNOWN, state.trouble))


def _lost_text(event: e.SubmissionLost) -> str:
    what = f" ({event.detail})" if event.detail else ""
    return f"the answer to the submission was lost: {event.reason.value.replace('_', ' ')}{what}"


def _found(state: JobState, event: e.CommandFound) -> None:
    _run(state, event.operation)
    state.due = event.at


def _missing(state: JobState, event: e.CommandMissing) -> None:
    """Missing proves nothing while the first PUT may still be on its way.

    Wrapped scripts are sent again, under the same name: should both arrive, the guest runs one. Others are looked
    for twice, a minute apart. The pause before sending grows, so that a region that loses every submission does not use
    up what its subscription may send elsewhere.
    """
    state.calling = False
    state.missing += 1
    if state.nonce is None and state.missing < 2:
        state.due = event.at + SECOND_FIND_AFTER
    else:
        state.phase, state.due = Phase.WAITING, event.at + backoff(state.attempt, state.salt)


def _result(state: JobState, event: e.ResultReceived) -> None:
    ok_exit = state.job.step.ok_exit
    end(state, event.at, judge_answer(event.answer, nonce=state.nonce, digest=state.digest, ok_exit=ok_exit))


def _failed(state: JobState, event: e.ResultFailed) -> None:
    end(state, event.at, judge_failure(event.code, event.message, event.cancelled))


def _unreadable(state: JobState, event: e.ResultUnreadable) -> None:
    text = f"{event.refusal.code or event.refusal.status}: {event.refusal.message}"
    hint = "the script was started; the credential must also be allowed to read operations of the subscription"
    if state.phase is Phase.FINDING:
        hint = "whether the script was started is not known; look whether the VM is still there, and may be read"
    end(state, event.at, Outcome(Status.UNKNOWN, Cause(CauseCode.OPERATION_GONE, text, hint)))


def _cancelled(state: JobState, event: e.CommandRemoved) -> None:
    cause = Cause(CauseCode.CANCELLED, "stopped on request; the command was deleted, which ends its script")
    end(state, event.at, Outcome(Status.CANCELLED, cause))


def _expired(state: JobState, event: e.JobExpired) -> None:
    if state.possibly_sent:
        message = "no answer in time" + (f"; last: {state.trouble.message}" if state.trouble else "")
        cause = Cause(CauseCode.NO_ANSWER, message, "look at the VM before running again")
        end(state, event.at, Outcome(Status.UNKNOWN, cause))
    else:
        cause = state.trouble or Cause(CauseCode.NOT_CONNECTED, "could not be delivered in time")
        end(state, event.at, Outcome(Status.UNREACHABLE, cause))


def _never_answered(state: JobState, cause: Cause) -> Outcome:
    """A refusal ends the job: unreachable, unless an earlier delivery of the attempt may have run."""
    return Outcome(Status.UNKNOWN if state.possibly_sent else Status.UNREACHABLE, cause)


def _look_begun(state: JobState, event: object) -> None:
    state.calling = True


def _seen_running(state: JobState, event: e.SeenRunning) -> None:
    state.calling = False
    state.looks += 1
    state.trouble = None


def _look_failed(state: JobState, event: e.LookFailed) -> None:
    """Reading again is safe; ``due`` is set by the scheduler, which knows the pace."""
    state.calling = False
    state.looks += 1
    state.trouble = Cause(CauseCode.NO_ANSWER, f"the operation could not be read (HTTP {event.status})")


_MOVES: dict[tuple[Phase, type], Callable[[JobState, Any], None]] = {
    (Phase.WAITING, e.SubmissionIntended): _intended,
    (Phase.WAITING, e.JobExpired): _expired,
    (Phase.SUBMITTING, e.SubmissionAccepted): _accepted,
    (Phase.SUBMITTING, e.SubmissionRefused): _refused,
    (Phase.SUBMITTING, e.SubmissionLost): _lost,
    (Phase.FINDING, e.FindBegun): _look_begun,
    (Phase.FINDING, e.CommandFound): _found,
    (Phase.FINDING, e.CommandMissing): _missing,
    (Phase.FINDING, e.LookFailed): _look_failed,
    (Phase.FINDING, e.ResultUnreadable): _unreadable,
    (Phase.FINDING, e.JobExpired): _expired,
    (Phase.RUNNING, e.LookBegun): _look_begun,
    (Phase.RUNNING, e.SeenRunning): _seen_running,
    (Phase.RUNNING, e.LookFailed): _look_failed,
    (Phase.RUNNING, e.ResultReceived): _result,
    (Phase.RUNNING, e.ResultFailed): _failed,
    (Phase.RUNNING, e.ResultUnreadable): _unreadable,
    (Phase.RUNNING, e.CommandRemoved): _cancelled,
    (Phase.RUNNING, e.JobExpired): _expired,
}
