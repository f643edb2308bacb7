"""What a run is kept in goes away while the run waits, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from fleet.clock import SystemClock
from fleet.engine.leasing import LeasingCloud
from fleet.engine.loop import Engine
from fleet.engine.watch import EVERY
from fleet.errors import StateError
from fleet.run.state import Run
from fleet.testing import Behaviour, MemoryLeases, MemoryRuns, ScriptedCloud
from tests.unit.run.factory import plan

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


class Vanishing:
    """Is there for so many looks, and then no more."""

    def __init__(self, looks: int) -> None:
        self._looks = looks
        self.looks = 0

    async def look(self) -> None:
        self.looks += 1
        if self.looks > self._looks:
            raise StateError("it is gone", code="state_lost")


async def begin(cloud: ScriptedCloud, kept: Vanishing, leases: MemoryLeases) -> tuple[Engine, LeasingCloud]:
    frozen, clock = plan(3, steps=2), SystemClock()
    run = Run(frozen, "first")
    leasing = LeasingCloud(cloud, leases, run, clock)
    journal = await MemoryRuns().create("first", frozen)
    engine = Engine(
        run,
        leasing,
        journal,
        clock,
        lambda job: run.command(job, {}),
        leasing.observe,
        nonces=lambda: "0" * 32,
        kept=(kept,),
    )
    return engine, leasing


async def test_a_run_that_waits_ends_with_the_first_loss() -> None:
    """At the next look, though its scripts take an hour; what is running is not ended, and nothing else is begun."""
    cloud = ScriptedCloud(lambda command, n: Behaviour(duration=3600))
    engine, _ = await begin(cloud, Vanishing(4), MemoryLeases())
    began = asyncio.get_running_loop().time()
    with pytest.raises(StateError, match="it is gone"):
        await engine.drive(1, "test")
    assert asyncio.get_running_loop().time() - began == pytest.approx(5 * EVERY)
    assert len(cloud.executions) == 3


async def test_a_run_that_ends_is_watched_no_longer() -> None:
    """It ends when its jobs have, with no look after that."""
    kept = Vanishing(10_000)
    engine, _ = await begin(ScriptedCloud(lambda command, n: Behaviour(duration=2)), kept, MemoryLeases())
    await engine.drive(1, "test")
    seen = kept.looks
    await asyncio.sleep(10 * EVERY)
    assert kept.looks == seen > 1


async def test_vms_at_work_are_held_again_where_others_look_now() -> None:
    """In place of lost leases, those of the VMs with a running script are taken; what another run took stays its own."""
    cloud = ScriptedCloud(lambda command, n: Behaviour(duration=3600))
    engine, leasing = await begin(cloud, Vanishing(2), MemoryLeases())
    with pytest.raises(StateError):
        await engine.drive(1, "test")
    at_work = leasing.at_work()
    assert len(at_work) == 3
    now, anew = SystemClock().now(), MemoryLeases()
    assert await anew.take(at_work[0], "second", now=now, until=now + 60) is None
    await leasing.hold_again(at_work, anew)
    assert [anew.held[target.key].run_id for target in at_work] == ["second", "first", "first"]
    leasing.release_idle()
    assert leasing.at_work() == ()
