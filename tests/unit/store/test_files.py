"""Files and folders that only their owner may read, written whole or not at all, and the lock on a run."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.errors import StateError
from fleet.store.sqlite.acknowledged import Note
from fleet.store.sqlite.files import (
    Lock,
    is_locked,
    is_plain_file,
    make_file,
    make_folder,
    obstacle,
    sync_folder,
    write_private,
    write_shared,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_what_is_made_belongs_to_its_owner_alone(tmp_path: Path, umask: int) -> None:
    """Folders 0700 with every parent that was missing, files and locks 0600, whatever the umask."""
    folder = tmp_path / "a" / "b" / "c"
    make_folder(folder)
    assert [mode(made) for made in (tmp_path / "a", tmp_path / "a" / "b", folder)] == [0o700] * 3
    make_file(folder / "journal.db")
    Lock(folder / "lock").release()
    write_private(folder / "secret", "x")
    assert {path.name: mode(path) for path in folder.iterdir()} == {"journal.db": 0o600, "lock": 0o600, "secret": 0o600}


def test_what_is_made_belongs_to_its_owner_from_the_first_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else can slip in before its rights are set, on a system where they cannot be set later on either."""
    monkeypatch.setattr(os, "fchmod", lambda *_: None)
    monkeypatch.setattr(os, "chmod", lambda *_, **__: None)
    before = os.umask(0)
    make_folder(tmp_path / "folder")
    make_file(tmp_path / "folder" / "journal.db")
    Lock(tmp_path / "folder" / "lock").release()
    Note(tmp_path / "folder", 1, "ab" * 32).close()
    write_private(tmp_path / "folder" / "secret", "x")
    os.umask(before)
    assert mode(tmp_path / "folder") == 0o700
    assert {mode(path) for path in (tmp_path / "folder").iterdir()} == {0o600}


def test_the_umask_decides_about_what_is_shared(tmp_path: Path, umask: int) -> None:
    """A report may be read by others as far as the umask lets them."""
    write_shared(tmp_path / "report.html", "é")
    assert mode(tmp_path / "report.html") == 0o644 & ~umask
    assert (tmp_path / "report.html").read_bytes() == "é".encode()


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    """Neither its permissions nor what lies in it change."""
    tmp_path.chmod(0o755)
    (tmp_path / "kept").touch()
    make_folder(tmp_path)
    assert (mode(tmp_path), (tmp_path / "kept").exists()) == (0o755, True)


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    """No folder can be made at a file or below it; the sentence says which, why, and what to do."""
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StateError, match=f"the folder {folder} cannot be made: Not a directory") as error:
            make_folder(folder)
        assert "FLEET_STATE_DIR" in error.value.hint


def test_a_file_is_never_made_twice(tmp_path: Path) -> None:
    """A journal that is there, or a link in its place, is not written over."""
    make_file(tmp_path / "one")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("one", "link"):
        with pytest.raises(FileExistsError):
            make_file(tmp_path / name)
    assert not (tmp_path / "elsewhere").exists()


def test_only_a_plain_file_is_one(tmp_path: Path) -> None:
    """Links, folders, nothing, and names that no file can have are none."""
    (tmp_path / "plain").touch()
    (tmp_path / "link").symlink_to(tmp_path / "plain")
    (tmp_path / "folder").mkdir()
    names = ("plain", "link", "folder", "nothing", "a\0b", "x" * 300)
    assert [is_plain_file(tmp_path / name) for name in names] == [True] + [False] * 5


def test_a_folder_is_synced_or_says_why_not(tmp_path: Path) -> None:
    """A folder that is gone is an error: what should be durable would not be."""
    sync_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "gone")


def test_who_holds_the_lock_is_alone(tmp_path: Path) -> None:
    """A second taker is refused, also in the same process, until the first lets go; that can be done twice."""
    path = tmp_path / "lock"
    assert not is_locked(path)
    first = Lock(path)
    assert is_locked(path)
    with pytest.raises(BlockingIOError):
        Lock(path)
    assert is_locked(path)
    first.release()
    first.release()
    assert not is_locked(path)
    second = Lock(path)
    first.release()
    assert is_locked(path), "letting go twice takes nothing from the next owner"
    second.release()


