"""A group of rows says nothing that is not true of each of its rows."""

from __future__ import annotations

import json
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.report import render_csv, render_html, render_json, render_junit, render_markdown, render_text
from fleet.report.aggregate import aggregate
from fleet.report.model import Group, JobRow, Report
from fleet.report.reasons import Part
from fleet.run.model import CauseCode, Outcome, Status
from fleet.run.record import RunRecord

from . import factory as f

NAMES = ["web001", "web002", "db", "a", "host"]
GUID = "0b7c3a52-9f0e-4d0d-8a55-{:012x}"


def refused(message: str, hint: str = "") -> Outcome:
    return f.ended(Status.UNREACHABLE, CauseCode.REFUSED, message, hint)


def report(outcomes: Sequence[Outcome], names: Sequence[str] = ()) -> Report:
    targets = [f.target(name) for name in names] if names else f.fleet(len(outcomes))
    return aggregate(f.record(f.plan(targets), outcomes))


def reasons(made: Report) -> list[tuple[str, str]]:
    return [(group.names, group.cause.message) for group in made.groups]


QUOTA = "OperationNotAllowed: Operation could not be completed as it results in exceeding approved quota."
ETAG = "PreconditionFailed: etag mismatch"
LOCK, DOWN = "see which lock stands on the group", "start the VM"


def text(made: Report) -> str:
    return re.sub(r"\s+", " ", render_text.render(made, width=300))


def markdown(made: Report) -> str:
    return re.sub(r"&#(\d+);", lambda found: chr(int(found[1])), render_markdown.render(made)).replace("\u2060", "")


def html(made: Report) -> str:
    return render_html.render(made).replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">")


def groups_of_json(made: Report) -> str:
    return json.dumps(json.loads(render_json.render(made))["groups"])


@pytest.mark.parametrize("form", [text, markdown, html, groups_of_json])
def test_every_form_shows_each_reason_and_each_hint(form: Callable[[Report], str]) -> None:
    """Rows of one code that give different reasons, or different hints, are told apart wherever groups are shown."""
    shown = form(report([refused(QUOTA, LOCK), refused(ETAG, LOCK), refused(ETAG, DOWN)]))
    assert QUOTA in shown and ETAG in shown
    assert LOCK in shown and DOWN in shown


def test_forms_with_a_row_for_each_job_show_its_own_reason() -> None:
    """CSV and JUnit mask nothing, even where the groups do."""
    outcomes = [refused(f"the VM web{number:03} is locked since 10:0{number}") for number in (1, 2, 3)]
    made = report(outcomes)
    assert [group.count for group in made.groups] == [3]
    said = [outcome.cause.message for outcome in outcomes]
    assert all(f'"{message}"' in render_csv.render(made) for message in said)
    errors = ET.fromstring(render_junit.render(made)).iter("error")
    assert [error.get("message") for error in errors] == [f"refused: {message}" for message in said]
    assert [row["cause"]["message"] for row in json.loads(render_json.render(made))["jobs"]] == said


def test_five_hundred_vms_with_one_reason_are_one_group() -> None:
    """What names the VM, its id, operation, correlation or time does not part the rows; the form masks just that."""
    targets = f.fleet(500)
    outcomes = [
        f.ended(
            Status.UNREACHABLE,
            CauseCode.VM_NOT_FOUND,
            f"ResourceNotFound: The Resource '{target.id}/runCommands/fleet-20260301-020304-k3v9-{number}' in resource "
            f"group 'rg-web' was not found at 2026-03-01T02:{number % 60:02}:04.1234567Z "
            f"(correlation {GUID.format(number)})",
            f"see `fleet show last {target.name.upper()}`",
        )
        for number, target in enumerate(targets)
    ]
    made = aggregate(f.record(f.plan(targets), outcomes))
    assert [group.count for group in made.groups] == [500]
    assert made.groups[0].cause.message == (
        "ResourceNotFound: The Resource '<id>/runCommands/<operation>' in resource group 'rg-web' was not found at "
        "<time> (correlation <id>)"
    )
    assert made.groups[0].cause.hint == "see `fleet show last <host>`"


@pytest.mark.parametrize("form", [text, markdown, html, groups_of_json])
def test_no_form_shows_one_rows_own_part_for_all(form: Callable[[Report], str]) -> None:
    """A group of masked messages names the part that was masked, and nowhere the first row's."""
    made = report([refused(f"the disk of '{name}' is gone", f"attach it to '{name}'") for name in NAMES], NAMES)
    assert [group.count for group in made.groups] == [len(NAMES)]
    shown = form(made)
    assert "the disk of '<host>' is gone" in shown and "attach it to '<host>'" in shown
    assert not any(f"disk of '{name}'" in shown or f"it to '{name}'" in shown for name in NAMES)


