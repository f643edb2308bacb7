"""The report for a terminal."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given

from fleet.report.aggregate import aggregate
from fleet.report.render_text import columns, render
from fleet.run.model import Cause, CauseCode, Outcome, Status

from . import factory as f
from .hostile import texts


def test_the_mixed_run_reads_from_top_to_bottom() -> None:
    """Summary, exit code, failures, not reached, not run, successes, slowest, unread: in this order."""
    text = render(aggregate(f.mixed()))
    expected = [
        "linux-patch 1.0.0  run r-20260301-7f3a",
        "12 targets: 3 failed, 1 timed out",
        "Exit code 5: stopped by a budget, a gate or a person",
        "Stopped (budget_failures): 3 failures, 2 allowed",
        "FAILED (4)",
        "web[005-006] (2)",
        "exit_code: the script ended with 100",
        "hint: read its output",
        "| E: could not get lock",
        "NOT REACHED OR NOT PROVEN (3)",
        "no_receipt: no receipt came back",
        "NOT RUN (1)",
        "SUCCEEDED (4)",
        "web[001-004] (4)",
        "SLOWEST",
        "SUBSCRIPTIONS THAT COULD NOT BE READ (1)",
        "prod-legacy  forbidden: no reader role",
    ]
    places = [text.find(piece) for piece in expected]
    assert -1 not in places and places == sorted(places)


def test_a_big_run_stays_short() -> None:
    """A section shows a few groups, then how many more there are and the command that shows them."""
    jobs = [f.failed(1, f"error {number}") for number in range(47)]
    text = render(aggregate(f.record(f.plan(f.fleet(47)), jobs)), limit=10)
    assert "and 37 more: fleet show r-20260301-7f3a" in text
    assert text.count("exit_code: ") == 10


def test_only_the_tail_of_output_is_shown() -> None:
    """The end of a long output is shown, with how much there was."""
    job = f.failed(1, "\n".join(f"line {number}" for number in range(1, 1001)))
    text = render(aggregate(f.record(f.plan(f.fleet(1)), [job])), tail=8)
    assert "stderr, last 8 of 1,000 lines" in text
    assert "| line 993" in text and "| line 992" not in text


def test_colour_adds_nothing_but_colour() -> None:
    """Without its colour sequences the coloured text is the plain text."""
    report = aggregate(f.mixed())
    coloured = render(report, colour=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == render(report)


@pytest.mark.parametrize("width", [40, 72, 120])
def test_lines_fit_the_width(width: int) -> None:
    """No line is wider than the terminal, whatever the names and messages."""
    jobs = [f.failed(1, "wide 宽宽宽宽宽宽宽宽宽宽宽宽宽宽宽宽宽宽宽宽宽宽宽宽 " * 5)] * 3
    members = [f.target("n" * 60), f.target("é" * 50), f.target("宽" * 40)]
    text = render(aggregate(f.record(f.plan(members), jobs)), width=width)
    assert max(sum(map(columns, line)) for line in text.splitlines()) <= width


@given(texts)
def test_hostile_text_cannot_steer_the_terminal(text: str) -> None:
    """Whatever machines print, the plain text holds no control character but line ends."""
    shown = render(aggregate(f.hostile(text)))
    assert {c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} == {"\n"}


def test_an_empty_run_is_said_plainly() -> None:
    """A run over nothing renders, and says that there was nothing."""
    text = render(aggregate(f.record(f.plan([]), []), allow_empty=True))
    assert "0 targets" in text and "Exit code 0" in text


def test_an_earlier_result_is_never_shown_as_a_new_one() -> None:
    """A green row whose script did not run in this run says so, in the row and in the notes."""
    cause = Cause(CauseCode.UNCHANGED, "not run again, because nothing had changed")
    text = render(aggregate(f.record(f.plan(f.fleet(2)), [Outcome(Status.SUCCEEDED, cause, 0, verified=True)])))
    assert "unchanged: not run again, because nothing had changed" in text
    assert "an unchanged standing command again: 2" in " ".join(text.split())


def test_what_the_playbook_leaves_out_comes_last_and_asks_for_nothing() -> None:
    """A step whose condition does not hold is no news: it is told after what ran, without a hint."""
    fine = Outcome(Status.SKIPPED, Cause(CauseCode.WHEN_FALSE, "patch asked for no restart"))
    text = render(aggregate(f.record(f.plan(f.fleet(3)), [fine, f.succeeded(), fine])))
    assert text.index("SUCCEEDED (1)") < text.index("LEFT OUT, AS THE PLAYBOOK MEANS IT (2)")
    left_out = text[text.index("LEFT OUT") :]
    assert "patch asked for no restart" in left_out
    assert "hint" not in left_out.partition("SLOWEST")[0] and "NOT RUN" not in text
