"""``-o jsonl``: the run as it goes on, one JSON object a line on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet.cli.terminal import emit

if TYPE_CHECKING:
    from fleet.report.model import Report
    from fleet.run.events import Event
    from fleet.run.state import Run

EVERY = 0.5
"""Seconds between looks at the whole run: rows of ended jobs are told together, so that many jobs stay cheap."""


class Stream:
    """Writes each durable event, each ended job's row soon after it ended, and the summary at the end."""

    def __init__(self, run: Run) -> None:
        from fleet.cli.finished_jobs import Endings

        self._run = run
        self._endings = Endings(run)
        self._ended: list[int] = []
        self._told = 0.0

    def observe(self, event: Event) -> None:
        """Write one event, and the rows that are due."""
        from fleet.report import render_jsonl

        self._ended += self._endings.since(event)
        if event.durable:
            emit(render_jsonl.line(event, self._run.plan))
        if self._ended and event.at >= self._told + EVERY:
            self._told = event.at
            self._tell_rows()

    def finish(self, report: Report) -> None:
        """Write the rows not yet written, then the summary."""
        from fleet.report import render_jsonl

        self._tell_rows()
        emit(render_jsonl.report_line(report))

    def _tell_rows(self) -> None:
        from fleet.report import aggregate, render_jsonl

        record = self._run.record() if self._ended else None
        for job in self._ended:
            assert record is not None
            emit(render_jsonl.row_line(aggregate.row(record.jobs[job], record)))
        self._ended.clear()
