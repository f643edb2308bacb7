"""What is measured, the values that come out, and the tables that show them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

LENGTHS: dict[str, Callable[[random.Random], float]] = {
    "20 s": lambda rng: 20.0,
    "lognormal, 30 s": lambda rng: rng.lognormvariate(3.4, 0.4),
    "98 % 25 s, 2 % 240 s": lambda rng: 25.0 if rng.random() < 0.98 else 240.0,
}
"""How long the scripts take: all alike, spread, and with a heavy tail."""

CONSTANT = "20 s"
SUBSCRIPTIONS = 4
GROUPS = "rg-even", "rg-odd"
FLEET, MINIMAL, SDK = "Fleet", "hand-written aiohttp", "azure-mgmt-compute aio"


def subscription_of(index: int) -> str:
    """Return the subscription of a VM by its number."""
    return f"00000000-0000-4000-8000-{index % SUBSCRIPTIONS:012}"


@dataclass(frozen=True)
class Case:
    """One run to measure."""

    client: str = FLEET
    vms: int = 500
    lengths: str = CONSTANT
    transport: str = "action"
    throttled: bool = True
    later: bool = False
    """A later run of the same script; for the hand-written client: it is told how long the script takes."""
    trouble: str = ""
    """What is done to the process while it runs."""

    @property
    def name(self) -> str:
        """The case in words, without its size."""
        words = [self.client, self.transport if self.client == FLEET else "", self.trouble]
        if self.later:
            words.append("later run" if self.client == FLEET else "told the length")
        return ", ".join(filter(None, words))


@dataclass(frozen=True)
class Measured:
    """How one run went. Seconds; ``requests`` are those of a VM; CPU and memory only where a process was measured."""

    case: Case
    wall: float
    bound: float
    requests: float
    lag_p50: float
    lag_p95: float
    refused_writes: int
    refused_reads: int
    wrong: int
    twice: int
    lost: int
    end: float = 0.0
    """When the run ended, its managed commands deleted; in virtual time only: a process's wall has it in it."""
    cpu: float = 0.0
    rss_mb: float = 0.0
    server_share: float = 0.0
    """The part of one core that the server took."""
    load: float = 0.0
    """How many processes wanted a core in the last minute of the run, ours among them."""

    @property
    def ratio(self) -> float:
        """Wall by bound."""
        return self.wall / self.bound

    @property
    def per_request(self) -> float:
        """Milliseconds of CPU for each request."""
        return 1000 * self.cpu / (self.requests * self.case.vms)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` of the values do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


_COMMON = ("wall s", "x bound", "requests/VM", "lag p50 / p95 s", "429s write / read", "wrong VM", "twice", "lost")


def virtual_table(found: Iterable[Measured]) -> str:
    """Show the runs in virtual time."""
    rows = [[*_what(one), f"{one.bound:.1f}", *_common(one), f"{one.end:.1f}"] for one in found]
    return table(("VMs", "scripts", "ARM's limits", "transport", "run", "bound s", *_COMMON, "deleted s"), rows, left=5)


def process_table(found: Sequence[Measured]) -> str:
    """Show the real processes, each beside the hand-written client that did the same in the same sitting."""
    rows = []
    for one in found:
        other = partner(one, found)
        ratios = (
            ("", "") if other is None else (f"{one.cpu / other.cpu:.2f}", f"{one.per_request / other.per_request:.2f}")
        )
        rows.append(
            [
                f"{one.case.vms:,}",
                _on(one),
                one.case.name,
                *_common(one),
                f"{one.cpu:.1f}",
                f"{1000 * one.cpu / one.case.vms:.2f}",
                f"{one.per_request:.2f}",
                *ratios,
                f"{one.rss_mb:.0f}",
                f"{100 * one.server_share:.0f} %",
                f"{one.load:.0f}" if one.load else "",
            ]
        )
    own = ("CPU s", "ms/VM", "ms/request", "x hand-written", "x per request", "RSS MB", "server's core", "load")
    return table(("VMs", "ARM's limits", "client", *_COMMON, *own), rows, left=3)


def partner(one: Measured, found: Iterable[Measured]) -> Measured | None:
    """Return the hand-written client's run to which a run is compared: as many VMs, the same limits, as much known."""
    if one.case.client == MINIMAL or one.case.trouble:
        return None
    same = [
        other
        for other in found
        if other.case.client == MINIMAL and (other.case.vms, other.case.throttled) == (one.case.vms, one.case.throttled)
    ]
    return next((other for other in same if other.case.later == one.case.later), same[0] if same else None)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int) -> str:
    """Return a table in Markdown; the first ``left`` columns are text."""
    marks = ["---"] * left + ["--:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, marks, *rows))


def _common(one: Measured) -> list[str]:
    return [
        f"{one.wall:.1f}",
        f"{one.ratio:.2f}",
        f"{one.requests:.2f}",
        f"{one.lag_p50:.1f} / {one.lag_p95:.1f}",
        f"{one.refused_writes:,} / {one.refused_reads:,}",
        *(f"{count:,}" for count in (one.wrong, one.twice, one.lost)),
    ]


def _what(one: Measured) -> tuple[str, ...]:
    case = one.case
    return f"{case.vms:,}", case.lengths, _on(one), case.transport, "later" if case.later else "first"


def _on(one: Measured) -> str:
    return "on" if one.case.throttled else "off"
