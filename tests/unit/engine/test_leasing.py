"""Runs that meet on the same VMs, in virtual time."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest

from fleet.cli.lease_notes import LeaseNotes
from fleet.cli.progress import waiting_jobs
from fleet.clock import SystemClock
from fleet.engine.leasing import LeasingCloud
from fleet.engine.loop import Engine
from fleet.plan.model import Limits, Plan
from fleet.playbook.model import Lease
from fleet.report.aggregate import aggregate
from fleet.run.answers import Command, LostReason
from fleet.run.events import Event
from fleet.run.model import CauseCode, Status
from fleet.run.record import RunRecord
from fleet.run.state import Run
from fleet.testing import Behaviour, MemoryLeases, MemoryRuns, ScriptedCloud
from tests.unit.run.factory import plan

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


async def carry_out(run_id: str, frozen: Plan, cloud: ScriptedCloud, leases: MemoryLeases) -> RunRecord:
    """Drive one run through the leases."""
    run = Run(frozen, run_id)
    clock = SystemClock()
    leasing = LeasingCloud(cloud, leases, run, clock)
    journal = await MemoryRuns().create(run_id, frozen)
    engine = Engine(
        run, leasing, journal, clock, lambda job: run.command(job, {}), leasing.observe, nonces=lambda: "a" * 32
    )
    await engine.drive(1, "test")
    leasing.release_idle()
    return run.record()


def statuses(record: RunRecord) -> set[tuple[Status, CauseCode]]:
    return {(job.outcome.status, job.outcome.cause.code) for job in record.jobs if job.outcome}


class Watched(ScriptedCloud):
    """Tells how many runs were at work on one VM at most."""

    def __init__(self, duration: float) -> None:
        super().__init__(lambda command, n: Behaviour(duration=duration))
        self.duration = duration
        self.at_work: dict[str, int] = {}
        self.most = 0

    async def submit(self, command: Command):  # type: ignore[no-untyped-def]
        vm = command.target.key
        self.at_work[vm] = self.at_work.get(vm, 0) + 1
        self.most = max(self.most, self.at_work[vm])
        asyncio.get_running_loop().call_later(self.duration, self._end, vm)
        return await super().submit(command)

    def _end(self, vm: str) -> None:
        self.at_work[vm] -= 1


async def test_the_second_run_waits_and_then_runs() -> None:
    """Two runs of two steps on the same VMs both succeed everywhere, and are never on one VM at the same time."""
    cloud, leases = Watched(duration=30), MemoryLeases()
    frozen = plan(12, steps=2)
    records = await asyncio.gather(*(carry_out(f"run-{n}", frozen, cloud, leases) for n in range(2)))
    assert [statuses(record) for record in records] == [{(Status.SUCCEEDED, CauseCode.COMPLETED)}] * 2
    assert cloud.most == 1
    assert not leases.held


async def test_without_leases_they_meet() -> None:
    """The same two runs with `none` are on one VM at the same time: the test above can fail."""
    cloud = Watched(duration=30)
    frozen = plan(12)
    await asyncio.gather(*(carry_out(f"run-{n}", frozen, cloud, MemoryLeases()) for n in range(2)))
    assert cloud.most == 2


async def test_refuse_leaves_held_vms_out_at_once() -> None:
    """With `refuse` the second run ends at once: its VMs are unreachable, and the cause names the first run."""
    cloud, leases = ScriptedCloud(lambda command, n: Behaviour(duration=300)), MemoryLeases()
    first = asyncio.create_task(carry_out("run-1", plan(3), cloud, leases))
    await asyncio.sleep(5)
    second = await carry_out("run-2", replace(plan(5), lease=Lease.REFUSE), cloud, leases)
    assert [job.outcome.status for job in second.jobs if job.outcome] == [Status.UNREACHABLE] * 3 + [
        Status.SUCCEEDED
    ] * 2
    assert second.jobs[0].outcome is not None
    assert "run-1" in second.jobs[0].outcome.cause.message
    assert second.jobs[0].outcome.cause.code is CauseCode.LEASED_BY_OTHER_RUN
    assert second.jobs[0].attempts == 0, "nothing was sent"
    await first


async def test_waiting_ends_with_the_time_to_deliver() -> None:
    """A lease that is not let go of in time leaves the VM unreachable, with the same cause."""
    cloud, leases = ScriptedCloud(lambda command, n: Behaviour(duration=500)), MemoryLeases()
    first = asyncio.create_task(carry_out("run-1", plan(2), cloud, leases))
    await asyncio.sleep(1)
    second = await carry_out("run-2", plan(2, limits=Limits(deliver_timeout=60)), cloud, leases)
    assert statuses(second) == {(Status.UNREACHABLE, CauseCode.LEASED_BY_OTHER_RUN)}
    assert not first.done()
    await first


async def test_an_unknown_result_keeps_the_lease() -> None:
    """A VM whose script may still be running stays leased when the run has ended, until its time is over."""

    def behave(command: Command, n: int) -> Behaviour:
        lost = command.target.name == "vm0000"
        return Behaviour(lose=LostReason.RESET if lost else None, duration=1e6 if lost else 2)

    leases = MemoryLeases()
    frozen = plan(2, receipts=False, limits=Limits(answer_grace=100))
    record = await carry_out("run-1", frozen, ScriptedCloud(behave), leases)
    assert statuses(record) == {
        (Status.UNKNOWN, CauseCode.NO_ANSWER),
        (Status.SUCCEEDED, CauseCode.COMPLETED),
    }
    assert list(leases.held) == [frozen.targets[0].key]


async def test_waiting_is_said_with_the_run_and_the_time() -> None:
    """Each VM that waits is named once with the run it waits for and the time, many on one line; its row says so as well."""
    cloud, leases = ScriptedCloud(lambda command, n: Behaviour(duration=60)), MemoryLeases()
    first = asyncio.create_task(carry_out("run-1", plan(3), cloud, leases))
    await asyncio.sleep(5)
    run, said = Run(plan(4), "run-2"), list[str]()
    clock = SystemClock()
    leasing = LeasingCloud(cloud, leases, run, clock)
    notes = LeaseNotes(run, said.append)

    def observe(event: Event) -> None:
        leasing.observe(event)
        notes.observe(event)

    journal = await MemoryRuns().create("run-2", run.plan)
    engine = Engine(run, leasing, journal, clock, lambda job: run.command(job, {}), observe, nonces=lambda: "a" * 32)
    second = asyncio.create_task(engine.drive(1, "test"))
    await asyncio.sleep(10)
    (line,) = said
    assert re.fullmatch(r"vm\[0000-0002\]: wait for run run-1 until \d\d:\d\d UTC", line)
    assert waiting_jobs(run) == [line]
    row = aggregate(run.record()).jobs[0]
    assert (row.status, row.cause.code) == (Status.NOT_STARTED, CauseCode.LEASED_BY_OTHER_RUN)
    assert row.cause.message.startswith("Waits: run run-1 is at work on this VM, until ")
    await asyncio.gather(first, second)
    assert not waiting_jobs(run) and said == [line]
    assert {state.outcome.status for state in run.jobs if state.outcome} == {Status.SUCCEEDED}
