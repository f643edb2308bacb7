"""How long scripts took, kept between runs."""

from __future__ import annotations

from pathlib import Path

from fleet.store.sqlite.durations import FILE, RUNS_KEPT, DurationTable


def test_what_runs_took_is_kept_by_script(tmp_path: Path) -> None:
    """All kept runs of a script count together, in order; another script has its own, and an unknown one has none."""
    table = DurationTable(tmp_path)
    assert table.usual(["a"]) == {}
    table.learn("run-1", 1.0, {"a": [3.0, 1.0], "b": [9.0]})
    table.learn("run-2", 2.0, {"a": [2.0]})
    assert DurationTable(tmp_path).usual(["a", "b", "c"]) == {"a": [1.0, 2.0, 3.0], "b": [9.0]}
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_a_run_counts_once_and_old_ones_are_forgotten(tmp_path: Path) -> None:
    """A run that is resumed replaces what it taught before; of each script the newest runs count."""
    table = DurationTable(tmp_path)
    table.learn("run", 0.0, {"a": [99.0]})
    table.learn("run", 1.0, {"a": [1.0]})
    assert table.usual(["a"]) == {"a": [1.0]}
    for number in range(RUNS_KEPT + 3):
        table.learn(f"run-{number}", 2.0 + number, {"a": [float(number)]})
    assert table.usual(["a"]) == {"a": [float(number) for number in range(3, RUNS_KEPT + 3)]}


def test_a_table_that_cannot_be_used_counts_for_nothing(tmp_path: Path) -> None:
    """A damaged file, a folder in its place, and a state folder that is missing: nothing is known, and nothing fails."""
    (tmp_path / FILE).write_bytes(b"no database" * 500)
    (tmp_path / "other" / FILE).mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "other", tmp_path / "missing"):
        DurationTable(folder).learn("run", 1.0, {"a": [1.0]})
        assert DurationTable(folder).usual(["a"]) == {}
