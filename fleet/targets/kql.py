"""A selector as a condition of Resource Graph's query language: a pre-filter that never loses a match.

What is translated, over the columns of the table ``resources``:

* name, resource_group, location, size: ``=~``, ``in~``, ``startswith``, ``endswith``, ``contains``. Negated
  too; globs only of the forms ``a*``, ``*a`` and ``*a*``, whose translation is exact.
* os: ``in~`` with the empty text beside the wanted values; negated by naming the other values.
* tag: ``tostring(tags) contains`` its name, and its value. Never negated: it is weaker than the clause.

Everything else (image, power, zone, kind, scale set, subscription, texts that are not printable ASCII) is left to the
selector: power because Resource Graph lags, subscriptions because the request names them already. Tags are
looked up by ``contains`` because a property path minds letter case here and the names of tags do not.
Locations are written without spaces, as ARM gives them (recorded).
"""

from __future__ import annotations

import re
from typing import Final

from fleet.targets.expression import CLOSED, All, Any, Clause, Expression, Not, Operator, normal_form
from fleet.targets.glob import is_glob

_COLUMNS: Final = {
    "name": "name",
    "resource_group": "resourceGroup",
    "location": "location",
    "size": "tostring(properties.hardwareProfile.vmSize)",
}
_OS_COLUMN: Final = "tostring(properties.storageProfile.osDisk.osType)"
_PLAIN: Final = re.compile(r"[ -~]*")
_IN_JSON_AS_IS: Final = re.compile(r"[A-Za-z0-9_. :-]+")
"""Texts that look the same inside serialised JSON, whatever the serialiser chooses to escape."""


def condition(expression: Expression) -> str | None:
    """Return a condition that holds for every VM the expression lets in, or None if only ``true`` would."""
    return _weaker(expression, wanted=True)


def _weaker(expression: Expression, wanted: bool) -> str | None:
    """Return what every VM fulfils for which the expression is ``wanted``."""
    match expression:
        case Clause():
            return _clause(expression, wanted != expression.negated)
        case Not(part):
            return _weaker(part, not wanted)
        case All(parts):
            return _joined([_weaker(part, wanted) for part in parts], every=wanted)
        case Any(parts):
            return _joined([_weaker(part, wanted) for part in parts], every=not wanted)


def _joined(conditions: list[str | None], *, every: bool) -> str | None:
    known = [condition for condition in conditions if condition is not None]
    if not known or (not every and len(known) < len(conditions)):
        return None
    unique = list(dict.fromkeys(known))
    return unique[0] if len(unique) == 1 else "(" + (" and " if every else " or ").join(unique) + ")"


def _clause(clause: Clause, wanted: bool) -> str | None:
    if not all(_PLAIN.fullmatch(value) for value in (*clause.values, clause.tag)):
        return None
    if clause.field == "tag":
        return _tag(clause) if wanted else None
    if clause.field == "os":
        return _os(clause, wanted)
    if clause.field not in _COLUMNS:
        return None
    column = _COLUMNS[clause.field]
    values = tuple(map(normal_form(clause.field), clause.values))
    if clause.operator is Operator.MATCHES and is_glob(values[0]):
        return _glob(column, values[0], wanted)
    return _one_of(column, values) if wanted else f"not({_one_of(column, values)})"


def _one_of(column: str, values: tuple[str, ...]) -> str:
    if len(values) == 1:
        return f"{column} =~ {quoted(values[0])}"
    return f"{column} in~ ({', '.join(map(quoted, values))})"


def _glob(column: str, pattern: str, wanted: bool) -> str | None:
    head, *middle, tail = re.split(r"\*+", pattern) if "*" in pattern else (pattern, pattern)
    if not wanted:
        simple = "?" not in pattern and sum(map(bool, (head, *middle, tail))) == 1 and len(middle) <= 1
        return f"not({_glob(column, pattern, True)})" if simple and any((head, *middle, tail)) else None
    conditions = [
        *_literal(column, "startswith", head.partition("?")[0]),
        *(found for part in middle for found in _literal(column, "contains", max(part.split("?"), key=len))),
        *_literal(column, "endswith", tail.rpartition("?")[2]),
    ]
    return _joined(list(conditions), every=True)


def _literal(column: str, operator: str, text: str) -> list[str]:
    return [f"{column} {operator} {quoted(text)}"] if text else []


def _os(clause: Clause, wanted: bool) -> str | None:
    """A VM whose disk does not tell its system passes: the inventory decides what it is taken for."""
    if clause.operator is Operator.MATCHES:
        return None
    named = {value.lower() for value in clause.values}
    left = [value for value in CLOSED["os"] if (value in named) == wanted]
    return _one_of(_OS_COLUMN, (*left, ""))


def _tag(clause: Clause) -> str | None:
    named = _in_tags(clause.tag)
    match clause.operator:
        case Operator.EQUALS | Operator.ONE_OF:
            value = _joined([_in_tags(value) for value in clause.values], every=False)
            return _joined([named, value], every=True)
        case Operator.MATCHES:
            pieces = [piece for piece in re.split(r"[*?]+", clause.values[0]) if piece]
            return _joined([named, *map(_in_tags, pieces)], every=True)
        case Operator.PRESENT:
            return named


def _in_tags(text: str) -> str | None:
    return f"tostring(tags) contains {quoted(text)}" if _IN_JSON_AS_IS.fullmatch(text) else None


def quoted(text: str) -> str:
    """Write a printable ASCII text as a string literal of the query language."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
