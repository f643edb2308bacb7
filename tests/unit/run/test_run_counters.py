"""Whatever comes, in whatever order: a run's counts are those of its jobs, and it goes on to its end."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from fleet.plan.model import Limits, Plan
from fleet.playbook.model import Amount, OnExisting, Properties, Spread, Strategy, Transport
from fleet.run import effects as f
from fleet.run import events as e
from fleet.run.answers import LEASED, Answer, LostReason, Mark, Operation, Refusal
from fleet.run.model import FAILURES, NOT_REACHED, Phase, Status
from fleet.run.state import Run
from tests.unit.engine.harness import RUN_ID
from tests.unit.run.driven import begin
from tests.unit.run.factory import plan

OPERATION = Operation(Transport.MANAGED, resource="x")
REFUSALS = (
    Refusal(429, "TooManyRequests", "", 3.0),
    Refusal(409, "Conflict", "in progress"),
    Refusal(403, "AuthorizationFailed", "no"),
    Refusal(404, "ResourceNotFound", ".../runCommands/nightly was not found"),
    Refusal(401, "ExpiredAuthenticationToken", ""),
    Refusal(0, LEASED, "held", 5.0),
)


@dataclass
class Walk:
    """A run whose calls are answered by chance, seeded, and now and then taken over, paused, cancelled or stopped."""

    plan: Plan
    seed: int
    now: float = 1000.0
    asked: list[f.Effect] = field(default_factory=list)
    epoch: int = 1

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.run = Run(self.plan, RUN_ID)
        self.tell(e.RunOpened(self.now, 1))

    def tell(self, event: e.Event) -> None:
        self.run.apply(event)
        recounted(self.run, len(self.asked))

    def walk(self) -> None:
        for _ in range(3000):
            if self.run.finished:
                return
            effect = self.run.next(self.now)
            assert effect == self.run.next(self.now), "reading twice answers alike"
            if isinstance(effect, f.WaitUntil | f.Halt):
                self.wait(effect)
            elif isinstance(effect, f.Submit | f.Look | f.Find | f.AskAgent | f.Remove):
                self.asked.append(effect)
                self.begin(effect)
            else:
                self.begin(effect)
            if self.rng.random() < 0.02:
                self.interfere()
        raise AssertionError("it never ends")

    def begin(self, effect: f.Effect) -> None:
        begin(self.run, effect, self.now)
        recounted(self.run, len(self.asked))

    def wait(self, effect: f.WaitUntil | f.Halt) -> None:
        at = effect.at if isinstance(effect, f.WaitUntil) else None
        assert at is None or at > self.now, "what is due now is done now"
        if self.asked and (at is None or self.rng.random() < 0.8):
            self.now += self.rng.choice((0.0, 0.1, 2.0)) if at is None else min(self.rng.random(), at - self.now)
            self.answer(self.asked.pop(self.rng.randrange(len(self.asked))))
        elif at is not None:
            self.now = at
        elif isinstance(effect, f.Halt):
            self.take_over()
        elif self.run.control.paused is not None:
            self.tell(e.RunUnpaused(self.now))
        else:
            raise AssertionError("it waits for nothing")

    def answer(self, effect: f.Effect) -> None:
        at, rng = self.now, self.rng
        match effect:
            case f.Submit(job):
                self.tell(
                    rng.choice(
                        [
                            e.SubmissionAccepted(at, job, OPERATION, rng.choice((None, 2.0))),
                            e.SubmissionAccepted(at, job, OPERATION),
                            e.SubmissionRefused(at, job, rng.choice(REFUSALS)),
                            e.SubmissionLost(at, job, rng.choice(list(LostReason))),
                        ]
                    )
                )
            case f.Look(job):
                code = rng.choice((0, 0, 1))
                view = Answer("Succeeded" if code == 0 else "Failed", "", code, started=f"s{self.now}")
                self.tell(
                    rng.choice(
                        [
                            e.ResultReceived(at, job, view),
                            e.ResultReceived(at, job, view),
                            e.SeenRunning(at, job, rng.choice((None, 5.0)), rng.choice(("", "", "s1"))),
                            e.LookFailed(at, job, rng.choice((429, 503)), rng.choice((None, 9.0))),
                            e.ResultFailed(at, job, "VMExtensionProvisioningTimeout", ""),
                            e.ResultUnreadable(at, job, REFUSALS[3]),
                        ]
                    )
                )
            case f.AskAgent(job):
                unread = e.LookFailed(at, job, rng.choice((429, 403, 500)), rng.choice((None, 9.0)))
                self.tell(rng.choice([e.AgentSeen(at, job, True), e.AgentSeen(at, job, False), unread]))
            case f.Find(job):
                mark = Mark("script:other", rng.choice(("", "s1")), rng.random() < 0.2)
                self.tell(
                    rng.choice(
                        [
                            e.CommandFound(at, job, OPERATION, mark),
                            e.CommandMissing(at, job),
                            e.LookFailed(at, job, rng.choice((429, 503)), rng.choice((None, 9.0))),
                        ]
                    )
                )
            case f.Remove(job):
                state = self.run.jobs[job]
                gone = e.CommandRemoved(at, job, retry=state.removals[0]) if state.removals else None
                failed = e.RemovalFailed(at, job, rng.choice((429, 403, 500)), rng.choice((None, 4.0)))
                self.tell(gone if gone is not None and rng.random() < 0.7 else failed)

    def interfere(self) -> None:
        at, rng = self.now, self.rng
        choice = rng.randrange(6)
        if choice == 0:
            self.take_over()
        elif choice == 1:
            self.tell(e.RunPaused(at))
        elif choice == 2:
            self.tell(e.RunCancelled(at, rng.choice(list(e.StopKind))))
        elif choice == 3:
            self.tell(e.StopRequested(at, rng.choice(list(e.StopKind))))
        else:
            self.tell(e.LimitsChanged(at, rng.randint(1, 9)))

    def take_over(self) -> None:
        self.epoch += 1
        self.now += self.rng.choice((1.0, 5000.0))
        self.asked.clear()
        self.tell(e.RunOpened(self.now, self.epoch, principals=self.rng.choice((1, 3))))


def recounted(run: Run, asked: int) -> None:
    """Hold every count that the run keeps against its jobs."""
    jobs = run.jobs
    assert run.in_flight == sum(state.in_flight for state in jobs)
    assert run.held_back == sum(state.held_back for state in jobs)
    assert run.tried == sum(state.tried for state in jobs)
    assert run.reserved == sum(state.reserves for state in jobs)
    assert run.done == sum(state.phase is Phase.DONE for state in jobs)
    assert len(run.endings) == run.done
    assert run.calls == asked
    for wave in run.plan.waves:
        left = sum(state.job.wave == wave.index and state.phase is not Phase.DONE for state in jobs)
        assert run.is_wave_over(wave.index) == (left == 0)
    under_way = {
        target
        for target in range(len(run.plan.targets))
        for states in [[state for state in jobs if run.plan.target_index(state.job.id) == target]]
        if any(state.phase is not Phase.DONE for state in states)
        and (any(state.in_flight for state in states) or run.pace.has_begun(target))
    }
    assert run.pace.under_way == len(under_way)


PLANS = {
    "plain": plan(6, subscriptions=2),
    "unwrapped": plan(5, receipts=False, limits=Limits(concurrency=3)),
    "action": plan(5, transport=Transport.ACTION, limits=Limits(concurrency_per_subscription=2), subscriptions=2),
    "waves": plan(6, steps=2, waves=(Amount(1), Amount(50, percent=True)), receipts=False),
    "budgets": plan(8, receipts=False, limits=Limits(max_failures=2, max_unreachable=2, deadline=300.0)),
    "spread": plan(6, receipts=False, limits=Limits(spread=Spread("os", Amount(2)), slow_start=True)),
    "step by step": replace(plan(4, steps=3, receipts=False), strategy=Strategy.STEP),
}
_FIRST = PLANS["unwrapped"].steps[0]
PLANS["retries"] = replace(
    PLANS["unwrapped"], steps=(replace(_FIRST, flow=replace(_FIRST.flow, retries=2, retry_delay=9.0)),)
)
PLANS["standing"] = replace(
    PLANS["unwrapped"],
    steps=(replace(_FIRST, properties=Properties(command="nightly", on_existing=OnExisting.UPDATE)),),
)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", PLANS)
def test_counts_are_those_of_the_jobs_and_every_run_ends(kind: str, seed: int) -> None:
    """After every event each count is what counting anew gives, nothing due is put off, and each job ends once."""
    walk = Walk(PLANS[kind], seed)
    walk.walk()
    ends = [state.outcome for state in walk.run.jobs]
    assert all(ends)
    costs = Counter(state.outcome.status for state in walk.run.jobs if state.outcome is not None)
    if len(walk.plan.steps) == 1 and walk.run.control.cancelled is None and walk.run.stop is None:
        assert walk.run.budget.not_reached == sum(costs[status] for status in NOT_REACHED)
        assert walk.run.budget.failures <= sum(costs[status] for status in FAILURES)
        assert walk.run.budget.failures >= sum(costs[status] for status in FAILURES - {Status.CANCELLED})
