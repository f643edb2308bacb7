"""The report as JUnit XML, for CI: one suite per target, one test case per step.

A script that did not end well is a ``failure``, a target of which nothing certain came back an ``error``, a
job that was never sent is ``skipped``. A subscription that could not be read is a suite with one error, so it
cannot be missed. The form is the strictest common one: the Ant schema's order, which Jenkins accepts too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from fleet.clock import iso
from fleet.report import causes, safe
from fleet.report.model import JobRow, Report
from fleet.run.model import FAILURES, NOT_REACHED, NOT_RUN
from fleet.targets.model import UnreadScope


def render(report: Report) -> str:
    """Return an XML 1.0 document; characters that XML forbids show as visible stand-ins."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>"]
    number = 0
    for _, rows in groupby(report.jobs, key=lambda row: row.target):
        lines.extend(_suite(report, tuple(rows), number))
        number += 1
    for scope in report.unread:
        lines.extend(_unread(report, scope, number))
        number += 1
    return "\n".join([*lines, "</testsuites>", ""])


def _suite(report: Report, rows: Sequence[JobRow], number: int) -> Iterator[str]:
    first = rows[0]
    yield _open(
        package=f"{first.subscription}.{first.resource_group}",
        number=number,
        name=report.label(first),
        hostname=first.name,
        at=min((row.started for row in rows if row.started is not None), default=report.started),
        tests=len(rows),
        failures=sum(row.status in FAILURES for row in rows),
        errors=sum(row.status in NOT_REACHED for row in rows),
        skipped=sum(row.status in NOT_RUN for row in rows),
        seconds=sum(row.duration_s or 0.0 for row in rows),
    )
    yield (
        "  <properties>"
        f'<property name="fleet.run" value={_quoted(report.run)}/>'
        f'<property name="fleet.target" value={_quoted(first.target)}/>'
        f'<property name="fleet.wave" value="{first.wave + 1}"/>'
        + "".join(
            f"<property name={_quoted(f'fleet.facts.{row.step}.{name}')} value={_quoted(value)}/>"
            for row in rows
            for name, value in row.facts.items()
        )
        + "</properties>"
    )
    for row in rows:
        yield _case(report, row)
    yield f"  <system-out>{_text(''.join(row.stdout for row in rows))}</system-out>"
    yield f"  <system-err>{_text(''.join(row.stderr for row in rows))}</system-err>"
    yield " </testsuite>"


def _open(
    *, package: str, number: int, name: str, hostname: str, at: float, tests: int, failures: int, errors: int,
    skipped: int, seconds: float,
) -> str:  # fmt: skip
    return (
        f' <testsuite package={_quoted(package)} id="{number}" name={_quoted(name or "-")}'
        f' hostname={_quoted(hostname or "-")} timestamp="{iso(at)[:19]}" tests="{tests}"'
        f' failures="{failures}" errors="{errors}" skipped="{skipped}" time="{seconds:.3f}">'
    )


def _case(report: Report, row: JobRow) -> str:
    place = f"{report.playbook.name}.{report.label(row)}"
    head = f'  <testcase classname={_quoted(place)} name={_quoted(row.step)} time="{row.duration_s or 0.0:.3f}"'
    kind = _kind(row)
    if not kind:
        return f"{head}/>"
    message = f"message={_quoted(f'{row.cause.code.value}: {causes.message(row.cause)}')}"
    if kind == "skipped":
        return f"{head}><skipped {message}/></testcase>"
    return f'{head}><{kind} {message} type="{row.cause.code.value}">{_text(_story(row))}</{kind}></testcase>'


def _kind(row: JobRow) -> str:
    if row.status in FAILURES:
        return "failure"
    if row.status in NOT_REACHED:
        return "error"
    return "skipped" if row.status in NOT_RUN else ""


def _story(row: JobRow) -> str:
    exit_code = "" if row.exit_code is None else f"exit code {row.exit_code}"
    parts = (
        row.status.value + (", rescued" if row.rescued else ""),
        exit_code,
        causes.message(row.cause),
        causes.hint(row.cause),
        row.stdout,
        row.stderr,
    )
    return "\n".join(part for part in parts if part)


def _unread(report: Report, scope: UnreadScope, number: int) -> Iterator[str]:
    name = scope.subject or scope.name or scope.subscription
    suite = scope.subject or f"subscription {name}"
    yield _open(
        package=scope.subscription, number=number, name=suite, hostname="-",
        at=report.started, tests=1, failures=0, errors=1, skipped=0, seconds=0.0,
    )  # fmt: skip
    yield "  <properties/>"
    yield (
        f'  <testcase classname={_quoted(name)} name="targets were listed" time="0.000">'
        f"<error message={_quoted(scope.message)} type={_quoted(scope.code)}/></testcase>"
    )
    yield "  <system-out/>"
    yield "  <system-err/>"
    yield " </testsuite>"


def _quoted(text: str) -> str:
    return f'"{escape(safe.visible_line(text), quote=True)}"'


def _text(text: str) -> str:
    return escape(safe.visible(text), quote=False)
