"""Looks into VMs in which a script is running, and ends it on request: by a managed command beside the running one.

Several managed commands run side by side on a VM (documented), and beside an action. Nothing of this belongs to the run:
whoever drives it sees a script that was ended by looking, as it sees every end. A probe changes nothing, and ending a
process group twice ends it once, so both may be sent again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from fleet.engine.gather import gather
from fleet.engine.ports import Cloud
from fleet.engine.turns import SharedRates
from fleet.guest.probe import Findings, prober, read_report, releaser
from fleet.guest.spool import Absence, Piece, Stream, Wanted, read_piece
from fleet.inspection.paced import PacedCloud
from fleet.inspection.query import GuestQuery, QueryFailed, Question, Source
from fleet.playbook.model import Transport
from fleet.run.model import Cause, CauseCode
from fleet.run.retry import PROBE
from fleet.targets.model import Os

AT_ONCE = 16
"""VMs at a time; each costs a PUT, a DELETE and some reads."""

T = TypeVar("T")


class Script(Protocol):
    """Makes a script that asks about a delivery."""

    def __call__(self, key: str, nonce: str, *, windows: bool) -> str: ...


class Prober:
    """Asks VMs. ``nonce`` gives fresh hex for each question."""

    def __init__(self, cloud: Cloud, shared: SharedRates, nonce: Callable[[], str]) -> None:
        self._cloud = PacedCloud(cloud, shared)
        self._nonce = nonce

    async def probe(self, source: Source) -> Findings | Cause:
        """Look at a delivery and its VM; a cause says why nothing could be seen. Raises AzureUnusable."""
        return await self._ask(source, "probe", prober)

    async def free(self, source: Source) -> Findings | Cause:
        """End a delivery's script: TERM, then KILL. Raises AzureUnusable."""
        return await self._ask(source, "free", releaser)

    async def _ask(self, source: Source, purpose: str, script: Script) -> Findings | Cause:
        def question(nonce: str) -> Question[tuple[Piece, str]]:
            wanted = Wanted(source.key, Stream.STDOUT, 0, nonce)

            def read(message: str) -> tuple[Piece, str] | None:
                piece = read_piece(message, wanted)
                return (piece, nonce) if isinstance(piece, Piece) else None

            return Question(nonce, script(source.key, nonce, windows=source.target.os is Os.WINDOWS), read)

        # A VM takes one action at a time, and it may be the very one that hangs.
        beside = replace(source, transport=Transport.MANAGED)
        try:
            found = await GuestQuery(self._cloud, self._nonce, purpose, PROBE).ask(beside, question)
            assert not isinstance(found, Absence), "read() takes none for an answer"
            return read_report(*found)
        except QueryFailed as error:
            return error.cause
        except ValueError as error:
            return Cause(CauseCode.NO_ANSWER, f"what the VM answered cannot be read: {error}", "look at the VM")


async def each(items: Sequence[T], do: Callable[[T], Awaitable[None]]) -> None:
    """Do it for each, ``AT_ONCE`` at a time. Raises the first error."""
    await gather(items, do, at_once=AT_ONCE)
