"""SIGKILL at many random moments of a real process. ``python -m tests.verification kills --real 1000`` does it for longer."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.system.cli import PLAYBOOKS, Machine, counted, read_until
from tests.system.conftest import Labs
from tests.verification.process_kills import survive

pytestmark = pytest.mark.slow


@pytest.mark.timeout(600)
def test_kills_at_random_moments(tmp_path: Path) -> None:
    """No script runs twice, no row is missing, and every answer that was told before a kill is in the report."""
    figures = survive(40, seed=1, folder=tmp_path)
    assert figures.wrong == []
    assert figures.kills >= 40
    assert figures.answers_told > 0


def test_a_frozen_owner_keeps_the_run(machine: Machine, labs: Labs) -> None:
    """A stopped process still holds its run: nobody else may resume it, and it ends it itself when it goes on."""
    lab = labs("forty")
    before = lab.executions()
    process = machine.start("run", PLAYBOOKS / "hello.yaml", "-y", "-f", 20, lab.flag, "-o", "jsonl")
    read_until(process, lambda events: counted(events, "submission_accepted") >= 5)
    process.send_signal(signal.SIGSTOP)
    try:
        refused = machine.run("resume", "last", lab.flag)
        assert refused.code != 0
        assert "is being carried out" in refused.err
    finally:
        process.send_signal(signal.SIGCONT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert set(lab.executions(before).values()) == {1}
