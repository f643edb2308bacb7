"""The report as Markdown, for a pull-request comment or a job summary."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.report import causes, safe, words
from fleet.report.model import Group, Report
from fleet.run.model import FAILURES, NOT_REACHED, Status

COMMENT_LIMIT = 60_000
"""A comment on GitHub may have 65,536 characters (documented); the rest is for what surrounds the report."""

_MARKS = {
    **dict.fromkeys(FAILURES, "❌"),
    **dict.fromkeys(NOT_REACHED, "⚠️"),
    Status.NOT_STARTED: "⏸️",
    Status.SKIPPED: "⏭️",
    Status.SUCCEEDED: "✅",
}
_OUTPUT = 1_500
_NAMES = 300


def render(report: Report, *, limit: int = COMMENT_LIMIT) -> str:
    """Return GitHub-flavoured Markdown of at most ``limit`` characters (4,000 at least).

    What is left out is counted, with the command that shows it.
    """
    room = max(4_000, limit) - 400
    text = _head(report)
    sections = (
        ("Failed", report.failures),
        ("Not reached or not proven", report.not_reached),
        ("Not run", report.not_run),
        ("Succeeded", report.successes),
        ("Left the selection", report.gone),
        ("Left out, as the playbook means it", report.left_out),
    )
    for title, groups in sections:
        if groups:
            text += _section(title, groups, room - len(text), report.run)
    for part in (_unread(report), _notes(report)):
        if len(text) + len(part) <= room + 300:
            text += part
    return text


def _head(report: Report) -> str:
    mark = "✅" if report.exit_code == 0 else "❌"
    span = "not ended" if report.ended is None else f"took {words.duration(report.ended - report.started)}"
    title = safe.markdown(report.title[:200] or report.playbook.name[:200])
    book = safe.markdown_code(f"{report.playbook.name} {report.playbook.version}".strip()[:200])
    lines = [
        f"## {mark} {title}",
        "",
        f"**{words.scope(report.counts)}**, exit code {report.exit_code}: {words.verdict(report)}. "
        f"Playbook {book}, run {safe.markdown_code(report.run[:100])}, "
        f"{words.moment(report.started)}, {span}.",
        "",
    ]
    if report.stopped is not None:
        lines += [f"> Stopped ({report.stopped.cause}): {safe.markdown(report.stopped.message[:500])}", ""]
    if report.counts.total:
        lines += ["| status | jobs |", "| --- | ---: |"]
        lines += [
            f"| {_MARKS[status]} {words.STATUS[status]} | {words.number(amount)} |"
            for status, amount in report.counts.present()
        ]
        lines.append("")
    return "\n".join(lines)


def _section(title: str, groups: Sequence[Group], room: int, run: str) -> str:
    text = f"\n### {title} ({words.number(sum(group.count for group in groups))})\n\n"
    for index, group in enumerate(groups):
        part = _group(group)
        if len(text) + len(part) > room - 200:
            left = words.plural(sum(group.count for group in groups[index:]), "job")
            return f"{text}\nand {left} more: {safe.markdown_code('fleet show ' + run[:100])}\n"
        text += part
    return text


def _group(group: Group) -> str:
    names = group.names if len(group.names) <= _NAMES else group.names[:_NAMES] + "…"
    told = [
        f"{safe.markdown_code(names)} ({words.number(group.count)})",
        f"step {safe.markdown_code(group.step[:100])}",
        words.STATUS[group.status] + (", rescued" if group.rescued else ""),
        words.exit_text(group.exit_code),
    ]
    lines = [f"- {_MARKS[group.status]} " + ", ".join(part for part in told if part)]
    if group.status is not Status.SUCCEEDED:
        hint = causes.hint(group.cause)[:300]
        hint = f" *{safe.markdown(hint)}*" if hint else ""
        lines.append(
            f"  {group.cause.code.value.replace('_', ' ')}: {safe.markdown(causes.message(group.cause)[:500])}{hint}"
        )
    if group.facts:
        lines.append(f"  {safe.markdown(words.facts(group.facts)[:500])}")
    for name, output in (("stdout", group.stdout), ("stderr", group.stderr)):
        if output.strip():
            lines += ["", _indented(_output(name, output)), ""]
    return "\n".join(lines) + "\n"


def _output(name: str, text: str) -> str:
    cut = f" (last {_OUTPUT} characters)" if len(text) > _OUTPUT else ""
    block = safe.markdown_block(text[-_OUTPUT:])
    return f"<details><summary>{name}{cut}</summary>\n\n{block}\n\n</details>"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" if line else "" for line in text.split("\n"))


def _unread(report: Report) -> str:
    if not report.unread:
        return ""
    lines = [
        f"- {safe.markdown_code((scope.subject or scope.name or scope.subscription)[:100])} "
        f"{safe.markdown(scope.code[:100])}: {safe.markdown(scope.message[:300])}"
        for scope in report.unread[:20]
    ]
    if len(report.unread) > 20:
        lines.append(f"- and {len(report.unread) - 20} more")
    heading = words.unread_heading(report.unread)
    return f"\n### {heading[0].upper()}{heading[1:]}\n\n" + "\n".join(lines) + "\n"


def _notes(report: Report) -> str:
    return "".join(f"\n> {safe.markdown(note)}\n" for note in report.notes)
