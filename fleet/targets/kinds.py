"""Which kinds of machines a selection looks for, so that no others are listed, let alone touched.

A playbook written for VMs must not begin to reach into scale sets or servers elsewhere because somebody made some: kinds
other than VMs are only looked for where ``targets.kinds`` or the ``where`` expression names them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fleet.targets.expression import All, Any, Clause, Expression, Not, compile_expression
from fleet.targets.model import Kind, Os, Target

EVERY = frozenset(Kind)
USUAL = frozenset({Kind.VM})
"""What is looked for where nobody says anything else."""

_SPECIMENS = {
    Kind.VM: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/n",
    Kind.SCALE_SET: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/n"
    "/virtualMachines/0",
    Kind.ARC: "/subscriptions/s/resourceGroups/g/providers/Microsoft.HybridCompute/machines/n",
}


def wanted_kinds(given: Iterable[Kind], where: Expression) -> frozenset[Kind]:
    """Return the kinds to look for: those given, else those that the expression speaks of, else VMs.

    An expression that has a clause about ``kind`` speaks of every kind, one about ``scale_set`` of VMs and instances.
    Kinds that it cannot be true of are left out: looking for them would be calls for nothing.
    """
    asked = frozenset(given) or _spoken_of(where)
    return frozenset(kind for kind in asked if _can_be(where, kind, wanted=True))


def _spoken_of(where: Expression) -> frozenset[Kind]:
    fields = {clause.field for clause in _clauses(where)}
    if "kind" in fields:
        return EVERY
    return USUAL | {Kind.SCALE_SET} if "scale_set" in fields else USUAL


def _clauses(expression: Expression) -> Iterator[Clause]:
    match expression:
        case Clause():
            yield expression
        case Not(part):
            yield from _clauses(part)
        case All(parts) | Any(parts):
            for part in parts:
                yield from _clauses(part)


def _can_be(expression: Expression, kind: Kind, *, wanted: bool) -> bool:
    """Say whether the expression can be ``wanted`` of some machine of the kind; only clauses about it are decided."""
    match expression:
        case Clause(field="kind"):
            return compile_expression(expression)(_specimen(kind)) is wanted
        case Clause():
            return True
        case Not(part):
            return _can_be(part, kind, wanted=not wanted)
        case All(parts):
            results = (_can_be(part, kind, wanted=wanted) for part in parts)
            return all(results) if wanted else any(results)
        case Any(parts):
            results = (_can_be(part, kind, wanted=wanted) for part in parts)
            return any(results) if wanted else all(results)


def _specimen(kind: Kind) -> Target:
    return Target(_SPECIMENS[kind], "s", "s", "g", "n", "l", Os.LINUX)
