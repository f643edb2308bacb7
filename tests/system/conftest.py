"""Machines and labs for the tests of the command line."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from tests.system.cli import LABS, PLAYBOOKS, Here, LabUp, Machine, lab_up

Labs = Callable[[str], LabUp]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture(scope="session")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labs]:
    """Labs by the name of their file, each started once for all tests."""
    place = Machine(tmp_path_factory.mktemp("labs"))
    with ExitStack() as stack:

        @cache
        def up(name: str) -> LabUp:
            return stack.enter_context(lab_up(place, LABS / f"{name}.yaml"))

        yield up


@pytest.fixture
def lab(labs: Labs) -> Iterator[LabUp]:
    """The small lab, without faults before and after."""
    small = labs("small")
    yield small
    small.fault()


@pytest.fixture
def here(machine: Machine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Here]:
    """The command in this process, on a machine of its own."""
    for name, value in machine.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(machine.cwd)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield Here(capfd)
    root.handlers, root.level = handlers, level


@pytest.fixture(scope="session")
def run_once(labs: Labs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with one run over the small lab: twelve succeeded, two were unreachable."""
    machine = Machine(tmp_path_factory.mktemp("once"))
    assert machine.run("run", PLAYBOOKS / "everything.yaml", labs("small").flag, "-y", "-q").code == 4
    return machine.state


@pytest.fixture
def kept(here: Here, machine: Machine, run_once: Path) -> Here:
    """The command, on a machine that keeps that run."""
    shutil.copytree(run_once, machine.state)
    return here
