"""From reports and plans to text in the form asked for, and into files."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fleet import codec
from fleet.cli.options import ReportFile
from fleet.cli.screen import table, width
from fleet.errors import InvalidInput, Problem
from fleet.plan.estimate import Estimate, estimate
from fleet.plan.model import Plan
from fleet.report.model import Report
from fleet.report.words import KINDS, duration, plural, unread
from fleet.store.files import write_private
from fleet.targets.folding import fold
from fleet.targets.model import Kind

WHOLE = 1_000_000
"""More groups and lines than any report has."""


def render(report: Report, form: str, *, colour: bool = False, whole: bool = False) -> str:
    """Render a report in one of the forms of ``-o`` and ``--report``; ``whole`` leaves nothing out of the text."""
    match form:
        case "json":
            from fleet.report import render_json

            return render_json.render(report)
        case "jsonl":
            from fleet.report import render_jsonl

            rows = (render_jsonl.row_line(row) for row in report.jobs)
            return "".join((*rows, render_jsonl.report_line(report)))
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
                return render_text.render(report, width=width(), colour=colour, limit=WHOLE, tail=WHOLE, brief=WHOLE)
            return render_text.render(report, width=width(), colour=colour)


SUFFIXES = {"junit": "xml"}
"""File name endings of the formats that are not called like theirs."""


def write_reports(report: Report, asked: Iterable[ReportFile]) -> Iterator[Path]:
    """Write reports to files, and name each as it is there. Raises StateError where one cannot be written."""
    for item in asked:
        path = Path(item.file)
        write_private(path, render(report, item.format))
        yield path


def check_writable(asked: Iterable[ReportFile]) -> None:
    """Find out before a run whether its reports will have a place. Raises InvalidInput."""
    problems = [
        Problem(
            "no_folder",
            f"{item.file} cannot be written: {_obstacle(Path(item.file))}",
            "--report",
            hint="name a file in a folder that exists",
        )
        for item in asked
        if _obstacle(Path(item.file))
    ]
    if problems:
        raise InvalidInput(problems)


def _obstacle(path: Path) -> str:
    if os.path.isdir(path):  # noqa: PTH112  unlike Path's, it takes a name of any length
        return "it is a folder"
    if not os.path.isdir(path.parent):  # noqa: PTH112  for the same reason
        return f"there is no folder {path.parent}"
    return "" if os.access(path.parent, os.W_OK) else f"the folder {path.parent} is not yours to write to"


def reports_of_playbook(formats: Sequence[str], folder: Path) -> list[ReportFile]:
    """The files that a playbook's ``report`` asks for: they lie with the run."""
    return [ReportFile(form, str(folder / f"report.{SUFFIXES.get(form, form)}")) for form in formats]


def render_plan(plan: Plan, form: str, *, colour: bool = False) -> str:
    """Render a plan as text, JSON or Markdown."""
    cost = estimate(plan)
    if form == "json":
        return json.dumps(_plan_document(plan, cost), indent=1, ensure_ascii=True) + "\n"
    return _plan_markdown(plan, cost) if form == "md" else _plan_text(plan, cost)


def _plan_document(plan: Plan, cost: Estimate) -> dict[str, Any]:
    document: dict[str, Any] = codec.encode(plan)
    return {"schema": "urn:fleet:plan:v1", "digest": plan.digest, **document, "estimate": codec.encode(cost)}


def _plan_text(plan: Plan, cost: Estimate) -> str:
    lines = [
        f"{plan.playbook.name} {plan.playbook.version} on {plural(len(plan.targets), 'target')}: {_folded(plan)}",
        "",
    ]
    lines.append(
        table(("wave", "up to", "targets", "names"), [_wave_row(plan, index) for index in range(len(plan.waves))])
    )
    steps = [(step.id, step.title, duration(step.timeout), step.digest[:12]) for step in plan.steps]
    lines.append(table(("step", "title", "time limit", "digest"), steps))
    lines += [f"{label:<12}{text}" for label, text in _facts(plan, cost)]
    lines += [f"warning     {unread(scope)}" for scope in plan.unread]
    return "\n".join(lines) + "\n"


def _plan_markdown(plan: Plan, cost: Estimate) -> str:
    from fleet.report.safe import markdown

    lines = [f"### Plan: {markdown(plan.playbook.name)} {markdown(plan.playbook.version)}", ""]
    lines += ["| wave | up to | targets | names |", "|---|---|---|---|"]
    lines += [
        "| " + " | ".join(markdown(cell) for cell in _wave_row(plan, index)) + " |" for index in range(len(plan.waves))
    ]
    lines += ["", *(f"- **{label}** {markdown(text)}" for label, text in _facts(plan, cost))]
    lines += [f"- **warning** {markdown(unread(scope))}" for scope in plan.unread]
    return "\n".join(lines) + "\n"


def _wave_row(plan: Plan, index: int) -> tuple[str, str, str, str]:
    wave = plan.waves[index]
    names = fold(plan.targets[place].name for place in wave.targets)
    return str(index + 1), wave.label, str(len(wave.targets)), names if len(names) <= 60 else f"{names[:57]}..."


def _folded(plan: Plan) -> str:
    names = fold(target.name for target in plan.targets)
    return names if len(names) <= 300 else f"{names[:297]}..."


def _kinds(plan: Plan) -> str:
    """Say how many machines of each kind there are."""
    counts = Counter(target.kind for target in plan.targets)
    return ", ".join(plural(counts[kind], KINDS[kind]) for kind in Kind if counts[kind])


def _facts(plan: Plan, cost: Estimate) -> list[tuple[str, str]]:
    limits = plan.limits
    budget = [
        f"{plural(maximum, kind)}{' allowed' if maximum else ' allowed: the first one stops the run'}"
        for maximum, kind in ((limits.max_failures, "failure"), (limits.max_unreachable, "unreachable target"))
        if maximum is not None
    ]
    subscriptions = len({target.subscription for target in plan.targets})
    kinds = [("kinds", _kinds(plan))] if any(target.kind is not Kind.VM for target in plan.targets) else []
    return [
        *kinds,
        (
            "jobs",
            f"{plural(cost.jobs, 'job')} in {plural(subscriptions, 'subscription')}, {limits.concurrency} at a time",
        ),
        ("budget", "; ".join(budget) or "none: every target is tried, whatever fails"),
        ("calls", f"{cost.submissions:,} submissions, about {cost.reads:,} reads, {cost.deletes:,} deletes"),
        ("time", f"about {duration(cost.seconds)} if each script takes {duration(cost.script_seconds)}"),
        ("transport", f"{plan.transport.value}, receipts {'on' if plan.receipts else 'off'}, cloud {plan.cloud}"),
        ("digest", plan.digest),
    ]
