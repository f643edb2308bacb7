"""The report as JSON text.

Text is ASCII: what a VM printed survives exactly, as escapes, lone surrogates included.
"""

from __future__ import annotations

import json

from fleet.report import document
from fleet.report.model import Report


def render(report: Report) -> str:
    """Return the report as ASCII JSON, ending in a line end: a line for each key, and for each member of a list."""
    fields = document.document(report).items()
    return "{\n" + ",\n".join(f" {_text(key)}: {_lines(value)}" for key, value in fields) + "\n}\n"


def _lines(value: document.Json) -> str:
    """A list's members line by line: the library indents ten times as slowly as it writes one line."""
    if not isinstance(value, list) or not value:
        return _text(value)
    return "[\n" + ",\n".join(f"  {_text(item)}" for item in value) + "\n ]"


_text = json.JSONEncoder(ensure_ascii=True, allow_nan=False).encode


def schema() -> dict[str, document.Json]:
    """Return the JSON Schema (2020-12) of the report. Readers must ignore keys they do not know."""
    return document.schema()
