"""The ways in which a script's end is reported, besides the plain one, and what a row may say after each. Pure.

What really happened is decided by the pretended world and written into its history; these are the words for it. Each is
one that Azure, its handlers in a VM, or the machine itself has been seen or documented to say.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from enum import StrEnum

from fleet.plan.model import Plan
from fleet.playbook.model import Transport
from fleet.run.model import Status


class Ending(StrEnum):
    """One way in which a script's end is reported."""

    # The machine prints more than the receipt, and the receipt holds all the same.
    FOREIGN_BESIDE = "foreign_beside"
    """Receipts with other nonces stand in the script's own output."""
    GUESSED_BESIDE = "guessed_beside"
    """Receipts of a good end with nonces made from all that a script can know about its job."""
    SENTENCE = "sentence"
    """The script prints the handler's sentence about an interrupted script."""
    NOT_UTF8 = "not_utf8"
    """The script prints bytes that are not UTF-8."""
    # Nothing that the machine prints proves how the script ended.
    FOREIGN_INSTEAD = "foreign_instead"
    """A receipt with another nonce, and not ours."""
    GUESSED_INSTEAD = "guessed_instead"
    FORGED = "forged"
    """Two receipts with our nonce that say different things."""
    NO_RECEIPT = "no_receipt"
    """Streams and an exit code, which is the wrapper's, and no receipt."""
    TORN = "torn"
    """The receipt breaks off."""
    ALTERED = "altered"
    """The streams, or the script, are not those that the receipt names."""
    UNHASHED = "unhashed"
    """The receipt does not say which script ran."""
    INTERRUPTED = "interrupted"
    """The receipt says that the script was cut off."""
    KILLED = "killed"
    """A signal ended the handler's command: exit code -1, and no receipt."""
    # The script is not started.
    NOT_BEGUN = "not_begun"
    """The handler says why it could not start it."""
    REFUSED = "refused"
    """The wrapper says why it did not start it."""
    # The operation ends otherwise than the script.
    AGENT_SILENT = "agent_silent"
    NOT_REPORTED = "not_reported"
    GAVE_UP = "gave_up"
    INTERNAL = "internal"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"
    HANDLER_FAILED = "handler_failed"
    """The extension could not be set up: the script is not started."""
    ABSURD = "absurd"
    """The same, in words that hold a number of 5,000 digits."""
    OLD_FORM = "old_form"
    """A failed script fails the action's operation, with exit code and streams in the message."""
    UNFINISHED = "unfinished"
    """The action's handler says that the script was cut off, as a success."""
    # The managed command's instance view says something else.
    VIEW_UNKNOWN = "view_unknown"
    VIEW_RUNNING = "view_running"
    """``Running`` with exit code 0 and an end time."""
    VIEW_WITHOUT_CODE = "view_without_code"
    """The exit code is missing, or is not a number."""
    VIEW_MISSING = "view_missing"
    VIEW_OLD_CODE = "view_old_code"
    """Exit code 3 for each failure; the true one is in the message."""
    VIEW_TIMED_OUT = "view_timed_out"
    """``TimedOut`` for a killed command."""
    VIEW_CANCELLED = "view_cancelled"
    """``Canceled`` for a killed command."""


OF_RECEIPTS = (
    Ending.FOREIGN_BESIDE,
    Ending.GUESSED_BESIDE,
    Ending.SENTENCE,
    Ending.NOT_UTF8,
    Ending.FOREIGN_INSTEAD,
    Ending.GUESSED_INSTEAD,
    Ending.FORGED,
    Ending.NO_RECEIPT,
    Ending.TORN,
    Ending.ALTERED,
    Ending.UNHASHED,
    Ending.INTERRUPTED,
    Ending.REFUSED,
)
"""What a machine says of a wrapped script."""

OF_OPERATIONS = (
    Ending.AGENT_SILENT,
    Ending.NOT_REPORTED,
    Ending.GAVE_UP,
    Ending.INTERNAL,
    Ending.PREEMPTED,
    Ending.CANCELLED,
    Ending.HANDLER_FAILED,
)
OF_ACTIONS = (Ending.OLD_FORM, Ending.UNFINISHED)
OF_VIEWS = (
    Ending.VIEW_UNKNOWN,
    Ending.VIEW_RUNNING,
    Ending.VIEW_WITHOUT_CODE,
    Ending.VIEW_MISSING,
    Ending.VIEW_OLD_CODE,
    Ending.VIEW_TIMED_OUT,
    Ending.VIEW_CANCELLED,
)
OF_MANAGED = (Ending.NOT_BEGUN, Ending.ABSURD, *OF_VIEWS)

