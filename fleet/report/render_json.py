"""The report as JSON text.

Text is ASCII: what a VM printed survives exactly, as escapes, lone surrogates included.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from fleet.report import document
from fleet.report.model import Report


def render(report: Report) -> str:
    """Return the report as ASCII JSON, ending in a line end: a line for each key, and for each member of a list."""
    return "".join(pieces(report))


def pieces(report: Report) -> Iterator[str]:
    """Yield that text a line or so at a time: a report of ten thousand rows need not be in memory as text as well."""
    before = "{\n"
    for key, value in document.document(report, rows=False).items():
        yield f"{before} {_text(key)}: "
        before = ",\n"
        if key == "jobs":
            yield from _lines(map(document.job, report.jobs))
        elif isinstance(value, list):
            yield from _lines(value)
        else:
            yield _text(value)
    yield "\n}\n"


def _lines(values: Iterable[document.Json]) -> Iterator[str]:
    """A list's members line by line: the library indents ten times as slowly as it writes one line."""
    before = "[\n"
    for value in values:
        yield f"{before}  {_text(value)}"
        before = ",\n"
    yield "[]" if before == "[\n" else "\n ]"


_text = json.JSONEncoder(ensure_ascii=True, allow_nan=False).encode


def schema() -> dict[str, document.Json]:
    """Return the JSON Schema (2020-12) of the report. Readers must ignore keys they do not know."""
    return document.schema()
