"""The report in a spreadsheet."""

from __future__ import annotations

import csv
import io

from hypothesis import given

from fleet.report.aggregate import aggregate
from fleet.report.render_csv import COLUMNS, render

from . import factory as f
from .hostile import texts


def parsed(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_one_row_a_job() -> None:
    """Every job is a row under the documented header, in the report's order."""
    report = aggregate(f.mixed())
    rows = parsed(render(report))
    assert list(rows[0]) == list(COLUMNS)
    assert [row["name"] for row in rows] == [job.name for job in report.jobs]
    assert (rows[0]["exit_code"], rows[0]["verified"], rows[0]["duration_s"]) == ("0", "true", "5.0")
    assert rows[11]["started"] == ""


@given(texts)
def test_no_hostile_cell_is_a_formula(text: str) -> None:
    """Hostile text stays in its cell: as many rows and columns as before, and no cell starts a formula."""
    report = aggregate(f.hostile(text))
    rows = list(csv.reader(io.StringIO(render(report), newline="")))
    assert [len(row) for row in rows] == [len(COLUMNS)] * (len(report.jobs) + 1)
    assert not any(
        cell.strip(" \u3000\xa0")[:1] in tuple("=+@\t\r\n＝＋＠") for row in rows for cell in row if cell.strip()
    )
    render(report).encode("utf-8")
