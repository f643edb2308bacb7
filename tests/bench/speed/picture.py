"""The picture: walls against the bound, and CPU beside the hand-written client. Plain SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from tests.bench.speed.figures import Found
from tests.bench.speed.rows import CONSTANT, FLEET, MINIMAL, Measured

WIDTH, BAR, LEFT, ROOM = 860, 18, 300, 440
COLOURS = {FLEET: "#1f6feb", MINIMAL: "#8c6d1f", "": "#6e7781"}
FONT = "font-family='system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif'"


def draw(found: Found) -> str:
    """Return the SVG: bars of times the bound, then bars of CPU, each client in a colour of its own."""
    parts: list[str] = []
    down = 34
    for title, note, bars in (
        (
            "Time to the last result, in times what Azure's limits allow",
            "1.0 is the bound; shorter is better",
            _walls(found),
        ),
        ("CPU of the client for each VM", "milliseconds; shorter is better", _cpu(found.processes)),
    ):
        if not bars:
            continue
        parts += [_text(20, down, title, size=16, bold=True), _text(20, down + 18, note, size=12, colour="#57606a")]
        down += 32
        longest = max(value for _, value, _, _ in bars)
        for name, value, said, client in bars:
            parts += _bar(down, name, value / longest, said, COLOURS.get(client, COLOURS[""]))
            down += BAR + 8
        down += 34
    head = f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{down}' viewBox='0 0 {WIDTH} {down}' role='img'>"
    title = "<title>Fleet's speed beside other clients</title>"
    ground = f"<rect width='{WIDTH}' height='{down}' rx='6' fill='#ffffff' stroke='#d0d7de'/>"
    return "\n".join((head, title, ground, *parts, "</svg>", ""))


Bar = tuple[str, float, str, str]
"""Its name, its length, what stands at its end, and the client."""


def _walls(found: Found) -> list[Bar]:
    """Runs under ARM's limits: Fleet in virtual time, then every client as a process."""
    modelled = [
        one
        for one in found.virtual
        if one.case.lengths == CONSTANT and one.case.throttled and one.case.transport == "action" and not one.case.later
    ]
    bars = [(f"{one.case.vms:,} VMs, Fleet, virtual time", *_ratio(one)) for one in modelled]
    return bars + [(_name(one), *_ratio(one)) for one in _shown(found.processes)]


def _cpu(rows: Sequence[Measured]) -> list[Bar]:
    return [
        (_name(one), one.cpu / one.case.vms, f"{1000 * one.cpu / one.case.vms:.1f} ms", one.case.client)
        for one in _shown(rows)
    ]


def _ratio(one: Measured) -> tuple[float, str, str]:
    said = f"{one.ratio:.2f} x"
    return one.ratio, f"{said}, {one.lost:,} lost" if one.lost else said, one.case.client


def _shown(rows: Iterable[Measured]) -> list[Measured]:
    """Choose the processes under ARM's limits that nobody troubled and that were told nothing: by size, Fleet first."""
    chosen = [one for one in rows if one.case.throttled and not one.case.trouble and not one.case.later]
    return sorted(chosen, key=lambda one: (one.case.vms, one.case.client != FLEET, one.case.client))


def _name(one: Measured) -> str:
    client = f"Fleet, {one.case.transport}" if one.case.client == FLEET else one.case.client
    return f"{one.case.vms:,} VMs, {client}"


def _bar(down: int, name: str, share: float, said: str, colour: str) -> list[str]:
    length = max(2, round(ROOM * share))
    return [
        _text(LEFT - 8, down + 13, name, size=13, end=True),
        f"<rect x='{LEFT}' y='{down}' width='{length}' height='{BAR}' rx='2' fill='{colour}'/>",
        _text(LEFT + length + 6, down + 13, said, size=13),
    ]


def _text(
    x: int, y: int, words: str, *, size: int, colour: str = "#1f2328", bold: bool = False, end: bool = False
) -> str:
    anchor = " text-anchor='end'" if end else ""
    weight = " font-weight='600'" if bold else ""
    return f"<text x='{x}' y='{y}' font-size='{size}' fill='{colour}' {FONT}{weight}{anchor}>{escape(words)}</text>"
