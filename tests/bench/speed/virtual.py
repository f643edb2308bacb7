"""Fleet's engine in virtual time, over a cloud in memory that counts as ARM does. Nothing waits, so walls are exact."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from functools import cache

from fleet.engine.loop import Engine
from fleet.engine.ports import Reply
from fleet.plan.build import Settings, build
from fleet.plan.launch_order import NO_TIMES, Times
from fleet.plan.model import JobId, Plan
from fleet.playbook.load import load
from fleet.playbook.model import Playbook, Transport
from fleet.rehearsal.virtual import LoopClock
from fleet.rehearsal.virtual import run as run_virtually
from fleet.report.aggregate import aggregate
from fleet.run import answers as a
from fleet.run.answers import Command, Operation, Quota, Refusal
from fleet.run.polling import deciles
from fleet.run.state import Run
from fleet.run.times import times_of
from fleet.targets.model import Target, TargetSet
from fleet.testing import Behaviour, MemoryRuns, ScriptedCloud
from tests.bench.speed.limits import DELETE, READ, READ_S, WRITE, WRITE_S, Limits, bound
from tests.bench.speed.rows import LENGTHS, SUBSCRIPTIONS, Case, Measured, percentile
from tests.unit.run.factory import target

ORIGIN = 1_767_225_600.0
RUN_ID = "20260101-000000-pace"
PLAYBOOK = """apiVersion: fleet/v1
kind: Playbook
metadata: {name: speed, version: 1.0.0}
steps:
  - id: work
    run: {inline: "hostname"}
"""


class CountingCloud(ScriptedCloud):
    """Answers as ARM does in the middle, and counts what is over its limits and how late each result is read."""

    def __init__(self, lengths: dict[str, float], throttled: bool) -> None:
        super().__init__(self._behaves)
        self._lengths = lengths
        self._ends: dict[str, float] = {}
        self.limits = Limits(on=throttled)
        self.lags: list[float] = []

    def _behaves(self, command: Command, number: int) -> Behaviour:
        key = command.target.key
        return Behaviour(duration=self._lengths[key], latency=WRITE_S, stdout=f"{command.target.name}\n")

    async def submit(self, command: Command) -> Reply[a.SubmitAnswer]:
        if refused := await self._refused(command.target, WRITE):
            return refused
        reply = await super().submit(command)
        self._ends[command.target.key] = _now() + self._lengths[command.target.key]
        return replace(reply, quota=self._quota(command.target, WRITE))

    async def look(self, target: Target, operation: Operation) -> Reply[a.LookAnswer]:
        if refused := await self._refused(target, READ):
            return refused
        await asyncio.sleep(READ_S - 0.02)
        reply = await super().look(target, operation)
        if isinstance(reply.answer, a.Finished):
            self.lags.append(_now() - self._ends[target.key])
        return replace(reply, quota=self._quota(target, READ))

    async def remove(self, target: Target, name: str) -> Reply[a.RemoveAnswer]:
        if refused := await self._refused(target, DELETE):
            return refused
        await asyncio.sleep(WRITE_S - 0.02)
        reply = await super().remove(target, name)
        return replace(reply, quota=self._quota(target, DELETE))

    async def _refused(self, target: Target, kind: str) -> Reply[a.Refused] | None:
        wait = self.limits.refuse(target.subscription, kind, _now())
        if not wait:
            return None
        self.calls["refused"] += 1
        await asyncio.sleep(READ_S)
        return Reply(a.Refused(Refusal(429, "SubscriptionRequestsThrottled", "too many requests", wait)))

    def _quota(self, target: Target, kind: str) -> Quota | None:
        """What the answer's headers say is left: nothing where there is no limit."""
        left = {f"{kind}s": self.limits.remaining(target.subscription, kind)}
        return Quota(target.subscription, target.location, left) if self.limits.on else None


def _now() -> float:
    return asyncio.get_running_loop().time()


@cache
def _playbook() -> Playbook:
    return load(PLAYBOOK, file="speed.yaml", read_script=lambda name: "")


def _plan(case: Case, times: Times) -> Plan:
    """Freeze a plan as ``fleet run`` does for somebody who sets nothing."""
    targets = tuple(target(index, f"sub-{index % SUBSCRIPTIONS}") for index in range(case.vms))
    return build(_playbook(), TargetSet(targets), {}, Settings(transport=Transport(case.transport), times=times))


def measure(case: Case) -> tuple[Measured, Measured]:
    """Carry out a first run, and a later one that knows how long the first one's scripts took."""
    rng = random.Random(1)
    first = _plan(case, NO_TIMES)
    lengths = {each.key: LENGTHS[case.lengths](rng) for each in first.targets}
    measured, times, took = run_virtually(_carry_out(case, first, lengths))
    again = _plan(case, times)
    again = replace(again, steps=tuple(replace(step, usual=deciles(took)) for step in again.steps))
    return measured, run_virtually(_carry_out(replace(case, later=True), again, lengths))[0]


async def _carry_out(case: Case, plan: Plan, lengths: dict[str, float]) -> tuple[Measured, Times, list[float]]:
    run, cloud, runs = Run(plan, RUN_ID), CountingCloud(lengths, case.throttled), MemoryRuns()
    journal = await runs.create(RUN_ID, plan)

    def command(job: JobId) -> Command:
        return run.command(job, {})

    engine = Engine(run, cloud, journal, LoopClock(ORIGIN), command, lambda event: None, nonces=lambda: "a" * 32)
    await engine.drive(1, "bench")
    rows = aggregate(run.record()).jobs
    answered = [row for row in rows if row.status == "succeeded"]
    over = cloud.limits.over
    lanes = [[lengths[t.key] for t in plan.targets if t.subscription == f"sub-{n}"] for n in range(SUBSCRIPTIONS)]
    measured = Measured(
        case,
        wall=max(job.ended or ORIGIN for job in run.jobs) - ORIGIN,
        bound=bound(lanes, case.throttled),
        requests=sum(cloud.calls.values()) / case.vms,
        lag_p50=percentile(cloud.lags, 0.5),
        lag_p95=percentile(cloud.lags, 0.95),
        refused_writes=over[WRITE] + over[DELETE],
        refused_reads=over[READ],
        wrong=sum(row.stdout != f"{row.name}\n" for row in answered),
        twice=sum(count > 1 for count in cloud.executions.values()),
        lost=case.vms - len(answered),
        end=_now(),
    )
    took = [seconds for script in run.looks.took().values() for seconds in script]
    return measured, Times(RUN_ID, times_of(plan, runs.kept(RUN_ID))), took
