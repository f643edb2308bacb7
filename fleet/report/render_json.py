"""The report as JSON text.

Text is ASCII: what a VM printed survives exactly, as escapes, lone surrogates included.
"""

from __future__ import annotations

import json

from fleet.report import document
from fleet.report.model import Report


def render(report: Report, *, indent: int | None = 1) -> str:
    """Return the report as ASCII JSON, ending in a line end."""
    return json.dumps(document.document(report), indent=indent, ensure_ascii=True, allow_nan=False) + "\n"


def schema() -> dict[str, document.Json]:
    """Return the JSON Schema (2020-12) of the report. Readers must ignore keys they do not know."""
    return document.schema()
