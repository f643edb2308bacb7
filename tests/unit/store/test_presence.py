"""Files that are removed or replaced while a run is kept in them: noticed at once, and nothing goes unsaid."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.errors import StateError
from fleet.plan.model import Plan
from fleet.run.events import Event, SubmissionIntended
from fleet.store.sqlite import journal, reading
from fleet.store.sqlite.presence import Presence
from tests.unit.store.own_loop import finish

pytestmark = pytest.mark.skipif(os.name != "posix", reason="an open file can be removed")


def _replace(path: Path) -> None:
    content = path.read_bytes()
    path.rename(path.with_name("aside"))
    path.write_bytes(content)


def _link(path: Path) -> None:
    path.rename(path.with_name("aside"))
    path.symlink_to("aside")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _move(folder: Path) -> None:
    folder.rename(folder.with_name("aside"))


def _copy_back(folder: Path) -> None:
    """As a backup is put back."""
    shutil.copytree(folder, folder.with_name("aside"))
    shutil.rmtree(folder)
    folder.with_name("aside").rename(folder)


def _link_to_folder(folder: Path) -> None:
    _move(folder)
    folder.symlink_to("aside")


LOSSES: dict[str, Callable[[Path], object]] = {
    "state folder removed": lambda folder: shutil.rmtree(folder.parent.parent),
    "state folder renamed": lambda folder: _move(folder.parent.parent),
    "a file for the runs": lambda folder: (shutil.rmtree(folder.parent), folder.parent.touch()),
    "run removed": shutil.rmtree,
    "run renamed": _move,
    "run restored": _copy_back,
    "a link for the run": _link_to_folder,
    "journal removed": lambda folder: (folder / "journal.db").unlink(),
    "journal replaced": lambda folder: _replace(folder / "journal.db"),
    "a link for the journal": lambda folder: _link(folder / "journal.db"),
    "a pipe for the journal": lambda folder: _pipe(folder / "journal.db"),
    "journal emptied": lambda folder: os.truncate(folder / "journal.db", 0),
    "journal cut": lambda folder: os.truncate(folder / "journal.db", 4096),
    "log removed": lambda folder: (folder / "journal.db-wal").unlink(),
    "log replaced": lambda folder: _replace(folder / "journal.db-wal"),
    "index removed": lambda folder: (folder / "journal.db-shm").unlink(),
}


async def _lose(kept: journal.Journal, folder: Path, loss: str, then: Callable[[], object]) -> StateError:
    LOSSES[loss](folder)
    with pytest.raises(StateError) as said:
        await then()  # type: ignore[misc]
    await kept.close()
    return said.value


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("waiting", [False, True])
def test_a_journal_whose_files_went_acknowledges_nothing_more(
    tmp_path: Path, plan: Plan, life: tuple[Event, ...], loss: str, waiting: bool
) -> None:
    """Whether something is written next or only looked at: what was kept is still known, but for what was not sent."""
    folder = tmp_path / "state" / "runs" / "r1"

    async def live() -> tuple[journal.Journal, StateError]:
        kept = journal.create(folder, run_id="r1", plan=plan, owner="me", now=1.0)
        await kept.append(life[:6])
        then = kept.look if waiting else lambda: kept.append(life[6:9])
        error = await _lose(kept, folder, loss, then)
        with pytest.raises(StateError):
            await kept.append(life[6:9])
        return kept, error

    kept, error = finish(live())
    assert (error.code, "r1" in str(error), bool(error.hint)) == ("state_lost", True, True)
    assert str(tmp_path / "state") in str(error)
    assert kept.loss is not None
    if kept.saved is None:
        assert loss in ("journal emptied", "journal cut"), "only of these the content is gone"
        return
    assert kept.saved[:6] == life[:6]
    assert {type(event) for event in life[6:9]} > {type(event) for event in kept.saved[6:]}
    assert not any(isinstance(event, SubmissionIntended) for event in kept.saved[6:])


def test_a_journal_that_is_there_is_not_called_lost(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """Readers, copies, a log begun anew, a state folder behind a link and what others keep in the folder change nothing."""
    (tmp_path / "real").mkdir()
    (tmp_path / "state").symlink_to("real")
    folder = tmp_path / "state" / "runs" / "r1"

    async def live() -> journal.Journal:
        kept = journal.create(folder, run_id="r1", plan=plan, owner="me", now=1.0)
        for event in life:
            await kept.append([event])
            journal.read(folder)
            shutil.copytree(folder, tmp_path / "copy", dirs_exist_ok=True)
            (folder / "report.json").write_text("{}")
            await kept.look()
        (folder / "acknowledged").unlink()
        await kept.look()
        await kept.close()
        return kept

    assert finish(live()).loss is None
    assert journal.read(folder).events == life


def test_a_run_that_was_moved_can_be_put_back(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """What was acknowledged before the loss went with the folder; back in its place it is taken over as any other."""
    folder = tmp_path / "runs" / "r1"

    async def live() -> None:
        kept = journal.create(folder, run_id="r1", plan=plan, owner="me", now=1.0)
        await kept.append(life[:6])
        await _lose(kept, folder, "run renamed", lambda: kept.append(life[6:]))

    finish(live())
    folder.with_name("aside").rename(folder)
    opened = journal.open_for_writing(folder, owner="you", now=2.0)
    assert opened.events == life[:6]
    finish(opened.journal.close())


def test_a_log_that_was_removed_is_folded_into_its_journal(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """While the file itself is there, what the removed log held is not lost with the process."""
    folder = tmp_path / "runs" / "r1"

    async def live() -> None:
        kept = journal.create(folder, run_id="r1", plan=plan, owner="me", now=1.0)
        await kept.append(life[:6])
        await _lose(kept, folder, "log removed", kept.look)

    finish(live())
    assert (journal.read(folder).events, journal.read(folder).damage) == (life[:6], "")


def test_a_copy_restored_in_place_is_noticed(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """Its files are the same, with older content, and the journal is shorter than it was."""
    folder = tmp_path / "runs" / "r1"

    async def live() -> StateError:
        kept = journal.create(folder, run_id="r1", plan=plan, owner="me", now=1.0)
        await kept.append(life[:2])
        shutil.copytree(folder, tmp_path / "copy")
        for _ in range(3):
            await kept.append(life[2:])
        fold = sqlite3.connect(folder / journal.DATABASE)
        fold.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        fold.close()
        await kept.look()
        for name in (journal.DATABASE, "journal.db-wal"):
            (folder / name).write_bytes((tmp_path / "copy" / name).read_bytes())
        with pytest.raises(StateError) as said:
            await kept.look()
        await kept.close()
        return said.value

    error = finish(live())
    assert (error.code, "was cut short or overwritten" in str(error)) == ("state_lost", True)


def test_a_restored_copy_is_left_as_it_is(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """Who lost the folder to a copy neither writes to the copy nor removes its log."""
    folder = tmp_path / "runs" / "r1"

    async def live() -> dict[str, bytes]:
        kept = journal.create(folder, run_id="r1", plan=plan, owner="me", now=1.0)
        await kept.append(life[:6])
        _copy_back(folder)
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        with pytest.raises(StateError):
            await kept.append(life[6:])
        await kept.close()
        return before

    before = finish(live())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_topmost_folder_that_went_is_named(tmp_path: Path) -> None:
    """Who removed it knows that name, and not those of the files in it."""
    file = tmp_path / "state" / "runs" / "r1" / "journal.db"
    file.parent.mkdir(parents=True)
    file.touch()
    present = Presence([file, file.with_name("never there")], growing=file)
    assert present.lost() == ""
    shutil.rmtree(tmp_path / "state" / "runs")
    assert present.lost() == f"{tmp_path / 'state' / 'runs'} was removed or renamed"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may look anywhere")
def test_a_folder_that_may_no_longer_be_entered_is_lost(tmp_path: Path) -> None:
    """Without the right to look nobody can say that the files are still there."""
    file = tmp_path / "r1" / "journal.db"
    file.parent.mkdir()
    file.touch()
    present = Presence([file], growing=file)
    file.parent.chmod(0)
    try:
        assert "can no longer be reached (Permission denied)" in present.lost()
    finally:
        file.parent.chmod(0o700)


def test_a_folder_that_became_a_circle_of_links_is_lost(tmp_path: Path) -> None:
    """What cannot be reached is said in the system's words, whatever keeps it away."""
    file = tmp_path / "r1" / "journal.db"
    file.parent.mkdir()
    file.touch()
    present = Presence([file], growing=file)
    shutil.rmtree(file.parent)
    file.parent.symlink_to("r1")
    assert "can no longer be reached" in present.lost()


