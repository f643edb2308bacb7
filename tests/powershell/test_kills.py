"""Wrappers and scripts that are killed at random moments."""

from __future__ import annotations

import pytest

from tests.powershell.kills import trials
from tests.powershell.system import on_linux


@pytest.mark.slow
@pytest.mark.timeout(600)
@on_linux("kills by signals of POSIX; on Windows a script ends with its wrapper")
def test_whatever_is_killed_it_runs_once_and_no_answer_is_wrong(pwsh: str) -> None:
    """Six kills, two of each kind, at moments all over a delivery: a second delivery never runs the script again.

    ``python -m tests.bench.windows_kills`` kills as often as it is asked to.
    """
    found = list(trials(pwsh, 6, seed=20260301))
    assert [trial for trial in found if trial.wrong] == []
