"""What differs between two plans, and between a plan's frozen targets and what is there now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum

from fleet import codec
from fleet.plan.model import Limits, Plan, PlannedStep
from fleet.targets.model import Target


class Change(StrEnum):
    """What happened to a thing between before and after."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference: of a target, a step, a parameter, a limit, or a wave. ``what`` is a sentence's end."""

    change: Change
    kind: str
    name: str
    what: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name} {self.change.value}" + (f": {self.what}" if self.what else "")


IGNORED = frozenset({"power", "subscription_name", "availability_set", "update_domain", "fault_domain"})
"""A VM that was started, stopped or placed elsewhere meanwhile is the same target."""


def drift(frozen: Iterable[Target], present: Iterable[Target]) -> tuple[Difference, ...]:
    """Return how the targets that a selection lets in now differ from those frozen in a plan."""
    before = {target.key: target for target in frozen}
    after = {target.key: target for target in present}
    return tuple(_targets(before, after))


def differences(old: Plan, new: Plan) -> tuple[Difference, ...]:
    """Return everything that a run of the new plan would do differently from one of the old plan."""
    found = [*drift(old.targets, new.targets)]
    found += _steps(old.steps, new.steps)
    found += _values("parameter", codec.encode(old.parameters), codec.encode(new.parameters))
    found += _values("limit", _limits(old.limits), _limits(new.limits))
    found += _values("gates between waves", _gates(old), _gates(new))
    for name in ("transport", "receipts", "cloud", "strategy"):
        if getattr(old, name) != getattr(new, name):
            found.append(_changed("setting", name, getattr(old, name), getattr(new, name)))
    if not found and _waves(old) != _waves(new):
        found.append(Difference(Change.CHANGED, "rollout", "waves", "the same targets go in other waves"))
    return tuple(found)


def _targets(before: Mapping[str, Target], after: Mapping[str, Target]) -> Iterable[Difference]:
    for key, target in before.items():
        if key not in after:
            yield Difference(Change.REMOVED, "target", target.name, "it no longer exists or no longer matches")
        elif what := _what_changed(target, after[key]):
            yield Difference(Change.CHANGED, "target", target.name, what)
    for key, target in after.items():
        if key not in before:
            yield Difference(Change.ADDED, "target", target.name, "it matches and is not in the plan")


def _what_changed(old: Target, new: Target) -> str:
    parts = [
        f"{field.name} {_shown(getattr(old, field.name))} -> {_shown(getattr(new, field.name))}"
        for field in fields(Target)
        if field.name not in IGNORED | {"id", "tags"} and getattr(old, field.name) != getattr(new, field.name)
    ]
    for name in sorted({*old.tags, *new.tags}):
        if old.tags.get(name) != new.tags.get(name):
            parts.append(f"tag {name} {_shown(old.tags.get(name))} -> {_shown(new.tags.get(name))}")
    return ", ".join(parts)


def _steps(old: Iterable[PlannedStep], new: Iterable[PlannedStep]) -> list[Difference]:
    return _values("step", {step.id: step.digest[:12] for step in old}, {step.id: step.digest[:12] for step in new})


def _gates(plan: Plan) -> dict[str, object]:
    waves = dict.fromkeys(gate.wave for gate in plan.gates)
    return {
        f"{wave} and {wave + 1}": "; ".join(str(gate) for gate in plan.gates if gate.wave == wave) for wave in waves
    }


def _waves(plan: Plan) -> list[tuple[object, ...]]:
    """Who goes in which wave, under which budget; in which order inside it changes from run to run."""
    return [(sorted(wave.targets), wave.max_failures, wave.max_unreachable) for wave in plan.waves]


def _limits(limits: Limits) -> dict[str, object]:
    return {field.name: getattr(limits, field.name) for field in fields(Limits)}


def _values(kind: str, old: Mapping[str, object], new: Mapping[str, object]) -> list[Difference]:
    found = [Difference(Change.REMOVED, kind, name) for name in old if name not in new]
    found += [Difference(Change.ADDED, kind, name, _shown(new[name])) for name in new if name not in old]
    found += [_changed(kind, name, old[name], new[name]) for name in old if name in new and old[name] != new[name]]
    return found


def _changed(kind: str, name: str, old: object, new: object) -> Difference:
    return Difference(Change.CHANGED, kind, name, f"{_shown(old)} -> {_shown(new)}")


def _shown(value: object) -> str:
    return "none" if value is None else str(value) or "''"
