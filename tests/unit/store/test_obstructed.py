"""Something else lies where Fleet keeps a file of its own: nothing waits for it, and only that run is damaged."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleet.app.steer import new_directive
from fleet.errors import StateError
from fleet.plan.model import Plan
from fleet.run.events import Event, RunPaused
from fleet.run.kept import RunState
from fleet.run.model import Extent
from fleet.store.sqlite import acknowledged, journal, outputs, wal
from fleet.store.sqlite.directives import FOLDER, DirectiveFiles
from fleet.store.sqlite.files import is_locked, open_plain, read_plain, sync_folder
from fleet.store.sqlite.leases import FILE, FileLeases
from fleet.store.sqlite.runs import RunsFolder
from tests.unit.store.own_loop import finish
from tests.unit.store.test_damage import keep

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")


def _socket(path: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)  # the name of a socket may be a hundred bytes long
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)
        os.close(here)


THINGS: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a socket": _socket,
    "a folder": Path.mkdir,
    "a link to a terminal": lambda path: path.symlink_to("/dev/tty"),
    "a link to a pipe": lambda path: (os.mkfifo(path.with_name("elsewhere")), path.symlink_to("elsewhere")),
}
NAMES = (
    "journal.db",
    "journal.db-wal",
    "journal.db-shm",
    "journal.db-journal",
    acknowledged.FILE,
    journal.LOCK,
)


@pytest.fixture(params=THINGS)
def thing(request: pytest.FixtureRequest) -> Iterator[Callable[[Path], object]]:
    return THINGS[request.param]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_that_runs_damage_and_no_others(
    tmp_path: Path, plan: Plan, life: tuple[Event, ...], thing: Callable[[Path], object], name: str
) -> None:
    """The list has both runs and says what is wrong with one; nobody goes on with it; the other is read as before."""
    runs = RunsFolder(tmp_path)
    sound, folder = runs.folder("r0"), runs.folder("r1")
    keep(folder, plan, life)
    shutil.copytree(folder, tmp_path / "kept")
    shutil.rmtree(folder)
    keep_as(sound, plan, life, "r0")
    shutil.copytree(tmp_path / "kept", folder)
    (folder / name).unlink(missing_ok=True)
    thing(folder / name)
    states = {run.id: (run.state, run.detail) for run in runs.list()}
    assert states["r0"] == (RunState.ENDED, "")
    assert states["r1"][0] is RunState.DAMAGED
    assert str(folder) in states["r1"][1]
    said = ""
    try:
        found = journal.read(folder)
        said = found.damage
        assert found.events == life
    except StateError as error:
        said = str(error)
    assert str(folder) in said
    with pytest.raises(StateError):
        journal.open_for_writing(folder, owner="you", now=2.0)


def keep_as(folder: Path, plan: Plan, life: tuple[Event, ...], run_id: str) -> None:
    async def live() -> None:
        kept = journal.create(folder, run_id=run_id, plan=plan, owner="me", now=1.0)
        await kept.append(life)
        await kept.close()

    finish(live())


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_leases_cannot_be_taken_there(tmp_path: Path, thing: Callable[[Path], object], suffix: str) -> None:
    """A run that cannot keep others out does not begin, and says which file is in its way."""
    if suffix:
        (tmp_path / FILE).touch()
    thing(tmp_path / f"{FILE}{suffix}")
    with pytest.raises(StateError, match=FILE) as refused:
        FileLeases(tmp_path, "public")
    assert refused.value.code == "leases_unusable"


def test_a_directive_is_only_read_from_a_file(tmp_path: Path, thing: Callable[[Path], object]) -> None:
    """The run's owner looks twice a second: nothing may hold it up, and what is sound is taken up all the same."""
    box = DirectiveFiles(tmp_path)
    sound = RunPaused(0.0, "jo", "slow", new_directive())
    box.leave(sound)
    strange = new_directive()
    thing(tmp_path / FOLDER / f"{strange}.json")
    assert list(box.pending()) == [sound]
    shutil.rmtree(tmp_path / FOLDER)
    (tmp_path / FOLDER).mkdir()
    thing(tmp_path / FOLDER / f"{strange}.answer")
    assert box.answered(strange) is None


def test_directives_are_only_looked_for_in_a_folder(tmp_path: Path) -> None:
    """A pipe in the folder's place holds none; leaving one there is a sentence."""
    os.mkfifo(tmp_path / FOLDER)
    box = DirectiveFiles(tmp_path)
    assert list(box.pending()) == []
    with pytest.raises(StateError, match=FOLDER):
        box.leave(RunPaused(0.0, "jo", "slow", new_directive()))


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "1", '{"kind": 1}', "x" * 3_000_000])
def test_a_directive_that_makes_no_sense_is_passed_over(tmp_path: Path, content: str) -> None:
    """Nested without end, of another shape, or larger than any."""
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / f"{new_directive()}.json").write_text(content)
    assert list(DirectiveFiles(tmp_path).pending()) == []


def test_every_way_to_a_file_refuses_what_is_none(tmp_path: Path, thing: Callable[[Path], object]) -> None:
    """Reading, writing, locking and asking return at once and leave no file open."""
    path = tmp_path / "it"
    thing(path)
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT):
        with pytest.raises(OSError, match=r"Not a regular file|symbolic links"):
            open_plain(path, flags)
    with pytest.raises(OSError, match=r"\S"):
        read_plain(path)
    assert not is_locked(path)
    assert wal.end(path) == wal.End()
    if not path.is_dir():
        with pytest.raises(NotADirectoryError):
            sync_folder(path)
    assert not before or len(os.listdir("/proc/self/fd")) == before


def test_a_device_is_not_even_opened(tmp_path: Path) -> None:
    """Opening some devices does something to them: what lies there is looked at first."""
    with pytest.raises(OSError, match="Not a regular file"):
        open_plain(Path(os.devnull), os.O_RDWR)


def test_fetched_output_is_only_read_from_a_file(tmp_path: Path, thing: Callable[[Path], object]) -> None:
    """Something else in its place is no output, and is fetched again."""
    (tmp_path / outputs.FOLDER).mkdir()
    thing(tmp_path / outputs.FOLDER / "3.stdout")
    assert outputs.kept(tmp_path, 3, "stdout", Extent(0, "-")) is None
