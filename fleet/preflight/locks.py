"""Locks on the targets, which make Azure refuse what a run sends, or keep what it leaves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fleet.plan.model import Plan
from fleet.plan.transport import is_action
from fleet.preflight.finding import Check, Finding, Level
from fleet.targets.glob import same_case
from fleet.targets.model import Target

READ_ONLY, NO_DELETE = "readonly", "cannotdelete"


@dataclass(frozen=True, slots=True)
class Lock:
    """One lock: its name, its level as Azure writes it, and the id of what it holds."""

    name: str
    level: str
    place: str


@dataclass(frozen=True, slots=True)
class Locks:
    """The locks in a subscription; None where they could not be read, and why not."""

    subscription: str
    locks: tuple[Lock, ...] | None
    why: str = ""


def examine(plan: Plan, known: Iterable[Locks]) -> Iterator[Finding]:
    """Say which locks refuse the plan's commands on a target, and which keep its managed commands there."""
    told = {same_case(item.subscription): item for item in known}
    leaves = any(not (is_action(step, plan.transport) or step.properties.command) for step in plan.steps)
    for target in plan.targets:
        item = told.get(same_case(target.subscription))
        if item is None:
            continue
        if item.locks is None:
            hint = "reading them needs Microsoft.Authorization/locks/read"
            yield Finding(Check.LOCKS, Level.UNCHECKED, f"locks could not be read: {item.why}", hint, targets=(target,))
            continue
        yield from _on(target, [lock for lock in item.locks if _holds(lock, target)], leaves)


def _holds(lock: Lock, target: Target) -> bool:
    return f"{target.key}/".startswith(f"{same_case(lock.place).rstrip('/')}/")


def _on(target: Target, locks: Sequence[Lock], leaves: bool) -> Iterator[Finding]:
    found = False
    for lock in locks:
        what = f"lock {lock.name} ({lock.level}) on {_kind_of(lock.place)}"
        if same_case(lock.level) == READ_ONLY:
            text, hint = (
                f"{what}: Azure refuses the commands (ScopeLocked)",
                "remove the lock for the run, or leave out",
            )
            yield Finding(Check.LOCKS, Level.UNREACHABLE, text, hint, targets=(target,))
            found = True
        elif same_case(lock.level) == NO_DELETE and leaves:
            text = f"{what}: managed commands stay on the VM, which holds 25, until the lock is gone"
            hint = (
                "remove the lock for the run, or use --transport action; fleet commands delete --leftovers removes them"
            )
            yield Finding(Check.LOCKS, Level.NOTE, text, hint, targets=(target,))
            found = True
    if not found:
        yield Finding(Check.LOCKS, Level.OK, "no lock stands in the way", targets=(target,))


def _kind_of(place: str) -> str:
    """Say what a lock holds: the subscription, a group, or the machine."""
    parts = place.strip("/").split("/")
    if len(parts) <= 2:
        return "the subscription"
    return f"resource group {parts[3]}" if len(parts) == 4 else "the machine"
