"""The reference model: the table of promises, executable, one job at a time.

It is written from the table in ``docs/verification.md`` and knows nothing of ``fleet.run``'s tables. Told what is on disk of
a job, it says whether the job may be sent now, whether it may have run, and with which statuses it may have ended.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from fleet.run import events as e
from fleet.run.answers import Answer, LostReason, Refusal
from fleet.run.model import CauseCode, Status


class Stage(StrEnum):
    """Where the table says a job is."""

    PLANNED = "planned"
    INTENT = "intent"
    UNKNOWN_START = "unknown_start"
    ACCEPTED = "accepted"
    OVER = "over"


NEVER_SENT = frozenset({Status.NOT_STARTED, Status.SKIPPED})
ANSWERED = frozenset(
    {Status.SUCCEEDED, Status.FAILED, Status.TIMED_OUT, Status.CANCELLED, Status.UNVERIFIED, Status.UNKNOWN}
)
UNREPORTED = (
    "InternalExecutionError",
    "ProvisioningFailed",
    "has not reported latest status",
    "has not reported status",
)
"""Codes and words of an operation whose failure says nothing of the script."""
BUSY = frozenset({"Conflict", "RetryableError", "AnotherOperationInProgress", "ConflictingConcurrentWriteNotAllowed"})
"""Codes of a 409 by which Azure says that something else is at work on the VM, whatever the message (seen)."""
NOTHING_MORE = frozenset({CauseCode.AZURE_UNUSABLE, CauseCode.CANCELLED_BY_USER})
"""Stops after which nothing is cleaned up either."""
BETWEEN_LOOKS = 59.999
"""Seconds: a minute, and what a float of epoch seconds may lack of it."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What the table says of one job after the events so far. ``ends`` holds the statuses it may have now, if any."""

    managed: bool
    receipts: bool
    stage: Stage = Stage.PLANNED
    may_have_run: bool = False
    misses: tuple[float, ...] = ()
    """When the managed command of a lost submission was not there."""
    ends: frozenset[Status] = NEVER_SENT
    must_end: bool = False
    earlier: frozenset[Status] = frozenset()
    """How the try before may have ended."""
    cleans_up: bool = False
    """It brings its target to a good end, also after launching has stopped."""
    retry: int = 0
    """Which try it is, 0 for the first."""
    retries: int = 0
    """How often it may be tried again after it has certainly ended badly."""
    stopped: bool = False
    """Nothing is to be launched any more."""
    hard_stop: bool = False
    """A person asked that what runs be cancelled, and the owner who was asked is still there."""
    cancelled: bool = False
    """A person had its managed command deleted while it was accepted and open."""
    nonce: str = ""
    """What a receipt of the present try must carry."""
    asked_anew: bool = False
    """Its operation was gone once, and the guest was to be asked for the answer."""

    @property
    def guest_tells(self) -> bool:
        """Whether the guest keeps the answer that Azure does not have, and may be asked for it, once."""
        return not self.managed and self.receipts and not self.asked_anew

    @property
    def may_send(self) -> bool:
        """Whether a submission may leave now."""
        if self.may_try_again:
            return True
        if (self.stopped and not self.cleans_up) or self.must_end:
            return False
        if self.stage is Stage.PLANNED:
            return True
        if self.stage is not Stage.UNKNOWN_START:
            return False
        if not self.managed:
            return self.receipts
        if self.receipts:
            return bool(self.misses)
        return len(self.misses) >= 2 and self.misses[-1] - self.misses[-2] >= BETWEEN_LOOKS

    @property
    def stands(self) -> frozenset[Status]:
        """The ends it may have: a try that could not be delivered leaves that of the one before."""
        return self.ends | (self.earlier if Status.UNREACHABLE in self.ends else frozenset())

    @property
    def may_try_again(self) -> bool:
        """Whether it is over, may have ended failed, and tries are left."""
        ended = self.stage is Stage.OVER and bool(self.stands & {Status.FAILED, Status.TIMED_OUT})
        return ended and self.retries > 0 and (not self.stopped or self.cleans_up)


