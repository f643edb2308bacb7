"""The fold itself: reading changes nothing, replaying a prefix gives the same run."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet import codec
from fleet.plan.model import Gate, JobId, Limits, Plan, PlannedStep
from fleet.playbook import model
from fleet.playbook.model import Amount, FactsCheck, Strategy, Transport, Turn
from fleet.run import effects as f
from fleet.run import events as e
from fleet.run.answers import AgentReport, Answer, LostReason, Operation, Refusal, Refused
from fleet.run.job import advance
from fleet.run.job_state import JobState
from fleet.run.model import FAILURES, NOT_REACHED, Phase, Status
from fleet.run.record import JobRecord, RunRecord
from fleet.run.state import Run
from fleet.run.steps import CLEANING_UP
from fleet.testing import Behaviour, ScriptedCloud
from tests.unit.engine.harness import RUN_ID, Trial
from tests.unit.run.driven import begin
from tests.unit.run.factory import plan
from tests.unit.run.stepped import found, step
from tests.virtual import run


@st.composite
def playbooks(draw: st.DrawFn) -> tuple[PlannedStep, ...]:
    """Random steps: turns, conditions on facts and on steps above, notices, retries; those of gates stand last."""
    steps: list[PlannedStep] = []
    turns = [turn for turn in Turn if turn is not Turn.GATE]
    for index in range(draw(st.integers(1, 3))):
        above = [f'steps.s{n}.status == "failed"' for n in range(index)]
        conditions = st.sampled_from(["", "", 'facts.x == "1"', "not facts.x", *above])
        turn = draw(st.sampled_from(turns)) if index else Turn.SUCCESS
        flow = {
            "when": draw(conditions),
            "failed_when": draw(st.sampled_from(["", "", 'facts.x == "1"'])),
            "collect": draw(st.sampled_from([{}, found("x")])),
            "notify": draw(st.sampled_from([(), (f"s{index + 1}",)])),
            "retries": draw(st.sampled_from([0, 0, 1])),
            "retry_delay": draw(st.sampled_from([0.0, 50.0])),
        }
        steps.append(step(f"s{index}", turn, **flow))
    last = st.builds(
        lambda name, when, retries: step(name, Turn.GATE, when=when, retries=retries),
        st.just(""),
        st.sampled_from(["", 'facts.x == "1"']),
        st.sampled_from([0, 1]),
    )
    steps += [replace(drawn, id=f"g{n}") for n, drawn in enumerate(draw(st.lists(last, max_size=2)))]
    return tuple(steps)


def gates(plan: Plan) -> st.SearchStrategy[tuple[Gate, ...]]:
    """Random gates on what is found after the waves of a plan."""
    some = st.sampled_from([Amount(0), Amount(2), Amount(50, percent=True)])
    share = st.sampled_from([Amount(1, percent=True), Amount(100, percent=True)])
    conditions = st.sampled_from(['facts.x == "1"', 'steps.s0.status != "unknown"', 'steps.s0.status == "succeeded"'])
    checks = [st.builds(FactsCheck, conditions, share).map(lambda check: Gate(0, facts=check))]
    for name in (each.id for each in plan.steps if each.flow.turn is Turn.GATE):
        checks.append(st.builds(model.HealthCheck, st.just(name), some).map(lambda check: Gate(0, health=check)))
    placed = st.builds(lambda gate, wave: replace(gate, wave=wave + 1), st.one_of(checks), st.sampled_from(range(3)))
    kept = st.lists(placed, max_size=3).map(lambda found: [gate for gate in found if gate.wave <= len(plan.waves)])
    return kept.map(lambda found: tuple(sorted(found, key=lambda gate: gate.wave)))


def most_runs(plan: Plan) -> int:
    """How often scripts may run on one VM: each step once, and again for each of its retries."""
    return sum(1 + each.flow.retries for each in plan.steps)


def wronged(jobs: Sequence[JobRecord], statuses: frozenset[Status]) -> set[str]:
    """The targets of which a main step ended so; what only cleans up is not held back by a budget."""
    main = [job for job in jobs if job.job.step.flow.turn not in CLEANING_UP | {Turn.GATE}]
    return {job.job.target.key for job in main if job.outcome is not None and job.outcome.status in statuses}


@st.composite
def trials(draw: st.DrawFn) -> Trial:
    """Random fleets, limits, latencies and faults."""
    budget = st.one_of(st.none(), st.integers(0, 5))
    limits = Limits(
        concurrency=draw(st.integers(1, 30)),
        concurrency_per_subscription=draw(st.one_of(st.none(), st.integers(1, 10))),
        max_failures=draw(budget),
        max_unreachable=draw(budget),
        deadline=draw(st.one_of(st.none(), st.floats(1, 100))),
    )
    made = plan(
        draw(st.integers(0, 12)),
        subscriptions=draw(st.integers(1, 3)),
        waves=draw(st.sampled_from([(), (Amount(1), Amount(25, percent=True)), ("canary", Amount(50, percent=True))])),
        transport=draw(st.sampled_from([Transport.MANAGED, Transport.ACTION])),
        limits=limits,
    )
    steps = draw(playbooks())
    made = replace(made, steps=steps, strategy=draw(st.sampled_from(Strategy)))
    made = replace(made, gates=draw(gates(made)))
    kinds = st.sampled_from(
        [
            Behaviour(),
            Behaviour(stdout="x=1"),
            Behaviour(exit_code=1),
            Behaviour(exit_code=1, stdout="x=1"),
            Behaviour(duration=40.0, latency=3.0),
            Behaviour(refuse=Refusal(429, "TooManyRequests", "", 4.0)),
            Behaviour(refuse=Refusal(409, "Conflict", "in progress")),
            Behaviour(refuse=Refusal(409, "OperationNotAllowed", "the VM to be running")),
            Behaviour(lose=LostReason.RESET),
            Behaviour(lose=LostReason.SERVER_ERROR, arrives=False),
            Behaviour(lose=LostReason.NOT_CONNECTED),
            Behaviour(fail=("VMExtensionProvisioningTimeout", "too long")),
            Behaviour(starts=50.0),
            Behaviour(starts=math.inf),
        ]
    )
    script = draw(st.lists(kinds, min_size=1, max_size=12))
    cloud = ScriptedCloud(lambda command, n: script[(hash(command.name) + n) % len(script)])
    reports = [AgentReport(True), AgentReport(False, "Not Ready"), Refused(Refusal(503, "", ""))]
    cloud.agents = {target.key: draw(st.sampled_from(reports)) for target in made.targets}
    return Trial(made, cloud)


@settings(max_examples=min(60, settings.default.max_examples), suppress_health_check=[HealthCheck.too_slow])
@given(trials())
def test_every_run_ends_with_one_outcome_a_job_and_keeps_its_limits(trial: Trial) -> None:
    """Whatever the faults: each job ends once, nothing runs twice, budgets and concurrency are never overshot."""
    run(trial.start())
    record = _replayed(trial, len(_kept(trial))).record()
    assert record.ended is not None
    assert all(job.outcome is not None for job in record.jobs)
    assert all(count <= most_runs(trial.plan) for count in trial.cloud.executions.values())
    _no_wave_went_past_a_gate(trial)
    assert trial.peak_in_flight <= trial.plan.limits.concurrency
    limits, failed = trial.plan.limits, wronged(record.jobs, FAILURES)
    if limits.max_failures is not None and limits.max_unreachable is None:
        assert len(failed - wronged(record.jobs, NOT_REACHED)) <= limits.max_failures + 1
    _nothing_follows_what_may_still_run(record)


@settings(max_examples=min(40, settings.default.max_examples), suppress_health_check=[HealthCheck.too_slow])
@given(trials().filter(lambda trial: len(trial.plan.gates) > 0))
def test_no_wave_opens_past_a_gate(trial: Trial) -> None:
    """Whatever the faults and whatever is found: every gate of a wave that opened was decided once, and for it."""
    run(trial.start())
    _no_wave_went_past_a_gate(trial)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(trials(), st.data())
def test_any_prefix_of_the_journal_resumes_to_a_full_report(trial: Trial, data: st.DataObject) -> None:
    """A run cut off after any durable event and taken over ends with one outcome a job."""
    run(trial.start())
    events = _kept(trial)
    half = _replayed(trial, data.draw(st.integers(1, len(events))))
    now = 1e9
    half.apply(e.RunOpened(now, 2))
    while not half.finished:
        effect = half.next(now)
        assert effect == half.next(now), "reading twice answers alike"
        if isinstance(effect, f.WaitUntil):
            assert effect.at is not None
            assert effect.at > now, "what is due now is done now"
            now = effect.at
        else:
            _answer(half, effect, now)
    assert all(state.outcome is not None for state in half.jobs)


def _no_wave_went_past_a_gate(trial: Trial) -> None:
    """Every wave that opened had all its gates behind it, each decided once and for it."""
    judged = [event for event in _kept(trial) if isinstance(event, e.GateJudged)]
    assert len({event.gate for event in judged}) == len(judged)
    passed = {event.gate for event in judged if event.go}
    for event in _kept(trial):
        if isinstance(event, e.WaveOpened):
            assert all(n in passed for n, gate in enumerate(trial.plan.gates) if gate.wave == event.wave)


def _nothing_follows_what_may_still_run(record: RunRecord) -> None:
    """After a script that may still be running, nothing was sent to its target."""
    steps = len(record.plan.steps)
    for first in range(0, len(record.jobs), steps):
        blind = False
        for job in record.jobs[first : first + steps]:
            assert job.outcome is not None
            assert not (blind and job.started is not None)
            blind = blind or job.outcome.may_still_run


def _answer(run: Run, effect: f.Effect, now: float) -> None:
    """The shortest world: every submission is accepted, every look finds the end, every find finds nothing."""
    begin(run, effect, now)
    match effect:
        case f.Submit(job):
            run.apply(e.SubmissionAccepted(now, job, Operation(Transport.MANAGED, resource="x")))
        case f.Look(job):
            run.apply(e.ResultReceived(now, job, Answer("Failed", "", 9)))
        case f.Find(job):
            run.apply(e.CommandMissing(now, job))
        case f.AskAgent(job):
            run.apply(e.AgentSeen(now, job, ready=False))
        case f.Remove(job):
            run.apply(e.CommandRemoved(now, job, retry=run.jobs[job].removals[0]))
        case f.Halt() | f.WaitUntil():
            raise AssertionError(f"nothing to do but {effect} here")


def _kept(trial: Trial) -> tuple[e.Event, ...]:
    return trial.runs.kept(RUN_ID)


def _replayed(trial: Trial, length: int) -> Run:
    run = Run(trial.plan, RUN_ID)
    for event in _kept(trial)[:length]:
        run.apply(event)
    return run


def test_an_empty_plan_ends_at_once() -> None:
    """A run over nobody opens, ends, and has no rows."""
    run = Run(plan(0), RUN_ID)
    run.apply(e.RunOpened(1.0, 1))
    assert run.next(1.0) == f.Finish()
    run.apply(e.RunEnded(1.0))
    assert run.record().jobs == ()


def test_late_answers_change_nothing() -> None:
    """An answer that arrives after a job has ended leaves its outcome alone."""
    made = plan(1)
    state = JobState(next(made.jobs()), Transport.MANAGED, None)
    advance(state, e.SubmissionIntended(1.0, JobId(0), 1))
    advance(state, e.SubmissionRefused(2.0, JobId(0), Refusal(403, "AuthorizationFailed", "no")))
    ended = state.outcome
    assert state.phase is Phase.DONE
    advance(state, e.ResultReceived(3.0, JobId(0), Answer("Succeeded", "", 0)))
    assert state.outcome is ended


def test_a_plan_and_its_run_survive_encoding() -> None:
    """A plan read back from its JSON is equal and has the same digest."""
    made = plan(5, steps=2, waves=("canary", Amount(50, percent=True)))
    again = codec.decode(Plan, codec.encode(made))
    assert again == made
    assert again.digest == made.digest


@pytest.mark.parametrize("kind", [e.StopKind.SOFT, e.StopKind.HARD])
def test_a_stop_before_anything_was_sent_halts_at_once(kind: e.StopKind) -> None:
    """A run stopped while nothing is in flight is left as it is."""
    run = Run(plan(3), RUN_ID)
    run.apply(e.RunOpened(1.0, 1))
    run.apply(e.StopRequested(1.0, kind))
    assert run.next(1.0) == f.Halt()


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    trials(),
    st.lists(
        st.tuples(st.floats(0.01, 60), st.sampled_from([None, e.StopKind.SOFT, e.StopKind.HARD])),
        min_size=1,
        max_size=4,
    ),
)
def test_killed_and_stopped_again_and_again_a_run_keeps_its_promises(
    trial: Trial, breaks: list[tuple[float, e.StopKind | None]]
) -> None:
    """Resumes of resumes, after kills and stops at any moments: one outcome a job, no step twice, no budget overshot."""

    async def live() -> None:
        drive = trial.start
        for seconds, kind in breaks:
            task = asyncio.ensure_future(drive())
            end = functools.partial(trial.stop, kind) if kind else task.cancel
            asyncio.get_running_loop().call_later(seconds, end)
            await asyncio.wait([task])
            drive = trial.resume
        await drive()

    run(live())
    ended = _replayed(trial, len(_kept(trial)))
    assert ended.finished
    assert all(state.outcome is not None for state in ended.jobs)
    assert all(count <= most_runs(trial.plan) for count in trial.cloud.executions.values())
    limits, jobs = trial.plan.limits, ended.record().jobs
    assert trial.peak_in_flight <= limits.concurrency
    failed, not_reached = wronged(jobs, FAILURES - {Status.CANCELLED}), wronged(jobs, NOT_REACHED)
    assert limits.max_failures is None or len(failed - not_reached) <= limits.max_failures + 1
    assert limits.max_unreachable is None or len(not_reached - failed) <= limits.max_unreachable + 1
