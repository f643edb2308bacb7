"""Giving a directive to a run, whoever holds it: its owner through its folder, or, where there is none, its journal."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from secrets import token_hex

from fleet.clock import SystemClock
from fleet.config.load import Config
from fleet.errors import StateError
from fleet.run.directives import sentence
from fleet.run.events import Directive
from fleet.store.sqlite.directives import Directives
from fleet.store.sqlite.journal import OpenedRun, open_for_writing
from fleet.store.sqlite.runs import RunsFolder

PATIENCE = 20.0
"""Seconds to wait for an answer of a run's owner, who looks twice a second."""

LOOK_EVERY = 0.1


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a directive. ``live`` says whether a process carries the run out and has taken it up."""

    text: str
    live: bool


def user() -> str:
    """Return the name of this machine's user; one without an entry in the list of users, as in containers, has a number."""
    try:
        return getpass.getuser().encode("utf-8", "backslashreplace").decode()
    except (KeyError, OSError, ImportError):
        return f"uid-{os.getuid()}" if sys.platform != "win32" else "unknown"


def new_directive() -> str:
    """Make an id; ids sort in the order in which they were made."""
    return f"{time.time_ns():020d}-{token_hex(4)}"


def asker(name: str | None = None) -> str:
    """Who gives a directive: the user of this machine, with the name they give themselves."""
    place = f"{user()}@{socket.gethostname()}"
    return f"{name} ({place})" if name else place


async def direct(config: Config, run_id: str, event: Directive, patience: float = PATIENCE) -> Told:
    """Have a directive journalled: by the process that carries the run out, or here where none does.

    Raises StateError ``no_answer`` where the owner does not answer for ``patience`` seconds; then the directive is
    withdrawn.
    """
    (told,) = await direct_all(config, run_id, (event,), patience)
    return told


async def direct_all(
    config: Config, run_id: str, events: Sequence[Directive], patience: float = PATIENCE
) -> tuple[Told, ...]:
    """Have several directives journalled together; otherwise as :func:`direct`."""
    folder = RunsFolder(config.state_dir).folder(run_id)
    directives = Directives(folder)
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    answers: dict[str, str] = {}
    left = False
    while loop.time() < end:
        if left and (told := _told(directives, events, answers)) is not None:
            return told
        try:
            now = SystemClock().now()
            opened = open_for_writing(folder, owner=asker(), now=now)
        except StateError as error:
            if error.code != "run_is_live":
                raise
            if not left:
                _each(directives.leave, events)
                left = True
            await asyncio.sleep(LOOK_EVERY)
            continue
        _each(lambda event: directives.withdraw(event.directive), events)
        await _append(opened, events, now)
        return tuple(Told(sentence(event), live=False) for event in events)
    _each(lambda event: directives.withdraw(event.directive), events)
    if (told := _told(directives, events, answers)) is not None:  # it came after the last look
        return told
    raise StateError(
        f"the process that carries run {run_id} out did not answer",
        hint="look whether it hangs; nothing was changed",
        code="no_answer",
    )


def _told(directives: Directives, events: Sequence[Directive], answers: dict[str, str]) -> tuple[Told, ...] | None:
    """What the owner answered, once it has answered all; ``answers`` keeps those that came."""
    for event in events:
        if event.directive not in answers and (answer := directives.answered(event.directive)) is not None:
            answers[event.directive] = answer
    if len(answers) < len(events):
        return None
    return tuple(Told(answers[event.directive], live=True) for event in events)


async def _append(opened: OpenedRun, events: Sequence[Directive], now: float) -> None:
    """Journal those that an owner that has ended did not journal already."""
    try:
        known = {getattr(kept, "directive", "") for kept in opened.events}
        at = max(now, *(kept.at for kept in opened.events[-1:]), 0.0)
        fresh = [replace(event, at=at) for event in events if event.directive not in known]
        if fresh:
            await opened.journal.append(fresh)
    finally:
        await opened.journal.close()


def _each(do: Callable[[Directive], None], events: Sequence[Directive]) -> None:
    for event in events:
        do(event)
