"""A selector as a tree, and the closure that it is compiled to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter

from fleet.targets.glob import Test, compile_glob, same_case
from fleet.targets.model import Kind, Os, Power, Target

TargetTest = Callable[[Target], bool]


@dataclass(frozen=True, slots=True)
class Words:
    """What an expression may speak of beside a target's own fields: facts and earlier steps, by their names."""

    facts: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()


FIELDS = (
    "name",
    "os",
    "kind",
    "location",
    "size",
    "image",
    "power",
    "zone",
    "scale_set",
    "resource_group",
    "subscription",
)

CLOSED: dict[str, tuple[str, ...]] = {
    "os": tuple(member.value for member in Os),
    "kind": tuple(member.value for member in Kind),
    "power": tuple(member.value for member in Power),
    "status": (
        *("succeeded", "failed", "timed_out", "cancelled", "unreachable"),
        *("unverified", "unknown", "skipped", "not_started"),
    ),
}
"""Fields with a closed list of values: a value outside the list could never match, so it is a mistake."""


class Operator(StrEnum):
    """How a clause compares. ``!=`` and ``not in`` are these, negated."""

    EQUALS = "=="
    ONE_OF = "in"
    MATCHES = "matches"
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class Clause:
    """One comparison; ``text`` is how it was written.

    ``tag`` is the name of the tag when ``field`` is ``tag``, of the fact when it is ``fact``, the step's id when it is
    ``status`` or ``exit_code``.
    """

    field: str
    operator: Operator
    values: tuple[str, ...] = ()
    tag: str = ""
    negated: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True)
class Not:
    part: Expression
    text: str = ""


@dataclass(frozen=True, slots=True)
class All:
    """True when every part is; with no part it lets everything in."""

    parts: tuple[Expression, ...]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Any:
    parts: tuple[Expression, ...]
    text: str = ""


Expression = Clause | Not | All | Any


def compile_expression(expression: Expression) -> TargetTest:
    """Return a function that says whether a target is let in."""
    match expression:
        case Clause():
            return _compile_clause(expression)
        case Not(part):
            inner = compile_expression(part)
            return lambda target: not inner(target)
        case All(parts):
            tests = tuple(compile_expression(part) for part in parts)
            return lambda target: all(test(target) for test in tests)
        case Any(parts):
            tests = tuple(compile_expression(part) for part in parts)
            return lambda target: any(test(target) for test in tests)


def holds(expression: Expression, read: Callable[[Clause], tuple[str, ...]]) -> bool:
    """Say whether an expression is true where ``read`` says what a clause's field has: one value, several, or none."""
    match expression:
        case Clause():
            fits = _compile_values(expression)
            return any(fits(value) for value in read(expression)) != expression.negated
        case Not(part):
            return not holds(part, read)
        case All(parts):
            return all(holds(part, read) for part in parts)
        case Any(parts):
            return any(holds(part, read) for part in parts)


def truth(
    expression: Expression,
    read: Callable[[Clause], tuple[str, ...] | None],
    *,
    unknown_is_present: bool | None = False,
) -> bool | None:
    """Say whether an expression is certainly true, certainly false, or neither (None), by Kleene's strong logic.

    ``read`` says what a clause's field has, and None where that is not known: then only a clause that asks whether it is
    there has an answer, ``unknown_is_present``.
    """

    def clause_truth(clause: Clause) -> bool | None:
        known = read(clause)
        if known is None:
            return unknown_is_present if clause.operator is Operator.PRESENT else None
        fits = _compile_values(clause)
        return any(map(fits, known)) != clause.negated

    return decide(expression, clause_truth)


def decide(expression: Expression, clause_truth: Callable[[Clause], bool | None]) -> bool | None:
    """Say whether an expression is true, false, or neither (None) where its clauses are, by Kleene's strong logic."""
    match expression:
        case Clause():
            return clause_truth(expression)
        case Not(part):
            inner = decide(part, clause_truth)
            return None if inner is None else not inner
        case All(parts):
            found = [decide(part, clause_truth) for part in parts]
            return False if False in found else None if None in found else True
        case Any(parts):
            found = [decide(part, clause_truth) for part in parts]
            return True if True in found else None if None in found else False


def read_field(clause: Clause, target: Target) -> tuple[str, ...]:
    """Return what the target has in the field: nothing for a missing tag, id and name of a subscription."""
    if clause.field == "tag":
        value = _tag_reader(clause.tag)(target)
        return () if value is None else (value,)
    if clause.field == "subscription":
        return target.subscription, target.subscription_name
    return (str(getattr(target, clause.field)),)


def normal_form(field: str) -> Callable[[str], str]:
    """Return how a field's values are brought to one form before they are compared.

    Facts are compared letter for letter, and so are tag values (documented: tag names ignore case, values do not). A
    location's display name and its name are the same place (``West Europe``, ``westeurope``).
    """
    if field in ("tag", "fact"):
        return str
    if field == "location":
        return lambda text: same_case(text).replace(" ", "")
    return same_case


@lru_cache(maxsize=256)
def _compile_clause(clause: Clause) -> TargetTest:
    test = _on_target(clause, _compile_values(clause))
    return (lambda target: not test(target)) if clause.negated else test


def _compile_values(clause: Clause) -> Test:
    normal = normal_form(clause.field)
    match clause.operator:
        case Operator.PRESENT:
            return lambda value: True
        case Operator.MATCHES:
            glob = compile_glob(normal(clause.values[0]), ignore_case=False)
            return lambda value: glob(normal(value))
        case Operator.EQUALS | Operator.ONE_OF:
            wanted = frozenset(map(normal, clause.values))
            return lambda value: normal(value) in wanted


def _on_target(clause: Clause, fits: Test) -> TargetTest:
    if clause.field == "tag":
        read = _tag_reader(clause.tag)
        return lambda target: (value := read(target)) is not None and fits(value)
    if clause.field == "subscription":
        return lambda target: fits(target.subscription) or fits(target.subscription_name)
    field = attrgetter(clause.field)
    return lambda target: fits(field(target))


def _tag_reader(name: str) -> Callable[[Target], str | None]:
    """Azure keeps no two tags of a VM whose names differ in case only (documented): the first is the one."""
    wanted = same_case(name)

    def read(target: Target) -> str | None:
        for tag, value in target.tags.items():
            if same_case(tag) == wanted:
                return value
        return None

    return read
