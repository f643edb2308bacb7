"""What every journal promises, held against the durable one and the one in memory alike."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from fleet.engine import ports
from fleet.errors import StateError
from fleet.plan.model import JobId, Plan, PlaybookRef
from fleet.run.events import Event, JobExpired, RunEnded, RunOpened, SeenRunning, SubmissionIntended
from fleet.store.sqlite import journal
from fleet.testing import MemoryRuns

PLAN = Plan(PlaybookRef("patch", "1.0.0", "abc"), (), (), ())


class Closable(ports.Journal, Protocol):
    epoch: int

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Seen:
    plan: Plan
    events: tuple[Event, ...]
    epoch: int
    live: bool


class World(Protocol):
    """One run and the ways to get at it."""

    def create(self) -> Closable: ...
    def reopen(self) -> Closable: ...
    def read(self) -> Seen: ...
    def drop_lock(self) -> None: ...


class Disk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self) -> Closable:
        return journal.create(self.folder, run_id="r1", plan=PLAN, owner="one", now=1.0)

    def reopen(self) -> Closable:
        return journal.open_for_writing(self.folder, owner="two", now=2.0).journal

    def read(self) -> Seen:
        found = journal.read(self.folder)
        assert found.damage == ""
        return Seen(found.plan, found.events, found.epoch, found.live)

    def drop_lock(self) -> None:
        (self.folder / journal.LOCK).unlink()


class Memory:
    def __init__(self) -> None:
        self.runs = MemoryRuns()

    def create(self) -> Closable:
        return self.runs.create("r1", PLAN, now=1.0)

    def reopen(self) -> Closable:
        return self.runs.open_for_writing("r1")

    def read(self) -> Seen:
        found = self.runs.read("r1")
        return Seen(found.plan, found.events, found.epoch, found.live)

    def drop_lock(self) -> None:
        self.runs.drop_lock("r1")


@pytest.fixture(params=["disk", "memory"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return Disk(tmp_path / "runs" / "r1") if request.param == "disk" else Memory()


def intents(*jobs: int) -> Sequence[Event]:
    return [SubmissionIntended(float(job), JobId(job), 1) for job in jobs]


@pytest.mark.asyncio
async def test_keeps_order(world: World) -> None:
    """What was appended is read back equal and in order, batch by batch."""
    kept = world.create()
    await kept.append([RunOpened(1.0, 1, "one")])
    await kept.append(intents(3, 1, 2))
    await kept.append([])
    await kept.append([RunEnded(9.0)])
    await kept.close()
    assert world.read() == Seen(PLAN, (RunOpened(1.0, 1, "one"), *intents(3, 1, 2), RunEnded(9.0)), 1, False)


@pytest.mark.asyncio
async def test_shows_events_while_live(world: World) -> None:
    """A reader sees every acknowledged event of a run that goes on, and that it is live."""
    kept = world.create()
    await kept.append(intents(1))
    assert world.read() == Seen(PLAN, tuple(intents(1)), 1, True)
    await kept.close()
    assert not world.read().live


@pytest.mark.asyncio
async def test_many_appenders(world: World) -> None:
    """Batches appended at the same time are all kept, each in one piece and in its own order."""
    kept = world.create()
    async with asyncio.TaskGroup() as group:
        for start in range(0, 300, 3):
            group.create_task(kept.append(intents(start, start + 1, start + 2)))
    await kept.close()
    jobs = [event.job for event in world.read().events if isinstance(event, SubmissionIntended)]
    assert sorted(jobs) == list(range(300))
    assert all(jobs[place : place + 3] == list(range(jobs[place], jobs[place] + 3)) for place in range(0, 300, 3))


@pytest.mark.asyncio
async def test_takes_over_with_next_epoch(world: World) -> None:
    """Each owner has an epoch one higher than the last, and goes on where the last one stopped."""
    first = world.create()
    await first.append(intents(1))
    await first.close()
    second = world.reopen()
    await second.append(intents(2))
    await second.close()
    assert (first.epoch, second.epoch) == (1, 2)
    assert world.read() == Seen(PLAN, tuple(intents(1, 2)), 2, False)


@pytest.mark.asyncio
async def test_refuses_second_owner(world: World) -> None:
    """While a run is held nobody else opens it for writing, and the holder goes on undisturbed."""
    first = world.create()
    with pytest.raises(StateError) as refused:
        world.reopen()
    assert refused.value.code == "run_is_live"
    await first.append(intents(1))
    await first.close()
    assert (world.read().events, world.read().epoch) == (tuple(intents(1)), 1)


@pytest.mark.asyncio
async def test_fences_former_owner(world: World) -> None:
    """An owner who lost the run to another, lock or no lock, can write nothing more and is told so."""
    first = world.create()
    await first.append(intents(1))
    world.drop_lock()
    second = world.reopen()
    for _ in range(2):
        with pytest.raises(StateError) as lost:
            await first.append(intents(7, 8))
        assert lost.value.code == "lease_lost"
    await second.append(intents(2))
    await first.close()
    await second.append(intents(3))
    await second.close()
    assert world.read().events == tuple(intents(1, 2, 3))


@pytest.mark.asyncio
async def test_refuses_after_close(world: World) -> None:
    """A closed journal takes nothing more and may be closed again."""
    kept = world.create()
    await kept.close()
    await kept.close()
    with pytest.raises(StateError) as closed:
        await kept.append(intents(1))
    assert closed.value.code == "journal_closed"
    assert world.read().events == ()


@pytest.mark.asyncio
async def test_refuses_events_that_are_not_durable(world: World) -> None:
    """An event that is cheap to lose is refused, with all that came with it."""
    kept = world.create()
    with pytest.raises(AssertionError):
        await kept.append([*intents(1), SeenRunning(1.0, JobId(1))])
    await kept.append([JobExpired(2.0, JobId(2))])
    await kept.close()
    assert world.read().events == (JobExpired(2.0, JobId(2)),)


@pytest.mark.asyncio
async def test_creates_once(world: World) -> None:
    """A run that is there already is never begun anew."""
    kept = world.create()
    await kept.append(intents(1))
    with pytest.raises(StateError) as exists:
        world.create()
    assert exists.value.code == "run_exists"
    await kept.close()
    assert world.read().events == tuple(intents(1))


@pytest.mark.asyncio
async def test_cancelled_append_is_whole(world: World) -> None:
    """A batch whose appender is cancelled is kept in one piece or not at all, and the journal goes on."""
    kept = world.create()
    tasks = [asyncio.ensure_future(kept.append(intents(start, start + 1))) for start in range(0, 20, 2)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await kept.append(intents(100))
    await kept.close()
    jobs = [event.job for event in world.read().events if isinstance(event, SubmissionIntended)]
    assert jobs[-1] == 100
    assert all(job + 1 in jobs for job in jobs if job % 2 == 0 and job < 100)
    assert all(start in jobs for start in range(2, 20, 4))
