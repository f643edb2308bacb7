"""Writes files for people: reports, plan files, output. Each replaces an older one whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from fleet.engine.run_store import RunStore
    from fleet.plan.model import Plan
    from fleet.report.model import Report


@dataclass(frozen=True, slots=True)
class ReportFile:
    """``--report FORMAT=FILE``."""

    format: str
    file: str


SUFFIXES = {"junit": "xml"}
"""File name endings of the formats that are not called like theirs."""


def write_reports(report: Report, asked: Iterable[ReportFile]) -> Iterator[Path]:
    """Write reports to files, and name each as it is there. Raises StateError where one cannot be written."""
    from fleet.report.render import pieces
    from fleet.store.sqlite.files import write_private

    for item in asked:
        path = Path(item.file)
        write_private(path, pieces(report, item.format))
        yield path


def check_writable(asked: Iterable[ReportFile]) -> None:
    """Find out before a run whether its reports will have a place. Raises InvalidInput."""
    from fleet.store.sqlite.files import obstacle

    problems = [
        Problem(
            "no_folder",
            f"{item.file} cannot be written: {obstacle(Path(item.file))}",
            "--report",
            hint="name a file in a folder that exists",
        )
        for item in asked
        if obstacle(Path(item.file))
    ]
    if problems:
        raise InvalidInput(problems)


async def keep_reports(store: RunStore, report: Report, formats: Iterable[str]) -> AsyncIterator[str]:
    """Keep the reports that a playbook asks for with their run, and name the place of each. Raises StateError."""
    from fleet.report.render import pieces

    for form in formats:
        yield await store.keep_report(report.run, f"report.{SUFFIXES.get(form, form)}", pieces(report, form))


def write_plan(plan: Plan, path: Path) -> None:
    """Freeze a plan into a file that only its owner may read. Raises StateError."""
    from fleet.plan.file import dump
    from fleet.store.sqlite.files import write_private

    write_private(path, dump(plan))


def write_approval(text: str, path: Path) -> None:
    """Write an approval, which others may read. Raises StateError."""
    from fleet.store.sqlite.files import write_shared

    write_shared(path, text)


def write_output(content: str | bytes, path: Path, *, tidy: bool) -> None:
    """Write what a script printed, for its owner alone. Raises StateError.

    ``tidy`` also removes what killed writers left in the folder, which reads the whole folder.
    """
    from fleet.store.sqlite.files import write_private

    write_private(path, content, tidy=tidy)
