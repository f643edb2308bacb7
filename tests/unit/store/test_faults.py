"""The n-th call to SQLite fails, for every n: nothing acknowledged is lost and nothing hangs."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import StateError
from fleet.plan.model import Plan
from fleet.run.events import Event
from fleet.store.sqlite import database, journal
from tests.unit.store.own_loop import finish

FAULTS: dict[str, Callable[[], Exception]] = {
    "full": lambda: sqlite3.OperationalError("database or disk is full"),
    "broken": lambda: sqlite3.OperationalError("disk I/O error"),
    "no memory": MemoryError,
}


class Faulty:
    """Opens real databases whose calls are counted, and fails the one asked for."""

    def __init__(self, fails_at: int, fault: Callable[[], Exception]) -> None:
        self.calls = 0
        self._fails_at = fails_at
        self._fault = fault

    def __call__(self, uri: str) -> sqlite3.Connection:
        self.count()
        faulty = self

        class Connection(sqlite3.Connection):
            def execute(self, *args: Any) -> sqlite3.Cursor:
                faulty.count()
                return super().execute(*args)

            def executemany(self, statement: str, rows: Iterable[Any]) -> sqlite3.Cursor:  # type: ignore[override]
                faulty.count()
                return super().executemany(statement, rows)

        return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, factory=Connection)

    def count(self) -> None:
        self.calls += 1
        if self.calls == self._fails_at:
            raise self._fault()


async def carry_out(folder: Path, plan: Plan, life: tuple[Event, ...], connect: database.Connect) -> int:
    """Live until the first failure, and return how many events were acknowledged."""
    kept = journal.create(folder, run_id="r1", plan=plan, owner="me", now=1.0, connect=connect)
    acknowledged = 0
    try:
        for start in range(0, len(life), 3):
            await kept.append(life[start : start + 3])
            acknowledged = min(start + 3, len(life))
    except StateError:
        with pytest.raises(StateError):
            await kept.append(life[:1])
    finally:
        await kept.close()
    return acknowledged


@pytest.mark.parametrize("fault", ["full", "broken"])
def test_every_call_while_writing(tmp_path: Path, plan: Plan, life: tuple[Event, ...], fault: str) -> None:
    """Whichever call fails, every acknowledged event is there after, and what is there is a prefix."""
    counting = Faulty(0, FAULTS[fault])
    assert finish(carry_out(tmp_path / "whole", plan, life, counting)) == len(life)
    for number in range(1, counting.calls + 1):
        folder = tmp_path / str(number)
        try:
            acknowledged = finish(carry_out(folder, plan, life, Faulty(number, FAULTS[fault])))
        except StateError:
            assert not folder.exists(), "a creation that failed leaves nothing"
            continue
        found = journal.read(folder)
        assert found.events == life[: len(found.events)]
        assert len(found.events) >= acknowledged
        assert (found.damage, found.live) == ("", False)
        opened = journal.open_for_writing(folder, owner="you", now=2.0)
        finish(opened.journal.close())


def test_every_call_while_taking_over(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """A take-over that fails at any call leaves the run as it was and free for the next owner."""
    folder = tmp_path / "r1"
    finish(carry_out(folder, plan, life, database.connect))
    number, epoch = 0, 1
    while True:
        number += 1
        faulty = Faulty(number, FAULTS["broken"])
        try:
            opened = journal.open_for_writing(folder, owner="you", now=2.0, connect=faulty)
        except StateError as error:
            assert str(folder) in str(error)
            assert journal.read(folder).events == life
            continue
        epoch += 1
        assert (opened.events, opened.journal.epoch) == (life, epoch)
        finish(opened.journal.close())
        if faulty.calls < number:
            break


def test_every_call_while_reading(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """A read that fails at any call is a sentence or a prefix with its damage named."""
    folder = tmp_path / "r1"
    finish(carry_out(folder, plan, life, database.connect))
    number = 0
    while True:
        number += 1
        faulty = Faulty(number, FAULTS["broken"])
        try:
            found = journal.read(folder, connect=faulty)
        except StateError as error:
            assert str(folder) in str(error)
            continue
        assert found.damage or found.events == life
        if faulty.calls < number:
            break
    assert found.damage == ""


@pytest.mark.asyncio
async def test_nobody_waits_for_ever(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """When a commit fails for whatever reason, everybody who waits is told, and the thread ends."""
    counting = Faulty(0, MemoryError)
    kept = journal.create(tmp_path / "a", run_id="a", plan=plan, owner="me", now=1.0, connect=counting)
    await kept.close()
    failing = Faulty(counting.calls + 2, MemoryError)
    kept = journal.create(tmp_path / "b", run_id="b", plan=plan, owner="me", now=1.0, connect=failing)
    said = await asyncio.gather(*(kept.append([event]) for event in life), return_exceptions=True)
    assert all(isinstance(answer, StateError) for answer in said)
    await kept.close()
    assert journal.read(tmp_path / "b").events == ()


def test_sentences(tmp_path: Path) -> None:
    """What SQLite says becomes what happened, where, and what to do."""
    path = tmp_path / "runs" / "r1" / "journal.db"
    for code in range(1, 29):
        error = sqlite3.OperationalError("as SQLite puts it")
        error.sqlite_errorcode = code
        said = database.as_state_error(error, path)
        assert str(path) in str(said)
        assert said.hint
    full = sqlite3.OperationalError()
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert database.as_state_error(full, path).code == "disk_full"


def test_what_could_not_be_committed_is_undone(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """What a failed commit had begun is rolled back before the connection is let go of."""
    left: list[bool] = []

    class Connection(sqlite3.Connection):
        def execute(self, *args: Any) -> sqlite3.Cursor:
            if args[0].startswith("UPDATE tail"):
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(*args)

        def close(self) -> None:
            left.append(self.in_transaction)
            super().close()

    def connect(uri: str) -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, factory=Connection)

    assert finish(carry_out(tmp_path / "r1", plan, life, connect)) == 0
    assert left == [False, False]
    assert journal.read(tmp_path / "r1").events == ()
