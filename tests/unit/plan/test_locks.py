"""Which locks stand in the way of a plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.playbook.model import Properties, Transport
from fleet.preflight import locks
from fleet.preflight.doctor import Level
from fleet.preflight.locks import Lock, Locks
from fleet.targets.model import Os, Target
from tests.unit.run.factory import plan as a_plan

GROUP = "/subscriptions/s1/resourceGroups/rg"
VM = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/web1"
TARGET = Target(VM, "s1", "prod", "rg", "web1", "westeurope", Os.LINUX)


def levels(lock: Lock, transport: Transport = Transport.MANAGED, command: str = "") -> list[Level]:
    made = a_plan(1)
    steps = tuple(replace(step, properties=Properties(command=command)) for step in made.steps)
    plan = replace(made, targets=(TARGET,), steps=steps, transport=transport)
    return [finding.level for finding in locks.examine(plan, [Locks("S1", (lock,))])]


@pytest.mark.parametrize(
    ("place", "holds"),
    [
        ("/subscriptions/s1", True),
        (GROUP.upper(), True),
        (VM, True),
        (f"{VM}0", False),
        (f"{GROUP}2", False),
        (f"{VM}/runCommands/other", False),
    ],
)
def test_a_lock_holds_what_lies_below_it(place: str, holds: bool) -> None:
    """A lock of the subscription, the group or the VM counts, one of something else or of a part does not."""
    assert levels(Lock("l", "ReadOnly", place)) == [Level.UNREACHABLE if holds else Level.OK]


@pytest.mark.parametrize("transport", list(Transport))
def test_read_only_refuses_every_command(transport: Transport) -> None:
    """Whatever carries a script, a ReadOnly lock refuses it."""
    assert levels(Lock("l", "readonly", VM), transport) == [Level.UNREACHABLE]


def test_no_delete_keeps_managed_commands_only() -> None:
    """A CanNotDelete lock is noted where a managed command is deleted after the run, and nowhere else."""
    lock = Lock("keep", "CanNotDelete", GROUP)
    assert levels(lock) == [Level.NOTE]
    assert levels(lock, Transport.ACTION) == [Level.OK]
    assert levels(lock, command="standing") == [Level.OK]


def test_what_could_not_be_read_is_unchecked() -> None:
    """A list that was refused says nothing about locks."""
    plan = replace(a_plan(1), targets=(TARGET,))
    [finding] = locks.examine(plan, [Locks("s1", None, "HTTP 403 AuthorizationFailed")])
    assert (finding.level, finding.targets) == (Level.UNCHECKED, (TARGET,))
    assert "HTTP 403" in finding.what
