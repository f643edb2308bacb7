"""The report as one HTML file: nothing is loaded from anywhere, and it reads without scripts or colour.

Every value that enters the page is made visible (``safe.visible``) and escaped, in one place: the template
environment below. The content security policy allows only this page's own style and script, by hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fleet.clock import iso
from fleet.report import causes, safe, words
from fleet.report.model import Group, JobRow, Report
from fleet.report.timeline import WIDTH, timeline
from fleet.run.model import FAILURES, Status

MOST_ROWS = 2_000
"""Up to here the table of all jobs is HTML; above it is data that the page's script shows piece by piece."""
MOST_GROUPS = {"failures": 200, "not_reached": 200, "not_run": 50, "successes": 50, "gone": 20, "left_out": 20}
"""How many groups of each kind are shown. The table of all jobs, and the JSON report, hold everybody."""
MOST_OUTPUT = 8_192
"""Characters of one stream shown, its end."""
OUTPUT_BUDGET = 2_000_000
"""Characters of output in the whole page; groups beyond it are named without their output."""


@dataclass(frozen=True, slots=True)
class StreamView:
    """The end of one stream. ``note`` says what is missing."""

    name: str
    text: str
    note: str


@dataclass(frozen=True, slots=True)
class GroupView:
    """One group as the page shows it."""

    anchor: str
    group: Group
    status: str
    streams: tuple[StreamView, ...]
    note: str
    open: bool


@dataclass(frozen=True, slots=True)
class SectionView:
    """The groups of one kind."""

    id: str
    title: str
    lead: str
    groups: tuple[GroupView, ...]
    jobs: int
    left_out: int


@dataclass(frozen=True, slots=True)
class Segment:
    """One piece of the bar of counts."""

    status: Status
    label: str
    amount: int
    share: str
    x: float
    width: float


def render(report: Report) -> str:
    """Return the page. Its size is bounded by the caps above and about 100 bytes for each job."""
    style, script = _asset("report.css"), _asset("report.js")
    sections = _sections(report)
    anchors = {index: view.anchor for section in sections for view in section.groups for index in view.group.jobs}
    large = len(report.jobs) > MOST_ROWS
    rows = [] if large else [_row(report, row, anchors.get(index, "")) for index, row in enumerate(report.jobs)]
    return _environment().get_template("report.html.j2").render(
        report=report,
        style=Markup(style),  # noqa: S704  our own file, unchanged
        script=Markup(script),  # noqa: S704  our own file, unchanged
        policy=_policy(style, script),
        headline=headline(report),
        tone=_tone(report),
        segments=_segments(report),
        sections=sections,
        picture=timeline(report),
        picture_width=int(WIDTH),
        large=large,
        rows=rows,
        data=Markup(_data(report, anchors)) if large else "",  # noqa: S704  JSON without < > &
        words=words,
        causes=causes,
        iso=iso,
        exit_code=int(report.exit_code),
    )  # fmt: skip


def headline(report: Report) -> str:
    """Say in one line how the run went."""
    counts = report.counts
    noun = "target" if counts.total == counts.targets else "job"
    everybody = words.plural(counts.total, noun)
    if not counts.total:
        return "No target was selected"
    if bad := counts.any_of(FAILURES):
        return f"{words.number(bad)} of {everybody} failed"
    left_out = sum(group.count for group in (*report.left_out, *report.gone))
    if missing := counts.total - counts[Status.SUCCEEDED] - left_out:
        return f"{words.number(missing)} of {everybody} {'is' if missing == 1 else 'are'} not proven"
    if report.unread:
        return f"{everybody} succeeded, but not everything could be read"
    if left_out == counts.total:
        return f"{everybody} left out on purpose"
    if left_out:
        ran = words.plural(counts[Status.SUCCEEDED], noun)
        return f"{ran} succeeded, {words.number(left_out)} left out on purpose"
    return f"All {everybody} succeeded" if counts.total > 1 else f"The {noun} succeeded"