def told(promise: Promise, event: e.Event) -> Promise:
    """Say what the table says after one more event that is on disk. Late answers to closed questions change nothing."""
    after = _told(_asked_to_cancel(promise, event), event)
    if after.hard_stop and after.managed and after.stage is Stage.ACCEPTED:
        after = replace(after, cancelled=True)
    if after.cancelled and after.must_end and not promise.must_end:
        after = replace(after, ends=after.ends | {Status.CANCELLED})
    return after


def _asked_to_cancel(promise: Promise, event: e.Event) -> Promise:
    match event:
        case e.StopRequested(kind=kind):
            return replace(promise, hard_stop=promise.hard_stop or kind is e.StopKind.HARD)
        case e.RunOpened():
            return replace(promise, hard_stop=False)
    return promise


def _told(promise: Promise, event: e.Event) -> Promise:
    if isinstance(event, e.LaunchStopped) or closes(event):
        cause = event.cause if isinstance(event, e.LaunchStopped) else None
        return _after_stop(replace(promise, stopped=True, cleans_up=promise.cleans_up and cause not in NOTHING_MORE))
    if isinstance(event, e.JobExpired) and promise.stage is not Stage.OVER:
        return _over(promise, Status.UNKNOWN if promise.may_have_run else Status.UNREACHABLE)
    if isinstance(event, e.SubmissionIntended) and promise.may_try_again:
        # Should the new try not be delivered, what the one before found stands.
        return replace(promise, stage=Stage.INTENT, retries=promise.retries - 1,
            retry=event.retry, may_have_run=False, misses=(), nonce=event.nonce, cancelled=False,
                       earlier=promise.stands, ends=frozenset(), must_end=False, asked_anew=False)  # fmt: skip
    if isinstance(event, e.SubmissionIntended) and promise.stage is not Stage.OVER:
        return replace(promise, stage=Stage.INTENT, ends=frozenset(), nonce=promise.nonce or event.nonce)
    match promise.stage:
        case Stage.INTENT:
            return _told_of_submission(promise, event)
        case Stage.UNKNOWN_START:
            return _told_of_search(promise, event)
        case Stage.ACCEPTED:
            return _told_of_operation(promise, event)
        case _:
            return promise


def closes(event: e.Event) -> bool:
    """Whether a gate is closed for good by it, so that nothing more is launched."""
    return isinstance(event, e.WaveRejected) or (isinstance(event, (e.GateAnswered, e.GateJudged)) and not event.go)


def _told_of_submission(promise: Promise, event: e.Event) -> Promise:
    match event:
        case e.RunOpened():  # the process died between sending and hearing
            return _lost(promise)
        case e.SubmissionAccepted():
            return replace(promise, stage=Stage.ACCEPTED, may_have_run=True, ends=frozenset())
        case e.SubmissionRefused(refusal=refusal):
            return _refused(promise, refusal)
        case e.SubmissionLost(reason=LostReason.NOT_CONNECTED):
            return _not_sent(promise)
        case e.SubmissionLost():
            return _lost(promise)
    return promise


def _told_of_search(promise: Promise, event: e.Event) -> Promise:
    match event:
        case e.CommandFound():
            return replace(promise, stage=Stage.ACCEPTED, ends=frozenset())
        case e.CommandMissing(at=at):
            return _after_stop(replace(promise, misses=(*promise.misses, at)))
        case e.ResultUnreadable():
            return _over(promise, Status.UNKNOWN)
    return promise


def _told_of_operation(promise: Promise, event: e.Event) -> Promise:
    match event:
        case e.ResultReceived(answer=answer):
            return _over(promise, *_ends_of(promise, answer))
        case e.ResultFailed():
            return _told_of_failure(promise, event)
        case e.ResultUnreadable(refusal=refusal):
            if promise.guest_tells and refusal.status in (404, 410):
                return replace(_lost(promise), asked_anew=True)
            return _over(promise, Status.UNKNOWN)
        case e.AgentSeen(ready=False) if promise.managed:
            return _over(promise, Status.UNKNOWN)
        case e.CommandRemoved(retry=retry) if retry == promise.retry:  # else the command of an earlier try
            return _over(promise, Status.CANCELLED)
    return promise


