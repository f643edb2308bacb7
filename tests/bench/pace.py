"""How close runs come to what Azure allows: walls, requests and lags in virtual time against ARM's documented buckets.

    python -m tests.bench.pace [--quick] [--history]

Each row is one run of Fleet's engine over a cloud in memory: 250 ms a write, 50 ms a read, 200 writes at once and 10 a
second, 250 reads at once and 25 a second for each subscription. The bound is what no client can beat: the last submission
that the buckets allow, and the length of the scripts. ``--history`` gives the plan what an earlier run of the script took.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from fleet.engine.loop import Engine
from fleet.engine.ports import Reply
from fleet.plan.model import JobId, Limits, Plan
from fleet.playbook.model import Transport
from fleet.rehearsal.virtual import LoopClock
from fleet.rehearsal.virtual import run as run_virtually
from fleet.run import answers as a
from fleet.run.answers import Command, Operation
from fleet.run.polling import deciles
from fleet.run.state import Run
from fleet.targets.model import Target
from fleet.testing import Behaviour, MemoryRuns, ScriptedCloud
from tests.unit.run.factory import plan

WRITES, READS = (200, 10.0), (250, 25.0)
WRITE_S, READ_S = 0.25, 0.05
ORIGIN = 1_767_225_600.0

Length = Callable[[random.Random], float]
LENGTHS: dict[str, Length] = {
    "2 s": lambda rng: 2.0,
    "20 s": lambda rng: 20.0,
    "lognormal 30 s": lambda rng: rng.lognormvariate(3.4, 0.4),
    "98 % 25 s, 2 % 240 s": lambda rng: 25.0 if rng.random() < 0.98 else 240.0,
}


@dataclass
class Bucket:
    """Calls of one kind in one subscription, as ARM counts them."""

    burst: int
    per_second: float
    level: float = 0.0
    at: float = 0.0
    over: int = 0
    """Calls beyond what the bucket held: each would have been a 429."""

    def __post_init__(self) -> None:
        self.level = float(self.burst)

    def take(self, now: float) -> None:
        self.level = min(float(self.burst), self.level + (now - self.at) * self.per_second)
        self.at = now
        if self.level < 1.0:
            self.over += 1
        else:
            self.level -= 1.0


class CountingCloud(ScriptedCloud):
    """Answers as ARM does in the middle, and counts what ARM would refuse and how late each result is read."""

    def __init__(self, lengths: dict[str, float]) -> None:
        super().__init__(lambda command, n: Behaviour(duration=lengths[command.target.key], latency=WRITE_S))
        self._lengths = lengths
        self._ends: dict[str, float] = {}
        self.lags: list[float] = []
        self.writes: dict[str, Bucket] = {}
        self.reads: dict[str, Bucket] = {}

    async def submit(self, command: Command) -> Reply[a.SubmitAnswer]:
        now = asyncio.get_running_loop().time()
        self.writes.setdefault(command.target.subscription, Bucket(*WRITES)).take(now)
        reply = await super().submit(command)
        self._ends[command.target.key] = asyncio.get_running_loop().time() + self._lengths[command.target.key]
        return reply

    async def look(self, target: Target, operation: Operation) -> Reply[a.LookAnswer]:
        self.reads.setdefault(target.subscription, Bucket(*READS)).take(asyncio.get_running_loop().time())
        await asyncio.sleep(READ_S - 0.02)
        reply = await super().look(target, operation)
        if isinstance(reply.answer, a.Finished):
            self.lags.append(asyncio.get_running_loop().time() - self._ends[target.key])
        return reply


@dataclass
class Measured:
    """One run."""

    wall: float
    bound: float
    requests: float
    lags: list[float]
    refused: tuple[int, int]
    took: list[float] = field(default_factory=list)

    def row(self, name: str) -> str:
        lags = sorted(self.lags)
        p50, p95 = (lags[int(len(lags) * share)] for share in (0.5, 0.95))
        ratio = self.wall / self.bound
        return (
            f"| {name} | {self.bound:.1f} | {self.wall:.1f} | {ratio:.2f} | {self.requests:.2f} "
            f"| {p50:.1f} / {p95:.1f} / {lags[-1]:.1f} | {self.refused[0]} / {self.refused[1]} |"
        )


def bound_of(frozen: Plan, lengths: dict[str, float]) -> float:
    """The moment before which no client can have the last result: submissions in the best order, longest first."""
    worst = 0.0
    for subscription in {target.subscription for target in frozen.targets}:
        here = sorted((lengths[t.key] for t in frozen.targets if t.subscription == subscription), reverse=True)
        for place, length in enumerate(here):
            worst = max(worst, max(0.0, (place + 1 - WRITES[0]) / WRITES[1]) + length)
    return worst


async def measure(vms: int, subscriptions: int, length: Length, history: Sequence[float]) -> Measured:
    """Carry one run out."""
    rng = random.Random(1)
    frozen = plan(vms, subscriptions=subscriptions, transport=Transport.ACTION)
    frozen = replace(frozen, limits=Limits(concurrency=20_000))
    if history:
        frozen = replace(frozen, steps=tuple(replace(step, usual=deciles(history)) for step in frozen.steps))
    lengths = {target.key: length(rng) for target in frozen.targets}
    run, cloud = Run(frozen, "20260101-000000-pace"), CountingCloud(lengths)
    journal = await MemoryRuns().create(run.run_id, frozen)

    def command(job: JobId) -> Command:
        return run.command(job, {})

    engine = Engine(run, cloud, journal, LoopClock(ORIGIN), command, lambda event: None, nonces=lambda: "a" * 32)
    await engine.drive(1, "bench")
    over = tuple(sum(bucket.over for bucket in kind.values()) for kind in (cloud.writes, cloud.reads))
    requests = sum(cloud.calls.values()) / vms
    took = [seconds for script in run.looks.took().values() for seconds in script]
    return Measured(
        max(job.ended or ORIGIN for job in run.jobs) - ORIGIN,
        bound_of(frozen, lengths),
        requests,
        cloud.lags,
        (over[0], over[1]),
        took,
    )


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="500 VMs only")
    parser.add_argument("--history", action="store_true", help="with what an earlier run took")
    parser.add_argument("--large", action="store_true", help="10,000 VMs too")
    asked = parser.parse_args()
    print("| work | bound s | Fleet s | x bound | requests/VM | lag p50 / p95 / max s | 429 write / read |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for vms in (120, 500, *(() if asked.quick else (2_000,)), *((10_000,) if asked.large else ())):
        for name, length in LENGTHS.items():
            found = run_virtually(measure(vms, 4, length, ()))
            print(found.row(f"{vms:,}, {name}"), flush=True)
            if asked.history:
                again = run_virtually(measure(vms, 4, length, found.took))
                print(again.row(f"{vms:,}, {name}, again"), flush=True)


if __name__ == "__main__":
    main()
