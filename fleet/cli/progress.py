"""The live picture of a run on a terminal: drawn at most four times a second, never in a pipe.

What it shows is counted as events arrive; drawing costs the same for ten jobs and for a hundred thousand.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from fleet.cli.finished_jobs import Endings
from fleet.clock import wall_time
from fleet.report.safe import terminal
from fleet.report.words import duration, plural
from fleet.run.eta import Outlook, outlook
from fleet.run.events import Event
from fleet.run.holdup import Holdup
from fleet.run.limits import ARM_WRITES
from fleet.run.model import FAILURES, NOT_REACHED, Phase, Status
from fleet.run.state import Run
from fleet.run.stragglers import stragglers
from fleet.run.waits import lease_waits

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live

FRAMES = 4
SEEK_STRAGGLERS = 2.0
"""Seconds."""
RECENT = 30.0
"""Seconds over which the rate is told."""
LONGEST_BAR = 40

NOTICES = (
    "stopping: nothing more is sent, and what runs is awaited; again: cancel what can be cancelled",
    "cancelling what can be cancelled while Azure answers, then leaving; again: leave at once",
    "leaving at once; what was running is looked up by fleet resume",
)
"""What the first, second and third interrupt do."""


class Progress:
    """Shows wave, counts, rate, time left and API budget while a run goes on. Use as a context manager."""

    def __init__(self, run: Run, *, enabled: bool) -> None:
        self._run = run
        self._endings = Endings(run)
        self._tally = Counter(_kind(state.outcome.status) for state in run.jobs if state.outcome is not None)
        self._ends: deque[float] = deque()
        self._began = wall_time()
        self._notice = ""
        self._sought = 0.0
        self._stragglers: list[str] = []
        self._waits: list[str] = []
        self._outlook: Outlook | None = None
        self._console: Console | None = None
        self._live: Live | None = None
        if enabled:
            from rich.console import Console
            from rich.live import Live

            self._console = Console(file=sys.stderr)
            self._live = Live(
                console=self._console, get_renderable=self._picture, refresh_per_second=FRAMES, transient=True
            )

    def __enter__(self) -> Progress:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Take the picture away and give the cursor back."""
        if self._live is not None:
            self._live.stop()

    def observe(self, event: Event) -> None:
        """Count what ended."""
        for job in self._endings.since(event):
            outcome = self._run.jobs[job].outcome
            assert outcome is not None and self._run.jobs[job].phase is Phase.DONE
            self._tally[_kind(outcome.status)] += 1
            self._ends.append(event.at)

    def interrupted(self, times: int) -> None:
        """Say what the interrupt did and what the next one would do."""
        self._notice = NOTICES[min(times, len(NOTICES)) - 1]
        if self._live is None:
            print(self._notice, file=sys.stderr, flush=True)

    def _picture(self) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        run, width = self._run, self._console.width if self._console is not None else 80
        total = max(len(run.jobs), 1)
        head, tail = self._wave(), f"{run.done:,}/{total:,} ({run.done * 100 // total}%)"
        bar = Table.grid(padding=(0, 1))
        room = max(min(LONGEST_BAR, width - len(head) - len(tail) - 3), 1)
        bar.add_row(Text(head), ProgressBar(total=total, completed=run.done, width=room), Text(tail))
        self._look_around(wall_time())
        lines: list[Table | Text] = [
            bar,
            Text(fitting(self._counts(), width)),
            Text(fitting(self._pace(), width), style="dim"),
        ]
        if slow := self._slow(width):
            lines.append(Text(slow, style="yellow"))
        lines += [Text(line[:width], style="yellow") for line in self._waits]
        if self._notice:
            lines.append(Text(self._notice, style="yellow"))
        return Group(*lines)

    def _wave(self) -> str:
        run, count = self._run, len(self._run.plan.waves)
        if run.done == len(run.jobs):
            return "cleaning up"
        if run.control.paused is not None:
            return "paused"
        if run.awaiting is not None:
            return f"wave {run.awaiting + 1} awaits fleet approve {run.run_id}"
        if run.asking.calls:
            return f"asking whether wave {run.wave + 2} may go"
        if run.is_looked_at:
            return f"health of wave {run.wave + 1}/{count}"
        if (until := run.settles_until) is not None and (left := until - wall_time()) > 0:
            return f"wave {run.wave + 1}/{count} settles, {duration(left)} left"
        return f"wave {max(run.wave, 0) + 1}/{count}" if count > 1 else "running"

    def _counts(self) -> list[str]:
        always = ("succeeded", "failed")
        parts = [f"{self._tally[name]:,} {name}" for name in KINDS if self._tally[name] or name in always]
        return [*parts, f"{self._run.in_flight:,} in flight"]

    def _slow(self, width: int) -> str:
        """Name the stragglers."""
        return fitting(self._stragglers, width)

    def _look_around(self, now: float) -> None:
        """Find stragglers, what waits, and what is left to do, every other second: every job is looked at for it."""
        if now - self._sought >= SEEK_STRAGGLERS:
            self._sought, self._stragglers, self._outlook = now, slow_jobs(self._run, now), outlook(self._run, now)
            self._waits = waiting_jobs(self._run)

    def _pace(self) -> list[str]:
        now = wall_time()
        while self._ends and self._ends[0] <= now - RECENT:
            self._ends.popleft()
        rate = len(self._ends) / max(min(now - self._began, RECENT), 1.0)
        parts = [f"{duration(now - self._began)} so far", f"{rate:.1f} jobs/s"]
        if self._outlook is not None:
            left = max(self._outlook.seconds - (now - self._sought), 0.0)
            parts.append(f"about {duration(left)} left" + (" without stragglers" if self._outlook.stragglers else ""))
        if held := held_back(self._run, now):
            parts.append(held)
        budget = self._run.call_budget(now)
        parts.append(f"API budget {min(budget, ARM_WRITES[0])}/{ARM_WRITES[0]} writes")
        return parts


