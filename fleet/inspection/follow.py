"""Follows what a running script prints: asks its VM for what lies behind the last byte that was shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fleet.clock import Clock
from fleet.engine.ports import Cloud
from fleet.engine.turns import SharedRates
from fleet.guest.live import News, Part, Since, follower, read_news
from fleet.guest.spool import Absence, Stream
from fleet.inspection.paced import PacedCloud
from fleet.inspection.query import GuestQuery, QueryFailed, Question, Source
from fleet.run.model import Cause, CauseCode
from fleet.targets.model import Os

INTERVAL = 30.0
"""Seconds between questions in the long run: each starts and deletes a command, and a VM has four such calls a minute
beside twelve at first (documented)."""

AT_FIRST = 4
"""Questions that may follow one another at once: eight of the twelve calls. The others are the run's."""

WAIT = 15
"""Seconds that a question waits inside the VM for something new."""


@dataclass(slots=True)
class Places:
    """How far each stream has been shown. Writes nothing twice."""

    streams: tuple[Stream, ...]
    shown: dict[Stream, int] = field(default_factory=dict)

    def since(self, key: str, wait: int, nonce: str) -> Since:
        """What to ask for next."""
        out, err = (self.shown.get(stream, 0) if stream in self.streams else None for stream in Stream)
        return Since(key, out, err, wait, nonce)

    def advance(self, stream: Stream, part: Part) -> tuple[int, bytes]:
        """Take a part: how many bytes were left out before it, and what is new of it."""
        at = self.shown.get(stream, 0)
        left_out = max(part.start - at, 0)
        new = part.data[max(at - part.start, 0) :]
        self.shown[stream] = max(part.end, at)
        return left_out, new

    def all_shown(self, news: News) -> bool:
        """Whether nothing is left of what these news say has come."""
        return all(self.shown.get(stream, 0) >= news.of(stream).total for stream in self.streams)


class Follower:
    """Asks one VM, no more often than the service lets it. ``nonce`` gives fresh hex for each question."""

    def __init__(self, cloud: Cloud, shared: SharedRates, clock: Clock, nonce: Callable[[], str]) -> None:
        self._asker = GuestQuery(PacedCloud(cloud, shared), nonce)
        self._clock = clock
        self._full = 0.0

    def ready_at(self) -> float:
        """The moment (epoch seconds) from which on the next question may be asked."""
        return self._full - (AT_FIRST - 1) * INTERVAL

    async def news(self, source: Source, places: Places) -> News | None:
        """Ask once what is new; None where the script has not begun. Raises QueryFailed, AzureUnusable."""
        self._full = max(self._full, self._clock.now()) + INTERVAL
        wait = WAIT if places.shown else 0

        def question(nonce: str) -> Question[News]:
            since = places.since(source.key, wait, nonce)
            script = follower(since, windows=source.target.os is Os.WINDOWS)
            return Question(nonce, script, lambda message: read_news(message, since))

        found = await self._asker.ask(source, question)
        if not isinstance(found, Absence):
            return found
        if places.shown:
            hint = "the VM forgot it: was its disk replaced?"
            raise QueryFailed(Cause(CauseCode.OPERATION_GONE, "the VM does not keep this output any more", hint))
        return None
