"""What goes wrong on purpose: by rule and by chance, equal for equal seeds. Pure."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase

from fleet.lab.arm.throttle import too_many
from fleet.lab.wire import Answer, Fate, compute, denied, refusal
from fleet.lab.world.operations import Operation, Phase
from fleet.lab.world.spec import FaultKind, FaultOn, FaultSpec

BUSY = "Run command extension execution is in progress. Please wait for completion before invoking a run command."

_INSTEAD = frozenset(
    {
        FaultKind.THROTTLED,
        FaultKind.CONFLICT,
        FaultKind.CONCURRENT_REQUEST,
        FaultKind.CONCURRENT_WRITE,
        FaultKind.MARKED_FOR_DELETION,
        FaultKind.INTERNAL,
        FaultKind.UNAVAILABLE,
        FaultKind.UNAUTHORIZED,
        FaultKind.FORBIDDEN,
        FaultKind.RESET,
    }
)
"""Requests that these hit are not carried out."""


class Faults:
    """The rules in force, and how often each has hit.

    Whether chance strikes depends on the seed, the rule, the machine and how many such requests came
    before, never on the order in which other machines' requests arrive.
    """

    def __init__(self, seed: int, rules: Iterable[FaultSpec]) -> None:
        self.rules = list(rules)
        self.hits: Counter[int] = Counter()
        self._seed = seed
        self._seen: Counter[tuple[int, str]] = Counter()
        self._matched: Counter[int] = Counter()

    def replace(self, rules: Iterable[FaultSpec]) -> None:
        """Put other rules in force and start counting anew."""
        self.rules = list(rules)
        self.hits.clear()
        self._seen.clear()
        self._matched.clear()

    def strike(self, on: FaultOn, machine: str) -> FaultSpec | None:
        """Return the first rule that hits this request. ``machine`` is a VM's name, or "" for none."""
        for at, rule in enumerate(self.rules):
            if rule.request != on or not fnmatchcase(machine.casefold(), rule.machines.casefold()):
                continue
            if self._hit(at, rule, machine):
                self.hits[at] += 1
                return rule
        return None

    def _hit(self, at: int, rule: FaultSpec, machine: str) -> bool:
        self._matched[at] += 1
        self._seen[at, machine] += 1
        if self._matched[at] <= rule.after:
            return False
        if rule.times is not None and self.hits[at] >= rule.times:
            return False
        if rule.chance >= 1:
            return True
        label = f"{self._seed}/fault{at}/{machine.casefold()}/{self._seen[at, machine]}"
        return random.Random(label).random() < rule.chance


def executes(rule: FaultSpec) -> bool:
    """Say whether the request is carried out although its answer suffers."""
    return rule.what not in _INSTEAD


def spoiled(rule: FaultSpec, answer: Answer) -> Answer:
    """Spoil the answer of a request that was carried out, if that is what the rule is about."""
    match rule.what:
        case FaultKind.SLOW:
            answer.delay = rule.delay
        case FaultKind.LOST_ANSWER:
            answer.fate = Fate.DROPPED
        case FaultKind.TRUNCATED:
            answer.fate = Fate.TRUNCATED
        case FaultKind.MALFORMED:
            answer.body = b"<html><body>The service is undergoing maintenance.</body></html>"
    return answer


def befall(rule: FaultSpec, operation: Operation, now: float) -> None:
    """Let the operation that a submission began go wrong. Its script runs all the same."""
    match rule.what:
        case FaultKind.OPERATION_FAILS:
            operation.fail(now, "InternalExecutionError", "An internal execution error occurred.")
        case FaultKind.OPERATION_CANCELS:
            text = "The operation was canceled by the service."
            operation.fail(now, "OperationCanceled", text, Phase.CANCELED)
        case FaultKind.OPERATION_HANGS:
            operation.hangs = True
        case FaultKind.OPERATION_VANISHES:
            operation.vanished = True


_CONCURRENT = (
    "The request failed due to conflict with a concurrent request. To resolve it, please refer to "
    "https://aka.ms/activitylog to get more details on the conflicting requests."
)
_OVERTAKEN = "The operation was interrupted by a conflicting concurrent write on the same entity. Please retry later."
_CONFLICTS = {
    FaultKind.CONFLICT: ("Conflict", BUSY),
    FaultKind.CONCURRENT_REQUEST: ("Conflict", _CONCURRENT),
    FaultKind.CONCURRENT_WRITE: ("ConflictingConcurrentWriteNotAllowed", _OVERTAKEN),
}
"""Refusals with 409 that pass (texts as users posted them)."""


def marked_for_deletion(name: str, method: str) -> Answer:
    """Refuse to write a command that is being deleted (text as users posted it for extensions)."""
    text = (
        f"Operation '{method}' is not allowed on VM extension '{name}' since it is marked for deletion. You can only "
        "retry the Delete operation (or wait for an ongoing one to complete)."
    )
    return compute(409, refusal("OperationNotAllowed", text))


def instead(rule: FaultSpec, now: float, method: str = "PUT", name: str = "") -> Answer:
    """Return what comes instead of carrying the request out; ``name`` is the command's that it is about."""
    if rule.what in _CONFLICTS:
        return compute(409, refusal(*_CONFLICTS[rule.what]))
    if rule.what is FaultKind.MARKED_FOR_DELETION:
        return marked_for_deletion(name, method)
    after = {} if rule.retry_after is None else {"Retry-After": str(rule.retry_after)}
    match rule.what:
        case FaultKind.THROTTLED:
            wait = 1 if rule.retry_after is None else rule.retry_after
            answer = too_many("UpdateVMSubscriptionMaximum", 1500, wait, now)
            answer.headers["Retry-After"] = str(wait)
            return answer
        case FaultKind.INTERNAL:
            text = "An internal error occurred in the operation."
            return compute(500, refusal("InternalOperationError", text))
        case FaultKind.UNAVAILABLE:
            return Answer(503, b"", {"Content-Length": "0", **after})
        case FaultKind.UNAUTHORIZED:
            return expired()
        case FaultKind.FORBIDDEN:
            return forbidden()
        case _:
            return Answer(500, fate=Fate.DROPPED)


def expired() -> Answer:
    """Refuse a token as expired (recorded; it can hit a poll)."""
    challenge = (
        'Bearer authorization_uri="https://login.windows.net/common", error="invalid_token", '
        'error_description="The access token has expired."'
    )
    text = (
        "The access token expiry UTC time '1/1/2025 3:46:33 AM' is earlier than current UTC time '1/1/2025 3:46:51 AM'."
    )
    return denied(401, "ExpiredAuthenticationToken", text, {"WWW-Authenticate": challenge})


def forbidden() -> Answer:
    """Refuse a caller who has no right (recorded)."""
    text = (
        "The client 'lab' with object id '00000000-0000-4000-8000-000000000009' does not have authorization to perform "
        "this action over this scope or the scope is invalid. If access was recently granted, please refresh your "
        "credentials."
    )
    return denied(403, "AuthorizationFailed", text)
