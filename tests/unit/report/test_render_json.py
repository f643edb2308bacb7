"""The JSON contract."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given

from fleet.report import render_json
from fleet.report.aggregate import aggregate
from fleet.run.record import RunRecord

from . import factory as f
from .hostile import texts

TOP = ["schema", "run", "playbook", "started", "ended", "exit_code", "counts", "groups", "jobs"]
JOB = (
    "target subscription resource_group name location os kind step wave status cause exit_code stdout stderr "
    "truncated attempts verified operation started ended duration_s retries rescued facts"
)


@pytest.mark.parametrize("record", [f.mixed(), f.record(f.plan(f.fleet(3)), [f.Open()], finished=False)])
def test_reports_fit_their_schema(record: RunRecord) -> None:
    """Real reports, finished and not, are valid, and the schema itself is valid JSON Schema 2020-12."""
    schema = render_json.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(render_json.render(aggregate(record))))


def test_keys_are_the_contract() -> None:
    """The keys that scripts rely on are there, in order, and the schema knows every key that is written."""
    document = json.loads(render_json.render(aggregate(f.mixed())))
    assert list(document)[: len(TOP)] == TOP
    assert all(list(job) == JOB.split() for job in document["jobs"])
    properties = render_json.schema()["properties"]
    assert isinstance(properties, dict)
    assert list(properties) == list(document)


def test_the_schema_refuses_what_is_not_a_report() -> None:
    """A status outside the closed list is not valid."""
    document = json.loads(render_json.render(aggregate(f.mixed())))
    document["jobs"][0]["status"] = "fine"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(render_json.schema()).validate(document)


@given(texts)
def test_output_survives_exactly(text: str) -> None:
    """What a VM printed comes back character for character, through ASCII, lone surrogates included."""
    rendered = render_json.render(aggregate(f.hostile(text)))
    assert rendered.isascii()
    first = json.loads(rendered)["jobs"][0]
    expected = json.loads(json.dumps(text))  # JSON joins surrogate pairs
    assert (first["stdout"], first["stderr"], first["name"]) == (expected, expected, expected)


def test_times_are_utc() -> None:
    """Times are ISO 8601 in UTC and the duration is their difference in seconds."""
    row = json.loads(render_json.render(aggregate(f.mixed())))["jobs"][0]
    assert (row["started"], row["ended"], row["duration_s"]) == (
        "2026-03-01T02:03:04.000Z",
        "2026-03-01T02:03:09.000Z",
        5.0,
    )


def test_a_report_is_written_row_by_row() -> None:
    """No piece of the text holds more than one row, so a large report need not be in memory as text as well."""
    report = aggregate(f.record(f.plan(f.fleet(200)), [f.succeeded("x" * 1000 + str(number)) for number in range(200)]))
    pieces = list(render_json.pieces(report))
    assert "".join(pieces) == render_json.render(report)
    assert json.loads("".join(pieces))["counts"]["total"] == 200
    assert max(piece.count('"stdout"') for piece in pieces) == 1
