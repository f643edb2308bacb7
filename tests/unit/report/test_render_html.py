"""The report as one page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings

from fleet.report import render_html, safe
from fleet.report.aggregate import aggregate
from fleet.report.model import Report
from fleet.report.render_html import headline, render
from fleet.report.timeline import MOST_BARS, WIDTH, timeline
from fleet.run.model import CauseCode, Status

from . import factory as f
from .hostile import texts


class Page(HTMLParser):
    """A page read back."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.inside: dict[str, list[str]] = {}
        self.comments: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), "no attribute twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "input", "wbr"):
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack and self.stack[-1] == tag, f"</{tag}> closes {self.stack[-1:]}"
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        self.inside.setdefault(self.stack[-1] if self.stack else "", []).append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def text(self) -> str:
        return "".join(
            piece for tag, pieces in self.inside.items() if tag not in ("script", "style") for piece in pieces
        )

    @property
    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(tag, tuple(attrs)) for tag, attrs in self.tags]


@cache
def mixed() -> Report:
    return aggregate(f.mixed())


@cache
def harmless() -> Page:
    return Page(render(mixed()))


def many(size: int) -> Report:
    jobs = [[f.succeeded(), f.succeeded(), f.failed(), f.unreachable()][number % 4] for number in range(size)]
    return aggregate(f.record(f.plan(f.fleet(size), wave_sizes=[1, size // 4]), jobs))


def test_the_page_is_whole() -> None:
    """Every tag is closed in order, ids are unique, and every link inside the page leads somewhere."""
    page = Page(render(mixed()))
    assert page.stack == []
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = {attrs["href"] for _, attrs in page.tags if "href" in attrs}
    assert links <= {f"#{name}" for name in ids}
    named = {name for _, a in page.tags for key in ("aria-labelledby",) for name in (a.get(key) or "").split()}
    assert named <= set(ids)


def test_the_page_loads_nothing() -> None:
    """No element or style asks for anything outside, and the policy allows only the page's own two pieces."""
    text = render(mixed())
    page = Page(text)
    outward = {"src", "srcset", "action", "formaction", "data", "poster", "background", "xlink:href", "style"}
    assert not [attrs for _, attrs in page.tags if outward & set(attrs)]
    assert not {tag for tag, _ in page.tags} & {"link", "img", "iframe", "object", "embed", "base"}
    assert not re.search(r"@import|url\((?!#)", "".join(page.inside["style"]))
    policy = next(a["content"] or "" for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for tag in ("style", "script"):
        body = "".join(page.inside[tag])
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]


def test_everything_is_there_without_scripts() -> None:
    """Verdict, causes, hints, output, unread scopes and every row are in the page as text."""
    said = Page(render(mixed())).text()
    for piece in (
        "4 of 12 targets failed", "stopped by a budget, a gate or a person", "3 failures, 2 allowed", "web[005-006]",
        "E: could not get lock", "read its output", "prod-legacy", "no reader role",
        "2026-03-01 02:03:04 UTC",
        *(row.name for row in mixed().jobs),
    ):  # fmt: skip
        assert piece in said, piece
    assert said.index("Failed") < said.index("Not reached") < said.index("Not run") < said.index("All jobs")


@settings(max_examples=min(40, settings.default.max_examples))
@given(texts)
def test_hostile_text_adds_no_markup(text: str) -> None:
    """The page has the same tags and attributes whatever machines print, and shows the text."""
    page = Page(render(aggregate(f.hostile(text))))
    assert page.stack == [] and page.comments == []
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in harmless().tags} | {"wbr"}
    assert {name for _, attrs in page.tags for name in attrs} <= {
        name for _, attrs in harmless().tags for name in attrs
    }
    if text.strip("\r\n"):
        assert safe.visible(text.strip("\r\n")) in "".join(page.inside["pre"])


def test_hostile_text_changes_no_shape() -> None:
    """Script, style and attribute break-outs leave the page's tree exactly as harmless text does."""
    harmless = Page(render(aggregate(f.hostile("harmless text"))))
    for text in ("</script><script>x()</script>", '" onload="x()', "</style><b>", "{{ 7*7 }}", "<!-- x"):
        assert Page(render(aggregate(f.hostile(text)))).shape == harmless.shape


def test_large_runs_embed_their_rows_as_data() -> None:
    """Above the cap rows are JSON that cannot leave its element; groups stay readable as text."""
    size = render_html.MOST_ROWS + 1
    report = many(size)
    hostile = "</script><script>alert(1)</script><!--"
    report = replace(report, labels={**report.labels, report.jobs[0].target: hostile})
    text = render(report)
    page = Page(text)
    assert page.stack == []
    blocks = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert len(blocks) == 1 and not set(blocks[0]) & set("<>&")
    data = json.loads(blocks[0])
    assert len(data["rows"]) == size and data["rows"][0][0] == hostile
    place = data["columns"].index("status")
    assert {data["texts"][row[place]] for row in data["rows"]} == {"succeeded", "failed", "unreachable"}
    assert "could not get lock" in page.text() and "the VM is deallocated" in page.text()


def test_the_page_stays_sensible_in_size() -> None:
    """10,000 jobs with 4 KB of output each, all different, make a page below 6 MB that says what it omits."""
    jobs = [f.failed(1, "&" * 4091 + f"{number:05}") for number in range(10_000)]
    text = render(aggregate(f.record(f.plan(f.fleet(10_000)), jobs)))
    assert len(text) < 6_000_000
    assert "9,800 more groups not shown here" in text


def test_output_beyond_the_caps_is_said_to_be_cut() -> None:
    """Of a very long output the end is shown, with how much there was; beyond the page's budget none is."""
    jobs = [f.failed(number, "y" * 9_000) for number in range(1, 301)]
    text = render(aggregate(f.record(f.plan(f.fleet(300)), [replace(job, stdout="x" * 9_000) for job in jobs])))
    assert "last 8,192 of 9,000 characters" in text
    assert "The output is left out to keep this page small" in text


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ([f.succeeded()] * 3, "All 3 targets succeeded"),
        ([f.succeeded()], "The target succeeded"),
        ([f.succeeded(), f.failed()], "1 of 2 targets failed"),
        ([f.succeeded(), f.unreachable()], "1 of 2 targets is not proven"),
        ([], "No target was selected"),
        (
            [f.succeeded(), f.ended(Status.SKIPPED, CauseCode.LEFT_SELECTION)],
            "1 target succeeded, 1 left out on purpose",
        ),
        ([f.ended(Status.SKIPPED, CauseCode.WHEN_FALSE)] * 2, "2 targets left out on purpose"),
        ([f.unreachable(), f.ended(Status.SKIPPED, CauseCode.WHEN_FALSE)], "1 of 2 targets is not proven"),
    ],
)
def test_the_headline_says_how_it_went(jobs: list[object], expected: str) -> None:
    """One line tells the run."""
    report = aggregate(f.record(f.plan(f.fleet(len(jobs))), jobs))  # type: ignore[arg-type]
    assert headline(report) == expected
    assert expected in render(report)


def test_the_time_line_draws_every_started_job() -> None:
    """A small run has one bar for each started job, inside the picture, wave under wave, with a time axis."""
    report = mixed()
    picture = timeline(report)
    assert picture is not None
    started = [row for row in report.jobs if row.started is not None]
    assert len(picture.bars) == len(started) and picture.undrawn == len(report.jobs) - len(started)
    assert all(picture.left <= bar.x and bar.x + bar.width <= WIDTH for bar in picture.bars)
    assert all(bar.y + bar.height <= picture.ground for bar in picture.bars)
    assert len(picture.bands) == 3 and 2 <= len(picture.ticks) <= 9
    assert [tick.x for tick in picture.ticks] == sorted(tick.x for tick in picture.ticks)


def test_a_large_time_line_is_a_skyline() -> None:
    """Above the cap the picture counts jobs in flight: bounded in size, and it never draws above its top."""
    picture = timeline(many(MOST_BARS * 3))
    assert picture is not None and picture.dense
    assert len(picture.bars) < 1_000
    assert min(bar.y for bar in picture.bars) >= 0
    assert picture.peak <= MOST_BARS * 3
    assert set(picture.statuses) == {Status.SUCCEEDED, Status.FAILED}


def test_a_run_in_which_nothing_started_has_no_picture() -> None:
    """No bar, no picture, and the page still renders."""
    report = aggregate(f.record(f.plan(f.fleet(2)), [f.not_started()]))
    assert timeline(report) is None
    assert Page(render(report)).stack == []


def _contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_has_contrast_in_light_and_dark() -> None:
    """Every colour of text has a contrast of at least 4.5 on every ground it stands on (WCAG 2.2, 1.4.3)."""
    style = "".join(Page(render(mixed())).inside["style"])
    inks = ("ink", "soft", "accent", "good", "bad", "warn", "timed_out", "cancelled", "unverified", "unknown")
    roots = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(roots) == 3, "light, dark and print"
    for root in roots:
        colours = {name: c if len(c) == 7 else "#" + "".join(d * 2 for d in c[1:])
                   for name, c in re.findall(r"--(\w+): (#[0-9a-f]{3,6})", root)}  # fmt: skip
        for ink in inks:
            for ground in ("paper", "faint", "ground"):
                assert _contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