def _ends_of(promise: Promise, answer: Answer) -> frozenset[Status]:
    """With receipts on, one receipt with our nonce says how the script ended, and nothing else proves it."""
    if not promise.receipts:
        return ANSWERED
    text = "\n".join((answer.combined or "", answer.stdout, answer.stderr))
    ours = {words for nonce, words in _RECEIPTS.findall(text) if nonce == promise.nonce}
    if len(ours) > 1:
        return frozenset({Status.UNVERIFIED})
    return ANSWERED if ours else ANSWERED - {Status.SUCCEEDED}


_RECEIPTS = re.compile(r"^fleet-receipt v1 nonce=(\w+) (.*) end\r?$", re.MULTILINE)


def _told_of_failure(promise: Promise, event: e.ResultFailed) -> Promise:
    """The operation ended without a result: what it says of the script, and what it leaves open."""
    if event.code == "VMAgentStatusCommunicationError":
        return _over(promise, Status.UNKNOWN)
    if event.code == "OperationPreempted" or any(words in f"{event.code}: {event.message}" for words in UNREPORTED):
        return replace(_lost(promise), asked_anew=True) if promise.guest_tells else _over(promise, Status.UNKNOWN)
    if event.cancelled:
        return _over(promise, Status.CANCELLED)
    if event.code == "VMExtensionProvisioningTimeout":
        return _over(promise, Status.TIMED_OUT)
    if told := re.search(r"exit status=(-?\d{1,10})(?!\d)", event.message):  # the form of 2018
        code = Status.UNVERIFIED if promise.receipts else Status.FAILED
        return _over(promise, Status.TIMED_OUT if told[1] == "-1" else code)
    return _over(promise, Status.FAILED)


def _over(promise: Promise, *ends: Status) -> Promise:
    return replace(promise, stage=Stage.OVER, ends=frozenset(ends), must_end=True)


def _lost(promise: Promise) -> Promise:
    """The answer to a submission was lost: it may have run. Without anything to find it by, it stays unknown."""
    if not promise.managed and not promise.receipts:
        return replace(_over(promise, Status.UNKNOWN), may_have_run=True)
    return _after_stop(replace(promise, stage=Stage.UNKNOWN_START, may_have_run=True, ends=frozenset(), misses=()))


def _not_sent(promise: Promise) -> Promise:
    """This submission did not run. An earlier one may have."""
    stage = Stage.UNKNOWN_START if promise.may_have_run else Stage.PLANNED
    return _after_stop(replace(promise, stage=stage, ends=frozenset()))


def _refused(promise: Promise, refusal: Refusal) -> Promise:
    """400, 403, 404, a stopped VM: not run, and over. 429, 408, busy: not run, and again. 401: either, some time."""
    back = _not_sent(promise)
    end = Status.UNKNOWN if promise.may_have_run else Status.UNREACHABLE
    being_deleted = "VM extension" in refusal.message and "marked for deletion" in refusal.message
    busy = "rogress" in refusal.message or refusal.code in BUSY or being_deleted
    if refusal.status in (408, 429) or (refusal.status == 409 and busy):
        return back
    if refusal.status == 401:
        return replace(back, ends=back.ends | {end})
    return _over(promise, end)


def _after_stop(promise: Promise) -> Promise:
    """Once launching has stopped, what was never sent is over, and what may have run is not sent again."""
    if not promise.stopped or promise.cleans_up:
        return promise
    if promise.stage is Stage.PLANNED:
        return replace(promise, ends=promise.ends | NEVER_SENT)
    if promise.stage is Stage.UNKNOWN_START:
        return replace(promise, ends=promise.ends | {Status.UNKNOWN})
    return promise
