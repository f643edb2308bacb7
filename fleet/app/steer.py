"""Giving a directive to a run, whoever holds it: its owner through its folder, or, where there is none, its journal."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from secrets import token_hex

from fleet.clock import SystemClock
from fleet.engine.run_store import Directives, RunStore, Takeover
from fleet.errors import Refused, StateError
from fleet.run.directives import sentence
from fleet.run.events import Directive
from fleet.run.state import Run

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


def wave_to_decide(run: Run) -> int:
    """Return the index of the wave that waits for approval and that this user may decide about. Raises Refused."""
    if run.awaiting is None:
        hint = f"fleet show {run.run_id} shows how it stands"
        raise Refused(f"run {run.run_id} does not wait for approval", hint=hint, code="no_approval_awaited")
    allowed = [name for gate in run.plan.gates if gate.wave == run.awaiting and gate.is_approval for name in gate.by]
    if allowed and user() not in allowed:
        message = f"{user()} may not decide about wave {run.awaiting + 1} of run {run.run_id}"
        raise Refused(message, hint=f"ask {' or '.join(allowed)}", code="not_an_approver")
    return run.awaiting


async def direct(store: RunStore, run_id: str, event: Directive, patience: float = PATIENCE) -> Told:
    """Have a directive journalled: by the process that carries the run out, or here where none does.

    Raises StateError ``no_answer`` where the owner does not answer for ``patience`` seconds; then the directive is
    withdrawn.
    """
    (told,) = await direct_all(store, run_id, (event,), patience)
    return told


async def direct_all(
    store: RunStore, run_id: str, events: Sequence[Directive], patience: float = PATIENCE
) -> tuple[Told, ...]:
    """Have several directives journalled together; otherwise as :func:`direct`."""
    directives = store.directives(run_id)
    loop = asyncio.get_running_loop()
    end = loop.time() + patience
    answers: dict[str, str] = {}
    left = False
    while loop.time() < end:
        if left and (told := await _told(directives, events, answers)) is not None:
            return told
        try:
            now = SystemClock().now()
            taken = await store.take_over(run_id, owner=asker(), now=now)
        except StateError as error:
            if error.code != "run_is_live":
                raise
            if not left:
                for event in events:
                    await directives.leave(event)
                left = True
            await asyncio.sleep(LOOK_EVERY)
            continue
        await _withdraw(directives, events)
        await _append(taken, events, now)
        return tuple(Told(sentence(event), live=False) for event in events)
    await _withdraw(directives, events)
    if (told := await _told(directives, events, answers)) is not None:  # it came after the last look
        return told
    raise StateError(
        f"the process that carries run {run_id} out did not answer",
        hint="look whether it hangs; nothing was changed",
        code="no_answer",
    )


async def _told(
    directives: Directives, events: Sequence[Directive], answers: dict[str, str]
) -> tuple[Told, ...] | None:
    """What the owner answered, once it has answered all; ``answers`` keeps those that came."""
    for event in events:
        if event.directive not in answers and (answer := await directives.answered(event.directive)) is not None:
            answers[event.directive] = answer
    if len(answers) < len(events):
        return None
    return tuple(Told(answers[event.directive], live=True) for event in events)


async def _append(taken: Takeover, events: Sequence[Directive], now: float) -> None:
    """Journal those that an owner that has ended did not journal already."""
    try:
        known = {getattr(kept, "directive", "") for kept in taken.events}
        at = max(now, *(kept.at for kept in taken.events[-1:]), 0.0)
        fresh = [replace(event, at=at) for event in events if event.directive not in known]
        if fresh:
            await taken.journal.append(fresh)
    finally:
        await taken.journal.close()


async def _withdraw(directives: Directives, events: Sequence[Directive]) -> None:
    for event in events:
        await directives.withdraw(event.directive)
