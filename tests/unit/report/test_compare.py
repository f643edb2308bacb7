"""What differs, and what is left out of account."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.report.aggregate import aggregate
from fleet.report.compare import Kind, between_hosts, between_runs
from fleet.report.model import JobRow, Report
from fleet.report.normal import DEFAULT, Rule, mask
from fleet.run.model import Cause, CauseCode, Status
from tests.unit.report import factory as f

ROW = JobRow("/id", "s", "g", "web001", "westeurope", "linux", "check", 0, Status.SUCCEEDED, Cause(CauseCode.COMPLETED))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("web001 is up", "<host> is up"),
        ("WEB001.example.org", "<host>.example.org"),
        ("web0011 and my-web001", "web0011 and my-web001"),
        ("at 2026-03-01T02:03:04.5Z, 2026-03-01 02:03:04 +01:00", "at <time>, <time>"),
        ("Mar  1 02:03:04 boot", "<time> boot"),
        ("1772330584", "<time>"),
        ("id 0f8fad5b-d9cb-469f-a165-70867728950e", "id <id>"),
        ("commit 3f786850e387550fdab836ed7e6dc881de23001b", "commit <id>"),
        ("10.0.0.4/24 and fe80::1ff:fe23:4567:890a", "<address> and <address>"),
        ("aa:bb:cc:dd:ee:ff", "<address>"),
        ("kernel 6.8.0-1015-azure, 42 packages", "kernel 6.8.0-1015-azure, 42 packages"),
    ],
)
def test_masks(text: str, masked: str) -> None:
    """By default names, times, ids and addresses are masked, and versions and counts are not."""
    assert mask(text, ROW) == masked


def test_numbers_are_masked_on_request() -> None:
    """The number rule masks counts too."""
    assert mask("42 packages, 3.5 MB, v2", ROW, [*DEFAULT, Rule.NUMBER]) == "<number> packages, <number> MB, v2"


@given(st.text(max_size=300), st.lists(st.sampled_from(Rule), unique=True))
def test_masking_twice_changes_nothing_more(text: str, rules: list[Rule]) -> None:
    """Masked text is stable, whatever a VM printed, and no rules leave it as it was."""
    once = mask(text, ROW, rules)
    if not rules:
        assert once == text
    if Rule.HOST not in rules:
        assert mask(once, ROW, rules) == once


def reports(*rows: JobRow) -> Report:
    return replace(aggregate(f.mixed()), jobs=rows)


def row(name: str, status: Status = Status.SUCCEEDED, stdout: str = "", exit_code: int | None = 0) -> JobRow:
    code = CauseCode.COMPLETED if status is Status.SUCCEEDED else CauseCode.EXIT_CODE
    return replace(
        ROW, target=f"/id/{name}", name=name, status=status, cause=Cause(code), stdout=stdout, exit_code=exit_code
    )


def test_changes_between_runs() -> None:
    """New failures, fixed, still failing in another way, changed output, missing and new rows are told apart."""
    bad = Status.FAILED
    old = reports(
        row("a1"), row("a2"), row("b", bad, exit_code=1), row("c", bad, exit_code=1), row("d", stdout="6.5\n"), row("e")
    )
    new = reports(
        row("a1", bad, exit_code=9),
        row("a2", bad, exit_code=9),
        row("b"),
        row("c", bad, exit_code=2),
        row("d", stdout="6.8\n"),
        row("g"),
    )
    found = between_runs(old, new)
    assert [(item.kind, item.names) for item in found] == [
        (Kind.NEW_FAILURE, "a[1-2]"),
        (Kind.STILL_FAILING, "c"),
        (Kind.MISSING, "e"),
        (Kind.NEW, "g"),
        (Kind.FIXED, "b"),
        (Kind.CHANGED, "d"),
    ]
    assert found[-1].lines[1:] == ("-6.5", "+6.8")


def test_what_differs_everywhere_is_no_change() -> None:
    """Two runs that differ in times and names only are equal; byte for byte they are not."""
    old = reports(row("web1", stdout="web1 up since 2026-01-01 10:00:00\n"))
    new = reports(row("web1", stdout="web1 up since 2026-02-02 11:11:11\n"))
    assert between_runs(old, new) == ()
    assert len(between_runs(old, new, ())) == 1


def test_ids_in_another_case_are_the_same_row() -> None:
    """ARM answers ids in whatever case it likes."""
    assert between_runs(reports(row("a")), reports(replace(row("a"), target="/ID/A"))) == ()


def test_hosts_that_answer_otherwise_than_most() -> None:
    """The majority is the measure; each other answer is one group with its difference."""
    rows = [row(f"web{n}", stdout=f"web{n}: 6.8\n") for n in range(1, 6)]
    found = between_hosts(reports(*rows, row("web7", stdout="web7: 6.5\n"), row("web8", Status.FAILED, exit_code=1)))
    assert {(item.names, item.status) for item in found} == {("web7", Status.SUCCEEDED), ("web8", Status.FAILED)}
    different = next(item for item in found if item.names == "web7")
    assert different.lines[1:] == ("-<host>: 6.8", "+<host>: 6.5")
    assert (different.count, different.of) == (1, 7)


def test_a_run_equal_to_itself_has_no_changes() -> None:
    """Comparing a report with itself finds nothing."""
    report = aggregate(f.mixed())
    assert between_runs(report, report) == ()