def held_back(run: Run, now: float) -> str:
    """Say what holds the pace back, and what would change it; empty where nothing does but the scripts themselves."""
    at_once = run.in_flight
    match run.holdup(now):
        case Holdup.BUDGET:
            wider = max(20, 2 * at_once)
            names = ("max_failures", run.limits.max_failures), ("max_unreachable", run.limits.max_unreachable)
            needed = " and ".join(
                f"{name} {wider - 1:,}" for name, most in names if most is not None and most < wider - 1
            )
            return (
                f"held back by the budget ({wider:,} at once would need {needed})"
                if needed
                else "held back by the budget"
            )
        case Holdup.SLOW_START:
            return "slow start"
        case Holdup.RATE:
            return f"held back by the rate: {run.plan.limits.rate}"
        case Holdup.CONCURRENCY:
            return f"held back by the concurrency (fleet tune {run.run_id} -f {2 * at_once})"
        case Holdup.STEP:
            return "held back by a step's own concurrency"
        case Holdup.SPREAD:
            return "held back by the spread over groups"
        case Holdup.WRITES | Holdup.READS as limit:
            return f"held back by Azure's limit of {limit.split()[1]}"
        case _:
            return ""


def slow_jobs(run: Run, now: float) -> list[str]:
    """Say how many jobs run far longer than their like, then each of them by name and age; empty if none does."""
    found = stragglers(run.jobs, now)
    if not found:
        return []
    head = f"{plural(len(found), 'straggler')} (usual: {duration(found[0].usual)}; fleet probe looks at them)"
    named = [f"{run.jobs[slow.job].job.target.name} {duration(slow.age)}" for slow in found]
    return [head, *map(terminal, named)]


WAITS_SHOWN = 3


def waiting_jobs(run: Run) -> list[str]:
    """Say which VMs wait for which other runs, at most so many of these."""
    found = lease_waits(run.jobs)
    more = [f"and for {plural(len(found) - WAITS_SHOWN, 'other run')}"] if len(found) > WAITS_SHOWN else []
    return [*(terminal(str(wait)) for wait in found[:WAITS_SHOWN]), *more]


def fitting(parts: Sequence[str], width: int) -> str:
    """Join as many parts as a line of ``width`` columns takes, the first ones first."""
    line = ""
    for part in parts:
        longer = f"{line} · {part}" if line else part
        if len(longer) > width:
            break
        line = longer
    return line


KINDS = ("succeeded", "failed", "not reached", "not run")


def _kind(status: Status) -> str:
    if status is Status.SUCCEEDED:
        return "succeeded"
    if status in FAILURES:
        return "failed"
    return "not reached" if status in NOT_REACHED else "not run"