def test_only_what_differs_is_masked() -> None:
    """A resource group, a time or an id that all rows share stays readable; so does the message of a single row."""
    one = report([refused(f"VM 'web00{n}' of rg-web is held since 10:00 by {GUID.format(7)}") for n in (1, 2)])
    assert reasons(one) == [("web[001-002]", f"VM '<host>' of rg-web is held since 10:00 by {GUID.format(7)}")]
    alone = report([refused("VM 'web001' is held since 10:00"), f.succeeded()])
    assert reasons(alone)[0] == ("web001", "VM 'web001' is held since 10:00")


def test_groups_and_subscriptions_are_a_rows_own() -> None:
    """The same reason on VMs of several resource groups and subscriptions is one reason."""
    other = "00000000-0000-0000-0000-000000000002"
    targets = [f.target("a1", group="rg-one"), f.target("a1", group="rg-two", subscription=other)]
    outcomes = [refused(f"no rights over '{target.id}' in {target.resource_group}") for target in targets]
    made = aggregate(f.record(f.plan(targets), outcomes))
    assert [group.cause.message for group in made.groups] == ["no rights over '<id>' in <group>"]


@pytest.mark.parametrize("names", [("a", "vm"), ("cannot", "start"), ("409", "web1")])
def test_a_vm_that_is_called_like_a_word_parts_nothing(names: tuple[str, str]) -> None:
    """A text that VMs share word for word is one reason, also where one of them has the name of a word in it."""
    message = "409: a vm cannot start while it is moved"
    made = report([refused(message)] * 3, [*names, "web9"])
    assert [(group.count, group.cause.message) for group in made.groups] == [(3, message)]


def test_numbers_are_meant() -> None:
    """Exit statuses, HTTP statuses and counts are no row's own; how long to wait before trying again is."""
    assert len(report([refused("HTTP 409"), refused("HTTP 412")]).groups) == 2
    assert len(report([refused("limit 10, usage 9"), refused("limit 10, usage 10")]).groups) == 2
    waits = report([refused(f"too many requests; try again after '{n}' seconds") for n in (3, 17)])
    assert [group.cause.message for group in waits.groups] == ["too many requests; try again after '<time>' seconds"]


def test_whatever_else_a_group_shows_is_the_same_for_all_of_it() -> None:
    """Cut output, missing proof and rescued failures part rows that agree in everything else."""
    bad = f.failed()
    assert len(report([bad, replace(bad, truncated=True)]).groups) == 2
    assert len(report([f.succeeded(), replace(f.succeeded(), verified=False)]).groups) == 2
    record = f.record(f.plan(f.fleet(2)), [bad])
    rescued = replace(record, jobs=(record.jobs[0], replace(record.jobs[1], rescued=True)))
    assert len(aggregate(rescued).groups) == 2


def fits(shown: str, said: str) -> bool:
    """Whether a masked text is true of a row: with the marks filled in it is what the row says."""
    marks = "|".join(f"<{part}>" for part in Part)
    pattern = "".join(".+" if piece in {f"<{part}>" for part in Part} else re.escape(piece)
                      for piece in re.split(f"({marks})", shown))  # fmt: skip
    return re.fullmatch(pattern, said, re.DOTALL) is not None


WORDS = st.sampled_from(
    ["web001", "WEB002", "db", "rg-web", "a", "409", "refused", "<host>", "<id>", "'db'", "10:00", "10.0.0.4", " ", "-",
     "again after 5 s", "fleet-20260301-020304-k3v9-1", GUID.format(1), GUID.format(2), f.target("web001").id, "\n"]
)  # fmt: skip
SAYINGS = st.one_of(st.lists(WORDS, max_size=6).map("".join), st.text(max_size=20))


@given(st.lists(st.tuples(SAYINGS, SAYINGS), min_size=1, max_size=5))
def test_a_groups_reason_is_true_of_each_of_its_rows(said: list[tuple[str, str]]) -> None:
    """Whatever rows say and VMs are called: filled in, the group's message and hint are the row's. Equal ones are joined."""
    made = report([refused(message, hint) for message, hint in said], NAMES[: len(said)])
    place = {index: number for number, group in enumerate(made.groups) for index in group.jobs}
    for number, group in enumerate(made.groups):
        for row in members(made, group):
            assert fits(group.cause.message, row.cause.message) and fits(group.cause.hint, row.cause.hint)
        assert {place[i] for i, one in enumerate(said) if one == said[group.jobs[0]]} == {number}


def members(made: Report, group: Group) -> list[JobRow]:
    return [made.jobs[index] for index in group.jobs]


def test_many_reasons_are_joined_quickly() -> None:
    """5,000 rows, each naming its own VM, id and time, aggregate in less than 4 s of CPU into one group."""
    targets = f.fleet(5_000)
    record: RunRecord = f.record(
        f.plan(targets),
        [refused(f"'{t.id}' is gone at 10:00:{n % 60:02}; start {t.name}") for n, t in enumerate(targets)],
    )
    before = time.process_time()
    assert [group.count for group in aggregate(record).groups] == [5_000]
    assert time.process_time() - before < 4.0
