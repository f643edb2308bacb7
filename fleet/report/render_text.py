"""The report for a terminal: readable without colour, what needs a person first."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from fleet.report import causes, safe, words
from fleet.report.model import Group, Report
from fleet.run.model import FAILURES, NOT_REACHED, NOT_RUN, CauseCode, Status

_SGR = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def render(
    report: Report, *, width: int = 100, colour: bool = False, limit: int = 10, tail: int = 8, brief: int = 3
) -> str:
    """Return the report as text of at most ``width`` columns (40 at least), ending in a line end.

    Each section shows at most ``limit`` entries and says how many more there are; of an output only the last
    ``tail`` lines are shown, ``brief`` where nothing failed. Without ``colour`` the text holds no escape sequence at all.
    """
    page = _Page(max(40, width), colour)
    more = f"fleet show {report.run} --all"
    _head(page, report)
    _section(page, "FAILED", report.failures, limit, more, tail, brief)
    _section(page, "NOT REACHED OR NOT PROVEN", report.not_reached, limit, more, tail, brief)
    _section(page, "NOT RUN", report.not_run, limit, more, tail, brief)
    _section(page, "SUCCEEDED", report.successes, limit, more, tail, brief)
    _section(page, "LEFT THE SELECTION", report.gone, limit, more, tail, brief)
    _section(page, "LEFT OUT, AS THE PLAYBOOK MEANS IT", report.left_out, limit, more, tail, brief)
    _slowest(page, report, min(limit, 5))
    _unread(page, report, limit)
    _notes(page, report)
    return page.text()


class _Page:
    """Lines that fit the width. Everything that enters is made harmless here and only here."""

    def __init__(self, width: int, colour: bool) -> None:
        self.width = width
        self.colour = colour
        self.lines: list[str] = []

    def blank(self) -> None:
        self.lines.append("")

    def add(self, text: str, *, indent: int = 0, style: str = "") -> None:
        """Add one line, cut at the width."""
        shown = cut(safe.terminal_line(text), self.width - indent)
        self.lines.append(" " * indent + self._styled(shown, style))

    def wrap(self, text: str, *, indent: int = 0, style: str = "", most: int = 4) -> None:
        """Add text as at most ``most`` lines."""
        pieces = wrapped(safe.terminal_line(text), self.width - indent)
        if len(pieces) > most:
            pieces = [*pieces[: most - 1], cut(pieces[most - 1] + "...", self.width - indent)]
        self.lines.extend(" " * indent + self._styled(piece, style) for piece in pieces)

    def _styled(self, text: str, style: str) -> str:
        if not self.colour or not style or not text:
            return text
        codes = ";".join(_SGR[name] for name in style.split())
        return f"\x1b[{codes}m{text}\x1b[0m"

    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines) + "\n"


def _head(page: _Page, report: Report) -> None:
    name = f"{report.playbook.name} {report.playbook.version}".strip()
    span = f"took {words.duration(report.ended - report.started)}" if report.ended is not None else "not ended"
    page.add(f"{name}  run {report.run}  {words.moment(report.started)}, {span}", style="bold")
    good = report.exit_code == 0
    tally = f": {words.tally(report.counts)}" if report.counts.total else ""
    page.wrap(f"{words.scope(report.counts)}{tally}", style="green" if good else "bold")
    page.wrap(f"Exit code {report.exit_code}: {words.verdict(report)}", style="green" if good else "red bold")
    if report.stopped is not None:
        page.wrap(f"Stopped ({report.stopped.cause}): {report.stopped.message}", style="yellow")


def _section(page: _Page, title: str, groups: Sequence[Group], limit: int, more: str, tail: int, brief: int) -> None:
    if not groups:
        return
    page.blank()
    page.add(f"{title} ({words.number(sum(group.count for group in groups))})", style="bold")
    for group in groups[:limit]:
        _group(page, group, tail, brief)
    left = groups[limit:]
    if left:
        jobs = sum(group.count for group in left)
        apart = "" if jobs == len(left) else f" in {words.plural(len(left), 'group')}"
        page.add(f"and {words.number(jobs)} more{apart}: {more}", indent=2, style="dim")


def _group(page: _Page, group: Group, tail: int, brief: int) -> None:
    size = f" ({words.number(group.count)})" if group.count > 1 else ""
    page.wrap(f"{group.names}{size}", indent=2, style="cyan")
    ended = words.STATUS[group.status] + (", rescued" if group.rescued else "")
    told = [f"step {group.step}", ended, words.exit_text(group.exit_code)]
    page.add(", ".join(part for part in told if part), indent=4, style=_tint(group.status))
    if group.cause.code is not CauseCode.COMPLETED:
        page.wrap(f"{group.cause.code}: {causes.message(group.cause)}", indent=4)
        if hint := causes.hint(group.cause):
            page.wrap(f"hint: {hint}", indent=4)
    if group.facts:
        page.wrap(words.facts(group.facts), indent=4)
    if group.truncated:
        page.add(words.CUT, indent=4, style="dim")
    tail = tail if group.status in FAILURES else brief
    for stream, text in (("stdout", group.stdout), ("stderr", group.stderr)):
        _output(page, stream, text, tail, cut=group.truncated)


def _output(page: _Page, stream: str, text: str, tail: int, *, cut: bool) -> None:
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    if lines == [""]:
        return
    if len(lines) > tail:
        what = f"{stream}, last {tail} of {words.number(len(lines))} lines"
        page.add(f"{what} that arrived" if cut else what, indent=4, style="dim")
    else:
        page.add(stream, indent=4, style="dim")
    for line in lines[-tail:]:
        page.add(f"| {line.expandtabs(4)}", indent=4)


def _slowest(page: _Page, report: Report, limit: int) -> None:
    rows = report.slowest(limit)
    if not rows:
        return
    page.blank()
    page.add("SLOWEST", style="bold")
    for row in rows:
        page.add(f"{words.duration(row.duration_s):>8}  {report.label(row)}  step {row.step}", indent=2)


def _unread(page: _Page, report: Report, limit: int) -> None:
    if not report.unread:
        return
    page.blank()
    page.add(f"{words.unread_heading(report.unread).upper()} ({len(report.unread)})", style="bold yellow")
    for scope in report.unread[:limit]:
        page.wrap(f"{scope.subject or scope.name or scope.subscription}  {scope.code}: {scope.message}", indent=2)
    if len(report.unread) > limit:
        page.add(f"and {len(report.unread) - limit} more: fleet show {report.run} --all", indent=2, style="dim")


def _notes(page: _Page, report: Report) -> None:
    if not report.notes:
        return
    page.blank()
    for note in report.notes:
        page.wrap(f"note: {note}", style="dim")


def _tint(status: Status) -> str:
    if status in FAILURES:
        return "red"
    if status in NOT_REACHED | NOT_RUN:
        return "yellow"
    return "green"


def columns(char: str) -> int:
    """Return how many columns a character takes: 0, 1 or 2 (Unicode standard annex 11)."""
    if char.isascii():
        return 1
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, width: int) -> str:
    """Return text of at most ``width`` columns; what was cut shows as ``...``."""
    if (text.isascii() and len(text) <= width) or sum(map(columns, text)) <= width:
        return text
    return _fitting(text, width - 3) + "..."


def _fitting(text: str, width: int) -> str:
    used = 0
    for index, char in enumerate(text):
        used += columns(char)
        if used > width:
            return text[:index]
    return text


def wrapped(text: str, width: int) -> list[str]:
    """Break text into lines of at most ``width`` columns, at spaces or commas where there are any."""
    return list(_pieces(text, width)) or [""]


def _pieces(text: str, width: int) -> Iterator[str]:
    while text:
        piece = _fitting(text, width)
        if len(piece) < len(text):
            at = max(piece.rfind(" "), piece.rfind(","))
            piece = text[: at + 1] if at > width // 3 else piece or text[:1]
        yield piece.rstrip(" ")
        text = text[len(piece) :].lstrip(" ")
