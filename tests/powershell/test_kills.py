"""Wrappers and scripts that are killed at random moments."""

from __future__ import annotations

import pytest

from tests.powershell.kills import trials


@pytest.mark.slow
def test_whatever_is_killed_it_runs_once_and_no_answer_is_wrong(pwsh: str) -> None:
    """Fifteen kills, five of each kind, at moments all over a delivery: a second delivery never runs the script again."""
    found = list(trials(pwsh, 15, seed=20260301))
    assert [trial for trial in found if trial.wrong] == []
