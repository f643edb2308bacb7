"""Giving a directive to a run, whoever holds it: its owner through its folder, or, where there is none, its journal."""

from __future__ import annotations

import asyncio
import getpass
import socket
from dataclasses import dataclass, replace

from fleet.clock import SystemClock
from fleet.config import Config
from fleet.errors import StateError
from fleet.run.control import sentence
from fleet.run.events import Directive
from fleet.store import journal as journals
from fleet.store.directives import Directives
from fleet.store.runs import RunsFolder

PATIENCE = 20.0
"""Seconds to wait for an answer of a run's owner, who looks twice a second."""

LOOK_EVERY = 0.1


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a directive. ``live`` says whether a process carries the run out and has taken it up."""

    text: str
    live: bool


def asker(name: str | None = None) -> str:
    """Who gives a directive: the user of this machine, with the name they give themselves."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    place = f"{user}@{socket.gethostname()}"
    return f"{name} ({place})" if name else place


async def direct(config: Config, run_id: str, event: Directive, patience: float = PATIENCE) -> Told:
    """Have a directive journalled: by the process that carries the run out, or here where none does.

    Raises StateError ``no_answer`` where the owner does not answer for ``patience`` seconds; then the directive is
    withdrawn.
    """
    folder = RunsFolder(config.state_dir).folder(run_id)
    directives = Directives(folder)
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    left = False
    while loop.time() < end:
        if left and (answer := directives.answered(event.directive)) is not None:
            return Told(answer, live=True)
        try:
            now = SystemClock().now()
            opened = journals.open_for_writing(folder, owner=asker(), now=now)
        except StateError as error:
            if error.code != "run_is_live":
                raise
            if not left:
                directives.leave(event)
                left = True
            await asyncio.sleep(LOOK_EVERY)
            continue
        directives.withdraw(event.directive)
        try:
            if event.directive not in {getattr(kept, "directive", "") for kept in opened.events}:
                await opened.journal.append(
                    [replace(event, at=max(now, *(kept.at for kept in opened.events[-1:]), 0.0))]
                )
        finally:
            await opened.journal.close()
        return Told(sentence(event), live=False)
    directives.withdraw(event.directive)
    if (answer := directives.answered(event.directive)) is not None:  # it came after the last look
        return Told(answer, live=True)
    raise StateError(
        f"the process that carries run {run_id} out did not answer",
        hint="look whether it hangs; nothing was changed",
        code="no_answer",
    )
