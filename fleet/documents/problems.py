"""What does not fit a model, said in plain sentences with a place.

pydantic names every misfit with a path and a kind; here each becomes one problem in the reader's words. Where
a value may be one of several things, pydantic reports each alternative; they are merged into one sentence.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

import pydantic
from pydantic_core import ErrorDetails, PydanticCustomError

from fleet.documents.places import (
    ABSENT,
    Document,
    Lookalike,
    Path,
    Refused,
    closest,
    described,
    dotted,
    problem,
    shown,
    step,
)
from fleet.errors import MOST_LOOKED_FOR, Problem


def refusal(code: str, message: str, *, expected: str = "", hint: str = "") -> PydanticCustomError:
    """Build the error that a field's own validator raises; ``validated`` makes it a problem with a place.

    ``message`` is a predicate that follows the key's path: "is no duration".
    """
    return PydanticCustomError(
        "refusal", "{sentence}", {"code": code, "sentence": message, "expected": expected, "hint": hint}
    )


_ALTERNATIVES = 4
"""Errors that pydantic may report for one wrong value: one for each thing it could have been."""

_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "none_required": "nothing",
}
_BOUNDS = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "at least {min_length} long",
    "too_long": "at most {max_length} long",
    "string_too_short": "at least {min_length} characters long",
    "string_too_long": "at most {max_length} characters long",
}


def complaints(
    document: Document, model: type[pydantic.BaseModel], base: Path, errors: Sequence[ErrorDetails]
) -> Iterator[Problem]:
    """Turn pydantic's errors into problems, one for each place that is wrong."""
    placed: dict[Path, list[ErrorDetails]] = {}
    for error in errors[: _ALTERNATIVES * MOST_LOOKED_FOR]:
        path = base + _without_tags(document.at(base), error)
        placed.setdefault(path, []).append(error)
    parents = {path[:length] for path in placed for length in range(len(path))}
    for path, group in placed.items():
        if path in parents and len(group[0]["loc"]) + len(base) > len(path):
            continue  # another alternative of the same choice fits the kind, and says more
        found = document.at(path)
        if not isinstance(found, Refused):
            yield _complaint(document, model, base, path, group)


def _without_tags(data: object, error: ErrorDetails) -> Path:
    """Drop from an error's path what pydantic put in: the names of alternatives."""
    path: list[str | int] = []
    last = len(error["loc"]) - 1
    for index, part in enumerate(error["loc"]):
        inner = step(data, part)
        if inner is ABSENT and not (index == last and error["type"] == "missing"):
            continue
        data = inner
        path.append(part)
    return tuple(path)


def _complaint(
    document: Document, model: type[pydantic.BaseModel], base: Path, path: Path, group: Sequence[ErrorDetails]
) -> Problem:
    # Where the kind fits one alternative, what that one demands says more than that the others do not fit.
    error = next((item for item in group if item["type"] in ("refusal", *_BOUNDS)), group[0])
    found = document.at(path)
    kind, context = error["type"], error.get("ctx", {})
    name = dotted(path) or "the document"
    if kind == "missing":
        message = f"the key '{path[-1]}' is missing{_within(path)}"
        expected = f"the key '{path[-1]}'"
        return problem(document, path[:-1], "missing_key", message, found="", expected=expected)
    if kind == "extra_forbidden":
        return _unknown_key(document, path, _keys_of(model, path[len(base) : -1]))
    if kind == "refusal":
        code, sentence, expected, hint = (str(context[key]) for key in ("code", "sentence", "expected", "hint"))
        return problem(document, path, code, f"{name} {sentence}", expected=expected, hint=hint)
    if isinstance(found, Lookalike):
        return _ambiguous(document, path, found, group)
    if kind in _BOUNDS:
        expected = _BOUNDS[kind].format_map(context)
        return problem(document, path, "out_of_range", f"{name} must be {expected}", expected=expected)
    if kind == "string_pattern_mismatch":
        message = f"{name} is '{shown(str(found))}', which does not match {context['pattern']}"
        return problem(document, path, "pattern", message, expected=f"text like {context['pattern']}")
    return _misfit(document, path, name, group)


def _within(path: Path) -> str:
    return f" in {dotted(path[:-1])}" if path[:-1] else ""


def _unknown_key(document: Document, path: Path, options: Sequence[str]) -> Problem:
    key = str(path[-1])
    hint = closest(key, options) or (f"keys here: {', '.join(options)}" if options else "")
    message = f"unknown key '{shown(key)}'{_within(path)}"
    return problem(document, path, "unknown_key", message, hint=hint, key=True)


def _misfit(document: Document, path: Path, name: str, group: Sequence[ErrorDetails]) -> Problem:
    """Say which words or which types would have fitted."""
    found = document.at(path)
    options = [word for item in group for word in _options(item)]
    wanted = list(dict.fromkeys(_TYPES[item["type"]] for item in group if item["type"] in _TYPES))
    if options and isinstance(found, str):
        others = [kind for kind in wanted if "number" in kind]
        no = f"neither {' nor '.join(others)} nor one of" if others else "none of"
        message = f"{name} is '{shown(found)}', which is {no}: {', '.join(options)}"
        expected = " or ".join(filter(None, [*others, ", ".join(options[:-1]), options[-1]]))
        return problem(document, path, "not_allowed", message, expected=expected, hint=closest(found, options))
    if options:
        wanted.append(f"one of {', '.join(options)}")
    if not wanted:
        context = group[0].get("ctx", {})
        return problem(document, path, "invalid", f"{name}: {context.get('error', group[0]['msg'])}")
    expected = " or ".join(wanted)
    quotable = "text" in wanted and isinstance(found, (int, float))
    hint = f'quote it: "{document.mark(path).found}"' if quotable else ""
    message = f"{name} must be {expected}, not {described(found)}"
    return problem(document, path, "wrong_type", message, expected=expected, hint=hint)


def _ambiguous(document: Document, path: Path, found: Lookalike, group: Sequence[ErrorDetails]) -> Problem:
    text = found.text
    boolean = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(text.lower())
    message = f"{dotted(path)} is {text} without quotes, which YAML readers do not agree on"
    if boolean and any(item["type"] == "bool_type" for item in group):
        return problem(document, path, "ambiguous_scalar", message, expected="true or false", hint=f"write {boolean}")
    if any(item["type"] in ("int_type", "float_type") for item in group):
        hint = "write a plain number without leading zeros, colons or underscores"
        return problem(document, path, "ambiguous_scalar", message, expected="a number", hint=hint)
    return problem(document, path, "ambiguous_scalar", message, expected="text in quotes", hint=f'write "{text}"')


def _options(error: ErrorDetails) -> list[str]:
    if error["type"] in ("literal_error", "enum"):
        return re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))
    return []


def _keys_of(annotation: Any, path: Path) -> list[str]:
    """Return the keys that a model allows in the mapping at ``path``."""
    if get_origin(annotation) is Annotated:
        return _keys_of(get_args(annotation)[0], path)
    if get_origin(annotation) in (Union, types.UnionType):
        return [key for option in get_args(annotation) for key in _keys_of(option, path)]
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        fields = {field.alias or name: field.annotation for name, field in annotation.model_fields.items()}
        if not path:
            return list(fields)
        return _keys_of(fields[str(path[0])], path[1:]) if path[0] in fields else []
    arguments = get_args(annotation)
    if path and arguments:
        return _keys_of(arguments[1 if get_origin(annotation) is dict else 0], path[1:])
    return []
