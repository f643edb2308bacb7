"""A command that was accepted and does not start: the VM's agent is read, and decides."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.plan.model import JobId, Limits, Plan
from fleet.playbook.model import Amount, OnExisting, Properties, Transport
from fleet.run import effects as f
from fleet.run import events as e
from fleet.run.agent import is_checked
from fleet.run.answers import AgentReport, Lost, LostReason, Mark, Refusal, Refused
from fleet.run.model import CauseCode, Phase, Status
from fleet.run.state import Run
from fleet.testing import Behaviour, ScriptedCloud
from tests.unit.engine.harness import RUN_ID, Trial
from tests.unit.run.driven import OPERATION, begin, ended, opened, sent
from tests.unit.run.factory import plan
from tests.virtual import run as virtual

JOB = JobId(0)
LIMITS = Limits(start_timeout=600.0, deliver_timeout=1800.0)
ARC = "/subscriptions/sub-0/resourceGroups/rg/providers/Microsoft.HybridCompute/machines/till1"


def looked(run: Run, at: float, started: str = "", job: JobId = JOB) -> f.Effect:
    """Look at a job that has not ended, and return what is wanted next."""
    run.apply(e.LookBegun(at, job))
    run.apply(e.SeenRunning(at, job, started=started))
    return run.next(at)


def silent(made: Plan | None = None, until: float = 601.0) -> Run:
    """A run whose first job was accepted at 1.0 and shows no start at a look at ``until``."""
    run = opened(made or plan(2, waves=(Amount(1),), limits=LIMITS))
    sent(run, JOB, 1.0)
    looked(run, until)
    return run


def test_a_command_that_does_not_start_has_its_agent_read() -> None:
    """Not before the time to start is over, and only once a look has shown no start then."""
    run = opened(plan(1, limits=LIMITS))
    sent(run, JOB, 1.0)
    assert isinstance(looked(run, 600.9), f.WaitUntil)
    assert looked(run, 601.0) == f.AskAgent(JOB)


def test_a_command_that_has_started_is_followed() -> None:
    """Once a look has shown the start, the agent is not read, even if a later look does not show it."""
    run = opened(plan(1, limits=LIMITS))
    sent(run, JOB, 1.0)
    looked(run, 100.0, "2026-01-01T10:00:00+00:00")
    assert isinstance(looked(run, 700.0), f.WaitUntil)


def test_the_time_to_start_is_part_of_the_time_to_deliver() -> None:
    """The shorter of the two limits counts."""
    run = opened(plan(1, limits=Limits(start_timeout=600.0, deliver_timeout=20.0)))
    sent(run, JOB, 1.0)
    assert looked(run, 21.0) == f.AskAgent(JOB)


def test_an_agent_that_is_not_ready_ends_the_row() -> None:
    """The row is unknown, as the script may start later; it counts as not reached, its command is deleted, and the next wave
    opens.
    """
    run = silent()
    begin(run, f.AskAgent(JOB), 601.0)
    run.apply(e.AgentSeen(602.0, JOB, ready=False, detail="Not Ready: VM status blob not found."))
    outcome = run.jobs[JOB].outcome
    assert outcome is not None
    assert (outcome.status, outcome.cause.code) == (Status.UNKNOWN, CauseCode.AGENT_NOT_READY)
    assert outcome.cause.message == (
        "accepted, its script had not started, and the VM's agent is not ready (Not Ready: VM status blob not found.); "
        "the command is deleted"
    )
    assert outcome.may_still_run
    wanted = {type(effect) for effect in _all(run, 602.0)}
    assert {f.OpenWave, f.Remove} <= wanted


def test_a_row_without_a_start_counts_against_max_unreachable() -> None:
    """The budget of unreachable targets stops the run, as it does for what was never sent."""
    limits = replace(LIMITS, max_unreachable=0, strict=False)
    run = silent(plan(2, waves=(Amount(1),), limits=limits))
    begin(run, f.AskAgent(JOB), 601.0)
    run.apply(e.AgentSeen(602.0, JOB, ready=False))
    stop = run.next(602.0)
    assert isinstance(stop, f.StopLaunching)
    assert stop.cause is CauseCode.BUDGET_UNREACHABLE


def test_a_ready_agent_means_that_the_view_lags() -> None:
    """The command is followed to its time limit, and the agent is not read again."""
    run = silent()
    begin(run, f.AskAgent(JOB), 601.0)
    run.apply(e.AgentSeen(602.0, JOB, ready=True))
    for at in (700.0, 1000.0, 1200.0):
        assert not isinstance(looked(run, at), f.AskAgent)
    ended(run, JOB, 1201.0)
    outcome = run.jobs[JOB].outcome
    assert outcome is not None
    assert outcome.cause.code is not CauseCode.AGENT_NOT_READY


@pytest.mark.parametrize(("status", "again"), [(429, True), (503, True), (0, True), (403, False), (404, False)])
def test_an_agent_that_cannot_be_read_decides_nothing(status: int, again: bool) -> None:
    """The command is followed on; a read that may work later is repeated after a minute."""
    run = silent()
    begin(run, f.AskAgent(JOB), 601.0)
    run.apply(e.LookFailed(601.5, JOB, status))
    assert run.jobs[JOB].phase is Phase.RUNNING
    assert not isinstance(looked(run, 640.0), f.AskAgent)
    assert isinstance(looked(run, 670.0), f.AskAgent) is again


def test_only_managed_commands_have_a_start_to_be_seen() -> None:
    """An action shows nothing until it ends, and a command on an Arc machine may not either: both are followed."""
    action = plan(1, transport=Transport.ACTION, limits=LIMITS)
    arc = plan(1, limits=LIMITS)
    arc = replace(arc, targets=(replace(arc.targets[0], id=ARC),))
    for made in (action, arc):
        assert not isinstance(silent(made).next(601.0), f.AskAgent)


def test_a_standing_command_without_a_start_stays() -> None:
    """It is on its VM by intent: the row ends alike, says that the script may start later, and nothing is deleted."""
    made = plan(1, limits=LIMITS)
    own = Properties(command="nightly", on_existing=OnExisting.UPDATE)
    made = replace(made, steps=(replace(made.steps[0], properties=own),))
    run = opened(made)
    run.apply(e.FindBegun(0.5, JOB))
    run.apply(e.CommandFound(0.6, JOB, OPERATION, Mark("other", "at 5")))
    sent(run, JOB, 1.0)
    assert looked(run, 601.0, "at 5") == f.AskAgent(JOB)  # the start that it shows is the one from before
    begin(run, f.AskAgent(JOB), 601.0)
    run.apply(e.AgentSeen(602.0, JOB, ready=False))
    outcome = run.jobs[JOB].outcome
    assert outcome is not None
    assert "stays, and its script may start later" in outcome.cause.message
    assert run.jobs[JOB].removals == []


def test_a_resume_decides_as_the_first_owner_would() -> None:
    """After the time is over, whoever takes the run over looks first, and then reads the agent."""
    run = silent()
    begin(run, f.AskAgent(JOB), 601.0)
    run.apply(e.RunOpened(9000.0, 2))
    assert run.next(9000.0) == f.Look(JOB)
    assert looked(run, 9000.0) == f.AskAgent(JOB)


@pytest.mark.parametrize("ready", [True, False])
def test_an_answer_on_disk_stands_after_a_resume(ready: bool) -> None:
    """A ready agent is not read again; a row that was ended stays so, and its command is still deleted."""
    kept = [
        e.RunOpened(0.0, 1),
        e.WaveOpened(0.0, 0),
        e.SubmissionIntended(1.0, JOB, 1),
        e.SubmissionAccepted(1.0, JOB, OPERATION),
        e.AgentSeen(602.0, JOB, ready),
    ]
    run = Run(plan(1, limits=LIMITS), RUN_ID)
    for event in (*kept, e.RunOpened(700.0, 2)):
        run.apply(event)
    if ready:
        assert not isinstance(looked(run, 701.0), f.AskAgent)
    else:
        assert run.next(701.0) == f.Remove(JOB)


def test_the_agent_is_read_before_a_first_submission_only() -> None:
    """What may have arrived already is sent again to have the guest's kept answer: no agent's state keeps that back."""
    run = opened(plan(1, transport=Transport.ACTION, limits=LIMITS))
    assert is_checked(run.jobs[JOB])
    run.apply(e.SubmissionIntended(1.0, JOB, 1))
    run.apply(e.SubmissionLost(2.0, JOB, LostReason.RESET))
    assert not is_checked(run.jobs[JOB])


@given(st.lists(st.sampled_from(["no start", "start", "failed"]), max_size=8), st.sampled_from([True, False]))
def test_no_row_is_given_up_whose_start_was_seen(looks: list[str], ready: bool) -> None:
    """Whatever looks show, in whatever order: only a command that no look has seen start is given up for its agent."""
    run = opened(plan(1, limits=LIMITS))
    sent(run, JOB, 1.0)
    at = 500.0
    for number, look in enumerate(looks):
        at += 61.0
        run.apply(e.LookBegun(at, JOB))
        seen = e.SeenRunning(at, JOB, started="10:00" if look == "start" else "")
        run.apply(e.LookFailed(at, JOB, 503) if look == "failed" else seen)
        if run.next(at) == f.AskAgent(JOB):
            assert "start" not in looks[: number + 1]
            begin(run, f.AskAgent(JOB), at)
            run.apply(e.AgentSeen(at, JOB, ready))
            break
    outcome = run.jobs[JOB].outcome
    assert outcome is None or (not ready and outcome.cause.code is CauseCode.AGENT_NOT_READY)


# Whole runs, in virtual time


def test_surprise_17_a_command_hangs_on_a_dead_agent() -> None:
    """One VM of the first wave never starts its command: the second wave opens after the time to start, not after the step's
    90 minutes.
    """
    made = _patient(plan(4, waves=(Amount(2),), limits=LIMITS))
    dead = made.targets[0]
    cloud = ScriptedCloud(lambda command, n: Behaviour(starts=math.inf if command.target is dead else 0.0))
    cloud.agents[dead.key] = AgentReport(False, "Not Ready")
    trial = Trial(made, cloud)
    record = virtual(trial.start())
    assert [_describe(job.outcome) for job in record.jobs] == [
        "unknown agent_not_ready",
        *["succeeded completed"] * 3,
    ]
    opened_at = [event.at for event in trial.seen if isinstance(event, e.WaveOpened)]
    assert opened_at[1] - opened_at[0] == pytest.approx(600.0, abs=60.0)
    assert cloud.calls["agent"] == 1
    assert cloud.executions[dead.key] == 0
    assert not record.jobs[0].left, "its command was deleted"


def test_a_view_that_lags_is_followed_to_a_good_end() -> None:
    """The agent is ready and the start shows late: the row is green, and its agent was read once."""
    made = _patient(plan(1, limits=LIMITS))
    trial = Trial(made, ScriptedCloud(lambda command, n: Behaviour(starts=1500.0)))
    record = virtual(trial.start())
    assert _describe(record.jobs[0].outcome) == "succeeded completed"
    assert trial.cloud.calls["agent"] == 1


@pytest.mark.parametrize("answer", [Refused(Refusal(403, "AuthorizationFailed", "")), Lost(LostReason.TIMEOUT)])
def test_an_unreadable_agent_leaves_the_row_to_its_time_limit(answer: Refused | Lost) -> None:
    """What cannot be read proves nothing: the command is followed, and ends well here."""
    made = _patient(plan(1, limits=LIMITS))
    cloud = ScriptedCloud(lambda command, n: Behaviour(starts=1500.0))
    cloud.agents[made.targets[0].key] = answer
    record = virtual(Trial(made, cloud).start())
    assert _describe(record.jobs[0].outcome) == "succeeded completed"
    assert (cloud.calls["agent"] == 1) is isinstance(answer, Refused)


def _patient(made: Plan) -> Plan:
    return replace(made, steps=tuple(replace(step, timeout=5400.0) for step in made.steps))


def _describe(outcome: object) -> str:
    status, cause = outcome.status, outcome.cause  # type: ignore[attr-defined]
    return f"{status.value} {cause.code.value}"


def _all(run: Run, now: float) -> list[f.Effect]:
    effects: list[f.Effect] = []
    while not isinstance(effect := run.next(now), f.WaitUntil | f.Halt) and len(effects) < 20:
        effects.append(effect)
        begin(run, effect, now)
    return effects
