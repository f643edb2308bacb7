"""VMs whose 25 places are taken, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from fleet.clock import SystemClock
from fleet.commands.model import Change, ManagedCommand
from fleet.engine.loop import Engine
from fleet.engine.ports import CommandsOf, Reply
from fleet.engine.reclaim import AT_ONCE, SlotReclaimingCloud
from fleet.plan.model import Limits
from fleet.run import answers as a
from fleet.run.model import CauseCode, Status
from fleet.run.record import RunRecord
from fleet.run.state import Run
from fleet.targets.model import Target
from fleet.testing import Behaviour, MemoryRuns, ScriptedCloud
from tests.unit.run.factory import plan, target

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

RUN_ID = "20260101-000000-test"
ENDED, LIVE, ELSEWHERE = "20250101-000000-aaaa", "20250102-000000-bbbb", "20250103-000000-cccc"
FULL = a.Refusal(
    409, "OperationNotAllowed", "The maximum number of managed Run commands (max=25, current=25) has been exceeded."
)


class Shelf:
    """The commands that lie on one VM, 25 at most, and which of them were deleted."""

    def __init__(self, *names: str, running: Sequence[str] = (), lock: a.Refusal | None = None) -> None:
        self.lock = lock
        self.vm = target(0)
        others = [f"other-{number}" for number in range(25 - len(names))]
        self.names = [*names, *others]
        self.running = running
        self.deleted: list[str] = []

    async def commands(self, targets: Sequence[Target], seen: Callable[[], None]) -> tuple[CommandsOf, ...]:
        lying = (ManagedCommand(self.vm, name, running=name in self.running, ended=None) for name in self.names)
        return (CommandsOf(self.vm, tuple(lying)),)

    async def remove(self, command: ManagedCommand) -> Reply[a.RemoveAnswer]:
        if self.lock is not None:
            return Reply(a.Refused(self.lock))
        self.names.remove(command.name)
        self.deleted.append(command.name)
        return Reply(a.Removed())

    async def change(self, command: ManagedCommand, change: Change) -> Reply[a.Accepted | a.Refused | a.Lost]:
        raise AssertionError("nothing is changed")


async def carry_out(shelf: Shelf) -> RunRecord:
    """Run one script on the VM."""

    def behave(command: a.Command, n: int) -> Behaviour:
        return Behaviour(refuse=FULL if len(shelf.names) >= 25 else None)

    frozen = plan(1, limits=Limits(deliver_timeout=300))
    run = Run(frozen, RUN_ID)
    known = {ENDED: True, LIVE: False}

    async def have_ended(ids: Sequence[str]) -> dict[str, bool]:
        return {run_id: known[run_id] for run_id in ids if run_id in known}

    cloud = SlotReclaimingCloud(ScriptedCloud(behave), shelf, have_ended, SystemClock())
    journal = await MemoryRuns().create(RUN_ID, frozen)
    clock = SystemClock()
    engine = Engine(
        run, cloud, journal, clock, lambda job: run.command(job, {}), lambda event: None, nonces=lambda: "a" * 32
    )
    await engine.drive(1, "test")
    return run.record()


async def test_leftovers_of_ended_runs_make_room() -> None:
    """On a full VM leftovers of an ended run are deleted, five at most, and the script then runs there."""
    shelf = Shelf(*(f"fleet-{ENDED}-{number}" for number in range(8)))
    (row,) = (await carry_out(shelf)).jobs
    assert row.outcome is not None
    assert row.outcome.status is Status.SUCCEEDED
    assert row.attempts == 2
    assert len(shelf.deleted) == AT_ONCE


async def test_what_is_not_ours_stays() -> None:
    """Other tools' commands, running ones, those of a live run and of a run not known here stay; the row says why."""
    running = f"fleet-{ENDED}-7"
    shelf = Shelf(running, f"fleet-{LIVE}-1", f"fleet-{ELSEWHERE}-1", running=[running])
    (row,) = (await carry_out(shelf)).jobs
    assert row.outcome is not None
    assert (row.outcome.status, row.outcome.cause.code) == (Status.UNREACHABLE, CauseCode.NO_SLOT)
    assert not shelf.deleted


async def test_a_vm_with_room_is_not_looked_at() -> None:
    """While there is a place, nothing is listed and nothing deleted."""
    shelf = Shelf(f"fleet-{ENDED}-1")
    shelf.names.pop()
    (row,) = (await carry_out(shelf)).jobs
    assert row.outcome is not None
    assert row.outcome.status is Status.SUCCEEDED
    assert not shelf.deleted


async def test_a_lock_that_keeps_leftovers_is_named() -> None:
    """Nothing can be deleted on the full VM: the row says so, with the lock, and nothing is sent again."""
    text = (
        "The scope 'x' cannot perform delete operation because following scope(s) are locked: '/g'. Please remove it."
    )
    shelf = Shelf(f"fleet-{ENDED}-1", lock=a.Refusal(409, "ScopeLocked", text))
    (row,) = (await carry_out(shelf)).jobs
    assert row.outcome is not None and row.attempts == 1
    assert row.outcome.cause.code is CauseCode.NO_SLOT
    assert "Leftovers could not be deleted: ScopeLocked: " in row.outcome.cause.message
    assert "remove the lock on /g" in row.outcome.cause.hint
