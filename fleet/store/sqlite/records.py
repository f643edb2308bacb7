"""Events to rows and back, and the chain that makes a changed row show.

The names of the kinds are part of the journal's format: they stay what they are even if a class is renamed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import NamedTuple

from fleet import codec
from fleet.errors import StateError
from fleet.run import events
from fleet.run.events import Event

KINDS: Mapping[str, type[Event]] = {
    "run_opened": events.RunOpened,
    "wave_opened": events.WaveOpened,
    "submission_intended": events.SubmissionIntended,
    "submission_accepted": events.SubmissionAccepted,
    "submission_refused": events.SubmissionRefused,
    "submission_lost": events.SubmissionLost,
    "command_found": events.CommandFound,
    "command_missing": events.CommandMissing,
    "result_received": events.ResultReceived,
    "result_failed": events.ResultFailed,
    "result_unreadable": events.ResultUnreadable,
    "answer_unusable": events.AnswerUnusable,
    "agent_seen": events.AgentSeen,
    "job_expired": events.JobExpired,
    "stop_requested": events.StopRequested,
    "run_paused": events.RunPaused,
    "run_unpaused": events.RunUnpaused,
    "run_cancelled": events.RunCancelled,
    "limits_changed": events.LimitsChanged,
    "job_unstuck": events.JobUnstuck,
    "approval_awaited": events.ApprovalAwaited,
    "wave_approved": events.WaveApproved,
    "wave_rejected": events.WaveRejected,
    "gate_asked": events.GateAsked,
    "gate_answered": events.GateAnswered,
    "gate_silent": events.GateSilent,
    "health_begun": events.HealthBegun,
    "gate_judged": events.GateJudged,
    "launch_stopped": events.LaunchStopped,
    "command_removed": events.CommandRemoved,
    "removal_failed": events.RemovalFailed,
    "run_ended": events.RunEnded,
}
"""Every durable event by the name under which it is kept."""

_NAMES: Mapping[type[Event], str] = {kind: name for name, kind in KINDS.items()}


class Row(NamedTuple):
    """An event as it is kept: its kind's name and its canonical JSON (ASCII)."""

    kind: str
    body: str


def to_row(event: Event) -> Row:
    """Render a durable event.

    A cheap-to-lose one has no place in a journal: that is a mistake of the caller.
    """
    assert event.durable, f"{type(event).__name__} is not durable and is never journalled"
    return Row(_NAMES[type(event)], codec.to_json(event))


def from_row(row: Row) -> Event:
    """Rebuild an event whose row is known to be unchanged.

    Raises StateError with code ``newer_version`` if this program does not know the kind or its values.
    """
    kind = KINDS.get(row.kind)
    if kind is None:
        raise newer_version(f"it holds {row.kind!r} events")
    try:
        return codec.decode(kind, json.loads(row.body))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise newer_version(f"a {row.kind!r} event in it cannot be read ({error})") from error


def newer_version(what: str) -> StateError:
    """Say that the journal is sound and this program too old for it."""
    return StateError(
        f"the journal was made by a newer version of Fleet: {what}",
        hint="use that version, or a later one, to read this run",
        code="newer_version",
    )


def link(previous: str, epoch: int, row: Row) -> str:
    """Return the chain value of a row: sha256, in hex, over the value before and all the row says."""
    text = f"{previous}\n{epoch}\n{row.kind}\n{row.body}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
