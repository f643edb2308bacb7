"""When the agent of a VM is read, before a command is sent and after, and what its answer means.

A command that was accepted for a VM whose agent does not report starts when the agent is back, which may be hours later;
until then Azure says that it runs (reported: up to 90 minutes). Only a managed command has an instance view that shows a
start. An action shows nothing until it ends, so it is followed to its time limit.

======================  =========================  ==================================================
phase                   event                      becomes
======================  =========================  ==================================================
running (managed)       SeenRunning                running; without a start in time the next read is of the agent
running (managed)       AgentSeen                  running (it is ready, so the view lags), or done: unknown
======================  =========================  ==================================================
"""

from __future__ import annotations

import math

from fleet.plan.model import Limits
from fleet.playbook.model import Transport
from fleet.run import events as e
from fleet.run.job import end
from fleet.run.job_state import JobState
from fleet.run.model import Cause, CauseCode, Outcome, Phase, Status
from fleet.run.retry import is_unreadable_status
from fleet.targets.model import Kind

AGAIN_AFTER = 60.0
"""Seconds between two reads of the agent of one VM."""

_HINT = "check the VM's agent and its outbound access to Azure; look whether the script ran after all, then rerun"


def is_checked(state: JobState) -> bool:
    """Whether the agent is read before the job's command is sent.

    Not where a submission may have arrived already: then the guest is asked for an answer that it keeps. Nor where the job
    looks whether a restarted VM is back: its agent is away by intent, and what is sent waits for it.
    """
    restart = state.job.step.restart
    return not state.possibly_sent and not (restart is not None and restart.looks)


def take(state: JobState, event: e.Event, limits: Limits) -> None:
    """Take over what an event says of the start of the job's command, and of the agent of its VM."""
    start = state.start
    if state.phase is not Phase.RUNNING:
        return
    match event:
        case e.SeenRunning():
            start.seen |= bool(event.started) and event.started != _earlier(state)
            if _is_overdue(state, event.at, limits):
                start.asks_agent, state.due = True, event.at
        case e.LookBegun() if start.asks_agent:
            start.asks_agent, start.asking, start.due = False, True, event.at + AGAIN_AFTER
        case e.LookFailed() if start.asking:
            start.asking = False
            start.due = math.inf if is_unreadable_status(event.status) else start.due
        case e.AgentSeen():
            state.calling = start.asking = False
            start.is_ready = event.ready
            if not event.ready:
                _give_up(state, event)


def forget(state: JobState) -> None:
    """Forget what is not on disk of the start of a running job: a new owner finds it out anew."""
    start = state.start
    start.seen = start.asks_agent = start.asking = False
    start.due = 0.0


def _earlier(state: JobState) -> str:
    """The start that a standing command showed before anything was sent: it is not ours."""
    return state.standing.earlier if state.standing is not None else ""


def _is_overdue(state: JobState, at: float, limits: Limits) -> bool:
    """Whether the command should have started by now, and has not as far as looks show, so that the agent is to be read.

    Arc machines are left out: Azure says of some of their commands that nothing has started until they have ended.
    """
    start, sent = state.start, state.intended
    if state.transport is not Transport.MANAGED or state.job.target.kind is Kind.ARC:
        return False
    if state.job.step.restart is not None or start.seen or start.is_ready or at < start.due:
        return False
    return sent is not None and at >= sent + limits.to_start


def _give_up(state: JobState, event: e.AgentSeen) -> None:
    """End the job: its script cannot start before the agent is back, which may be hours later."""
    state.start.given_up = True
    why = f" ({event.detail})" if event.detail else ""
    stays = "stays, and its script may start later" if state.standing is not None else "is deleted"
    message = f"accepted, its script had not started, and the VM's agent is not ready{why}; the command {stays}"
    end(state, event.at, Outcome(Status.UNKNOWN, Cause(CauseCode.AGENT_NOT_READY, message, _HINT)))