def test_asking_does_not_take_the_lock(tmp_path: Path) -> None:
    """Two may ask at the same time whether a run is live, and neither keeps the run from being taken over."""
    path = tmp_path / "lock"
    Lock(path).release()
    assert [is_locked(path) for _ in range(3)] == [False] * 3
    Lock(path).release()
    with Asking(path):
        assert not is_locked(path)


class Asking:
    """Somebody who is just asking whether a run is live."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)

    def __enter__(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def test_a_lock_is_not_followed_elsewhere(tmp_path: Path) -> None:
    """A link in the lock's place is neither taken nor asked."""
    held = Lock(tmp_path / "other")
    (tmp_path / "lock").symlink_to(tmp_path / "other")
    assert not is_locked(tmp_path / "lock")
    with pytest.raises(OSError, match="symbolic links"):
        Lock(tmp_path / "lock")
    held.release()


@pytest.mark.parametrize("content", ["text \udcff", b"\x00bytes"])
def test_a_file_is_replaced_whole(tmp_path: Path, content: str | bytes) -> None:
    """What was there is gone, what is there is all of the new, and nothing else is left in the folder."""
    path = tmp_path / "report.json"
    path.write_text("before, and much longer than what comes")
    write_private(path, content)
    wanted = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    assert (path.read_bytes(), mode(path), list(tmp_path.iterdir())) == (wanted, 0o600, [path])


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    """No such folder, a folder in the file's place, no name at all: each in a sentence, and nothing is left behind."""
    with pytest.raises(StateError, match="No such file or directory") as missing:
        write_private(tmp_path / "none" / "x", "y")
    assert "choose a folder" in missing.value.hint
    (tmp_path / "folder").mkdir()
    with pytest.raises(StateError, match=r"folder cannot be written"):
        write_shared(tmp_path / "folder", "y")
    with pytest.raises(StateError, match="is a folder, not a file") as nameless:
        write_private(Path("/"), "y")
    assert nameless.value.hint == "name a file in it"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    """The name under which a file is prepared is not too long where the file's own is not."""
    write_private(tmp_path / ("x" * 255), "y")
    assert (tmp_path / ("x" * 255)).read_text() == "y"


