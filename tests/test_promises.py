"""The page of promises: each one is held up by tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
RESTARTS = (ROOT / "docs" / "reboots.md").read_text(encoding="utf-8")
HOSTILE = (ROOT / "docs" / "hostile.md").read_text(encoding="utf-8")


def known_tests() -> set[str]:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    return set(re.findall(r"def (test_\w+)\(", text))


def test_every_promise_is_held_up_by_tests_that_exist() -> None:
    """Each test that the page names is in the suite."""
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) >= 30
    assert named - known_tests() == set()


def test_every_promise_names_a_test_or_says_what_is_not_promised() -> None:
    """A bullet without a test is a sentence about a limit, and says so by a negation."""
    for bullet in re.findall(r"^- (.+?)(?=^- |^#|\Z)", PAGE, re.MULTILINE | re.DOTALL):
        assert "`test_" in bullet or re.search(r"\b(not|cannot)\b", bullet), bullet


def test_every_row_of_the_table_of_events_names_tests_that_exist() -> None:
    """What is promised event by event, over both Run Commands, a test of the suite holds."""
    table = PAGE.partition("### Event by event")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 19
    for what, action, managed, held_by in rows:
        assert all((what.strip("| "), action, managed))
        named = set(re.findall(r"`(test_\w+)`", held_by))
        assert named and named <= known_tests(), what


def test_every_row_about_restarts_names_tests_that_exist() -> None:
    """What the page of restarts says is kept, a test of the suite keeps."""
    rows = re.findall(r"^\| .+\? \| .+ \| (.+) \|$", RESTARTS, re.MULTILINE)
    assert len(rows) >= 7
    for row in rows:
        named = set(re.findall(r"`(test_\w+)`", row))
        assert named and named <= known_tests(), row


def test_every_row_about_hostile_input_names_tests_that_exist() -> None:
    """Each attack has a rule, and at least one test of the suite that holds it."""
    rows = [line.split(" | ") for line in HOSTILE.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 15
    for where, _attack, rule, tests in rows:
        named = set(re.findall(r"`(test_\w+)`", tests))
        assert rule and named and named <= known_tests(), where
