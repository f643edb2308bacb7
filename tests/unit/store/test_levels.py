"""The file that holds the levels of Azure's rates for every process of a state folder."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from fleet.clock import wall_time
from fleet.run.rate import LONGEST_CALL, OwnLevel, Rate
from fleet.run.rates import Bucket, Rates
from fleet.store.levels import FILE, shared_levels
from fleet.targets.model import Kind

BUCKET = Bucket("s", "writes")


def test_what_one_counts_another_sees(tmp_path: Path) -> None:
    """Two who open the file have one level for one bucket of one sign-in, and none of another's."""
    one, other = (shared_levels(tmp_path, "me")(BUCKET) for _ in range(2))
    one.add(1000.0, 5.0)
    other.add(1002.0, 5.0)
    assert one.read().full_at == other.read().full_at == 1010.0
    other.delay(1020.0)
    one.delay(1015.0)
    assert one.read().full_at == 1020.0
    strangers = (shared_levels(tmp_path, "you")(BUCKET), shared_levels(tmp_path, "me")(Bucket("s", "reads")))
    assert [level.read().full_at for level in strangers] == [0.0, 0.0]
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


@given(st.lists(st.tuples(st.sampled_from(["add", "delay"]), st.floats(1000, 2000), st.floats(0, 50)), max_size=30))
def test_a_level_in_the_file_is_like_one_in_memory(steps: list[tuple[str, float, float]]) -> None:
    """The same steps lead to the same moment."""
    with TemporaryDirectory() as folder:
        level, own = shared_levels(Path(folder), "me")(BUCKET), OwnLevel()
    for name, at, seconds in steps:
        for each in (level, own):
            each.add(at, seconds) if name == "add" else each.delay(at)
        assert level.read().full_at == own.read().full_at


def test_calls_that_are_away_count_for_all_until_they_are_answered(tmp_path: Path) -> None:
    """What one process has on its way, another does not send beside it; a killed one's calls do not count for ever."""
    one, other = (Rate(10, 1.0, shared_levels(tmp_path, "me")(BUCKET)) for _ in range(2))
    for _ in range(9):
        one.send(1000.0)
    assert other.left(1020.0) == 1
    for _ in range(9):
        one.answer(1020.0)
    assert other.left(1020.0) == 1 and other.left(1024.0) == 5
    one.send(1020.0)
    other.send(1020.0 + 2 * LONGEST_CALL)
    assert other.left(1020.0 + 2 * LONGEST_CALL) == 9


def test_more_is_believed_only_while_nobody_else_sends(tmp_path: Path) -> None:
    """What the service says is left holds nothing of what another process has on its way."""
    one, other = (shared_levels(tmp_path, "me")(BUCKET) for _ in range(2))
    one.add(1000.0, 50.0)
    one.advance(1001.0, 1010.0)
    assert one.read().full_at == 1010.0
    other.add(1002.0, 50.0)
    one.advance(1003.0, 1004.0)
    assert one.read().full_at == 1060.0
    one.advance(1020.0, 1025.0)
    assert one.read().full_at == 1025.0


def test_a_moment_that_cannot_be_meant_counts_for_nothing(tmp_path: Path) -> None:
    """A clock that was set back, or a file of garbage, blocks nobody for days."""
    shared_levels(tmp_path, "me")(BUCKET).delay(wall_time() + 86_400)
    assert shared_levels(tmp_path, "me")(BUCKET).read().full_at == 0.0
    (tmp_path / FILE).write_bytes(b"fleet rates 2\n" + b"\xff" * 500_000)
    level = shared_levels(tmp_path, "me")(BUCKET)
    level.add(1000.0, 1.0)
    assert level.read().full_at == 1001.0


def test_a_file_that_is_cut_short_or_cannot_grow_ends_nothing(tmp_path: Path) -> None:
    """What others sent is forgotten with it, and each counts on by itself where nothing can be written."""
    level = shared_levels(tmp_path, "me")(BUCKET)
    level.add(1000.0, 1.0)
    os.truncate(tmp_path / FILE, 0)
    assert level.read().full_at == 0.0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        level.add(1000.0, 1.0)
        level.add(1000.0, 1.0)
        other = shared_levels(tmp_path, "me")(BUCKET)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (level.read().full_at, type(other)) == (1002.0, OwnLevel)


def test_without_a_file_levels_are_ones_own(tmp_path: Path) -> None:
    """A folder that cannot be made, a link, another kind of file: nothing fails."""
    (tmp_path / "file").write_text("")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / FILE).symlink_to(tmp_path / "file")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / FILE).write_bytes(b"not ours" * 100_000)
    for folder in (tmp_path / "file" / "below", tmp_path / "link", tmp_path / "foreign"):
        level = shared_levels(folder, "me")(BUCKET)
        level.add(1000.0, 1.0)
        assert (type(level), level.read().full_at) == (OwnLevel, 1001.0)
    assert (tmp_path / "file").read_text() == ""
    assert (tmp_path / "foreign" / FILE).read_bytes().startswith(b"not ours")


def test_every_bucket_of_a_large_fleet_has_its_place(tmp_path: Path) -> None:
    """Four hundred subscriptions with two regions each: no two buckets share a level."""
    rates = Rates(level_of=shared_levels(tmp_path, "me"))
    levels = []
    for number in range(400):
        levels += [rates.arm(f"sub-{number}").writes.level]
        for location in ("westeurope", "eastus"):
            levels += [shared_levels(tmp_path, "me")(Bucket(f"sub-{number}", "updates", location, Kind.VM))]
    for number, level in enumerate(levels):
        level.add(float(number), 1.0)
    assert [level.read().full_at for level in levels] == [number + 1.0 for number in range(len(levels))]