def _tone(report: Report) -> str:
    if report.exit_code == 0:
        return "good"
    return "bad" if report.counts.any_of(FAILURES) or report.exit_code not in (4, 8, 130, 143) else "warn"


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("fleet.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )


def _finalize(value: object) -> object:
    return safe.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _asset(name: str) -> str:
    source, _, _ = PackageLoader("fleet.report", "page").get_source(_environment(), name)
    return source


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src 'sha256-{_hash(style)}'; script-src 'sha256-{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _segments(report: Report) -> tuple[Segment, ...]:
    """Share the bar out; nobody is thinner than can be seen."""
    present = list(report.counts.present())
    wide = {status: max(6.0, 1000.0 * amount / report.counts.total) for status, amount in present}
    scale = 1000.0 / (sum(wide.values()) or 1.0)
    segments, x = [], 0.0
    for status, amount in present:
        width = wide[status] * scale
        share = 100.0 * amount / report.counts.total
        shown = "<0.1%" if share < 0.1 else f"{share:.1f}%".replace(".0%", "%")
        segments.append(Segment(status, words.STATUS[status], amount, shown, round(x, 2), round(width, 2)))
        x += width
    return tuple(segments)


_SECTIONS = (
    ("failures", "Failed", "The script ran and did not end well."),
    (
        "not_reached",
        "Not reached or not proven",
        "Nothing certain came back from these targets. They are not proven either way.",
    ),
    ("not_run", "Not run", "These jobs were never sent."),
    ("successes", "Succeeded", "Proven by a matching receipt or by the service's own exit code."),
    ("gone", "Left the selection", "The plan's selection did not let these targets in any more when it was applied."),
    ("left_out", "Left out", "The playbook itself means these jobs not to run here."),
)


def _sections(report: Report) -> tuple[SectionView, ...]:
    kinds = {
        "failures": report.failures,
        "not_reached": report.not_reached,
        "not_run": report.not_run,
        "successes": report.successes,
        "gone": report.gone,
        "left_out": report.left_out,
    }
    budget, number, sections = OUTPUT_BUDGET, 0, []
    for kind, title, lead in _SECTIONS:
        views: list[GroupView] = []
        for group in kinds[kind][: MOST_GROUPS[kind]]:
            view = _group(report, group, number, budget, opened=kind == "failures" and len(views) < 3)
            budget -= sum(len(stream.text) for stream in view.streams)
            views.append(view)
            number += 1
        if views:
            jobs = sum(group.count for group in kinds[kind])
            left_out = len(kinds[kind]) - len(views)
            sections.append(SectionView(kind, title, lead, tuple(views), jobs, left_out))
    return tuple(sections)


def _group(report: Report, group: Group, number: int, budget: int, *, opened: bool) -> GroupView:
    streams = tuple(_stream(name, text) for name, text in (("stdout", group.stdout), ("stderr", group.stderr)) if text)
    note = ""
    if group.truncated:
        note = f"The beginning is left out: fleet output {report.run} VM --full fetches all of it from the VM."
    if sum(len(stream.text) for stream in streams) > budget:
        streams, note = (), "The output is left out to keep this page small; the JSON report holds it."
    return GroupView(f"g{number}", group, words.STATUS[group.status], streams, note, opened)


def _stream(name: str, text: str) -> StreamView:
    text = text.replace("\r\n", "\n").strip("\n")
    note = (
        f"last {words.number(MOST_OUTPUT)} of {words.number(len(text))} characters" if len(text) > MOST_OUTPUT else ""
    )
    return StreamView(name, text[-MOST_OUTPUT:], note)


def _row(report: Report, row: JobRow, anchor: str) -> dict[str, object]:
    """Return one row of the table; keys are the columns of :func:`_data`."""
    subscription = report.subscriptions.get(row.subscription) or row.subscription
    return {
        "target": report.label(row),
        "scope": f"{subscription} / {row.resource_group}",
        "kind": row.kind,
        "location": row.location,
        "step": row.step,
        "wave": row.wave + 1,
        "status": row.status.value,
        "cause": row.cause.code.value,
        "exit": row.exit_code,
        "proof": "verified" if row.verified else "",
        "started": None if row.started is None else int(row.started - report.started),
        "duration": row.duration_s,
        "anchor": anchor,
    }


def _data(report: Report, anchors: dict[int, str]) -> str:
    """Return all rows as JSON that can stand inside a script element.

    Texts that repeat stand in it once, in ``texts``; ``coded`` names the columns that hold places in it.
    """
    columns = ("target", *_CODED, *_NUMBERS)
    texts: dict[str, int] = {}
    rows: list[list[object]] = []
    for index, row in enumerate(report.jobs):
        view = _row(report, row, anchors.get(index, ""))
        coded = [texts.setdefault(safe.visible(str(view[name])), len(texts)) for name in _CODED]
        rows.append([safe.visible(str(view["target"])), *coded, *(view[name] for name in _NUMBERS)])
    data = {
        "columns": columns,
        "coded": _CODED,
        "texts": list(texts),
        "rows": rows,
        "started": report.started,
    }
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


_CODED = ("scope", "kind", "location", "step", "status", "cause", "proof", "anchor")
_NUMBERS = ("wave", "exit", "started", "duration")