def test_an_opener_waits_for_those_who_just_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks whether a run is live holds its lock for an instant: that is waited for, and less than a second."""
    path = tmp_path / "lock"
    Lock(path).release()
    pauses: list[float] = []
    asking = Asking(path)

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            asking.__exit__()

    monkeypatch.setattr(time, "sleep", sleep)
    asking.__enter__()
    held = Lock(path)
    assert len(pauses) == 2
    with pytest.raises(BlockingIOError, match="held by another process") as refused:
        Lock(path)
    assert refused.value.errno == errno.EAGAIN and sum(pauses) < 1.0
    held.release()


def test_nothing_stays_open(tmp_path: Path) -> None:
    """Making, syncing, asking and locking, well or in vain, leave no open file behind."""
    held = Lock(tmp_path / "held")
    before = len(os.listdir("/proc/self/fd"))
    make_file(tmp_path / "file")
    sync_folder(tmp_path)
    assert is_locked(tmp_path / "held")
    assert not is_locked(tmp_path / "file")
    write_private(tmp_path / "file", "x")
    with pytest.raises(BlockingIOError):
        Lock(tmp_path / "held")
    Lock(tmp_path / "free").release()
    assert len(os.listdir("/proc/self/fd")) == before
    held.release()
    assert len(os.listdir("/proc/self/fd")) == before - 1


def test_a_lock_that_cannot_be_asked_is_held_by_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing there, something that cannot be opened, or a file system that knows no locks."""

    def flock(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    assert is_locked(tmp_path / "none") is False
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert is_locked(tmp_path / "loop") is False
    make_file(tmp_path / "lock")
    monkeypatch.setattr(fcntl, "flock", flock)
    assert is_locked(tmp_path / "lock") is False
    with pytest.raises(OSError, match="No locks available"):
        Lock(tmp_path / "lock")


def test_a_file_may_come_in_pieces(tmp_path: Path) -> None:
    """Written one after the other; if they end in the middle, what was there stays and nothing else is left."""
    path = tmp_path / "report.json"
    write_private(path, iter(("[", "é", "]")))
    assert path.read_text(encoding="utf-8") == "[é]"

    def broken() -> Iterator[str]:
        yield "{"
        raise KeyError("row 7")

    with pytest.raises(KeyError, match="row 7"):
        write_private(path, broken())
    assert (path.read_text(encoding="utf-8"), list(tmp_path.iterdir())) == ("[é]", [path])


def partials(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix == ".part"]


def killed_while_writing(path: Path) -> None:
    """Write half of a file in a process of its own, which is then killed."""
    code = (
        "import os, pathlib, signal, sys\n"
        "from fleet.store.sqlite.files import write_private\n"
        "def pieces():\n"
        "    yield 'half'\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_private(pathlib.Path(sys.argv[1]), pieces())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    assert subprocess.run([sys.executable, "-c", code, str(path)], env=environment).returncode == -signal.SIGKILL


def test_a_killed_writer_blocks_nobody_and_leaves_nothing_for_good(tmp_path: Path) -> None:
    """Its partial file is nobody's, so the next writer in the folder takes it away; the old text stood meanwhile."""
    path = tmp_path / "r.json"
    path.write_text("old")
    killed_while_writing(path)
    assert (path.read_text(), len(partials(tmp_path))) == ("old", 1)
    (tmp_path / f".r.json.{os.getpid()}").write_text("of an older version, under this very process id")
    write_private(path, "new")
    assert (path.read_text(), partials(tmp_path)) == ("new", [])
    assert (tmp_path / f".r.json.{os.getpid()}").exists(), "perhaps somebody's"


def test_two_who_write_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    """What another writer holds open is not taken for a leftover, and whoever ends last is read."""
    path = tmp_path / "r.json"

    def slow() -> Iterator[str]:
        yield "slow and "
        write_private(path, "quick")
        assert (path.read_text(), len(partials(tmp_path))) == ("quick", 1)
        yield "whole"

    write_private(path, slow())
    assert (path.read_text(), partials(tmp_path)) == ("slow and whole", [])


def test_only_leftovers_of_ours_are_taken_away(tmp_path: Path) -> None:
    """Other names, links, folders and pipes of such names stay; so does everything where nobody asks to tidy up."""
    name = f".fleet-{'a' * 16}-{'b' * 16}.part"
    (tmp_path / "x.part").write_text("x")
    (tmp_path / name.replace("aa", "cc")).symlink_to("x.part")
    (tmp_path / name.replace("aa", "dd")).mkdir()
    os.mkfifo(tmp_path / name.replace("aa", "ee"))
    (tmp_path / name).write_text("left over")
    write_private(tmp_path / "r", "1", tidy=False)
    assert len(partials(tmp_path)) == 5
    write_private(tmp_path / "r", "2")
    assert len(partials(tmp_path)) == 4 and not (tmp_path / name).exists()


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    """A pipe, a device behind a link, a stream of this process: none of them becomes a file, and none is waited for."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    for place in (tmp_path / "pipe", tmp_path / "null", Path("/dev/fd/1"), Path("/proc/self/fd/2")):
        with pytest.raises(StateError, match=r"cannot be written: it is a (device|stream)") as refused:
            write_private(place, "x")
        assert obstacle(place) in str(refused.value)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode) and (tmp_path / "null").is_symlink()


def test_a_name_as_long_as_the_disk_takes_is_written(tmp_path: Path) -> None:
    """255 bytes of any characters; one more is said beforehand."""
    name = "é" * 127
    write_private(tmp_path / name, "x")
    assert (tmp_path / name).read_text() == "x" and obstacle(tmp_path / name) == ""
    assert "too long" in obstacle(tmp_path / (name + "éé"))
