"""Ids, the list of runs, and finding one."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.errors import RunNotFound, StateError
from fleet.plan.model import Plan
from fleet.run.events import Event
from fleet.run.kept import RunState, RunSummary
from fleet.run.run_id import new_id
from fleet.store.sqlite import journal
from fleet.store.sqlite.files import make_folder
from fleet.store.sqlite.runs import RunsFolder
from tests.unit.store.own_loop import finish

NOVEMBER = 1_795_375_053.0  # 2026-11-22 19:17:33 UTC


def begin(runs: RunsFolder, run_id: str, plan: Plan, life: tuple[Event, ...], now: float) -> None:
    async def live() -> None:
        kept = journal.create(runs.folder(run_id), run_id=run_id, plan=plan, owner="me", now=now)
        await kept.append(life)
        await kept.close()

    finish(live())


@given(st.floats(0, 4e9), st.floats(0, 4e9), st.randoms(use_true_random=False))
def test_new_ids_sort_by_time(one: float, other: float, rng: Random) -> None:
    """Ids are short, plain, and sort as their moments do, to the second."""
    first, second = new_id(min(one, other), rng), new_id(max(one, other), rng)
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-z]{4}", first)
    assert first[:15] <= second[:15]


def test_new_id_is_utc() -> None:
    """An id begins with the moment in UTC."""
    assert new_id(NOVEMBER, Random(1)).startswith("20261122-191733-")


def test_lists_newest_first(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """Every run is listed with playbook, size and state; what is no journal is listed as damaged."""
    runs = RunsFolder(tmp_path)
    begin(runs, "20261122-191733-aaaa", plan, life, NOVEMBER)
    begin(runs, "20261122-191800-bbbb", plan, life[:3], NOVEMBER + 27)
    live = journal.create(
        runs.folder("20261122-191900-cccc"),
        run_id="20261122-191900-cccc",
        plan=plan,
        owner="me",
        now=NOVEMBER + 87,
    )
    runs.folder("20261122-191850-dddd").mkdir()
    (runs.path / "Not A Run").mkdir()
    (runs.path / "stray.txt").touch()
    listed = runs.list()
    finish(_close(live))
    assert [run.id[-4:] for run in listed] == ["cccc", "dddd", "bbbb", "aaaa"]
    assert [run.state for run in listed] == [
        RunState.LIVE,
        RunState.DAMAGED,
        RunState.UNFINISHED,
        RunState.ENDED,
    ]
    assert listed[3] == RunSummary("20261122-191733-aaaa", RunState.ENDED, "patch", NOVEMBER, 4)
    assert "no journal" in listed[1].detail


async def _close(kept: journal.Journal) -> None:
    await kept.close()


def test_renamed_folder_is_damaged(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """A run's folder under another name is not mistaken for another run."""
    runs = RunsFolder(tmp_path)
    begin(runs, "20261122-191733-aaaa", plan, life, NOVEMBER)
    runs.folder("20261122-191733-aaaa").rename(runs.path / "20261122-191733-bbbb")
    (listed,) = runs.list()
    assert (listed.state, "renamed or copied" in listed.detail) == (RunState.DAMAGED, True)


def test_nothing_kept_yet(tmp_path: Path) -> None:
    """A state directory that does not exist has no runs, and looking does not make it."""
    runs = RunsFolder(tmp_path / "none")
    assert runs.list() == ()
    with pytest.raises(RunNotFound, match="no runs"):
        runs.find("last")
    assert not (tmp_path / "none").exists()


@pytest.fixture
def three(tmp_path: Path) -> RunsFolder:
    runs = RunsFolder(tmp_path)
    for name in ("20261122-191733-aaaa", "20261122-191733-abcd", "20261123-000000-ffff", "20261123-000000"):
        runs.folder(name).mkdir(parents=True)
    return runs


def test_finds(three: RunsFolder) -> None:
    """An id, a unique prefix and ``last`` find a run; an id that is a prefix of another finds itself."""
    assert three.find("20261122-191733-aaaa") == "20261122-191733-aaaa"
    assert three.find("20261122-191733-ab") == "20261122-191733-abcd"
    assert three.find("20261123-000000") == "20261123-000000"
    assert three.find("last") == "20261123-000000-ffff"


def test_says_why_not_found(three: RunsFolder) -> None:
    """Several fits are named, a near miss is offered, and the rest is pointed to the list."""
    with pytest.raises(RunNotFound, match="20261122-191733-aaaa, 20261122-191733-abcd"):
        three.find("20261122")
    with pytest.raises(RunNotFound) as near:
        three.find("20261122-191733-abdc")
    assert "did you mean 20261122-191733-abcd" in near.value.hint
    with pytest.raises(RunNotFound) as far:
        three.find("zebra")
    assert "fleet runs" in far.value.hint


@settings(
    max_examples=min(60, settings.default.max_examples), suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text() | st.sampled_from(["..", ".", "/etc", "../r", "a/b", "a\\b", "C:", "a\x00b", "", "A", "a-", "é"]))
def test_typed_text_is_no_path(three: RunsFolder, text: str) -> None:
    """Whatever is typed, it leads to a folder right below the runs or is refused."""
    with suppress(RunNotFound):
        assert three.folder(text).parent == three.path
        assert re.fullmatch(r"[a-z0-9-]+", text)
    with suppress(RunNotFound):
        assert three.find(text) in {folder.name for folder in three.path.iterdir()}


def test_prepare_says_why(tmp_path: Path) -> None:
    """A state directory that cannot be made is named, with what to do."""
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="file") as error:
        RunsFolder(tmp_path / "file").prepare()
    assert "FLEET_STATE_DIR" in error.value.hint


def test_a_folder_that_somebody_else_made_meanwhile_stays_as_open_as_it_is(tmp_path: Path) -> None:
    """Of the folders on the way, those that Fleet made are its owner's alone, and no other is closed to anybody."""

    class SeenLate(type(tmp_path)):  # type: ignore[misc]
        def exists(self) -> bool:
            return self.name != "theirs" and bool(super().exists())

    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    make_folder(SeenLate(theirs / "ours" / "runs"))
    assert [path.stat().st_mode & 0o777 for path in (theirs, theirs / "ours", theirs / "ours" / "runs")] == [
        0o755,
        0o700,
        0o700,
    ]
