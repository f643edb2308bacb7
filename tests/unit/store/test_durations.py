"""What a kept run tells the next one about time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fleet.plan.launch_order import NO_TIMES, Times, arranged
from fleet.plan.model import Limits, Plan
from fleet.run.events import Event, ResultReceived
from fleet.store.durations import RunDurations
from fleet.store.sqlite.runs import RunsFolder
from fleet.store.sqlite.store import SqliteRuns
from tests.unit.store.own_loop import finish
from tests.unit.store.test_runs_folder import NOVEMBER, begin


def newest(state_dir: Path, playbook: str, cloud: str) -> Times:
    return finish(RunDurations(SqliteRuns(state_dir)).newest(playbook, cloud))


def test_the_longest_of_the_last_run_go_first(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """The newest ended run of the playbook in this cloud says how long each target took; others say nothing."""
    runs = RunsFolder(tmp_path)
    timed = tuple(
        replace(event, at=2.0 + 10.0 * 4**event.job) if isinstance(event, ResultReceived) else event for event in life
    )
    begin(runs, "20261122-191733-aaaa", plan, life, NOVEMBER)
    begin(runs, "20261122-191800-bbbb", plan, timed, NOVEMBER + 27)
    begin(runs, "20261122-191900-cccc", plan, life[:-1], NOVEMBER + 87)
    times = newest(tmp_path, "patch", "public")
    assert times.run == "20261122-191800-bbbb"
    assert times.seconds == {"/subscriptions/s/vm0": 10, "/subscriptions/s/vm1": 40, "/subscriptions/s/vm2": 160} | {
        "/subscriptions/s/vm3": 640
    }
    assert arranged(range(4), plan.targets, times, Limits()) == (3, 2, 1, 0)
    assert newest(tmp_path, "other", "public") == newest(tmp_path, "patch", "lab") == NO_TIMES


def test_a_run_that_cannot_be_read_is_no_help(tmp_path: Path, plan: Plan, life: tuple[Event, ...]) -> None:
    """Damage to an old run never keeps a new one from starting."""
    runs = RunsFolder(tmp_path)
    begin(runs, "20261122-191733-aaaa", plan, life, NOVEMBER)
    (runs.folder("20261122-191733-aaaa") / "journal.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    assert newest(tmp_path, "patch", "public") == NO_TIMES