def test_a_loss_is_noticed_at_the_end_too(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """Where nothing was written or looked at any more, closing the journal still finds that its files went."""
    folder = tmp_path / "runs" / "r1"

    async def live() -> journal.Journal:
        kept = journal.create(folder, run_id="r1", plan=plan, owner="me", now=1.0)
        await kept.append(life[:6])
        shutil.rmtree(folder)
        await kept.close()
        return kept

    kept = finish(live())
    assert kept.loss is not None and kept.saved == life[:6]


def test_a_later_owner_is_no_loss(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """One that no lock kept out has the run; that is said, whatever became of the files meanwhile."""
    folder = tmp_path / "runs" / "r1"

    async def live() -> str:
        kept = journal.create(folder, run_id="r1", plan=plan, owner="me", now=1.0)
        await kept.append(life[:6])
        (folder / "lock").unlink()
        later = journal.open_for_writing(folder, owner="you", now=2.0)
        (folder / "lock").unlink()
        (folder / "journal.db-shm").unlink()
        with pytest.raises(StateError) as said:
            await kept.append(life[6:9])
        await kept.close()
        await later.journal.close()
        return said.value.code

    assert finish(live()) == "lease_lost"


def test_what_was_cut_before_it_was_lost_is_not_called_saved(
    tmp_path: Path, plan: Plan, life: tuple[Event, ...]
) -> None:
    """Where the open files hold less than was acknowledged, the report is made of what is in memory."""
    folder = tmp_path / "runs" / "r1"

    async def live() -> journal.Journal:
        kept = journal.create(folder, run_id="r1", plan=plan, owner="me", now=1.0)
        await kept.append(life[:6])
        other = sqlite3.connect(folder / "journal.db")
        with other:
            other.execute("DELETE FROM events WHERE seq > 3")
        other.close()
        shutil.rmtree(folder)
        with pytest.raises(StateError):
            await kept.append(life[6:9])
        await kept.close()
        return kept

    kept = finish(live())
    assert kept.loss is not None and kept.saved is None


def test_whose_run_it_is_cannot_be_said_of_files_that_cannot_be_read() -> None:
    """Then the loss of the files is what is said."""
    assert not reading.is_taken_over(sqlite3.connect(":memory:"), 1)
