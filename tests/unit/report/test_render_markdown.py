"""The report in a pull request."""

from __future__ import annotations

import re

from hypothesis import given

from fleet.report.aggregate import aggregate
from fleet.report.render_markdown import render

from . import factory as f
from .hostile import texts


def test_it_says_what_matters_first() -> None:
    """The verdict, then the counts, then failures with their output folded away."""
    text = render(aggregate(f.mixed()))
    assert text.startswith("## ❌ Patch Linux VMs\n")
    places = [
        text.find(piece) for piece in ("| ❌ failed | 3 |", "### Failed (4)", "E: could not get lock", "### Succeeded")
    ]
    assert -1 not in places and places == sorted(places)


def test_it_fits_a_comment() -> None:
    """However large the run, the text fits the limit and counts what it left out."""
    jobs = [f.failed(1, f"{number} " + "x`|" * 2000) for number in range(500)]
    report = aggregate(f.record(f.plan(f.fleet(500)), jobs))
    for limit in (4_000, 60_000):
        text = render(report, limit=limit)
        assert len(text) <= limit
        assert re.search(r"and \d+ jobs more: <code>fleet show", text)


def _outside_fences(text: str) -> str:
    kept, fence = [], ""
    for line in text.split("\n"):
        opened = re.match(r"\s*(`{3,})text$", line)
        if fence:
            fence = "" if line.strip() == fence else fence
        elif opened:
            fence = opened.group(1)
        else:
            kept.append(line)
    assert not fence, "every fence is closed"
    return "\n".join(kept)


@given(texts)
def test_hostile_text_stays_text(text: str) -> None:
    """Outside of fenced blocks there is no HTML but ours, no link, no table row but the counts."""
    said = _outside_fences(render(aggregate(f.hostile(text))))
    assert set(re.findall(r"<[^>]*>", said)) <= {
        "<code>", "</code>", "<details>", "</details>", "<summary>", "</summary>",
    }  # fmt: skip
    assert "](" not in said and "://" not in said
    assert sum(line.lstrip().startswith("|") for line in said.split("\n")) == 6
    said.encode("utf-8")
