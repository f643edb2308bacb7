"""Expressions in text: ``{{ params.scope }}``, ``{{ target.tag.env }}``, ``{{ facts.kernel }}``. Nothing else.

No filters, no conditions, no code: an expression names one value, which travels as environment or argument
and is never pasted into a script. ``{{ "{{" }}`` writes two braces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fleet.documents.places import closest, shown
from fleet.playbook.model import ParameterValue
from fleet.targets.model import Target

TARGET_FIELDS = (
    "id",
    "name",
    "subscription",
    "subscription_name",
    "resource_group",
    "location",
    "os",
    "kind",
    "scale_set",
    "size",
    "image",
    "zone",
)

_BRACES = re.compile(r"\{\{(.*?)(\}\}|\Z)", re.DOTALL)
_EXPRESSION = re.compile(
    r"""params\.(?P<param>[A-Za-z_][A-Za-z0-9_]*)
      | facts\.(?P<fact>[a-z][a-z0-9_]*)
      | target\.tag\.(?P<tag>[\w.:/@+-]+)
      | target\.tag\["(?P<named>[^"]+)"\]
      | target\.(?P<field>[a-z_]+)
      | "(?P<double>[^"]*)" | '(?P<single>[^']*)'""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Reference:
    """One expression: a parameter, a fact, a field or a tag of the target; ``offset`` is where it begins."""

    scope: str
    name: str
    offset: int


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with an expression, and where it begins in the text."""

    offset: int
    found: str
    message: str
    hint: str = ""


Part = str | Reference


def read_template(text: str) -> tuple[tuple[Part, ...], tuple[Mistake, ...]]:
    """Split a text into literal text and references, and name every expression that is none."""
    parts: list[Part] = []
    mistakes: list[Mistake] = []
    end = 0
    for match in _BRACES.finditer(text):
        parts.append(text[end : match.start()])
        end = match.end()
        part = _part(match)
        (mistakes if isinstance(part, Mistake) else parts).append(part)  # type: ignore[arg-type]
    return (*(part for part in (*parts, text[end:]) if part != ""),), tuple(mistakes)


def references(text: str) -> tuple[Reference, ...]:
    """Return the references in a text; expressions that are none are left out."""
    return tuple(part for part in read_template(text)[0] if isinstance(part, Reference))


def has_expressions(text: str) -> bool:
    """Say whether a text holds anything that looks like an expression of ours."""
    return re.search(r"\{\{\s*(params|target)\b", text) is not None


def render(
    template: str,
    *,
    params: Mapping[str, ParameterValue],
    target: Target | None = None,
    facts: Mapping[str, str] | None = None,
) -> str:
    """Put values in: an absent parameter, fact or tag is empty text, true and false are words, lists have commas.

    Raises ValueError for a template that ``read_template`` finds mistakes in, and for a field of no target.
    """
    parts, mistakes = read_template(template)
    if mistakes:
        raise ValueError(mistakes[0].message)
    return "".join(part if isinstance(part, str) else _value(part, params, target, facts or {}) for part in parts)


def spelled(value: ParameterValue) -> str:
    """Spell a parameter's value as text."""
    match value:
        case bool():
            return "true" if value else "false"
        case tuple():
            return ",".join(value)
        case _:
            return str(value)


def _part(match: re.Match[str]) -> Part | Mistake:
    found, inner = shown(match[0]), match[1].strip()
    if not match[2]:
        hint = 'close it with }}, or write {{ "{{" }} for two braces'
        return Mistake(match.start(), found, "the expression is not closed", hint)
    hit = _EXPRESSION.fullmatch(inner)
    if hit is None:
        hint = "write {{ params.name }}, {{ target.name }}, {{ target.tag.name }} or {{ facts.name }}"
        return Mistake(match.start(), found, f"'{shown(inner)}' is no expression", hint)
    for group in ("double", "single"):
        if hit[group] is not None:
            return hit[group]
    if hit["param"]:
        return Reference("params", hit["param"], match.start())
    if hit["fact"]:
        return Reference("facts", hit["fact"], match.start())
    if tag := hit["tag"] or hit["named"]:
        return Reference("tag", tag, match.start())
    if hit["field"] not in TARGET_FIELDS:
        hint = closest(hit["field"], TARGET_FIELDS) or f"a target has: {', '.join(TARGET_FIELDS)}, tag.NAME"
        return Mistake(match.start(), found, f"a target has no '{shown(hit['field'])}'", hint)
    return Reference("target", hit["field"], match.start())


def _value(
    reference: Reference, params: Mapping[str, ParameterValue], target: Target | None, facts: Mapping[str, str]
) -> str:
    if reference.scope == "params":
        return spelled(params.get(reference.name, ""))
    if reference.scope == "facts":
        return facts.get(reference.name, "")
    if target is None:
        raise ValueError("there is no target here")
    if reference.scope == "target":
        return str(getattr(target, reference.name))
    # Azure compares the names of tags without regard to case (documented).
    wanted = reference.name.casefold()
    return next((value for name, value in target.tags.items() if name.casefold() == wanted), "")
