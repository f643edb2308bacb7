"""A run's folder is damaged, or holds what is no file: each verb says so, and none waits."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.cli import PLAYBOOKS, Here, LabUp, Machine


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["journal.db", "journal.db-wal", "journal.db-shm", "acknowledged", "lock"])
def test_a_pipe_in_one_runs_folder_stops_no_command(kept: Here, machine: Machine, lab: LabUp, name: str) -> None:
    """Every verb returns; the run is named as damaged, and another one is listed, shown and begun as ever."""
    (first,) = machine.state.glob("runs/*")
    (first / name).unlink(missing_ok=True)
    os.mkfifo(first / name)
    assert kept("run", PLAYBOOKS / "hello.yaml", lab.flag, "-y", "-q", "-l", "dev01").code == 0
    listed = kept("runs").out
    assert re.search(rf"^{first.name} +damaged .*{first}", listed, re.MULTILINE), listed
    assert listed.count(" ended ") == 1
    assert kept("show", "last").code == 0
    for words in (("verify",), ("cancel", "--why", "x"), ("resume", lab.flag), ("rerun", lab.flag, "-y")):
        done = kept(words[0], first.name, *words[1:])
        assert done.code in (1, 4, 6), done.err
        assert str(first) in done.err, words
    assert kept("verify", first.name).code == 1
    kept("show", first.name)
    kept("output", first.name)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)


NOTES: dict[str, Callable[[Path], object]] = {
    "one bit": _flip,
    "empty": lambda path: path.write_bytes(b""),
    "short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
}


@pytest.mark.parametrize("damage", NOTES)
def test_a_damaged_note_is_said_by_every_verb(kept: Here, machine: Machine, lab: LabUp, damage: str) -> None:
    """The note of what was acknowledged: `verify` fails, and whoever shows or goes on with the run is told."""
    (folder,) = machine.state.glob("runs/*")
    note = folder / "acknowledged"
    NOTES[damage](note)
    broken = kept("verify", "last")
    assert (broken.code, broken.out) == (1, "")
    assert "[journal_damaged]" in broken.err
    (listed,) = [line for line in kept("runs").out.splitlines() if folder.name in line]
    assert "damaged" in listed and str(note) in listed
    for words in (("show",), ("output",), ("report",), ("resume", lab.flag), ("cancel",), ("rerun", lab.flag, "-y")):
        done = kept(words[0], "last", *words[1:])
        assert str(note) in done.err, words


def test_noise_behind_an_ended_run_is_said_by_who_resumes_it(kept: Here, machine: Machine, lab: LabUp) -> None:
    """That it has ended is not all that there is to say of it."""
    (folder,) = machine.state.glob("runs/*")
    (folder / "journal.db-wal").write_bytes(os.urandom(9000))
    done = kept("resume", "last", lab.flag)
    assert "has ended" in done.err
    assert str(folder / "journal.db-wal") in done.err and "damaged" in done.err
    assert kept("verify", "last").code == 1
