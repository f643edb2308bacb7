"""Runs and questions in one process that share the rates of their sign-in, in virtual time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from itertools import count, pairwise

import pytest

from fleet.clock import Clock, SystemClock
from fleet.engine.loop import Engine
from fleet.engine.ports import Reply
from fleet.engine.turns import SharedRates, Turns
from fleet.inspection.paced import PacedCloud
from fleet.inspection.query import GuestQuery, QueryFailed, Question, Source
from fleet.plan.model import Plan
from fleet.playbook.model import Transport
from fleet.run import answers as a
from fleet.run import events as e
from fleet.run.answers import Command, Refusal
from fleet.run.limits import ARM_THROTTLED, ARM_WRITES
from fleet.run.retry import Bounds
from fleet.run.state import Run
from fleet.testing import Behaviour, MemoryRuns, ScriptedCloud
from tests.unit.run.factory import plan, target

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


class Watched(ScriptedCloud):
    """Notes when each run's, or question's, commands were submitted."""

    def __init__(self, behave: Callable[[Command, int], Behaviour] = lambda command, n: Behaviour()) -> None:
        super().__init__(behave)
        self.at: defaultdict[str, list[float]] = defaultdict(list)

    async def submit(self, command: Command) -> Reply[a.SubmitAnswer]:
        self.at[_owner(command)].append(asyncio.get_running_loop().time())
        return await super().submit(command)

    def most_within(self, seconds: float) -> int:
        """How many commands were submitted at most in so many seconds, by all together."""
        moments = sorted(moment for moments in self.at.values() for moment in moments)
        return max(sum(start <= moment < start + seconds for moment in moments) for start in moments)


def _owner(command: Command) -> str:
    return "question" if "question" in command.name else command.name.split("-run-")[-1][:1]


async def drive(
    run: Run, cloud: ScriptedCloud, shared: SharedRates | None, clock: Clock | None = None, epoch: int = 1
) -> None:
    """Carry a run out, with whatever clock the process has."""
    engine = Engine(
        run,
        cloud,
        await MemoryRuns().create(run.run_id, run.plan),
        clock or SystemClock(),
        lambda job: run.command(job, {}),
        lambda event: None,
        nonces=lambda: "a" * 32,
        shared=shared,
    )
    await engine.drive(epoch, "test")


def named(frozen: Plan, name: str) -> Run:
    return Run(frozen, f"20260101-000000-run-{name}")


async def test_runs_that_share_a_bucket_take_turns() -> None:
    """Of three runs none waits for another's end: once the bucket is empty, each sends every third command."""
    cloud, shared = Watched(), SharedRates()
    await asyncio.gather(*(drive(named(plan(300), name), cloud, shared) for name in "abc"))
    assert {name: len(moments) for name, moments in cloud.at.items()} == {"a": 300, "b": 300, "c": 300}
    end = min(max(moments) for moments in cloud.at.values())
    for moments in cloud.at.values():
        late = [moment for moment in moments if 5.0 < moment <= end]
        assert max(after - before for before, after in pairwise(late)) < 0.5
    for seconds in (1.0, 5.0, 20.0):
        assert cloud.most_within(seconds) <= ARM_WRITES[0] + ARM_WRITES[1] * seconds + 1


async def test_a_small_run_does_not_wait_for_a_large_one() -> None:
    """Ten jobs that begin while a run of six hundred empties the bucket are sent within seconds."""
    cloud, shared = Watched(), SharedRates()
    large = asyncio.create_task(drive(named(plan(600), "a"), cloud, shared))
    await asyncio.sleep(30)
    await drive(named(plan(10), "b"), cloud, shared)
    assert max(cloud.at["b"]) < 30 + 5
    assert not large.done()
    await large


async def test_what_one_run_is_refused_holds_the_other_back() -> None:
    """A 429 that one run meets is waited out by both; the other never asks in vain."""
    full = Refusal(429, ARM_THROTTLED, "later", 40.0)

    def behave(command: Command, n: int) -> Behaviour:
        return Behaviour(refuse=full if _owner(command) == "a" and n == 1 else None)

    cloud, shared = Watched(behave), SharedRates()
    first = asyncio.create_task(drive(named(plan(1), "a"), cloud, shared))
    await asyncio.sleep(5)
    await drive(named(plan(3), "b"), cloud, shared)
    assert min(cloud.at["b"]) == pytest.approx(40.05, abs=0.1)
    await first


