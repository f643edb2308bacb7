"""What a refusal or a lost answer means: again at a moment, or give up with a cause. Never waits."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from fleet.playbook.model import Lease, Script
from fleet.run import answers as a
from fleet.run.answers import Lost, LostReason, Refusal, Refused
from fleet.run.diagnosis import EXTENSIONS_HINT, diagnose
from fleet.run.model import Cause, CauseCode

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 60.0
UNAUTHENTICATED_TRIES = 3
UNCONNECTED_READS = 3


@dataclass(frozen=True, slots=True)
class Bounds:
    """How often something is tried apart from a run, and for how many seconds in all."""

    tries: int
    patience: float

    def allows(self, tries: int, seconds: float) -> bool:
        """Whether another try may follow after so many, so many seconds after the first."""
        return tries < self.tries and seconds < self.patience


READ = Bounds(5, 180.0)
"""A read before a run. A service that asks for a longer wait is reported instead."""
BLOB = Bounds(6, math.inf)
"""Reads of a blob in succession; a follower's own pauses lie between them."""
QUESTION = Bounds(8, 600.0)
"""A question to a VM; each answer may take as long."""
PROBE = Bounds(3, 120.0)
"""A question to a VM in which something hangs."""
BULK = Bounds(8, 1800.0)
"""A change of a managed command, those refused for the limits (429) not counted."""


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
    return float(_doubled(tries, longest) * (0.875 + spread / 4))


def _doubled(tries: int, longest: float = LONGEST_BACKOFF) -> float:
    return float(min(FIRST_BACKOFF * 2.0 ** min(max(tries - 1, 0), 16), longest))


def busy_pause(tries: int, salt: str) -> float:
    """Seconds before a VM that was busy is asked again: soon the first time, then from 4 s on, doubling up to 30 s."""
    return 1.5 * backoff(1, salt) if tries <= 1 else backoff(tries + 1, salt, longest=30.0)


def judge_refusal(refusal: Refusal, *, now: float, tries: int, salt: str, script: Script | None = None) -> Verdict:
    """Say whether a refused submission may be sent again, and when. ``script`` is what the command was to run."""
    wait = refusal.retry_after  # none and zero alike name no moment: then the pause is ours
    if refusal.status == 0 and (own := _own(refusal)) is not None:
        waits = own.code is CauseCode.LEASED_BY_OTHER_RUN and wait
        return Again(now + max(wait or 0.0, backoff(tries, salt)), own) if waits else GiveUp(own)
    found = diagnose(refusal, script)
    cause = Cause(found.cause, said(refusal), found.hint)
    match found.cause:
        case CauseCode.THROTTLED:
            return Again(now + (wait or backoff(tries, salt)), cause)
        case CauseCode.BUSY:
            return Again(now + (wait or busy_pause(tries, salt)), cause)
        case CauseCode.UNAUTHENTICATED if tries < UNAUTHENTICATED_TRIES:
            return Again(now + backoff(tries, salt), cause)
        case CauseCode.NO_SLOT if wait:
            return Again(now + max(wait, backoff(tries, salt)), cause)
    return GiveUp(cause)


def read_pause(failed: Refused | Lost, tries: int) -> float | None:
    """Return the seconds after which a read that failed ``tries`` times is repeated; None to give up.

    Where the service names no moment, zero and a date that has passed included, the pause doubles from 1 s.
    """
    if isinstance(failed, Refused):
        wait, may_pass = failed.refusal.retry_after, is_passing_status(failed.refusal.status)
    else:
        wait, may_pass = failed.retry_after, failed.reason is not LostReason.MALFORMED
        if failed.reason is LostReason.NOT_CONNECTED:
            may_pass = tries < UNCONNECTED_READS
    return (wait or _doubled(tries)) if may_pass else None


def is_passing_status(status: int) -> bool:
    """Whether a read that was answered with this HTTP status (0: with none) may be answered when it is repeated."""
    return status in (0, 408, 429) or status >= 500


def said(refusal: Refusal) -> str:
    """Return a refusal in one line: code and message, as far as it has them."""
    return f"{refusal.code}: {refusal.message}" if refusal.message else refusal.code or f"HTTP {refusal.status}"


def _own(refusal: Refusal) -> Cause | None:
    """Return the cause of a refusal of our own, of which nothing left; None if it has no code of its own."""
    match refusal.code:
        case a.LEASED:
            hint = f"wait for the other run's end or end it; --lease {Lease.NONE} goes ahead all the same"
            return Cause(CauseCode.LEASED_BY_OTHER_RUN, refusal.message, hint)
        case a.AWAY:
            hint = "start it, see that its Connected Machine agent reaches Azure, then rerun the unreachable ones"
            return Cause(CauseCode.DISCONNECTED, refusal.message, hint)
        case a.NO_AGENT:
            hint = "check the VM's agent and its outbound access to Azure, then rerun the unreachable ones"
            if a.EXTENSIONS_OFF in refusal.message.casefold():
                hint = EXTENSIONS_HINT
            return Cause(CauseCode.AGENT_NOT_READY, refusal.message, hint)
    return None


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
