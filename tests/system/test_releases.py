"""What every released version wrote is read by this one."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from fleet.plan import file as plan_file
from fleet.run.events import RunEnded
from fleet.store.sqlite import journal
from fleet.store.sqlite.records import KINDS, Row, to_row
from tests import releases
from tests.system.cli import Here, Machine

RELEASES = sorted(path for path in Path(releases.__file__).parent.iterdir() if (path / "report.json").exists())
release = pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
STABLE = ("target", "step", "status", "cause", "exit_code", "stdout", "stderr", "verified", "attempts", "wave")


def rows(report: object) -> list[dict[str, object]]:
    assert isinstance(report, dict)
    first = 0 if report.get("schema") == "urn:fleet:report:v1" else 1
    return [{**{key: row[key] for key in STABLE}, "wave": row["wave"] - first} for row in report["jobs"]]


@release
def test_a_run_of_every_release_is_reported_as_it_was(release: Path, here: Here, machine: Machine) -> None:
    """The journal of an older version gives the report that the older version gave, row by row."""
    kept = json.loads((release / "report.json").read_text())
    shutil.copytree(release / "run", machine.state / "runs" / kept["run"])
    done = here("report", "last", "-o", "json")
    assert (done.code, done.report["exit_code"]) == (0, kept["exit_code"]), done.err
    assert done.report["schema"] == "urn:fleet:report:v2"
    assert rows(done.report) == rows(kept)
    assert done.report["waves"][0]["index"] == 1
    assert done.report["counts"] == kept["counts"]
    assert here("verify", "last").code == 0


@release
def test_every_row_of_every_release_is_the_same_event(release: Path, tmp_path: Path) -> None:
    """Each event of an older journal is decoded, and written by this version it would be the same row."""
    for name in ("run", "kinds"):
        folder = Path(shutil.copytree(release / name, tmp_path / name))
        found = journal.read(folder)
        assert found.damage == ""
        connection = sqlite3.connect(folder / journal.DATABASE)
        written = [Row(*row) for row in connection.execute("SELECT kind, body FROM events ORDER BY seq")]
        connection.close()
        assert [to_row(event) for event in found.events] == written
    assert {row.kind for row in written} <= set(KINDS)


@release
def test_a_run_of_every_release_can_be_taken_over(release: Path, tmp_path: Path) -> None:
    """This version takes an older run over under the next epoch and writes on in it."""
    folder = Path(shutil.copytree(release / "run", tmp_path / "run"))

    async def take_over() -> int:
        opened = journal.open_for_writing(folder, owner="heir", now=9e9)
        await opened.journal.append([RunEnded(9e9)])
        await opened.journal.close()
        return len(opened.events)

    loop = asyncio.new_event_loop()
    count = loop.run_until_complete(take_over())
    loop.close()
    found = journal.read(folder)
    assert (len(found.events), found.epoch, found.damage) == (count + 1, 2, "")


@release
def test_a_plan_file_of_every_release_is_read(release: Path) -> None:
    """A plan file of an older version still has its digest, so it may be applied."""
    plan = plan_file.load((release / "plan.json").read_text(), file="plan.json")
    assert len(plan.targets) == 12


def test_the_first_release_is_kept() -> None:
    """There is at least one release to read, and it has an event of every kind that it knew."""
    assert RELEASES[0].name == "0.1.0"
    assert len(journal.read(RELEASES[0] / "kinds").events) >= 16
