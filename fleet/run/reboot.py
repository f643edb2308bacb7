"""The two steps of a restart: what they know, when they are tried again, and how they end.

Both scripts may run any number of times: one does nothing once the boot has changed, the other only reads. So whatever a
try met - refused, lost, out of time, no answer - another follows, until the patience ends. A target is back when its boot
id has changed and it has been up for a shorter time than we have waited, which needs no clocks that agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fleet.guest.restart import NOT_YET, SCHEDULED
from fleet.plan.model import Limits, PlannedStep
from fleet.plan.reboot import BOOT_FACT
from fleet.run.facts import Known
from fleet.run.job_state import JobState
from fleet.run.model import Cause, CauseCode, Outcome, Status

ANSWER_GRACE = 60.0
"""Seconds beyond its time-out that a try's answer is waited for: a new try finds out more than an old one's silence."""

_HINT = "look at the VM's boot diagnostics; rerun what failed once it is back"

_NOT_SEEN = {
    "not_restarted": "the VM answers, and its boot id is still the one from before",
    "boot_id_unknown": "the VM answers, and cannot tell whether it has restarted: its boot is not known",
}
"""What the script that looks says of a machine that answers, and what that means once nobody waits any longer."""


def prepare(above: Sequence[JobState], state: JobState, known: Known) -> Known:
    """Tell a step of a restart which boot was before; the one that looks learns since when the target may have gone."""
    restart = state.job.step.restart
    if restart is None:
        return known
    before = _of(above, restart.after)
    assert before.outcome is not None
    seen = before
    if restart.looks:
        ask = _of(above, restart.ask)
        seen = ask if ask.outcome is not None and ask.outcome.exit_code == SCHEDULED else before
    state.since = seen.first_intended or 0.0
    return replace(known, facts={**known.facts, BOOT_FACT: before.outcome.boot_id})


def judged(state: JobState, at: float) -> Outcome:
    """Hold the good end of the step that looks against the time waited."""
    restart, outcome = state.job.step.restart, state.outcome
    assert outcome is not None
    if restart is None or not restart.looks or outcome.status is not Status.SUCCEEDED:
        return outcome
    waited = at - state.since
    uptime = _seconds(state.facts)
    if uptime is not None and uptime <= waited:
        return outcome
    message = f"up for {state.facts.get('uptime_s', '?')} s, and {waited:.0f} s were waited"
    return replace(outcome, status=Status.FAILED, cause=Cause(CauseCode.REBOOT_NOT_SEEN, message, _HINT))


def is_tried_again(state: JobState, at: float, opened: float) -> bool:
    """Whether a step of a restart goes on. Time in which nobody drove the run does not count."""
    restart, outcome = state.job.step.restart, state.outcome
    assert restart is not None and outcome is not None
    if outcome.status in (Status.SUCCEEDED, Status.CANCELLED) or not (restart.looks or _is_open(outcome)):
        return False
    return at + state.job.step.flow.retry_delay < max(state.begun, opened) + restart.patience


def concluded(outcome: Outcome) -> Outcome:
    """Say how looking ended: the target is back, never went, or has not come back."""
    if outcome.status in (Status.SUCCEEDED, Status.CANCELLED, Status.NOT_STARTED):
        return outcome
    if outcome.cause.code is CauseCode.REBOOT_NOT_SEEN:
        return outcome
    if outcome.verified and outcome.exit_code == NOT_YET:
        for state, message in _NOT_SEEN.items():
            if f"state={state}" in outcome.stdout:
                return replace(outcome, cause=Cause(CauseCode.REBOOT_NOT_SEEN, message, _HINT))
    message = "the VM did not come back in time" + (f"; last: {outcome.cause.message}" if outcome.cause.message else "")
    return replace(outcome, status=Status.FAILED, cause=Cause(CauseCode.NOT_BACK, message, _HINT))


def first_look(step: PlannedStep) -> float:
    """How long after its turn a step is first sent, in seconds."""
    return step.restart.first_look if step.restart is not None else 0.0


def bounds(step: PlannedStep, limits: Limits) -> tuple[float, float]:
    """How long a try may be refused, and how long beyond its time-out its answer is waited for, in seconds."""
    if step.restart is None:
        return limits.deliver_timeout, limits.answer_grace
    return min(limits.deliver_timeout, step.restart.patience), min(limits.answer_grace, ANSWER_GRACE)


def _is_open(outcome: Outcome) -> bool:
    """Whether it is not certain that a restart was asked for, nor that it was refused in the VM."""
    return outcome.status is not Status.FAILED or not outcome.verified


def _of(above: Sequence[JobState], step: str) -> JobState:
    return next(state for state in above if state.job.step.id == step)


def _seconds(facts: Mapping[str, str]) -> float | None:
    text = facts.get("uptime_s", "")
    return float(text) if text.isascii() and text.isdecimal() else None
