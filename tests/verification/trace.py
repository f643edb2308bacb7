"""One seed told event by event, by the disk, the wire and the guests: for whoever must find out why it failed."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.codec import encode
from tests.verification.call import NO_JOB
from tests.verification.history import Departure, History
from tests.verification.invariants import check
from tests.verification.scenario import Scenario
from tests.verification.world import live


def trace(scenario: Scenario, *, events: bool) -> tuple[str, tuple[str, ...]]:
    """Live a scenario; return its story as text, with or without every event, and what did not hold."""
    history = live(scenario)
    lines = [*_what(scenario), *(_story(history) if events else ()), *_ends(history)]
    return "\n".join(lines) + "\n", tuple(str(breach) for breach in check(history))


def _what(scenario: Scenario) -> list[str]:
    plan = scenario.plan
    faults = ", ".join(f"{fault.value} {rate:.0%}" for fault, rate in scenario.rates.items() if rate)
    lines = [
        f"seed {scenario.seed}: {len(plan.targets)} VMs, {len(plan.steps)} steps, {len(plan.waves)} waves, "
        f"{plan.transport.value}, receipts {'on' if plan.receipts else 'off'}{', SQLite' if scenario.sqlite else ''}",
        f"limits: {encode(plan.limits)}",
        f"faults: {faults or 'none'}",
    ]
    if scenario.endings:
        ways = ", ".join(f"{ending.value} {chance:.0%}" for ending, chance in scenario.endings.items())
        lines.append(f"ends reported as: {ways}")
    lines += [f"{name} in the lists: {wrong.value}" for name, wrong in scenario.misread.items()]
    lines += [f"life {number}: {encode(item)}" for number, item in enumerate(scenario.interruptions, 1)]
    return lines + [f"at {event.at:.1f} s: VM {event.vm} {event.what.value}" for event in scenario.happenings]


def _story(history: History) -> list[str]:
    names = {target.key: target.name for target in history.plan.targets}
    told = [
        (kept.at, f"disk {kept.epoch}", f"{type(kept.event).__name__} {_short(encode(kept.event))}")
        for kept in history.kept
    ]
    told += [(gone.at, f"wire {gone.epoch}", f"{gone.kind} of {_whose(gone, names)}: {gone.answered or 'no answer'}")
             for gone in history.departures]  # fmt: skip
    told += [(run.at, "guest", f"job {run.job} {'runs' if run.fresh else 'is answered from what is kept'}, "
              f"exit {run.exit_code}") for run in history.deliveries]  # fmt: skip
    return [f"{at - history.began:10.2f}  {who:8}{what}" for at, who, what in sorted(told, key=lambda item: item[0])]


def _said(history: History, number: int) -> str:
    """How the end of a job was reported, where it was not the plain truth."""
    ways = sorted({ending.value for (job, _), said in history.said.items() if job == number for ending in said})
    return f"; reported as {', '.join(ways)}" if ways else ""


def _whose(gone: Departure, names: Mapping[str, str]) -> str:
    return f"job {gone.job}" if gone.job != NO_JOB else names.get(gone.target, "nobody")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 300 else f"{text[:300]}..."


def _ends(history: History) -> list[str]:
    rows = [
        f"job {number}: {row.name} {row.step}: {row.status.value} ({row.cause.code.value}), exit {row.exit_code}, "
        f"{row.attempts} attempts{_said(history, number)}"
        for number, row in enumerate(history.rows)
    ]
    return [*rows, f"{history.owners} owners, {history.ended - history.began:.1f} s of virtual time"]
