"""From effects and answers to events: what is journalled before a call, and what its answer means. Decides nothing."""

from __future__ import annotations

from typing import assert_never

from fleet.plan.model import JobId
from fleet.run import answers as a
from fleet.run import effects as f
from fleet.run import events as e
from fleet.run.retry import is_unreadable, said


def begun(effect: f.Effect, now: float) -> e.Event:
    """The event by which an effect begins, or is done."""
    match effect:
        case f.Submit(job, attempt, _, retry):
            return e.SubmissionIntended(now, job, attempt, retry)
        case f.Look(job) | f.AskAgent(job):
            return e.LookBegun(now, job)
        case f.Find(job):
            return e.FindBegun(now, job)
        case f.Remove(job):
            return e.RemovalBegun(now, job)
        case f.Expire(job):
            return e.JobExpired(now, job)
        case f.OpenWave() | f.AwaitApproval() | f.AskGate() | f.BeginHealth() | f.JudgeGate():
            return _between_waves(effect, now)
        case f.StopLaunching(cause, message):
            return e.LaunchStopped(now, cause, message)
        case f.Finish():
            return e.RunEnded(now)
        case f.Halt() | f.WaitUntil():
            raise AssertionError("not an event")
    assert_never(effect)


def _between_waves(
    effect: f.OpenWave | f.AwaitApproval | f.AskGate | f.BeginHealth | f.JudgeGate, now: float
) -> e.Event:
    match effect:
        case f.OpenWave(wave):
            return e.WaveOpened(now, wave)
        case f.AwaitApproval(wave):
            return e.ApprovalAwaited(now, wave)
        case f.AskGate(gate, ask):
            return e.GateAsked(now, gate, ask)
        case f.BeginHealth(wave):
            return e.HealthBegun(now, wave)
        case f.JudgeGate(gate, go, met, of, missed):
            return e.GateJudged(now, gate, go, met, of, missed)
    assert_never(effect)


def submission_event(answer: a.SubmitAnswer, now: float, job: JobId) -> e.Event:
    """The event that answers a submission."""
    match answer:
        case a.Accepted(operation, retry_after):  # its result, if it has one, is an event of its own
            return e.SubmissionAccepted(now, job, operation, retry_after)
        case a.Refused(refusal):
            return e.SubmissionRefused(now, job, refusal)
        case a.Lost(reason, detail):
            return e.SubmissionLost(now, job, reason, detail)
    assert_never(answer)


def look_event(answer: a.LookAnswer, now: float, job: JobId) -> e.Event:
    """The event that answers a look."""
    match answer:
        case a.StillRunning(retry_after, started):
            return e.SeenRunning(now, job, retry_after, started)
        case a.Finished(result):
            return e.ResultReceived(now, job, result)
        case a.OperationFailed(code, message, cancelled):
            return e.ResultFailed(now, job, code, message, cancelled)
        case a.Refused(refusal) if is_unreadable(refusal):
            return e.ResultUnreadable(now, job, refusal)
        case a.Refused() | a.Lost():
            return unread_event(answer, now, job)
    assert_never(answer)


def unread_event(answer: a.Refused | a.Lost, now: float, job: JobId) -> e.LookFailed:
    """The event of a read that failed, and why it did."""
    if isinstance(answer, a.Lost):
        detail = answer.detail or answer.reason.value.replace("_", " ")
        return e.LookFailed(now, job, 0, answer.retry_after, detail=detail)
    refusal = answer.refusal
    return e.LookFailed(
        now, job, refusal.status, refusal.retry_after, refusal.code, f"HTTP {refusal.status} {said(refusal)}"
    )


def find_event(answer: a.FindAnswer, now: float, job: JobId) -> e.Event:
    """The event that answers the search for a lost submission's command."""
    match answer:
        case a.Found(operation, mark):
            return e.CommandFound(now, job, operation, mark)
        case a.Missing():
            return e.CommandMissing(now, job)
        case a.Refused(refusal) if is_unreadable(refusal):
            return e.ResultUnreadable(now, job, refusal)
        case a.Refused() | a.Lost():
            return unread_event(answer, now, job)
    assert_never(answer)


def agent_event(answer: a.AgentAnswer, now: float, job: JobId) -> e.Event:
    """The event that answers a read of a VM's agent."""
    match answer:
        case a.AgentReport(ready, detail):
            return e.AgentSeen(now, job, ready, detail)
        case a.Refused() | a.Lost():
            return unread_event(answer, now, job)
    assert_never(answer)


def removal_event(answer: a.RemoveAnswer, now: float, job: JobId, retry: int) -> e.Event:
    """The event that answers a removal."""
    match answer:
        case a.Removed():
            return e.CommandRemoved(now, job, retry=retry)
        case a.Refused(refusal):
            return e.RemovalFailed(now, job, refusal.status, refusal.retry_after, refusal.code, refusal.message)
        case a.Lost(reason, detail):
            why = detail or reason.value.replace("_", " ")
            return e.RemovalFailed(now, job, 0, answer.retry_after, message=why)
    assert_never(answer)


def gate_event(answer: a.GateAnswer, now: float, gate: int) -> e.Event:
    """The event that answers an ask."""
    match answer:
        case a.Said(go, why):
            return e.GateAnswered(now, gate, go, why)
        case a.Silent(detail):
            return e.GateSilent(now, gate, detail)
    assert_never(answer)
