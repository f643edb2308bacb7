"""What every state store promises, held against the durable one and the one in memory alike."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from fleet.engine.run_store import RunFilter, RunJournal, RunStore, Tail
from fleet.errors import RunNotFound, StateError
from fleet.plan.model import JobId, Plan, PlaybookRef
from fleet.run.events import Event, JobExpired, RunEnded, RunOpened, RunPaused, SeenRunning, SubmissionIntended
from fleet.run.kept import RunState
from fleet.run.model import Extent
from fleet.store.sqlite.journal import LOCK
from fleet.store.sqlite.store import SqliteRuns
from fleet.store.sqlite.threads import at_once
from fleet.testing import MemoryRuns
from tests.unit.run.factory import target

pytestmark = pytest.mark.asyncio

PLAN = Plan(PlaybookRef("patch", "1.0.0", "abc"), (), (), ())
OTHER = Plan(PlaybookRef("audit", "1.0.0", "def"), (), (), ())


@dataclass(frozen=True)
class Seen:
    plan: Plan
    events: tuple[Event, ...]
    epoch: int
    live: bool


@dataclass
class World:
    """A store, and the run ``r1`` in it."""

    store: RunStore
    folder: Path | None
    """Where a store on disk keeps its state."""

    async def create(self) -> RunJournal:
        return await self.store.create("r1", PLAN, owner="one", now=1.0)

    async def reopen(self) -> RunJournal:
        return (await self.store.take_over("r1", owner="two", now=2.0)).journal

    async def read(self) -> Seen:
        found = await self.store.read("r1")
        assert found.damage == ""
        return Seen(found.plan, found.events, found.epoch, found.live)

    def drop_lock(self) -> None:
        if isinstance(self.store, MemoryRuns):
            self.store.drop_lock("r1")
        else:
            assert self.folder is not None
            (self.folder / "runs" / "r1" / LOCK).unlink()


@pytest.fixture(params=["disk", "disk without threads", "memory"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    if request.param == "memory":
        return World(MemoryRuns(), None)
    store = SqliteRuns(tmp_path) if request.param == "disk" else SqliteRuns(tmp_path, at_once)
    return World(store, tmp_path)


async def kept(store: RunStore, run_id: str, plan: Plan, now: float, *events: Event) -> None:
    """Keep a run that nobody owns any more."""
    journal = await store.create(run_id, plan, owner="one", now=now)
    await journal.append(events)
    await journal.close()


def intents(*jobs: int) -> Sequence[Event]:
    return [SubmissionIntended(float(job), JobId(job), 1) for job in jobs]


async def test_keeps_order(world: World) -> None:
    """What was appended is read back equal and in order, batch by batch."""
    kept = await world.create()
    await kept.append([RunOpened(1.0, 1, "one")])
    await kept.append(intents(3, 1, 2))
    await kept.append([])
    await kept.append([RunEnded(9.0)])
    await kept.close()
    assert await world.read() == Seen(PLAN, (RunOpened(1.0, 1, "one"), *intents(3, 1, 2), RunEnded(9.0)), 1, False)


async def test_shows_events_while_live(world: World) -> None:
    """A reader sees every acknowledged event of a run that goes on, and that it is live."""
    kept = await world.create()
    await kept.append(intents(1))
    assert await world.read() == Seen(PLAN, tuple(intents(1)), 1, True)
    await kept.close()
    assert not (await world.read()).live


async def test_many_appenders(world: World) -> None:
    """Batches appended at the same time are all kept, each in one piece and in its own order."""
    kept = await world.create()
    async with asyncio.TaskGroup() as group:
        for start in range(0, 300, 3):
            group.create_task(kept.append(intents(start, start + 1, start + 2)))
    await kept.close()
    jobs = [event.job for event in (await world.read()).events if isinstance(event, SubmissionIntended)]
    assert sorted(jobs) == list(range(300))
    assert all(jobs[place : place + 3] == list(range(jobs[place], jobs[place] + 3)) for place in range(0, 300, 3))


async def test_takes_over_with_next_epoch(world: World) -> None:
    """Each owner has an epoch one higher than the last, and goes on where the last one stopped."""
    first = await world.create()
    await first.append(intents(1))
    await first.close()
    second = await world.reopen()
    await second.append(intents(2))
    await second.close()
    assert (first.epoch, second.epoch) == (1, 2)
    assert await world.read() == Seen(PLAN, tuple(intents(1, 2)), 2, False)


async def test_refuses_second_owner(world: World) -> None:
    """While a run is held nobody else opens it for writing, and the holder goes on undisturbed."""
    first = await world.create()
    with pytest.raises(StateError) as refused:
        await world.reopen()
    assert refused.value.code == "run_is_live"
    await first.append(intents(1))
    await first.close()
    assert ((await world.read()).events, (await world.read()).epoch) == (tuple(intents(1)), 1)


async def test_fences_former_owner(world: World) -> None:
    """An owner who lost the run to another, lock or no lock, can write nothing more and is told so."""
    first = await world.create()
    await first.append(intents(1))
    world.drop_lock()
    second = await world.reopen()
    for _ in range(2):
        with pytest.raises(StateError) as lost:
            await first.append(intents(7, 8))
        assert lost.value.code == "lease_lost"
    await second.append(intents(2))
    await first.close()
    await second.append(intents(3))
    await second.close()
    assert (await world.read()).events == tuple(intents(1, 2, 3))


async def test_refuses_after_close(world: World) -> None:
    """A closed journal takes nothing more and may be closed again."""
    kept = await world.create()
    await kept.close()
    await kept.close()
    with pytest.raises(StateError) as closed:
        await kept.append(intents(1))
    assert closed.value.code == "journal_closed"
    assert (await world.read()).events == ()


async def test_refuses_events_that_are_not_durable(world: World) -> None:
    """An event that is cheap to lose is refused, with all that came with it."""
    kept = await world.create()
    with pytest.raises(AssertionError):
        await kept.append([*intents(1), SeenRunning(1.0, JobId(1))])
    await kept.append([JobExpired(2.0, JobId(2))])
    await kept.close()
    assert (await world.read()).events == (JobExpired(2.0, JobId(2)),)


async def test_creates_once(world: World) -> None:
    """A run that is there already is never begun anew."""
    kept = await world.create()
    await kept.append(intents(1))
    with pytest.raises(StateError) as exists:
        await world.create()
    assert exists.value.code == "run_exists"
    await kept.close()
    assert (await world.read()).events == tuple(intents(1))


async def test_cancelled_append_is_whole(world: World) -> None:
    """A batch whose appender is cancelled is kept in one piece or not at all, and the journal goes on."""
    kept = await world.create()
    tasks = [asyncio.ensure_future(kept.append(intents(start, start + 1))) for start in range(0, 20, 2)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await kept.append(intents(100))
    await kept.close()
    jobs = [event.job for event in (await world.read()).events if isinstance(event, SubmissionIntended)]
    assert jobs[-1] == 100
    assert all(job + 1 in jobs for job in jobs if job % 2 == 0 and job < 100)
    assert all(start in jobs for start in range(2, 20, 4))


# -- all of a run ----------------------------------------------------------------------------------------------------


async def test_a_takeover_has_all_that_was_kept(world: World) -> None:
    """The next owner gets the plan and every event, and counts as the owner from then on."""
    await kept(world.store, "r1", PLAN, 1.0, *intents(1, 2))
    taken = await world.store.take_over("r1", owner="two", now=2.0)
    assert (taken.plan, taken.events, taken.journal.epoch) == (PLAN, tuple(intents(1, 2)), 2)
    await taken.journal.look()
    assert taken.journal.loss is None
    assert (await world.read()).live
    await taken.journal.close()


async def test_a_tail_begins_where_one_stopped(world: World) -> None:
    """Read on from the last number again and again, every event comes once and in order, while the run is live and after."""
    journal = await world.create()
    assert await world.store.events("r1", after=0) == Tail((), 0, True)
    seen: list[Event] = []
    last = 0
    for start in range(0, 9, 3):
        await journal.append(intents(start, start + 1, start + 2))
        tail = await world.store.events("r1", after=last)
        seen, last = [*seen, *tail.events], tail.last
        assert await world.store.events("r1", after=last) == Tail((), last, True)
    await journal.append([RunEnded(9.0)])
    await journal.close()
    assert await world.store.events("r1", after=last) == Tail((RunEnded(9.0),), 10, False)
    assert tuple(seen) == (await world.read()).events[:9]


async def test_a_tail_after_what_is_not_there_is_damage(world: World) -> None:
    """An event that a reader has seen and the journal no longer has is named, never passed over."""
    await kept(world.store, "r1", PLAN, 1.0, *intents(1, 2))
    tail = await world.store.events("r1", after=5)
    assert tail.events == () and "event 5" in tail.damage


async def test_a_run_that_is_not_kept_is_named(world: World) -> None:
    """Reading, following or taking over what is not there is one error; what cannot be an id is another."""
    for attempt in (world.store.read("r1"), world.store.events("r1", after=0), world.reopen()):
        with pytest.raises(StateError) as missing:
            await attempt
        assert missing.value.code == "no_journal"
    for text in ("../r1", "R1", "", "a/b"):
        with pytest.raises(RunNotFound):
            await world.store.read(text)


async def test_an_append_in_a_cancelled_scope_is_whole(world: World) -> None:
    """A scope that goes on cancelling does not tear the batch either, and the run can be closed inside it."""
    journal = await world.create()
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await journal.append(intents(1, 2))
        finally:
            with anyio.CancelScope(shield=True):
                await journal.close()
    assert (await world.read()).events in ((), tuple(intents(1, 2)))
    assert not (await world.read()).live


async def test_a_cancelled_creation_owns_nothing(world: World) -> None:
    """Who is cancelled while a run is made or taken over leaves no owner behind: the run can be taken over."""
    for begin in (world.create, world.reopen):
        task = asyncio.ensure_future(begin())
        await asyncio.sleep(0)
        task.cancel()
        found = await asyncio.gather(task, return_exceptions=True)
        if isinstance(found[0], BaseException):
            assert isinstance(found[0], asyncio.CancelledError)
        else:
            await found[0].close()
        if await world.store.list(RunFilter(ids=frozenset({"r1"}))):
            assert not (await world.read()).live
        else:
            await (await world.create()).close()


# -- many runs -------------------------------------------------------------------------------------------------------


async def test_runs_are_listed_and_filtered(world: World) -> None:
    """Newest first, with playbook, size and state; a filter leaves out the others."""
    await kept(world.store, "r1", PLAN, 1.0, RunEnded(2.0))
    await kept(world.store, "r2", OTHER, 2.0, *intents(1))
    live = await world.store.create("r3", PLAN, owner="one", now=3.0)
    found = await world.store.list()
    assert [(run.id, run.state, run.playbook, run.created) for run in found] == [
        ("r3", RunState.LIVE, "patch", 3.0),
        ("r2", RunState.UNFINISHED, "audit", 2.0),
        ("r1", RunState.ENDED, "patch", 1.0),
    ]

    async def listed(wanted: RunFilter) -> list[str]:
        return [run.id for run in await world.store.list(wanted)]

    assert await listed(RunFilter(playbook="patch")) == ["r3", "r1"]
    assert await listed(RunFilter(states=frozenset({RunState.ENDED, RunState.UNFINISHED}))) == ["r2", "r1"]
    assert await listed(RunFilter(ids=frozenset({"r2", "r9"}))) == ["r2"]
    assert await listed(RunFilter(ids=frozenset({"r2"}), playbook="patch")) == []
    await live.close()


async def test_runs_are_found_by_what_a_person_types(world: World) -> None:
    """An id, a unique prefix and ``last`` are understood; what fits none or several is refused with what comes near."""
    with pytest.raises(RunNotFound, match="there are no runs"):
        await world.store.find("last")
    await kept(world.store, "20260101-aa", PLAN, 1.0)
    await kept(world.store, "20260102-ab", PLAN, 3.0)
    await kept(world.store, "20260102-abc", PLAN, 2.0)
    assert await world.store.find("20260101") == "20260101-aa"
    assert await world.store.find("20260102-ab") == "20260102-ab"
    assert await world.store.find("last") == "20260102-ab"
    with pytest.raises(RunNotFound, match="fits 2 runs"):
        await world.store.find("20260102")
    with pytest.raises(RunNotFound) as wrong:
        await world.store.find("20260101-ab")
    assert "did you mean" in wrong.value.hint


async def test_of_many_owners_one_wins(world: World) -> None:
    """Eight that take a run over at the same moment: one owns it, the others are told that it is live."""
    await kept(world.store, "r1", PLAN, 1.0)
    takers = [world.store.take_over("r1", owner=str(number), now=2.0) for number in range(8)]
    found = await asyncio.gather(*takers, return_exceptions=True)
    won = [each for each in found if not isinstance(each, BaseException)]
    lost = [each for each in found if isinstance(each, StateError)]
    assert len(won) == 1 and {each.code for each in lost} == {"run_is_live"}
    await won[0].journal.close()


# -- what is kept with a run -----------------------------------------------------------------------------------------


async def test_whole_output_is_kept_with_its_run(world: World) -> None:
    """It is returned only if it is what the receipt vouches for; another job, stream or digest has none."""
    await kept(world.store, "r1", PLAN, 1.0)
    data = b"all\x00of\xffit"
    extent = Extent(len(data), hashlib.sha256(data).hexdigest())
    assert await world.store.output("r1", 3, "stdout", extent) is None
    await world.store.keep_output("r1", 3, "stdout", b"first")
    await world.store.keep_output("r1", 3, "stdout", data)
    assert await world.store.output("r1", 3, "stdout", extent) == data
    assert await world.store.output("r1", 3, "stdout", Extent(len(data), "-")) == data
    assert await world.store.output("r1", 3, "stderr", extent) is None
    assert await world.store.output("r1", 3, "stdout", Extent(len(data), "0" * 64)) is None


async def test_a_report_is_kept_with_its_run(world: World) -> None:
    """In place of an earlier one; its place is named with the run in it."""
    await kept(world.store, "r1", PLAN, 1.0)
    await world.store.keep_report("r1", "report.md", ["old"])
    place = await world.store.keep_report("r1", "report.md", iter(["ne", "w"]))
    assert place.endswith("r1/report.md")
    if world.folder is not None:
        with open(place) as file:  # noqa: ASYNC230  a test
            assert file.read() == "new" and os.fstat(file.fileno()).st_mode & 0o777 == 0o600


async def test_directives_wait_for_the_owner(world: World) -> None:
    """They come in the order in which they were left, and each is answered once; one that was withdrawn is gone."""
    await kept(world.store, "r1", PLAN, 1.0)
    first, second, third = (
        RunPaused(0.0, "jo", why, f"{number:020d}-0000000{number}") for number, why in enumerate("abc")
    )
    asker, owner = world.store.directives("r1"), world.store.directives("r1")
    for event in (second, first, third):
        await asker.leave(event)
    await asker.withdraw(third.directive)
    assert list(await owner.pending()) == [first, second]
    assert await asker.answered(first.directive) is None
    await owner.answer(first.directive, "paused")
    assert list(await owner.pending()) == [second]
    assert await asker.answered(first.directive) == "paused"
    assert await asker.answered(first.directive) is None


async def test_leases_of_a_cloud_are_shared(world: World) -> None:
    """Two runs that open a cloud's leases see each other's; another cloud's VMs are others."""
    one, other, elsewhere = [await world.store.leases(cloud) for cloud in ("public", "public", "china")]
    assert await one.take(target(1), "first", now=0, until=10) is None
    await one.look()
    held = await other.take(target(1), "second", now=1, until=9)
    assert held is not None and held.run_id == "first"
    assert await elsewhere.take(target(1), "second", now=1, until=9) is None
    for leases in (one, other, elsewhere):
        await leases.close()
        assert leases.loss is None
