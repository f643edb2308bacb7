"""What every test may use."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
from collections.abc import Generator, Iterator
from functools import cache
from typing import Any

import aioresponses.core
import pytest
from aiohttp import ClientResponse
from hypothesis import settings

# looptime asks for the current event loop around every test; before the first asynchronous one that would make a loop
# that is never closed. Saying that there is none makes it leave plain tests alone.
asyncio.set_event_loop(None)

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
    """Take SIGINT again where the shell that started the tests in the background had it ignored: programs inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
