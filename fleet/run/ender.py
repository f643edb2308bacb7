"""The person who has a script ended from elsewhere, and how a job ends by that."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fleet.run import events as e
from fleet.run.model import Cause, CauseCode, Outcome, Status

SIGNALS_OF_FREEING = (128 + 15, 128 + 9)
"""Exit codes of a script whose processes got TERM, or KILL. On Windows the wrapper reports a released script as killed."""

DELETED = "its managed command was deleted, which ends its script"


@dataclass(frozen=True, slots=True)
class Ender:
    """Who has the script of a job's present try ended, as a few words, and how."""

    said: str
    in_guest: bool = False
    done: bool = False
    """Its managed command was deleted, or its processes were ended."""

    @classmethod
    def of(cls, event: e.JobUnstuck | e.RunCancelled | e.StopRequested) -> Ender:
        """Return who that is by what was asked for."""
        who = event.who or "somebody"
        match event:
            case e.JobUnstuck():
                in_guest, done = event.how is e.Freeing.IN_GUEST, event.stage is e.FreeingStage.DONE
                return cls(f"ended by {who}{_why(event.why)}", in_guest, done)
            case e.RunCancelled():
                return cls(f"cancelled by {who}{_why(event.why)}")
            case e.StopRequested():
                return cls(f"interrupted by {who}")

    def outcome(self, how: str) -> Outcome:
        """Return how a job ends whose script was ended in this way."""
        return Outcome(Status.CANCELLED, Cause(CauseCode.CANCELLED, f"{self.said}; {how}"))


def with_ender(ender: Ender | None, outcome: Outcome) -> Outcome:
    """Name the person who had the script ended, where it ended by that; what it is proven to have done stands."""
    if ender is None:
        return outcome
    by_signal = outcome.cause.code is CauseCode.SIGNAL and outcome.exit_code in SIGNALS_OF_FREEING
    unreported = not outcome.verified and outcome.status in (Status.CANCELLED, Status.UNKNOWN)
    by_deletion = unreported or outcome.cause.code is CauseCode.OPERATION_FAILED or outcome.status is Status.CANCELLED
    if not (by_signal or (by_deletion and not ender.in_guest)):
        return outcome
    named = ender.outcome(outcome.cause.message)
    return replace(outcome, status=named.status, cause=named.cause)


def _why(text: str) -> str:
    return f": {text}" if text else ""
