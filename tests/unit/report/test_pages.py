"""The documentation says what the code does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from fleet.report import render_json
from fleet.report.causes import CAUSES, STATUSES, Explanation
from fleet.report.verdict import PRECEDENCE
from fleet.run.model import CauseCode, Status

DOCS = Path(__file__).parents[3] / "docs"


def rows(page: str, title: str) -> dict[str, list[str]]:
    """Return the table under a title: first cell without its backticks to the other cells."""
    text = (DOCS / page).read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.split("\n") if line[:1] == "|"]
    return {first.strip("`"): rest for first, *rest in cells[2:]}


def test_every_field_is_in_the_page() -> None:
    """docs/report.md names every field of the schema at each level, and no other."""
    top = render_json.schema()["properties"]
    assert isinstance(top, dict)
    assert list(rows("report.md", "Top level")) == list(top)
    for title, name in (("A job", "jobs"), ("A group", "groups"), ("A gate", "gates")):
        items = top[name]
        assert isinstance(items, dict) and isinstance(items["items"], dict)
        properties = items["items"]["properties"]
        assert isinstance(properties, dict)
        assert set(rows("report.md", title)) == set(properties)


def test_the_precedence_is_in_the_page() -> None:
    """docs/report.md states the order in which exit codes win, without those that no run can have."""
    text = (DOCS / "report.md").read_text(encoding="utf-8")
    stated = re.search(r"wins: ([0-9 ]+)\.", text)
    assert stated is not None
    assert stated.group(1).split() == [str(int(code)) for code in PRECEDENCE if int(code) not in (1, 10)]
    assert set(rows("report.md", "The exit code")) == {*stated.group(1).split(), "0", "6"}


def _as_rows(
    explanations: Mapping[Status, Explanation] | Mapping[CauseCode, Explanation],
) -> dict[str, list[str]]:
    return {code.value: [said.sentence, said.next] for code, said in explanations.items()}


def test_every_outcome_is_in_the_page() -> None:
    """docs/outcomes.md has every status and cause with the sentence and the advice that the reports give."""
    assert set(STATUSES) == set(Status) and set(CAUSES) == set(CauseCode)
    assert rows("outcomes.md", "Statuses") == _as_rows(STATUSES)
    assert rows("outcomes.md", "Causes") == _as_rows(CAUSES)
