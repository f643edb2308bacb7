"""What every keeper of VM leases promises, kept in a file or in memory."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from fleet.engine.ports import Leases
from fleet.errors import StateError
from fleet.store.sqlite.leases import FILE, FileLeases
from fleet.testing import MemoryLeases
from tests.unit.run.factory import target

pytestmark = pytest.mark.asyncio
VM = target(1)


@pytest_asyncio.fixture(params=["file", "memory"])
async def leases(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Leases]:
    """A keeper of either kind, with nothing held."""
    if request.param == "memory":
        yield MemoryLeases()
        return
    kept = FileLeases(tmp_path, "public")
    yield kept
    await kept.close()


async def test_a_lease_belongs_to_one_run(leases: Leases) -> None:
    """While one run holds a VM another is told who does, and until when; other VMs are free."""
    assert await leases.take(VM, "first", now=0, until=10) is None
    holder = await leases.take(VM, "second", now=1, until=99)
    assert holder is not None
    assert (holder.run_id, holder.until) == ("first", 10)
    assert await leases.take(target(2), "second", now=1, until=99) is None


async def test_ids_are_compared_as_azure_does(leases: Leases) -> None:
    """The same VM in another case is the same VM."""
    await leases.take(VM, "first", now=0, until=10)
    assert await leases.take(target(1, id=VM.id.upper()), "second", now=1, until=99) is not None


async def test_renewing_lengthens(leases: Leases) -> None:
    """The run that holds a lease takes it again and holds it for longer."""
    await leases.take(VM, "first", now=0, until=10)
    assert await leases.take(VM, "first", now=9, until=20) is None
    assert await leases.take(VM, "second", now=15, until=99) is not None


async def test_a_void_lease_counts_for_nothing(leases: Leases) -> None:
    """From its last moment on a lease can be taken by another run, and then belongs to that one."""
    await leases.take(VM, "first", now=0, until=10)
    assert await leases.take(VM, "second", now=10, until=30) is None
    assert await leases.take(VM, "first", now=11, until=30) is not None


async def test_only_the_holder_lets_go(leases: Leases) -> None:
    """A release by another run changes nothing; the holder's own frees the VM."""
    await leases.take(VM, "first", now=0, until=10)
    leases.release(VM, "second")
    assert await leases.take(VM, "second", now=1, until=9) is not None
    leases.release(VM, "first")
    assert await leases.take(VM, "second", now=1, until=9) is None


async def test_a_file_is_shared_and_clouds_are_apart(tmp_path: Path) -> None:
    """Two processes' keepers of one folder see each other, also after one is closed; another cloud's VMs are others."""
    one, other, elsewhere = (FileLeases(tmp_path, cloud) for cloud in ("public", "public", "china"))
    assert await one.take(VM, "first", now=0, until=10) is None
    await one.close()
    assert await other.take(VM, "second", now=1, until=9) is not None
    assert await elsewhere.take(VM, "second", now=1, until=9) is None
    await other.close()
    await elsewhere.close()
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


async def test_of_many_that_ask_at_once_one_gets_it(tmp_path: Path) -> None:
    """Eight runs with a keeper each ask for twenty VMs at the same moment: each VM goes to exactly one."""
    keepers = [FileLeases(tmp_path, "public") for _ in range(8)]
    for vm in range(20):
        asked = [keeper.take(target(vm), f"run-{n}", now=0, until=10) for n, keeper in enumerate(keepers)]
        assert (await asyncio.gather(*asked)).count(None) == 1
    for keeper in keepers:
        await keeper.close()


async def test_a_file_that_is_no_database_is_a_sentence(tmp_path: Path) -> None:
    """A damaged file is named, with what can be done about it."""
    (tmp_path / FILE).write_bytes(b"no database" * 500)
    with pytest.raises(StateError, match=str(tmp_path)) as failure:
        FileLeases(tmp_path, "public")
    assert failure.value.code == "leases_unusable"
    assert "deleted" in failure.value.hint


async def test_a_file_damaged_meanwhile_is_a_sentence(tmp_path: Path) -> None:
    """A table that goes away under a run is told as well, and letting go stays harmless."""
    keeper = FileLeases(tmp_path, "public")
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("DROP TABLE lease")
    connection.close()
    with pytest.raises(StateError, match="cannot be used"):
        await keeper.take(VM, "first", now=0, until=10)
    keeper.release(VM, "first")
    await keeper.close()


LOSSES: dict[str, Callable[[Path], object]] = {
    "removed": Path.unlink,
    "replaced": lambda file: shutil.copy(file, file.with_name("copy")) and file.with_name("copy").replace(file),
    "a link": lambda file: file.symlink_to(file.rename(file.with_name("aside"))),
    "log removed": lambda file: file.with_name(f"{FILE}-wal").unlink(),
    "index removed": lambda file: file.with_name(f"{FILE}-shm").unlink(),
    "folder renamed": lambda file: file.parent.rename(file.parent.with_name("aside")),
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_lease_in_a_file_that_went_is_none(tmp_path: Path, loss: str) -> None:
    """Another run would find the VM free: it is said before anything is sent, and also where nothing is to be sent."""
    (tmp_path / "state").mkdir()
    keeper = FileLeases(tmp_path / "state", "public")
    assert await keeper.take(VM, "first", now=0, until=10) is None
    await keeper.look()
    assert keeper.loss is None
    LOSSES[loss](tmp_path / "state" / FILE)
    for lost in (keeper.look(), keeper.take(target(2), "first", now=0, until=10)):
        with pytest.raises(StateError, match=str(tmp_path / "state")) as said:
            await lost
        assert said.value.code == "leases_lost"
    await keeper.close()
    assert keeper.loss is not None


async def test_many_keepers_that_come_and_go_lose_nothing(tmp_path: Path) -> None:
    """While one is at work others open and close the same file, and the first finds it as it was."""
    keeper = FileLeases(tmp_path, "public")
    for run in range(20):
        other = FileLeases(tmp_path, "public")
        await other.take(target(run), f"run-{run}", now=0, until=10)
        await other.close()
        await keeper.take(VM, "first", now=0, until=10)
        await keeper.look()
    await keeper.close()
    assert keeper.loss is None


async def test_a_file_that_was_deleted_without_its_log_begins_anew(tmp_path: Path) -> None:
    """What a killed run left beside it is not taken for the new file's, and is in nobody's way."""
    killed = FileLeases(tmp_path, "public")
    await killed.take(VM, "first", now=0, until=10)
    log = (tmp_path / f"{FILE}-wal").read_bytes()
    await killed.close()
    (tmp_path / FILE).unlink()
    (tmp_path / f"{FILE}-wal").write_bytes(log)
    keeper = FileLeases(tmp_path, "public")
    assert await keeper.take(VM, "second", now=0, until=10) is None
    await keeper.close()