async def test_a_run_that_goes_on_brings_what_it_knows() -> None:
    """A block from before a run was left holds for others of its sign-in from the moment at which it is carried out again."""
    shared = SharedRates()
    clock, begun = shared.clock, asyncio.get_running_loop().time()
    left = named(plan(1), "a")
    for event in (
        e.RunOpened(clock.now(), 1),
        e.WaveOpened(clock.now(), 0),
        e.SubmissionIntended(clock.now(), left.jobs[0].job.id, 1),
        e.SubmissionRefused(clock.now(), left.jobs[0].job.id, Refusal(429, ARM_THROTTLED, "later", 60.0)),
    ):
        left.apply(event)
    assert shared.rates.levels(clock.now()) == {}, "a replay counts privately"
    cloud = Watched()
    await asyncio.gather(*(drive(run, cloud, shared, clock, epoch=2) for run in (left, named(plan(1), "b"))))
    assert min(cloud.at["a"] + cloud.at["b"]) - begun == pytest.approx(60.0, abs=0.001)


class Behind:
    """A clock that is some seconds behind another."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds

    def now(self) -> float:
        return self._clock.now() - self._seconds


@pytest.mark.parametrize("seconds", [-3600.0, 3600.0])
async def test_clocks_that_differ_hold_nobody_up(seconds: float) -> None:
    """A run whose clock is an hour off takes from the bucket as any other, and the others notice nothing of its time."""
    cloud, shared = Watched(), SharedRates()
    odd = Behind(shared.clock, seconds)
    await asyncio.gather(
        drive(named(plan(150), "a"), cloud, shared), drive(named(plan(150), "b"), cloud, shared, clock=odd)
    )
    assert max(moment for moments in cloud.at.values() for moment in moments) < 30
    assert cloud.most_within(10.0) <= ARM_WRITES[0] + 10 * ARM_WRITES[1] + 1


def ask(cloud: ScriptedCloud, shared: SharedRates, tries: int = 1) -> asyncio.Task[object]:
    """Ask a VM something that it does not answer."""
    numbers = count()
    source = Source(target(999), Transport.MANAGED, "question")
    query = GuestQuery(PacedCloud(cloud, shared), lambda: f"{next(numbers):032x}", bounds=Bounds(tries, 600.0))

    async def asked() -> object:
        with pytest.raises(QueryFailed):
            await query.ask(source, lambda nonce: Question(nonce, "echo", lambda message: None))
        return None

    return asyncio.create_task(asked())


async def test_a_question_takes_its_turn_beside_a_run() -> None:
    """A question that comes while a run empties the bucket is sent soon, and counts as the run's commands do."""
    cloud, shared = Watched(), SharedRates()
    large = asyncio.create_task(drive(named(plan(500), "a"), cloud, shared))
    await asyncio.sleep(15)
    await ask(cloud, shared, tries=5)
    assert len(cloud.at["question"]) == 5
    assert min(cloud.at["question"]) < 16
    assert not large.done()
    await large
    assert cloud.most_within(30.0) <= ARM_WRITES[0] + 30 * ARM_WRITES[1] + 1


async def test_what_a_question_is_refused_holds_a_run_back() -> None:
    """A 429 that answers a question is waited out by a run that begins after it."""
    full = Refusal(429, ARM_THROTTLED, "later", 40.0)
    cloud = Watched(lambda command, n: Behaviour(refuse=full if _owner(command) == "question" else None))
    shared = SharedRates()
    question = ask(cloud, shared)
    await asyncio.sleep(1)
    await drive(named(plan(2), "a"), cloud, shared)
    assert min(cloud.at["a"]) == pytest.approx(40.05, abs=0.1)
    await question


async def test_calls_in_a_line_leave_in_the_order_in_which_they_came() -> None:
    """Reads that wait for one bucket are let go one by one, each a refill after the other."""
    shared = SharedRates()
    turns, order = Turns(shared), list[tuple[int, float]]()
    begun = shared.clock.now()

    async def one(number: int) -> None:
        await turns.read(target(number))
        order.append((number, shared.clock.now() - begun))

    await asyncio.gather(*(one(number) for number in range(300)))
    assert [number for number, _ in order] == list(range(300))
    assert order[221][1] < 0.001 and order[-1][1] == pytest.approx(78 / 25, abs=0.01)


async def test_who_may_not_wait_so_long_goes_at_once() -> None:
    """A moment farther away than the caller may wait is not waited for."""
    shared = SharedRates()
    shared.rates.lane(target(0)).refused_removal(shared.clock.now(), 600.0, ARM_THROTTLED)
    begun = shared.clock.now()
    await Turns(shared).remove(target(0), within=30.0)
    assert shared.clock.now() == begun
    await Turns(shared).remove(target(0))
    assert shared.clock.now() - begun >= 600.0
