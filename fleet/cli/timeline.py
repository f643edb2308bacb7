"""The time line of a run as a few lines of text: how many jobs were in flight when, and when each wave was."""

from __future__ import annotations

from fleet.report.model import Report
from fleet.report.words import duration, number

COLUMNS = 60
_HEIGHTS = "▁▂▃▄▅▆▇█"


def drawn(report: Report) -> str:
    """Return the time line, or nothing where no job ever started."""
    spans = [
        (row.started, row.ended if row.ended is not None else report.ended or row.started)
        for row in report.jobs
        if row.started is not None
    ]
    if not spans:
        return ""
    start = report.started
    length = max(max(end for _, end in spans) - start, 1.0)
    slot = length / COLUMNS
    levels = [
        sum(begin < start + (at + 1) * slot and end > start + at * slot for begin, end in spans)
        for at in range(COLUMNS)
    ]
    peak = max(levels)
    lines = [f"time line    {'0s'.ljust(COLUMNS - len(duration(length)))}{duration(length)}"]
    bars = "".join(_HEIGHTS[min(7, (level * 8 - 1) // peak)] if level else " " for level in levels)
    lines.append(f"in flight    {bars}  at most {number(peak)}")
    for wave in report.waves:
        if wave.started is not None and wave.ended is not None and len(report.waves) > 1:
            first = min(COLUMNS - 1, int((wave.started - start) / slot))
            last = max(first + 1, min(COLUMNS, int((wave.ended - start) / slot) + 1))
            bar = " " * first + "━" * (last - first) + " " * (COLUMNS - last)
            lines.append(f"{f'wave {wave.index + 1}'.ljust(12)} {bar}  {number(wave.targets)} to {wave.label}")
    return "\n".join(lines) + "\n"
