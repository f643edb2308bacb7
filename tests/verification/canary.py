"""A value that must show nowhere: given to steps as a secret parameter, and looked for in all that a run has written."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from urllib.parse import quote, quote_plus

from fleet.plan.model import Plan
from fleet.playbook.model import Parameter
from fleet.report.model import Report

VALUE = "c4nary/\"w\\rd'; $(id) ä +=&\tfor nobody"
TOKEN = "c4nary.b3arer.t0ken~for_nobody"
NAME = "canary"
VARIABLE = "CANARY"
SECRETS: Mapping[str, str] = {NAME: VALUE}


def hidden_in(plan: Plan) -> Plan:
    """The plan, each of its steps with the canary as a secret variable."""
    env = {VARIABLE: f"{{{{ params.{NAME} }}}}"}
    steps = tuple(replace(step, env={**step.env, **env}) for step in plan.steps)
    return replace(plan, steps=steps, declared=(*plan.declared, Parameter(NAME, secret=True)))


def forms(value: str) -> Iterator[bytes]:
    """The value in every form that something on its way could have written it in: plain, URL, JSON, base64."""
    raw = value.encode()
    yield raw
    yield from (quote(value).encode(), quote(value, safe="").encode(), quote_plus(value).encode())
    for ascii_only in (True, False):
        yield json.dumps(value, ensure_ascii=ascii_only)[1:-1].encode()
    for before in range(3):
        text = base64.b64encode(bytes(before) + raw)
        yield text[4 * bool(before) : len(text) // 4 * 4 - 4]


def shows_in(data: bytes, *values: str) -> bool:
    """Whether one of the values is there, in any form."""
    return any(form in data for value in values for form in forms(value))


def reports(report: Report) -> dict[str, bytes]:
    """A report in every form in which it can be written."""
    # Few runs are written out, and some of these are slow to import.
    from fleet.report import (
        render_csv,
        render_html,
        render_json,
        render_jsonl,
        render_junit,
        render_markdown,
        render_text,
    )

    rows = "".join(render_jsonl.row_line(row) for row in report.jobs)
    written = {
        "json": render_json.render(report),
        "jsonl": rows + render_jsonl.report_line(report),
        "csv": render_csv.render(report),
        "md": render_markdown.render(report),
        "junit": render_junit.render(report),
        "html": render_html.render(report),
        "text": render_text.render(report),
    }
    return {f"the report as {name}": text.encode("utf-8", "surrogatepass") for name, text in written.items()}
