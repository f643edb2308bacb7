"""What differs between two runs, and between the hosts of one run."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from fleet.report.model import JobRow, Report
from fleet.report.normal import DEFAULT, Rule, mask
from fleet.run.model import Status
from fleet.targets.folding import fold
from fleet.targets.glob import same_case


class Kind(StrEnum):
    """How a row changed from one run to the next, worst first."""

    NEW_FAILURE = "new_failure"
    """Succeeded before, and does not now."""
    STILL_FAILING = "still_failing"
    """Did not succeed before, and does not now in another way."""
    MISSING = "missing"
    """In the first run only."""
    NEW = "new"
    """In the second run only."""
    FIXED = "fixed"
    """Did not succeed before, and does now."""
    CHANGED = "changed"
    """Succeeded in both, with other output."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """Targets that differ in the same way. ``lines`` is a unified diff of masked output, without its head."""

    kind: Kind
    step: str
    names: str
    count: int
    before: str
    after: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Minority:
    """Targets of one run whose masked answer differs from the step's majority."""

    step: str
    names: str
    count: int
    of: int
    status: Status
    majority: Status
    lines: tuple[str, ...]


def between_runs(old: Report, new: Report, rules: Sequence[Rule] = DEFAULT) -> tuple[Deviation, ...]:
    """Return what changed from one run to another, targets that changed alike together, worst kinds first."""
    before = {_key(row): row for row in old.jobs}
    after = {_key(row): row for row in new.jobs}
    groups: dict[tuple[Kind, str, str, str, tuple[str, ...]], list[str]] = defaultdict(list)
    for key in [*before, *(key for key in after if key not in before)]:
        was, now = before.get(key), after.get(key)
        kind = _kind(was, now, rules)
        if kind is not None:
            row = now or was
            assert row is not None
            lines = _diff(was, now, rules) if was and now else ()
            groups[kind, row.step, _state(was), _state(now), lines].append(row.name)
    found = [
        Deviation(kind, step, fold(names), len(names), then, now, lines)
        for (kind, step, then, now, lines), names in groups.items()
    ]
    order = list(Kind)
    return tuple(sorted(found, key=lambda item: (order.index(item.kind), item.step, -item.count, item.names)))


def between_hosts(report: Report, rules: Sequence[Rule] = DEFAULT) -> tuple[Minority, ...]:
    """Return, step by step, the targets that answered otherwise than most, the smallest groups first."""
    found: list[Minority] = []
    for step in dict.fromkeys(row.step for row in report.jobs):
        rows = [row for row in report.jobs if row.step == step]
        groups: dict[tuple[str, str], list[JobRow]] = defaultdict(list)
        for row in rows:
            groups[_state(row), _text(row, rules)].append(row)
        ranked = sorted(groups.values(), key=len, reverse=True)
        for members in reversed(ranked[1:]):
            lines = _diff(ranked[0][0], members[0], rules)
            names = fold(row.name for row in members)
            status, majority = members[0].status, ranked[0][0].status
            found.append(Minority(step, names, len(members), len(rows), status, majority, lines))
    return tuple(found)


def _key(row: JobRow) -> tuple[str, str]:
    return same_case(row.target), row.step


def _kind(was: JobRow | None, now: JobRow | None, rules: Sequence[Rule]) -> Kind | None:
    if was is None or now is None:
        return Kind.NEW if was is None else Kind.MISSING
    good, better = was.status is Status.SUCCEEDED, now.status is Status.SUCCEEDED
    if good and not better:
        return Kind.NEW_FAILURE
    if not good and better:
        return Kind.FIXED
    same = _state(was) == _state(now) and _text(was, rules) == _text(now, rules)
    if same:
        return None
    return Kind.CHANGED if better else Kind.STILL_FAILING


def _state(row: JobRow | None) -> str:
    if row is None:
        return "absent"
    code = "" if row.exit_code is None else f", exit {row.exit_code}"
    return f"{row.status.value} ({row.cause.code.value}{code})"


def _text(row: JobRow, rules: Sequence[Rule]) -> str:
    errors = "".join(f"stderr: {line}\n" for line in row.stderr.splitlines())
    return mask(row.stdout + ("" if row.stdout.endswith("\n") or not row.stdout else "\n") + errors, row, rules)


def _diff(was: JobRow, now: JobRow, rules: Sequence[Rule]) -> tuple[str, ...]:
    lines = difflib.unified_diff(_text(was, rules).splitlines(), _text(now, rules).splitlines(), lineterm="", n=1)
    return tuple(lines)[2:]
