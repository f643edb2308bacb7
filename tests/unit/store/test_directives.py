"""Directives in a run's folder."""

from __future__ import annotations

import stat
from pathlib import Path

from fleet.app.steer import new_directive
from fleet.run.events import RunPaused, RunUnpaused
from fleet.store.sqlite.directives import FOLDER, DirectiveFiles


def test_a_directive_waits_until_it_is_answered(tmp_path: Path) -> None:
    """What was left is found in its order, by anybody who looks, until it is answered; the answer is told once."""
    box = DirectiveFiles(tmp_path)
    first = RunPaused(0.0, "jo", "slow", new_directive())
    second = RunUnpaused(0.0, "jo", "", new_directive())
    box.leave(first)
    box.leave(second)
    assert list(DirectiveFiles(tmp_path).pending()) == [first, second]
    box.answer(first.directive, "done")
    assert list(box.pending()) == [second]
    assert (box.answered(first.directive), box.answered(first.directive)) == ("done", None)
    box.withdraw(second.directive)
    assert not list(box.pending())


def test_files_are_private(tmp_path: Path) -> None:
    """Only the owner can read or give directives."""
    DirectiveFiles(tmp_path).leave(RunPaused(0.0, "jo", "", new_directive()))
    assert stat.S_IMODE((tmp_path / FOLDER).stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / FOLDER).iterdir()] == [0o600]


def test_what_is_no_directive_is_passed_over(tmp_path: Path) -> None:
    """Garbage, other events, and files whose name is not the directive's own, do nothing."""
    assert not list(DirectiveFiles(tmp_path).pending())
    folder = tmp_path / FOLDER
    folder.mkdir()
    name = new_directive()
    for file, text in (
        (f"{name}.json", "{"),
        (f"{new_directive()}.json", '{"kind": "run_ended", "body": "{\\"at\\": 1.0}"}'),
        (f"{new_directive()}.json", '{"kind": "run_paused", "body": "{\\"at\\": 1.0}"}'),
        ("../x.json", ""),
        ("hello.json", "{}"),
    ):
        (folder / file).write_text(text)
    assert not list(DirectiveFiles(tmp_path).pending())
