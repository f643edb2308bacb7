"""The page of what waves and budgets mean: each row is a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

from tests.test_promises import known_tests

PAGE = (Path(__file__).parent.parent / "docs" / "rollouts.md").read_text(encoding="utf-8")


def test_every_row_is_held_up_by_tests_that_exist() -> None:
    """Each row of the tables of semantics names at least one test, and every test named is in the suite."""
    rows = [row for row in re.findall(r"^\| (.+) \|$", PAGE, re.MULTILINE) if not row.startswith("question")]
    assert len(rows) >= 25
    known = known_tests()
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row.rsplit(" | ", 1)[-1])
        assert named, row
        assert set(named) <= known, row
