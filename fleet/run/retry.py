"""What a refusal or a lost answer means: again at a moment, or give up with a cause. Never waits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from fleet.playbook.model import Lease
from fleet.run.answers import AWAY, EXTENSIONS_OFF, LEASED, NO_AGENT, Refusal
from fleet.run.model import Cause, CauseCode

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 60.0
UNAUTHENTICATED_TRIES = 3


@dataclass(frozen=True, slots=True)
class Again:
    """The same submission may be sent again, not before ``at``; ``cause`` stands if time runs out first."""

    at: float
    cause: Cause


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Sending again cannot help."""

    cause: Cause


Verdict = Again | GiveUp


def backoff(tries: int, salt: str, longest: float = LONGEST_BACKOFF) -> float:
    """Seconds before try ``tries + 1``: doubling, bounded, spread by up to a quarter through the salt's hash.

    The spread is a function of the salt, not of chance, so that a replay decides alike.
    """
    spread = int.from_bytes(hashlib.sha256(f"{salt}/{tries}".encode()).digest()[:2], "big") / 65536
    plain = min(FIRST_BACKOFF * 2.0 ** min(max(tries - 1, 0), 16), longest)
    return float(plain * (0.875 + spread / 4))


def judge_refusal(refusal: Refusal, *, now: float, tries: int, salt: str) -> Verdict:
    """Say whether a refused submission may be sent again, and when."""
    wait = refusal.retry_after  # none and zero alike name no moment: then the pause is ours
    text = f"{refusal.code}: {refusal.message}" if refusal.message else refusal.code or f"HTTP {refusal.status}"
    if refusal.code == LEASED and refusal.status == 0:
        hint = f"wait for the other run's end or end it; --lease {Lease.NONE} goes ahead all the same"
        leased = Cause(CauseCode.LEASED_BY_OTHER_RUN, refusal.message, hint)
        return Again(now + max(wait, backoff(tries, salt)), leased) if wait else GiveUp(leased)
    if refusal.code == AWAY and refusal.status == 0:
        hint = "start it, see that its Connected Machine agent reaches Azure, then rerun the unreachable ones"
        return GiveUp(Cause(CauseCode.DISCONNECTED, refusal.message, hint))
    if (refusal.code == NO_AGENT and refusal.status == 0) or _is_without_extensions(refusal):
        return GiveUp(_no_agent(refusal, text))
    if refusal.status == 429:
        at = now + (wait or backoff(tries, salt))
        return Again(
            at, Cause(CauseCode.THROTTLED, text, "lower the concurrency, or run when the subscription is less busy")
        )
    if refusal.status == 401:
        return _unauthenticated(text, now, tries, salt)
    if refusal.status == 403:
        return GiveUp(
            Cause(
                CauseCode.FORBIDDEN,
                text,
                "the credential lacks a right on this VM; fleet rbac PLAYBOOK prints the role",
            )
        )
    if refusal.status in (404, 410):
        return GiveUp(Cause(CauseCode.VM_NOT_FOUND, text, "the VM was deleted or moved since it was listed"))
    if refusal.status == 408 or (refusal.status == 409 and _is_busy(refusal)):
        at = now + (wait or backoff(tries + 2, salt, longest=30.0))
        return Again(at, Cause(CauseCode.BUSY, text, "another command holds this VM; find it or wait for its end"))
    if refusal.status == 409 and _is_not_running(refusal):
        return GiveUp(Cause(CauseCode.VM_NOT_RUNNING, text, "start the VM, then run again on the unreachable ones"))
    if is_full(refusal):
        full = Cause(CauseCode.NO_SLOT, text, "make room: fleet commands list all, then fleet commands delete")
        return Again(now + max(wait, backoff(tries, salt)), full) if wait else GiveUp(full)
    return GiveUp(Cause(CauseCode.REFUSED, text))


def is_full(refusal: Refusal) -> bool:
    """Whether the VM holds as many managed commands as it can (text reported; neither code nor status is known)."""
    return 400 <= refusal.status < 500 and "maximum number of managed run commands" in refusal.message.casefold()


def is_unreadable(refusal: Refusal) -> bool:
    """Whether a refused read will stay refused: the operation is gone, or we may not read it.

    The operation's scope is the subscription's location, so a credential with rights on the VM alone can start a
    command and not follow it (documented, "Permission for tracking asynchronous operations").
    """
    return is_unreadable_status(refusal.status)


def is_unreadable_status(status: int) -> bool:
    """Whether a read that was refused with this HTTP status will stay refused."""
    return status in (403, 404, 410)


def not_connected(detail: str, *, now: float, tries: int, salt: str) -> Again:
    """A submission of which no byte left: again, after a pause."""
    cause = Cause(CauseCode.NOT_CONNECTED, detail or "no connection", "check the network, the proxy and azure.cloud")
    return Again(now + backoff(tries, salt), cause)


def _unauthenticated(text: str, now: float, tries: int, salt: str) -> Verdict:
    cause = Cause(CauseCode.UNAUTHENTICATED, text, "sign in again, then rerun what was not reached and not started")
    return GiveUp(cause) if tries >= UNAUTHENTICATED_TRIES else Again(now + backoff(tries, salt), cause)


def _is_without_extensions(refusal: Refusal) -> bool:
    """409 of a VM on which extension operations are switched off, or that has no agent (seen, ``OperationNotAllowed``)."""
    return refusal.status == 409 and EXTENSIONS_OFF in refusal.message.casefold()


def _no_agent(refusal: Refusal, text: str) -> Cause:
    """Say that a VM cannot take commands because of its agent. What we refused ourselves needs no code in its text."""
    if EXTENSIONS_OFF in refusal.message.casefold():
        hint = (
            "install the VM agent and set osProfile.allowExtensionOperations to true, then rerun the unreachable ones"
        )
    else:
        hint = "check the VM's agent and its outbound access to Azure, then rerun the unreachable ones"
    return Cause(CauseCode.AGENT_NOT_READY, refusal.message if refusal.status == 0 else text, hint)


def _is_busy(refusal: Refusal) -> bool:
    """409 that passes by itself (texts reported by users and in the documented table of Compute's errors)."""
    if refusal.code in ("Conflict", "RetryableError", "AnotherOperationInProgress"):
        return True
    text = refusal.message.casefold()
    return "another operation is in progress" in text or "ongoing operation is changing power state" in text


def _is_not_running(refusal: Refusal) -> bool:
    """409 of a VM that is off (documented: ``OperationNotAllowed``)."""
    text = refusal.message.casefold()
    return any(part in text for part in ("vm to be running", "vm is not running", "deallocated"))
