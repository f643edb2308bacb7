"""Managed commands on VMs: whose they are, what is left over, what a change does."""

from __future__ import annotations

import random

import pytest

from fleet.commands.model import LEFT_AFTER, Change, ManagedCommand, chosen, is_left, run_of
from fleet.run.run_id import new_id
from fleet.targets.model import Os, Target

VM = Target("/subscriptions/s/vm", "s", "", "rg", "vm", "we", Os.LINUX)
RUN = "20261122-205310-x957"
OWN = f"fleet-{RUN}-12"


def command(name: str = OWN, *, running: bool = False, ended: float | None = 0.0, **more: object) -> ManagedCommand:
    return ManagedCommand(VM, name, running=running, ended=ended, **more)  # type: ignore[arg-type]


def test_the_name_tells_the_run() -> None:
    """Every id a run can have is read back out of its commands' names, in whatever case Azure writes them."""
    for seed in range(50):
        run = new_id(1.7e9 + seed, random.Random(seed))
        assert run_of(f"fleet-{run}-{seed}") == run_of(f"FLEET-{run.upper()}-{seed}") == run


@pytest.mark.parametrize("name", ["deploy", "fleet-", "fleet-x", f"{OWN}x", f"x{OWN}", "fleet-agent", f"fleet-{RUN}"])
def test_other_names_are_nobodys_run(name: str) -> None:
    """A tool that calls its commands fleet-something keeps them."""
    assert run_of(name) == ""


def test_what_is_left_over() -> None:
    """Ended, and its run too: known from here, or by an hour's silence. Nothing of other tools, nothing that may run."""
    assert is_left(command(), LEFT_AFTER, {})
    assert not is_left(command(), LEFT_AFTER - 1, {})
    assert is_left(command(), 1.0, {RUN: True})
    assert not is_left(command(), LEFT_AFTER * 9, {RUN: False})
    assert not is_left(command(ended=None), LEFT_AFTER * 9, {})
    assert not is_left(command(running=True), LEFT_AFTER * 9, {RUN: True})
    assert not is_left(command("deploy"), LEFT_AFTER * 9, {})


def test_choosing_by_name_and_by_being_left() -> None:
    """Globs are compared without regard to case; without any, everything is meant."""
    all_ = [command(), command("deploy-1"), command("Deploy-2")]
    assert [c.name for c in chosen(all_, ("deploy-*",), False, 0.0, {})] == ["deploy-1", "Deploy-2"]
    assert chosen(all_, (), False, 0.0, {}) == tuple(all_)
    assert [c.name for c in chosen(all_, (), True, 0.0, {RUN: True})] == [OWN]


def test_a_change_keeps_what_it_does_not_name() -> None:
    """Tags and parameters are replaced together on the wire, so the others go along."""
    one = command(tags={"a": "1", "b": "2"}, parameters={"X": "1"})
    assert Change(tags={"c": "3"}, untag=("a",)).tags_of(one) == {"b": "2", "c": "3"}
    assert Change(tags={"b": "2"}).tags_of(one) is None
    assert Change(parameters={"Y": "2"}).parameters_of(one) == {"X": "1", "Y": "2"}
    assert Change().is_nothing and not Change(tags={"c": "3"}).runs_again and Change(timeout=0.0).runs_again
