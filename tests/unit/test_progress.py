"""The live picture: at each stage of a run it says in a few words what is awaited, and fits its line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from fleet.cli.progress import NOTICES, Progress, fitting
from fleet.clock import wall_time
from fleet.plan.model import Gate, Limits, Plan
from fleet.playbook.model import Amount, Webhook
from fleet.run import events as e
from fleet.run.state import Run
from tests.unit.run.driven import due, ended, opened, sent
from tests.unit.run.factory import plan
from tests.unit.run.test_gate_checks import gated, health

Draw = Callable[[Run], str]


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Draw:
    """Show a run as on a terminal of 100 columns, and return what stands there, without colours."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")

    def drawn(run: Run, *interrupts: int) -> str:
        progress = Progress(run, enabled=True)
        for times in interrupts:
            progress.interrupted(times)
        with progress:
            pass
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)

    return drawn


def waves(**more: object) -> Plan:
    return replace(plan(3, waves=(Amount(1), Amount(2)), receipts=False, limits=Limits(soak=60.0)), **more)


def first_wave_over(made: Plan, at: float) -> Run:
    run = opened(made, at=at)
    sent(run, 0, at)
    ended(run, 0, at)
    return run


def test_a_run_of_one_wave_is_running(draw: Draw) -> None:
    """How many have ended and how, how many are on their way, the pace and what is left of Azure's budget."""
    run = opened(plan(4, receipts=False), at=wall_time())
    sent(run, 0, wall_time())
    ended(run, 0, wall_time())
    sent(run, 1, wall_time())
    shown = draw(run)
    assert "running" in shown and "1/4 (25%)" in shown
    assert "1 succeeded · 0 failed · 1 in flight" in shown
    assert re.search(r"\d+s so far · 0\.\d jobs/s", shown) and re.search(r"API budget \d+/\d+ writes", shown)


def test_each_wave_has_its_number_and_settles(draw: Draw) -> None:
    """A wave that is over is awaited to settle for as long as is left of it."""
    now = wall_time()
    assert "wave 1/3" in draw(opened(waves(), at=now))
    assert re.search(r"wave 1/3 settles, (59|1m 00)s left", draw(first_wave_over(waves(), now)))


def test_who_is_awaited_is_named(draw: Draw) -> None:
    """A person by the command that they type, a webhook by the wave that it may let go, the health of a wave by it."""
    now = wall_time() - 100
    approved = first_wave_over(waves(gates=(Gate(1),)), now)
    approved.apply(e.ApprovalAwaited(now, 1))
    assert f"wave 2 awaits fleet approve {approved.run_id}" in draw(approved)
    asked = first_wave_over(waves(gates=(Gate(1, webhook=Webhook("https://gate.example.org/")),)), now)
    asked.apply(e.RemovalBegun(now, asked.jobs[0].job.id))
    asked.apply(e.CommandRemoved(now, asked.jobs[0].job.id))
    due(asked, now + 61)
    assert "asking whether wave 2 may go" in draw(asked)
    looked = opened(replace(gated(health(), vms=2, first=1, health=True), receipts=False), at=now)
    sent(looked, 0, now)
    ended(looked, 0, now)
    looked.apply(e.HealthBegun(now, 0))
    assert "health of wave 1/" in draw(looked)


def test_a_paused_run_and_its_end_are_told(draw: Draw) -> None:
    """Paused until it is unpaused; when every job has ended, commands are still being cleaned up."""
    now = wall_time()
    run = opened(plan(1, receipts=False), at=now)
    run.apply(e.RunPaused(now))
    assert "paused" in draw(run)
    run.apply(e.RunUnpaused(now))
    sent(run, 0, now)
    ended(run, 0, now, exit_code=3)
    shown = draw(run)
    assert "cleaning up" in shown and "1/1 (100%)" in shown and "1 failed" in shown


@pytest.mark.parametrize("times", [1, 2, 3, 7])
def test_an_interrupt_says_what_the_next_one_does(draw: Draw, times: int) -> None:
    """In the picture, from the first to the last; more do what the last does."""
    assert NOTICES[min(times, 3) - 1] in draw(opened(plan(1), at=wall_time()), times)


def test_stragglers_are_named_as_far_as_the_line_goes(draw: Draw) -> None:
    """Jobs that take far longer than their like stand by name and age, and nothing runs over its line."""
    now = wall_time()
    made = plan(60, receipts=False)
    run = opened(replace(made, limits=Limits(concurrency=60)), at=now - 4000)
    for job in range(60):
        sent(run, job, now - 3900)
    for job in range(30):
        ended(run, job, now - 3890)
    shown = draw(run)
    assert re.search(r"30 stragglers \(usual: 1\ds; fleet probe looks at them\) · vm00\d\d 1h 0\dm", shown)
    assert all(len(line) <= 100 for line in re.split(r"[\r\n]", shown))


def test_a_line_takes_whole_parts_only() -> None:
    """What does not fit is left out with all that follows; a line may be full to its last column."""
    assert fitting(["abc", "de", "f"], 8) == "abc · de"
    assert fitting(["abc", "defgh", "f"], 8) == "abc"
    assert fitting(["abcd"], 3) == fitting([], 3) == ""
