"""The life of one job, as a table.

======================  =========================  ==================================================
phase                   event                      becomes
======================  =========================  ==================================================
waiting                 SubmissionIntended         submitting
waiting (standing)      FindBegun                  waiting, until it is known what stands on the VM
waiting (standing)      CommandFound               waiting to be sent, or done: unreachable (on_existing: fail)
waiting (standing)      CommandMissing             waiting to be sent
waiting (standing)      SubmissionRefused          done: unreachable (the VM may not be read, or is gone)
submitting              SubmissionAccepted         running
submitting              SubmissionRefused          waiting (again, later) or done
submitting              SubmissionLost             waiting (not connected, or receipts make it safe),
                                                   finding (managed) or done: unknown
finding                 CommandFound               running; a standing one only if it shows our submission
finding                 CommandMissing             waiting: same attempt, same name (unwrapped: after a second look)
finding                 ResultUnreadable           done: unknown (the VM is gone, or may not be read)
running                 ResultReceived             done: as judged
running                 ResultFailed               done: as judged
running                 ResultUnreadable           waiting (once: the guest keeps what Azure lost) or done: unknown
running                 CommandRemoved             done: cancelled
running                 JobUnstuck                 done: cancelled, once its command was deleted and no look is open
any but done            AnswerUnusable             done: unknown (Fleet failed on the answer)
waiting finding running JobExpired                 done: unreachable, or unknown once something was sent
done                    (by :func:`again`)         waiting: a new try, with a name, a nonce and a key of its own
any                     what is not listed         stays (a late answer to a question no longer open)
======================  =========================  ==================================================

Sent but never answered is *unknown*, not failed: it is never sent again blindly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fleet.playbook.model import OnExisting, Transport
from fleet.run import events as e
from fleet.run.answers import LEASED, Answer, LostReason, Mark, Operation, Refusal
from fleet.run.diagnosis import diagnose
from fleet.run.ender import DELETED, Ender, with_ender
from fleet.run.facts import judged
from fleet.run.job_state import JobState
from fleet.run.longstanding import StandingCommand
from fleet.run.model import Cause, CauseCode, Outcome, Phase, Status
from fleet.run.outcome import judge_answer, judge_failure, unchanged
from fleet.run.retry import GiveUp, backoff, judge_refusal, not_connected
from fleet.run.start import Start

FRESH = 30.0
"""Seconds after a submission in which a look that finds nothing is made a second time before it is believed."""

SECOND_LOOK_AFTER = 5.0
"""Seconds after which it is made."""

LONGEST_DETAIL = 500
"""Characters of why a look failed that are kept."""

_FOUND_GONE = "check whether the VM still exists"
_MAY_NOT_READ = "the credential must also be allowed to read operations of the subscription"

SECOND_FIND_AFTER = 60.0
"""Seconds between the two looks for a missing managed command whose script goes unwrapped."""

RESEND_AFTER = 2.0
"""An action whose answer was lost is sent again after this: the guest runs it once and returns the kept answer."""


def advance(state: JobState, event: Any) -> None:
    """Move the job by one event; what the table does not list leaves it as it is."""
    if isinstance(event, e.AnswerUnusable) and state.phase is not Phase.DONE:
        broken(state, event.at, event.detail)
    move = _MOVES.get((state.phase, type(event)))
    if move is not None:
        move(state, event)


def again(state: JobState, at: float) -> None:
    """Begin a new try of an ended job: it is released ``retry_delay`` after ``at``, and nothing of it was sent yet."""
    assert state.phase is Phase.DONE
    state.earlier, state.outcome, state.ended = state.outcome, None, None
    state.phase, state.due, state.nonce = Phase.WAITING, at + state.job.step.flow.retry_delay, ""
    state.retry += 1
    state.first_attempt = state.attempt
    state.possibly_sent, state.first_intended, state.operation, state.trouble = False, None, None, None
    state.looks = state.missing = 0
    state.removed = state.asked_anew = False
    state.ender = state.leased = None


def end(state: JobState, at: float, outcome: Outcome) -> None:
    """The job is done. A try that could not be delivered takes nothing away from what the one before found."""
    undelivered = outcome.status in (Status.UNREACHABLE, Status.NOT_STARTED)
    if state.earlier is not None and undelivered and state.job.step.restart is None:
        outcome = state.earlier
    state.phase, state.outcome, state.ended, state.calling = Phase.DONE, outcome, at, False
    state.deadline = None


def _intended(state: JobState, event: e.SubmissionIntended) -> None:
    state.phase, state.calling = Phase.SUBMITTING, True
    state.may_have_run_twice |= state.possibly_sent and not state.wrapped
    state.nonce = state.nonce or event.nonce
    state.attempt = event.attempt
    state.intended = event.at
    if state.first_intended is None:
        state.first_intended = event.at


def _accepted(state: JobState, event: e.SubmissionAccepted) -> None:
    _run(state, event.operation)


def _run(state: JobState, operation: Operation) -> None:
    state.phase, state.calling, state.possibly_sent = Phase.RUNNING, False, True
    state.operation, state.looks, state.start = operation, 0, Start()
    state.vanished, state.trouble = False, None


def _refused(state: JobState, event: e.SubmissionRefused) -> None:
    state.calling = False
    state.turned_away += event.refusal.status == 0  # a refusal of our own: nothing left
    state.leased = event.refusal if event.refusal.status == 0 and event.refusal.code == LEASED else None
    if state.standing is not None and state.standing.is_gone(event.refusal):
        state.standing.surveyed = False  # somebody deleted it since: look again, and make it anew
        state.phase, state.due = Phase.WAITING, event.at + backoff(state.tries, state.salt)
        return
    script = state.job.step.script
    verdict = judge_refusal(event.refusal, now=event.at, tries=state.tries, salt=state.salt, script=script)
    if isinstance(verdict, GiveUp):
        end(state, event.at, _never_answered(state, verdict.cause))
        return
    state.phase, state.due, state.trouble = Phase.WAITING, verdict.at, verdict.cause


def _lost(state: JobState, event: e.SubmissionLost) -> None:
    state.calling, state.leased = False, None
    if event.reason is LostReason.NOT_CONNECTED:
        again = not_connected(event.detail, now=event.at, tries=state.tries, salt=state.salt)
        state.phase, state.due, state.trouble = Phase.WAITING, again.at, again.cause
        return
    state.possibly_sent = True
    state.trouble = Cause(CauseCode.ANSWER_LOST, _lost_text(event), "look at the VM before running again")
    if state.transport is Transport.MANAGED:
        state.phase, state.due, state.missing = Phase.FINDING, event.at, 0
    elif state.wrapped:
        state.phase = Phase.WAITING
        state.due = event.at + max(RESEND_AFTER, backoff(state.tries, state.salt))
    else:
        end(state, event.at, Outcome(Status.UNKNOWN, state.trouble))


def _lost_text(event: e.SubmissionLost) -> str:
    what = f" ({event.detail})" if event.detail else ""
    return f"the answer to the submission was lost: {event.reason.value.replace('_', ' ')}{what}"


def _survey_begun(state: JobState, event: e.FindBegun) -> None:
    state.calling = True
    _first_contact(state, event.at)


def _first_contact(state: JobState, at: float) -> None:
    """The time to deliver begins with the first request, which may be a look."""
    if state.first_intended is None:
        state.first_intended = at


def _surveyed(state: JobState, event: e.CommandFound | e.CommandMissing) -> None:
    """Learn how the standing command was before anything is sent. One that runs is waited for: a change would kill it."""
    state.calling = False
    if state.standing is None:
        return
    _first_contact(state, event.at)
    mark = event.mark if isinstance(event, e.CommandFound) else None
    if mark is not None and state.standing.on_existing is OnExisting.FAIL:
        cause = Cause(CauseCode.EXISTS, f"the managed command {state.job.step.properties.command!r} is there already")
        end(state, event.at, Outcome(Status.UNREACHABLE, cause))
    elif mark is not None and mark.running:
        state.looks += 1
        message = f"the standing command {state.job.step.properties.command!r} is still running"
        state.trouble = Cause(CauseCode.BUSY, message, "wait for its end, or delete it, which ends its script")
        state.due = event.at + backoff(state.looks + 2, state.salt)
    else:
        state.standing.surveyed, state.standing.present = True, mark is not None
        state.standing.earlier = mark.started if mark is not None else ""
        state.looks, state.due = 0, event.at


def _found(state: JobState, event: e.CommandFound) -> None:
    if state.standing is not None and not _shows_ours(state, state.standing, event.mark):
        _missing(state, event)
        return
    _run(state, event.operation)
    state.due = event.at


def _shows_ours(state: JobState, standing: StandingCommand, mark: Mark) -> bool:
    """Whether a standing command shows that our lost submission arrived.

    A wrapped script is different in every job and run, so its source proves it. Others may have stood there before:
    they must have been started since, or be on their way. If not, sending the same once more is safe: Azure does not
    run content again that has not changed (reported).
    """
    if mark.source != standing.source:
        return False
    return state.wrapped or mark.running or mark.started != standing.earlier


def is_earlier_result(state: JobState, answer: Answer) -> bool:
    """Whether a look at a standing command shows what stood there before our submission, and should be repeated.

    A wrapped script always runs anew, so an earlier start is always an old answer. Another script may not have run
    again because nothing had changed: its second answer counts.
    """
    if state.standing is None or not answer.started or answer.started != state.standing.earlier:
        return False
    return state.wrapped or state.looks == 0


def is_too_early(state: JobState, status: int, at: float) -> bool:
    """Whether a look that found nothing is made a second time: Azure may not show yet what it accepted a moment before."""
    fresh = state.intended is not None and at - state.intended <= FRESH
    return status == 404 and fresh and not state.vanished and state.phase is Phase.RUNNING and state.ender is None


def _missing(state: JobState, event: e.CommandMissing | e.CommandFound) -> None:
    """Missing proves nothing while the first PUT may still be on its way.

    Wrapped scripts are sent again, under the same name: should both arrive, the guest runs one. Others are looked
    for twice, a minute apart. The pause before sending grows, so that a region that loses every submission does not use
    up what its subscription may send elsewhere.
    """
    state.calling, state.looked_at = False, event.at
    state.missing += 1
    if state.ender is not None and state.phase is Phase.FINDING and isinstance(event, e.CommandMissing):
        end(state, event.at, state.ender.outcome("its managed command is not on the VM"))
    elif not state.wrapped and state.missing < 2:
        state.due = event.at + SECOND_FIND_AFTER
    else:
        state.phase, state.due = Phase.WAITING, event.at + backoff(state.tries, state.salt)


def _result(state: JobState, event: e.ResultReceived) -> None:
    step = state.job.step
    nonce = state.nonce if state.wrapped else None
    outcome = judge_answer(event.answer, nonce=nonce, digest=state.digest, ok_exit=step.ok_exit)
    if state.standing is not None and event.answer.started and event.answer.started == state.standing.earlier:
        outcome = replace(outcome, cause=unchanged(outcome.cause, event.answer.started))
    verdict = judged(step, outcome, state.job.target, state.known)
    state.facts, state.changed = verdict.facts, verdict.changed
    end(state, event.at, with_ender(state.ender, verdict.outcome))


def _failed(state: JobState, event: e.ResultFailed) -> None:
    outcome = judge_failure(event.code, event.message, event.cancelled, wrapped=state.wrapped)
    outcome = with_ender(state.ender, outcome)
    unreported = outcome.status is Status.UNKNOWN and outcome.cause.code is CauseCode.NO_ANSWER
    if unreported and _may_ask_the_guest(state):
        _ask_the_guest(state, event.at, outcome.cause)
    else:
        end(state, event.at, outcome)


def _may_ask_the_guest(state: JobState) -> bool:
    """Whether an answer that Azure does not have is asked of the guest, which keeps it: what is sent again runs no second
    time there. Once a try: an operation that may not be read would be as closed the next time.
    """
    action = state.transport is Transport.ACTION and state.phase is Phase.RUNNING
    return action and state.wrapped and not state.asked_anew


def _ask_the_guest(state: JobState, at: float, why: Cause) -> None:
    state.asked_anew, state.calling, state.trouble = True, False, why
    state.phase, state.due = Phase.WAITING, at + RESEND_AFTER


def _unreadable(state: JobState, event: e.ResultUnreadable) -> None:
    text = f"{event.refusal.code or event.refusal.status}: {event.refusal.message}"
    if event.refusal.status in (404, 410) and _may_ask_the_guest(state):
        _ask_the_guest(state, event.at, Cause(CauseCode.OPERATION_GONE, text, "look at the VM before running again"))
        return
    if state.ender is not None and state.transport is Transport.MANAGED and event.refusal.status in (404, 410):
        end(state, event.at, state.ender.outcome(DELETED))
        return
    cause = Cause(CauseCode.OPERATION_GONE, text, _hint_of_unreadable(state, event.refusal))
    end(state, event.at, Outcome(Status.UNKNOWN, cause))


def _hint_of_unreadable(state: JobState, refusal: Refusal) -> str:
    """Return what to do about a read that stays refused: a right is missing (403), or nothing is there (404, 410)."""
    gone = refusal.status in (404, 410)
    if state.phase is Phase.FINDING:
        return f"whether the script was started is not known; {_FOUND_GONE if gone else diagnose(refusal).hint}"
    if not gone:
        return f"the script was started; {_MAY_NOT_READ if state.transport is Transport.ACTION else diagnose(refusal).hint}"
    if state.asked_anew:
        return "the guest was asked for the answer that it keeps, and that could not be read either"
    if state.transport is Transport.MANAGED:
        return "its managed command was deleted before its result was read, which ends a script that still runs"
    return "the script was started, and Azure no longer has its operation; check the VM before running it again"


def _cancelled(state: JobState, event: e.CommandRemoved) -> None:
    if event.retry != state.retry:
        return  # the command of an earlier try, which had ended
    end(state, event.at, (state.ender or Ender("stopped on request")).outcome(DELETED))


def broken(state: JobState, at: float, detail: str) -> None:
    """End a job on which Fleet itself failed: what was sent may have run."""
    status = Status.UNKNOWN if state.attempt else Status.UNREACHABLE
    hint = "this is a defect of Fleet: report it; look at the VM before running again"
    end(state, at, Outcome(status, Cause(CauseCode.INTERNAL_ERROR, detail, hint)))


def _expired(state: JobState, event: e.JobExpired) -> None:
    if state.possibly_sent:
        last = event.detail or (state.trouble.message if state.trouble else "")
        message = "no answer in time" + (f"; last: {last}" if last else "")
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
    state.calling, state.looked_at = False, event.at
    state.looks += 1
    state.trouble = None


def _look_failed(state: JobState, event: e.LookFailed) -> None:
    """Reading again is safe; ``due`` is set by the scheduler, which knows the pace."""
    state.calling, state.looked_at = False, event.at
    state.looks += 1
    state.vanished |= event.status == 404
    how = event.detail or (f"HTTP {event.status} {event.code}".strip() if event.status else "no usable answer")
    state.trouble = Cause(CauseCode.NO_ANSWER, f"the operation could not be read ({how[:LONGEST_DETAIL]})")


_MOVES: dict[tuple[Phase, type], Callable[[JobState, Any], None]] = {
    (Phase.WAITING, e.SubmissionIntended): _intended,
    (Phase.WAITING, e.JobExpired): _expired,
    (Phase.WAITING, e.FindBegun): _survey_begun,
    (Phase.WAITING, e.CommandFound): _surveyed,
    (Phase.WAITING, e.CommandMissing): _surveyed,
    (Phase.WAITING, e.SubmissionRefused): _refused,
    (Phase.WAITING, e.LookFailed): _look_failed,
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
