"""Many seeds over several processes, the seeds that ever failed first."""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from fleet.documents.files import read_text
from fleet.errors import InvalidInput, Problem
from fleet.rehearsal.faults import Fault
from tests.verification.endings import Ending
from tests.verification.history import History
from tests.verification.invariants import check
from tests.verification.labs import SIZES, Sizes
from tests.verification.scenario import Blow, Interruption, Moment, Scenario, draw
from tests.verification.world import live

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one seed went: what was breached, and how much was simulated."""

    seed: int
    breaches: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    """Of virtual time."""


@dataclass(slots=True)
class Tally:
    """What many seeds came to."""

    seeds: int = 0
    failed: list[Verdict] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, verdict: Verdict) -> None:
        self.seeds += 1
        self.counts.update(verdict.counts)
        self.seconds += verdict.seconds
        if verdict.breaches:
            self.failed.append(verdict)


def judge(seed: int, rates: Mapping[Fault, float] | None = None, sizes: Sizes = SIZES) -> Verdict:
    """Live the scenario of a seed, and say what did not hold."""
    return judge_scenario(draw(seed, rates, sizes))


def judge_scenario(scenario: Scenario) -> Verdict:
    """Live a scenario, and say what did not hold. A simulation that breaks down has failed, too."""
    try:
        history = live(scenario)
        breaches = tuple(str(breach) for breach in check(history))
    except Exception:
        return Verdict(scenario.seed, (f"the simulation broke down: {traceback.format_exc()}",))
    counts = {
        "targets": len(history.plan.targets),
        "jobs": len(history.rows),
        "requests": len(history.departures),
        **{f"requests met by {fault.value}": history.met[fault] for fault in Fault},
        "events on disk": len(history.kept),
        "scripts run": sum(delivery.fresh for delivery in history.deliveries),
        "deliveries answered from what a guest had kept": sum(not delivery.fresh for delivery in history.deliveries),
        "owners": history.owners,
        "entries of lists that could not be read": len(history.unlisted),
        **{f"ends reported as {ending.value}": count for ending, count in _said(history).items()},
        **{f"rows {row.status.value}": 0 for row in history.rows},
    }
    for row in history.rows:
        counts[f"rows {row.status.value}"] += 1
    return Verdict(scenario.seed, breaches, counts, history.ended - history.began)


def _said(history: History) -> Counter[Ending]:
    return sum(history.said.values(), Counter())


def judge_all(
    seeds: Sequence[int],
    processes: int | None = None,
    rates: Mapping[Fault, float] | None = None,
    sizes: Sizes = SIZES,
) -> Iterator[Verdict]:
    """Judge seeds side by side, and yield each verdict as it comes."""
    yield from _side_by_side(partial(judge, rates=rates, sizes=sizes), seeds, processes)


def judge_kills(base: Scenario, processes: int | None = None) -> Iterator[Verdict]:
    """Kill a run at every write to its journal: before it, after each number of its events, and after it.

    A verdict's seed is the number of the write.
    """
    calm = live(base)
    writes = len({kept.at for kept in calm.kept if kept.epoch == 1}) + 5
    shares = (0.25, 0.5, 0.75)
    blows = [
        Interruption(Blow.KILLED_IN_WRITE, write=write, moment=moment, share=share)
        for write in range(1, writes + 1)
        for moment, share in ((Moment.BEFORE, 0.0), *((Moment.TORN, share) for share in shares), (Moment.AFTER, 1.0))
    ]
    yield from _side_by_side(partial(_judge_kill, base), blows, processes)


def _judge_kill(base: Scenario, blow: Interruption) -> Verdict:
    return replace(judge_scenario(replace(base, interruptions=(blow,))), seed=blow.write)


def _side_by_side(work: Callable[[T], Verdict], items: Sequence[T], processes: int | None) -> Iterator[Verdict]:
    wanted = processes or os.cpu_count() or 1
    if wanted == 1 or len(items) < 4:
        yield from map(work, items)
        return
    with multiprocessing.get_context("spawn").Pool(min(wanted, len(items)), _spare_the_collector) as pool:
        yield from pool.imap_unordered(work, items, chunksize=max(1, min(25, len(items) // (wanted * 4))))


def _spare_the_collector() -> None:
    """Let it not look through the program itself again and again: a worker lives long, and a scenario leaves little."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def read_corpus(path: Path) -> tuple[int, ...]:
    """The seeds of a corpus file. Raises InvalidInput for a line that is none."""
    seeds, problems = [], []
    for number, line in enumerate(read_text(path, "the corpus").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if re.fullmatch(r"\d{1,18}", text):
            seeds.append(int(text))
        elif text:
            problems.append(Problem("bad_corpus", f"{text!r} is not a seed", str(path), number, 1))
    if problems:
        raise InvalidInput(problems)
    return tuple(seeds)


def keep(path: Path, failed: Iterable[Verdict]) -> None:
    """Add seeds that failed to a corpus, each with the invariant that did not hold."""
    known = set(read_corpus(path)) if path.exists() else set()
    lines = [
        f"{verdict.seed}  # {verdict.breaches[0].splitlines()[0][:100]}\n"
        for verdict in failed
        if verdict.seed not in known
    ]
    with path.open("a", encoding="utf-8") as file:
        file.writelines(lines)
