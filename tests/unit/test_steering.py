"""Giving a directive to a run: by its owner's hand, by one's own where there is none, and never half."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from fleet.app.steer import Told, asker, direct, new_directive
from fleet.errors import StateError
from fleet.run.events import RunPaused
from fleet.store.sqlite import journal as journals
from fleet.store.sqlite.directives import DirectiveFiles
from fleet.store.sqlite.store import SqliteRuns
from tests.unit.run.factory import plan
from tests.unit.store.own_loop import finish


class Kept:
    """A run that somebody holds, and what is asked of it."""

    def __init__(self, folder: Path) -> None:
        self.store = SqliteRuns(folder)
        self.folder = folder / "runs" / "r1"
        self.journal = journals.create(self.folder, run_id="r1", plan=plan(1), owner="jo", now=1.0)
        self.event = RunPaused(0.0, "me", "slow", new_directive())
        self.box = DirectiveFiles(self.folder)

    def give(self, meanwhile: Callable[[], Awaitable[None]], patience: float = 60.0) -> Told:
        """Give it, while the owner does something."""

        async def both() -> Told:
            async with asyncio.TaskGroup() as group:
                group.create_task(meanwhile())  # type: ignore[arg-type]
                told = group.create_task(direct(self.store, "r1", self.event, patience))
            return told.result()

        return finish(both())

    async def asked(self) -> None:
        """Wait until the directive lies in the run's folder; a file tells nobody that it is there."""
        while not list(self.box.pending()):  # noqa: ASYNC110
            await asyncio.sleep(0)

    def written(self) -> list[RunPaused]:
        return [event for event in journals.read(self.folder).events if isinstance(event, RunPaused)]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_an_owner_that_hangs_is_told_and_changes_nothing_later(kept: Kept) -> None:
    """After so long the directive is taken back, so that it does not take effect when nobody thinks of it any more."""

    async def hang() -> None:
        await kept.asked()

    with pytest.raises(ExceptionGroup) as several:
        kept.give(hang, 0.5)
    [error] = several.value.exceptions
    assert isinstance(error, StateError) and error.code == "no_answer"
    assert "look whether it hangs" in error.hint
    assert list(kept.box.pending()) == kept.written() == []


def test_the_owners_answer_is_told(kept: Kept) -> None:
    """What the process says that carries the run out is handed on."""

    async def answer() -> None:
        await kept.asked()
        kept.box.answer(kept.event.directive, "paused by me")

    assert kept.give(answer) == Told("paused by me", live=True)
    assert list(kept.box.pending()) == []


def test_an_answer_after_the_last_look_is_told_too(kept: Kept) -> None:
    """It is never said that nothing was changed where it was."""

    async def answer() -> None:
        """It lies there already."""

    kept.box.leave(kept.event)
    kept.box.answer(kept.event.directive, "paused by me")
    assert kept.give(answer, 0.0) == Told("paused by me", live=True)


def test_an_owner_that_leaves_hands_the_directive_over(kept: Kept) -> None:
    """Where the process ends before it took the directive up, it is journalled here, once."""

    async def leave() -> None:
        await kept.asked()
        await kept.journal.close()

    told = kept.give(leave)
    assert (told.live, "me" in told.text) == (False, True)
    assert [event.directive for event in kept.written()] == [kept.event.directive]
    assert list(kept.box.pending()) == []


def test_an_unknown_run_is_an_error_at_once(kept: Kept) -> None:
    """Anything but a run that is held elsewhere is told as it is, and not waited for."""
    for file in kept.folder.glob("journal*"):
        file.unlink()

    async def nothing() -> None:
        """The owner is gone."""

    with pytest.raises(ExceptionGroup) as several:
        kept.give(nothing)
    [error] = several.value.exceptions
    assert isinstance(error, StateError) and error.code != "no_answer"


def test_who_asks_is_told_with_place() -> None:
    """The user of the machine, and the name that they give themselves before it."""
    assert "@" in asker()
    assert asker("Jo") == f"Jo ({asker()})"
