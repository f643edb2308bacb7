"""The picture: walls against the bound, and CPU beside the hand-written client. Plain SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from tests.bench.speed.figures import Found
from tests.bench.speed.rows import CONSTANT, FLEET, MINIMAL, SDK, Measured

WIDTH, BAR, STEP, LEFT, ROOM = 860, 18, 26, 300, 420
COLOURS = {FLEET: "#1f6feb", MINIMAL: "#9a6700", SDK: "#6e7781"}
GREY, INK = "#57606a", "#1f2328"
FONT = "font-family='system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif'"


@dataclass(frozen=True)
class Bar:
    """One bar: its name, its length, what stands at its end, and the client whose colour it has."""

    name: str
    value: float
    said: str
    client: str


@dataclass(frozen=True)
class Chart:
    """Bars under a title. ``mark`` is where a line stands, in the bars' own measure."""

    title: str
    note: str
    bars: Sequence[Bar]
    mark: float | None = None


def draw(found: Found) -> str:
    """Return the SVG, readable on white and on a dark page: it brings its own ground."""
    limits = "Time to the last result, in times what Azure's limits allow"
    charts = [
        Chart(f"{limits}: in virtual time", "the line is the bound; shorter is better", _modelled(found.virtual), 1.0),
        Chart(f"{limits}: real processes", "with start, plan and report", _walls(found.processes), 1.0),
        Chart("CPU of the client for each VM", "milliseconds, in the same runs", _cpu(found.processes)),
    ]
    parts: list[str] = []
    down = 34
    for chart in (chart for chart in charts if chart.bars):
        parts += _drawn(chart, down)
        down += 66 + STEP * len(chart.bars)
    whole = f"width='{WIDTH}' height='{down - 20}'"
    head = f"<svg xmlns='http://www.w3.org/2000/svg' {whole} viewBox='0 0 {WIDTH} {down - 20}' role='img'>"
    ground = f"<rect {whole} rx='6' fill='#ffffff'/>"
    return "\n".join((head, "<title>Fleet's speed beside other clients</title>", ground, *parts, "</svg>", ""))


def _modelled(rows: Iterable[Measured]) -> list[Bar]:
    """Fleet in virtual time under ARM's limits, first and later runs of equal scripts."""
    chosen = [
        one for one in rows if one.case.lengths == CONSTANT and one.case.throttled and one.case.transport == "action"
    ]
    return [_ratio(f"{one.case.vms:,} VMs, {'later' if one.case.later else 'first'} run", one) for one in chosen]


def _walls(rows: Iterable[Measured]) -> list[Bar]:
    return [_ratio(_name(one), one) for one in _shown(rows)]


def _cpu(rows: Iterable[Measured]) -> list[Bar]:
    each = [(one, 1000 * one.cpu / one.case.vms) for one in _shown(rows)]
    return [Bar(_name(one), spent, f"{spent:.1f} ms", one.case.client) for one, spent in each]


def _ratio(name: str, one: Measured) -> Bar:
    refused = one.refused_writes + one.refused_reads
    told = [f"{one.ratio:.2f} x", f"{refused:,} x 429" if refused else "", f"{one.lost:,} lost" if one.lost else ""]
    return Bar(name, one.ratio, ", ".join(filter(None, told)), one.case.client)


def _shown(rows: Iterable[Measured]) -> list[Measured]:
    """Choose the processes under ARM's limits that nobody troubled and that were told nothing: by size, Fleet first."""
    chosen = [one for one in rows if one.case.throttled and not one.case.trouble and not one.case.later]
    return sorted(chosen, key=lambda one: (one.case.vms, list(COLOURS).index(one.case.client)))


def _name(one: Measured) -> str:
    client = f"Fleet, {one.case.transport}" if one.case.client == FLEET else one.case.client
    return f"{one.case.vms:,} VMs, {client}"


def _drawn(chart: Chart, down: int) -> list[str]:
    parts = [_text(20, down, chart.title, size=16, bold=True), _text(20, down + 18, chart.note, size=12, colour=GREY)]
    top, longest = down + 32, max(bar.value for bar in chart.bars)
    for place, bar in enumerate(chart.bars):
        at, length = top + STEP * place, max(2, round(ROOM * bar.value / longest))
        parts.append(_text(LEFT - 8, at + 13, bar.name, size=13, end=True))
        shape = f"x='{LEFT}' y='{at}' width='{length}' height='{BAR}'"
        parts.append(f"<rect {shape} rx='2' fill='{COLOURS[bar.client]}'/>")
        parts.append(_text(LEFT + length + 6, at + 13, bar.said, size=13))
    if chart.mark is not None:
        across = LEFT + round(ROOM * chart.mark / longest)
        ends = f"x1='{across}' y1='{top - 4}' x2='{across}' y2='{top + STEP * len(chart.bars) - 4}'"
        parts.append(f"<line {ends} stroke='{INK}' stroke-dasharray='3 3'/>")
    return parts


def _text(x: int, y: int, words: str, *, size: int, colour: str = INK, bold: bool = False, end: bool = False) -> str:
    anchor = " text-anchor='end'" if end else ""
    weight = " font-weight='600'" if bold else ""
    return f"<text x='{x}' y='{y}' font-size='{size}' fill='{colour}' {FONT}{weight}{anchor}>{escape(words)}</text>"