BY_THE_MACHINE = frozenset({*OF_RECEIPTS, Ending.KILLED, Ending.NOT_BEGUN})
BY_THE_SERVICE = frozenset(Ending) - BY_THE_MACHINE

HIDES_THE_RECEIPT = frozenset(
    {*OF_RECEIPTS[4:], Ending.KILLED, Ending.NOT_BEGUN, Ending.VIEW_UNKNOWN, Ending.VIEW_MISSING, Ending.UNFINISHED}
)
"""After these nothing that came back proves how a wrapped script ended."""

HIDES_THE_CODE = frozenset(
    {Ending.KILLED, Ending.NOT_BEGUN, Ending.VIEW_UNKNOWN, Ending.VIEW_MISSING, Ending.VIEW_RUNNING}
    | {Ending.VIEW_WITHOUT_CODE}
)
"""The same of a script that goes unwrapped, by the managed command."""

MISMATCHES = frozenset({Ending.FORGED, Ending.ALTERED, Ending.UNHASHED})
"""After these there is a receipt of ours, and it does not match."""

JUSTIFIES: Mapping[Ending, frozenset[Status]] = {
    **dict.fromkeys(OF_RECEIPTS[4:], frozenset({Status.UNVERIFIED})),
    Ending.INTERRUPTED: frozenset({Status.UNKNOWN}),
    Ending.KILLED: frozenset({Status.TIMED_OUT, Status.UNVERIFIED}),
    Ending.NOT_BEGUN: frozenset({Status.FAILED, Status.UNVERIFIED}),
    Ending.REFUSED: frozenset({Status.FAILED, Status.UNVERIFIED}),
    Ending.AGENT_SILENT: frozenset({Status.UNKNOWN}),
    Ending.NOT_REPORTED: frozenset({Status.UNKNOWN}),
    Ending.GAVE_UP: frozenset({Status.TIMED_OUT}),
    Ending.INTERNAL: frozenset({Status.UNKNOWN}),
    Ending.PREEMPTED: frozenset({Status.UNKNOWN}),
    Ending.CANCELLED: frozenset({Status.CANCELLED}),
    Ending.HANDLER_FAILED: frozenset({Status.FAILED, Status.UNVERIFIED}),
    Ending.ABSURD: frozenset({Status.FAILED, Status.UNKNOWN}),
    Ending.UNFINISHED: frozenset({Status.UNKNOWN}),
    Ending.VIEW_UNKNOWN: frozenset({Status.UNVERIFIED}),
    Ending.VIEW_RUNNING: frozenset({Status.UNVERIFIED}),
    Ending.VIEW_WITHOUT_CODE: frozenset({Status.UNVERIFIED}),
    Ending.VIEW_MISSING: frozenset({Status.UNKNOWN}),
    Ending.VIEW_CANCELLED: frozenset({Status.CANCELLED}),
}
"""What a row may say of a job that was reported so, without proof of how its script ended."""


def draw(rng: random.Random, plan: Plan) -> Mapping[Ending, float]:
    """Draw which of these a scenario has, and how often each is met; none in three scenarios of ten."""
    if rng.random() < 0.3:
        return {}
    kinds = rng.sample(list(fitting(plan)), rng.choice((1, 2, 3, 5, 8)))
    # Few kinds of each transport's own are among so many, so some more are drawn.
    own = OF_ACTIONS if plan.transport is Transport.ACTION else OF_VIEWS
    kinds += rng.sample(own, rng.choice((0, 1)) if plan.receipts else 2)
    kinds += rng.sample(OF_OPERATIONS, rng.choice((0, 1)))
    return {kind: rng.choice((0.2, 0.4, 0.8)) for kind in kinds}


def fitting(plan: Plan) -> Iterable[Ending]:
    """Yield the endings that a plan's commands can have, by transport and receipts."""
    yield from OF_OPERATIONS
    yield Ending.KILLED
    yield from OF_ACTIONS if plan.transport is Transport.ACTION else OF_MANAGED
    if plan.receipts:
        yield from OF_RECEIPTS


def met(rng: random.Random, chances: Mapping[Ending, float], kinds: frozenset[Ending]) -> Ending | None:
    """Draw which of these endings one script, or one operation, meets."""
    return next((kind for kind, chance in chances.items() if kind in kinds and rng.random() < chance), None)
