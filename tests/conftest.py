"""What every test may use."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import sys
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import aioresponses.core
import pytest
from aiohttp import ClientResponse
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# looptime asks for the current event loop around every test; before the first asynchronous one that would make a loop
# that is never closed. Saying that there is none makes it leave plain tests alone.
asyncio.set_event_loop(None)

APART = {
    *("test_asking.py", "test_guest_ends.py", "test_guest_shells.py", "test_interrupts.py", "test_lab_fleet.py"),
    *("test_lab_guests.py", "test_odd_answers.py", "test_patching.py", "test_planted.py", "test_probe.py"),
    "test_wrapper.py",
}
"""Files with slow tests that have little or nothing in common."""

LONGEST = "test_lab_patching.py"
"""The file whose tests take longest, and one after the other."""

# A machine that others use as well breaks any limit of time for one example.
settings.register_profile("quick", max_examples=30, deadline=None)
settings.register_profile("ci", max_examples=100, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from going through thousands of tests again and again: they all live to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files without a slow test where only those are asked for: each process of ``-n`` reads all files."""
    if config.option.markexpr != "slow" or not collection_path.name.startswith("test_"):
        return None
    return None if b"mark.slow" in collection_path.read_bytes() else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mix the slow tests, the longest file first: in the files those that compute stand side by side, and those that wait."""
    if config.option.markexpr == "slow":
        items.sort(key=lambda item: (item.path.name != LONGEST, crc32(item.nodeid.encode())))


class _Together(LoadScopeScheduling):
    """Gives tests that share something costly to one process: a lab, a PowerShell, what a module makes once."""

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.partition("::")[0])
        if file.name.startswith("test_windows_"):
            return "one PowerShell"
        return nodeid if file.name in APART else str(file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """Schedule ``--dist loadscope`` by what tests share."""
    return _Together(config, log) if config.option.dist == "loadscope" else None


@cache
def _why_no_sandbox() -> str | None:
    """Try a sandbox, once in a process and only where a test needs one."""
    from fleet.lab.guests import sandbox

    return sandbox.supported()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a sandbox where there is none, before its fixtures are made."""
    if item.get_closest_marker("sandbox") and (reason := _why_no_sandbox()):
        pytest.skip(f"no sandboxes: {reason}")


class _Writer:
    output_size = 0


class _Compatible(ClientResponse):
    """aioresponses 0.7.9 does not hand over the ``stream_writer`` that aiohttp 3.14 asks for."""

    def __init__(self, *args: Any, **named: Any) -> None:
        named.setdefault("stream_writer", _Writer())
        super().__init__(*args, **named)


if "stream_writer" in inspect.signature(ClientResponse.__init__).parameters:
    aioresponses.core.ClientResponse = _Compatible  # type: ignore[misc]


@pytest.fixture
def unpatched_aioresponses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take the shim away, to see whether it is still needed."""
    monkeypatch.setattr(aioresponses.core, "ClientResponse", ClientResponse)
    yield


def pytest_configure() -> None:
    """Take signals again where the shell that started the tests in the background had them ignored: programs inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform != "win32" and signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
