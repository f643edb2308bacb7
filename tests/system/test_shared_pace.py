"""Processes that sign in alike and keep their runs in one state folder: together they send what Azure's limits allow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.cli import LabUp, Machine, ended, lab_up

LAB = Path(__file__).parent / "labs" / "throttled.yaml"


def throttled(lab: LabUp) -> int:
    """How many requests the lab refused with 429."""
    return int(lab.state()["statuses"].get("429", 0))


def words(which: str, lab: LabUp) -> tuple[str, ...]:
    return ("exec", f'name matches "{which}*"', "-y", lab.flag, "--transport", "action", "--", "hostname")


@pytest.mark.slow
def test_two_processes_at_once_are_refused_nothing(machine: Machine) -> None:
    """Both begin with an empty wire, and would send 300 commands at once where 200 are allowed."""
    with lab_up(machine, LAB) as lab:
        begun = [machine.start(*words(which, lab)) for which in "ab"]
        done = [ended(process, 200) for process in begun]
        assert [each.code for each in done] == [0, 0], [each.err for each in done]
        assert throttled(lab) == 0


@pytest.mark.slow
def test_the_next_process_knows_what_the_last_one_sent(machine: Machine) -> None:
    """It begins with what is left, not with a full bucket."""
    with lab_up(machine, LAB) as lab:
        for which in "ab":
            done = machine.run(*words(which, lab), limit=200)
            assert done.code == 0, done.err
        assert throttled(lab) == 0
