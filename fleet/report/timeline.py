"""The geometry of the run's picture: where each bar, wave and tick goes. Lengths are units of the view box.

Small runs get one bar a job; large ones a skyline of how many jobs were in flight, by how they ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from fleet.clock import iso
from fleet.report import words
from fleet.report.model import WORST_FIRST, JobRow, Report
from fleet.run.model import Status

WIDTH = 1000.0
MOST_BARS = 400
_TOP, _BOTTOM, _RIGHT = 8.0, 26.0, 12.0
_BINS = 160
_SKYLINE = 180.0
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


@dataclass(frozen=True, slots=True)
class Bar:
    """One job, or one slice of the skyline."""

    x: float
    y: float
    width: float
    height: float
    status: Status
    title: str
    open: bool = False


@dataclass(frozen=True, slots=True)
class Label:
    """A piece of text beside the bars."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Band:
    """The ground of a wave."""

    x: float
    y: float
    width: float
    height: float
    label: str
    shaded: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """A moment on the time axis."""

    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The whole picture, ``height`` units high."""

    height: float
    left: float
    ground: float
    bars: tuple[Bar, ...]
    labels: tuple[Label, ...]
    bands: tuple[Band, ...]
    ticks: tuple[Tick, ...]
    statuses: tuple[Status, ...]
    dense: bool
    peak: int
    undrawn: int


@dataclass(frozen=True, slots=True)
class _Span:
    row: JobRow
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class _Scale:
    start: float
    end: float
    left: float

    def x(self, at: float) -> float:
        share = (at - self.start) / (self.end - self.start)
        return round(self.left + share * (WIDTH - _RIGHT - self.left), 2)


def timeline(report: Report) -> Timeline | None:
    """Return the picture of a run, or None if no job ever started."""
    spans = _spans(report)
    if not spans:
        return None
    start = min(report.started, min(span.start for span in spans))
    end = max(span.end for span in spans)
    dense = len(spans) > MOST_BARS
    named = len(spans) <= 40
    scale = _Scale(start, max(end, start + 1.0), 150.0 if named else 56.0 if dense else 104.0)
    draw = _skyline if dense else _bars
    bars, labels, bands, ground, peak = draw(report, spans, scale)
    drawn = {span.row.status for span in spans}
    return Timeline(
        height=ground + _BOTTOM,
        left=scale.left,
        ground=ground,
        bars=tuple(bars),
        labels=tuple(labels),
        bands=tuple(bands),
        ticks=_ticks(scale),
        statuses=tuple(status for status in WORST_FIRST if status in drawn),
        dense=dense,
        peak=peak,
        undrawn=len(report.jobs) - len(spans),
    )


def _spans(report: Report) -> list[_Span]:
    moments = [row.started for row in report.jobs if row.started is not None]
    moments += [row.ended for row in report.jobs if row.ended is not None]
    last = report.ended if report.ended is not None else max(moments, default=report.started)
    spans = [
        _Span(row, row.started, max(row.started, last if row.ended is None else row.ended))
        for row in report.jobs
        if row.started is not None
    ]
    return sorted(spans, key=lambda span: (span.row.wave, span.start, span.end))


_Drawing = tuple[list[Bar], list[Label], list[Band], float, int]


def _bars(report: Report, spans: Sequence[_Span], scale: _Scale) -> _Drawing:
    step = 18.0 if len(spans) <= 40 else 6.0 if len(spans) <= 150 else 3.0
    thick = round(step * (0.62 if step > 6 else 0.8), 2)
    names = {wave.index: _wave_name(wave.index, wave.label) for wave in report.waves}
    bars, labels, bands, y = [], [], [], _TOP
    for number, (wave, members) in enumerate(groupby(spans, key=lambda span: span.row.wave)):
        top = y
        y += 4.0
        for span in members:
            x, end = scale.x(span.start), scale.x(span.end)
            bars.append(
                Bar(x, y, max(round(end - x, 2), 2.0), thick, span.row.status, _title(report, span),
                    open=span.row.ended is None)
            )  # fmt: skip
            if step > 6:
                labels.append(Label(scale.left - 8, y + thick - 1, _short(report.label(span.row))))
            y += step
        y = max(y + 4.0, top + 16.0)
        bands.append(Band(0.0, top, WIDTH, y - top, names.get(wave, f"wave {wave + 1}"), number % 2 == 0))
    return bars, labels, bands, y, 0


def _skyline(report: Report, spans: Sequence[_Span], scale: _Scale) -> _Drawing:
    levels = _levels(spans, scale)
    peak = max(sum(level[index] for level in levels.values()) for index in range(_BINS))
    slot = (WIDTH - _RIGHT - scale.left) / _BINS
    seconds = (scale.end - scale.start) / _BINS
    ground = _TOP + 18.0 + _SKYLINE
    bars = []
    for index in range(_BINS):
        y = ground
        for status, level in levels.items():
            if not level[index]:
                continue
            high = round(_SKYLINE * level[index] / peak, 2)
            y -= high
            at = words.moment(scale.start + index * seconds)
            title = f"{at}: {words.number(level[index])} in flight that ended {words.STATUS[status]}"
            bars.append(Bar(round(scale.left + index * slot, 2), y, round(slot, 2), high, status, title))
    labels = [
        Label(scale.left - 8, _TOP + 26.0, words.number(peak)),
        Label(scale.left - 8, ground, "0"),
    ]
    return bars, labels, _wave_columns(report, scale, ground), ground, peak


def _levels(spans: Sequence[_Span], scale: _Scale) -> dict[Status, list[int]]:
    """Count the jobs in flight in each slice of time, by the status they ended in."""
    width = (scale.end - scale.start) / _BINS
    levels = {status: [0] * (_BINS + 1) for status in WORST_FIRST}
    for span in spans:
        first = min(_BINS - 1, int((span.start - scale.start) / width))
        last = min(_BINS - 1, int((span.end - scale.start) / width))
        levels[span.row.status][first] += 1
        levels[span.row.status][last + 1] -= 1
    for level in levels.values():
        for before, index in pairwise(range(_BINS)):
            level[index] += level[before]
    return {status: level[:_BINS] for status, level in levels.items() if any(level[:_BINS])}


def _wave_columns(report: Report, scale: _Scale, ground: float) -> list[Band]:
    bands: list[Band] = []
    begun = [(wave, wave.started) for wave in report.waves if wave.started is not None]
    for number, (wave, started) in enumerate(begun):
        until = begun[number + 1][1] if number + 1 < len(begun) else scale.end
        x = scale.x(started)
        width = max(0.0, round(scale.x(until) - x, 2))
        label = _wave_name(wave.index, wave.label) if width > 90 else str(wave.index + 1) if width > 16 else ""
        bands.append(Band(x, _TOP, width, ground - _TOP, label, number % 2 == 0))
    return bands


def _wave_name(index: int, label: str) -> str:
    return f"wave {index + 1}" + (f": {_short(label)}" if label else "")


def _short(text: str, most: int = 20) -> str:
    return text if len(text) <= most else f"{text[:9]}…{text[-10:]}"


def _title(report: Report, span: _Span) -> str:
    took = "not ended" if span.row.ended is None else words.duration(span.end - span.start)
    why = f": {span.row.cause.message}" if span.row.status is Status.CANCELLED and span.row.cause.message else ""
    return f"{report.label(span.row)}, {span.row.step}: {words.STATUS[span.row.status]}{why}, {took}"


def _ticks(scale: _Scale) -> tuple[Tick, ...]:
    length = scale.end - scale.start
    step = next((float(step) for step in _STEPS if length / step <= 8), 86400.0 * max(1, length // 604800))
    first = scale.start - scale.start % step + (step if scale.start % step else 0.0)
    count = int((scale.end - first) // step) + 1
    return tuple(Tick(scale.x(first + number * step), _clock(first + number * step, step)) for number in range(count))


def _clock(at: float, step: float) -> str:
    text = iso(at)
    if step >= 86400:
        return text[:10]
    return text[11:19] if step < 60 else text[11:16]
