"""A machine of which not everything is known, and whether it is certainly selected, certainly not, or perhaps."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.targets.expression import Clause, Expression, compile_expression, decide, holds
from fleet.targets.glob import same_case
from fleet.targets.model import VM_UNREADABLE, Kind, Target, UnreadScope

ESSENTIAL = frozenset({"id", "kind", "subscription", "resource_group", "name", "location", "os"})
"""Fields without which nothing can be sent to a machine."""


@dataclass(frozen=True, slots=True)
class PartialTarget:
    """A machine of which a list says too little, or says something that cannot be read.

    ``target`` holds what is known; its fields that are named in ``unknown`` mean nothing. A single tag is ``tag:NAME``
    there, in the case for comparing.
    """

    target: Target
    unknown: frozenset[str]
    label: str
    """What it is called: ``VM web01``, or its place in the list where its name is not known."""
    reason: str
    """What is not known of it and why."""
    kind: Kind = Kind.VM
    creating: bool = False
    """Azure is still creating it, so that more will be known of it later."""

    def is_usable(self, needed: frozenset[str] = frozenset()) -> bool:
        """Say whether everything is known that sending to it needs, and these fields besides."""
        return not self.unknown & (ESSENTIAL | needed) and not ("tags" in self.unknown and _any_tag(needed))

    def scope(self) -> UnreadScope:
        """Return it as what could not be read, for plan and report."""
        target = self.target
        group = f"resource group {target.resource_group}, " if "resource_group" not in self.unknown else ""
        where = f"{group}subscription {target.subscription_name or target.subscription}"
        return UnreadScope(
            target.subscription, target.subscription_name, VM_UNREADABLE, f"{self.reason} ({where})", self.label
        )


def truth_of(expression: Expression, partial: PartialTarget) -> bool | None:
    """Say whether an expression is certainly true of a machine, certainly false, or neither (None)."""

    def clause_truth(clause: Clause) -> bool | None:
        if _is_unknown(clause, partial.unknown):
            return None
        if clause.field == "kind":  # which a target tells by its id
            return holds(clause, lambda _: (partial.kind.value,))
        return compile_expression(clause)(partial.target)

    return decide(expression, clause_truth)


def _is_unknown(clause: Clause, unknown: frozenset[str]) -> bool:
    if clause.field == "tag":
        return "tags" in unknown or f"tag:{same_case(clause.tag)}" in unknown
    return clause.field in unknown


def _any_tag(needed: frozenset[str]) -> bool:
    return any(name.startswith("tag:") for name in needed)
