"""The figures that Fleet holds itself to, each from rows that were measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tests.bench.speed.rows import CONSTANT, FLEET, MINIMAL, Case, Measured, partner, table

LARGE = 10_000


@dataclass(frozen=True)
class Start:
    """Seconds of CPU of ``fleet --help``, ``fleet run --help``, and of a run until it connects."""

    help: float
    verb_help: float
    first_request: float


@dataclass(frozen=True)
class Faults:
    """Simulated runs full of faults, and how many of them broke an invariant."""

    runs: int
    failed: int


@dataclass(frozen=True)
class Found:
    """Everything that was measured."""

    virtual: Sequence[Measured] = ()
    processes: Sequence[Measured] = ()
    start: Start | None = None
    faults: Faults | None = None


@dataclass(frozen=True)
class Figure:
    """One figure. ``held`` is None where nothing was measured."""

    name: str
    at_most: str
    reached: str
    held: bool | None


def figures(found: Found) -> list[Figure]:
    """Compare what was measured with what is wanted."""
    usual, small = found.virtual, [one for one in found.virtual if one.case.vms in (500, 2_000)]
    small = small or list(usual)  # a quick sitting has other sizes
    large = [one for one in usual if one.case.vms == LARGE]
    return [
        _ratio("makespan, nothing set: 500 and 2,000 VMs, 20 s scripts", 1.15, small, later=False),
        _ratio("the same, first run; concurrency is out of the way unless set", 1.10, small, later=False),
        _ratio("the same, later run of the same script", 1.05, small, later=True),
        _ratio("makespan, 10,000 VMs, action", 1.03, [one for one in large if one.case.transport == "action"]),
        _ratio("makespan, 10,000 VMs, managed", 1.03, [one for one in large if one.case.transport == "managed"]),
        _requests("action", 3.5, 2.2, small),
        _requests("managed", 4.5, 3.2, small),
        _lags("20 s scripts", [one for one in usual if one.case.lengths == CONSTANT]),
        _lags("spread durations", [one for one in usual if one.case.lengths != CONSTANT]),
        _refused(found.processes),
        _cpu(found.processes),
        _memory(found.processes),
        _start(found.start),
        _right([*found.virtual, *found.processes], found.faults),
    ]


def figures_table(found: Found) -> str:
    """Show the figures; what is missed stands out."""
    rows = [
        [one.name, one.at_most, one.reached, {True: "yes", False: "**no**", None: ""}[one.held]]
        for one in figures(found)
    ]
    return table(("figure", "at most", "reached", "held"), rows, left=4)


def _each(rows: Iterable[Measured], show: Callable[[Measured], str]) -> str:
    return "; ".join(f"{show(one)} ({_words(one.case)})" for one in rows) or "not measured"


def _words(case: Case) -> str:
    return f"{case.vms:,} {case.transport}{', later' if case.later else ''}"


def _ratio(name: str, most: float, rows: Sequence[Measured], *, later: bool | None = None) -> Figure:
    chosen = _throttled(rows, later)
    held = all(round(one.ratio, 2) <= most for one in chosen) if chosen else None
    return Figure(name, f"{most:.2f} x the bound", _each(chosen, lambda one: f"{one.ratio:.2f}"), held)


def _throttled(rows: Iterable[Measured], later: bool | None) -> list[Measured]:
    """Choose runs of equal scripts under ARM's limits: first ones, later ones, or both."""
    return [
        one
        for one in rows
        if one.case.lengths == CONSTANT and one.case.throttled and (later is None or one.case.later is later)
    ]


def _requests(transport: str, first: float, later: float, rows: Sequence[Measured]) -> Figure:
    chosen = [one for one in _throttled(rows, None) if one.case.transport == transport]
    held = all(one.requests <= (later if one.case.later else first) + 0.005 for one in chosen) if chosen else None
    name = f"requests per VM, {transport}: first run / later runs"
    return Figure(name, f"{first} / {later}", _each(chosen, lambda one: f"{one.requests:.1f}"), held)


def _lags(name: str, rows: Sequence[Measured]) -> Figure:
    worst = sorted((one for one in rows if one.case.throttled), key=lambda one: max(one.lag_p50, one.lag_p95 / 5))[-3:]
    held = all(one.lag_p50 < 1.05 and one.lag_p95 < 5.05 for one in worst) if worst else None
    said = "worst three: " + _each(reversed(worst), lambda one: f"{one.lag_p50:.1f} / {one.lag_p95:.1f}")
    return Figure(f"lag from a script's end to our read, p50 / p95, {name}", "1 s / 5 s", said, held)


def _ours(rows: Iterable[Measured]) -> list[Measured]:
    return [one for one in rows if one.case.client == FLEET]


def _refused(rows: Sequence[Measured]) -> Figure:
    chosen = [one for one in _ours(rows) if one.case.throttled]
    calm = sum(one.refused_writes for one in chosen if not one.case.trouble)
    parts = [f"{calm} (left alone)"]
    parts += [f"{one.refused_writes} ({one.case.trouble})" for one in chosen if one.case.trouble]
    held = not any(one.refused_writes for one in chosen) if chosen else None
    name = "429s on writes that Fleet caused, also starved, suspended, two processes on one state store"
    return Figure(name, "0", "; ".join(parts) if chosen else "not measured", held)


def _cpu(rows: Sequence[Measured]) -> Figure:
    """The largest pair that did the same: both knew when to look, so both made the same requests."""
    pairs = [(one, other) for one in _ours(rows) if (other := partner(one, rows)) and one.case.transport == "action"]
    same = [pair for pair in pairs if pair[0].case.later and pair[1].case.later and not pair[0].case.throttled]
    name = f"client CPU, same work and requests, against {MINIMAL}"
    if not same:
        return Figure(name, "2.0 x", "not measured", None)
    one, other = max(same, key=lambda pair: pair[0].case.vms)
    said = (
        f"{one.cpu / other.cpu:.1f} ({one.case.vms:,} VMs, {one.requests:.1f} and {other.requests:.1f} requests a VM)"
    )
    return Figure(name, "2.0 x", said, one.cpu / other.cpu <= 2.0)


def _memory(rows: Sequence[Measured]) -> Figure:
    chosen = [one for one in _ours(rows) if one.case.vms == LARGE]
    held = all(one.rss_mb <= 300 for one in chosen) if chosen else None
    said = _each(chosen, lambda one: f"{one.rss_mb:.0f} MB")
    return Figure("peak RSS at 10,000 VMs with 3.5 KB output", "300 MB", said, held)


def _start(start: Start | None) -> Figure:
    name = "CPU of fleet --help / fleet run --help / start to the first request"
    if start is None:
        return Figure(name, "0.10 / 0.25 / 0.30 s", "not measured", None)
    held = start.help <= 0.1 and start.verb_help <= 0.25 and start.first_request <= 0.3
    said = f"{start.help:.2f} / {start.verb_help:.2f} / {start.first_request:.2f} s"
    return Figure(name, "0.10 / 0.25 / 0.30 s", said, held)


def _right(rows: Sequence[Measured], faults: Faults | None) -> Figure:
    ours = _ours(rows)
    wrong, twice, lost = (sum(getattr(one, name) for one in ours) for name in ("wrong", "twice", "lost"))
    said = f"{wrong}, {twice}, {lost} in {len(ours)} runs here"
    if faults is not None:
        said += f"; {faults.failed} of {faults.runs} simulated runs full of faults broke an invariant"
    held = not (wrong or twice or lost or (faults and faults.failed)) if ours else None
    return Figure("wrong VM, run twice unasked, rows lost", "0", said, held)
