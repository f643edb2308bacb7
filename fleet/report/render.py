"""A report as text in the form that is asked for."""

from __future__ import annotations

from collections.abc import Iterable

from fleet.report.model import Report

WHOLE = 1_000_000
"""More groups and lines than any report has."""


def render(report: Report, form: str, *, width: int = 100, colour: bool = False, whole: bool = False) -> str:
    """Render a report in one of the forms of ``-o`` and ``--report``; ``whole`` leaves nothing out of the text.

    ``width`` is that of the text, in columns.
    """
    match form:
        case "json" | "jsonl":
            return "".join(pieces(report, form))
        case "csv":
            from fleet.report import render_csv

            return render_csv.render(report)
        case "md":
            from fleet.report import render_markdown

            return render_markdown.render(report)
        case "junit":
            from fleet.report import render_junit

            return render_junit.render(report)
        case "html":
            from fleet.report import render_html

            return render_html.render(report)
        case _:
            from fleet.report import render_text

            if whole:
                return render_text.render(report, width=width, colour=colour, limit=WHOLE, tail=WHOLE, brief=WHOLE)
            return render_text.render(report, width=width, colour=colour)


def pieces(report: Report, form: str, *, width: int = 100, colour: bool = False, whole: bool = False) -> Iterable[str]:
    """The same text in pieces, so that the large forms need not be in memory as a whole."""
    match form:
        case "json":
            from fleet.report import render_json

            yield from render_json.pieces(report)
        case "jsonl":
            from fleet.report import render_jsonl

            yield from map(render_jsonl.row_line, report.jobs)
            yield render_jsonl.report_line(report)
        case _:
            yield render(report, form, width=width, colour=colour, whole=whole)
