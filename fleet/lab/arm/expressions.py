"""The expressions of a Resource Graph query: from its words to functions of a row. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence

from fleet.lab.arm.tokens import Parser

Row = dict[str, object]
Value = Callable[[Row], object]


def expression(parser: Parser) -> Value:
    """Read an expression, as far as it goes. Raises Unknown."""
    parts = [_both(parser)]
    while parser.take("or"):
        parts.append(_both(parser))
    return parts[0] if len(parts) == 1 else lambda row: any(is_true(part(row)) for part in parts)


def _both(parser: Parser) -> Value:
    parts = [_comparison(parser)]
    while parser.take("and"):
        parts.append(_comparison(parser))
    return parts[0] if len(parts) == 1 else lambda row: all(is_true(part(row)) for part in parts)


def _comparison(parser: Parser) -> Value:
    left = operand(parser)
    name = parser.peek().lower()
    if parser.kind() == "text":
        return left
    if name in ("in", "in~", "!in", "!in~"):
        parser.next()
        return _membership(left, _listed(parser), name)
    if name == "matches":
        parser.next()
        parser.need("regex")
        return _compared(left, operand(parser), _matches)
    relation = _RELATIONS.get(name)
    if relation is None:
        return left
    parser.next()
    return _compared(left, operand(parser), relation)


def operand(parser: Parser) -> Value:
    """Read a constant, a path, a call, or an expression in parentheses. Raises Unknown."""
    if parser.take("("):
        inner = expression(parser)
        parser.need(")")
        return inner
    if parser.kind() == "text":
        return _constant(_unquoted(parser.next()))
    if parser.kind() == "number":
        token = parser.next()
        return _constant(float(token) if "." in token else int(token))
    if parser.take("true"):
        return _constant(True)
    if parser.take("false"):
        return _constant(False)
    name = parser.word()
    if parser.peek() == "(":
        return _call(parser, name)
    return _path(parser, name)


def _call(parser: Parser, name: str) -> Value:
    function = _FUNCTIONS.get(name.lower())
    if name.lower() != "not" and function is None:
        raise parser.unknown(back=1)
    parser.need("(")
    inner = expression(parser)
    parser.need(")")
    if function is None:
        return lambda row: not is_true(inner(row))
    known = function
    return lambda row: known(inner(row))


def _path(parser: Parser, name: str) -> Value:
    steps: list[str | int] = []
    while True:
        if parser.take("."):
            steps.append(parser.word())
        elif parser.take("["):
            steps.append(parser.number() if parser.kind() == "number" else _unquoted(parser.next()))
            parser.need("]")
        else:
            return lambda row: _walk(_column(row, name), steps)


def _column(row: Row, name: str) -> object:
    if name in row:
        return row[name]
    folded = name.casefold()
    return next((value for key, value in row.items() if key.casefold() == folded), None)


def _walk(value: object, steps: Sequence[str | int]) -> object:
    for step in steps:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _listed(parser: Parser) -> list[Value]:
    parser.need("(")
    values = [operand(parser)]
    while parser.take(","):
        values.append(operand(parser))
    parser.need(")")
    return values


def _membership(left: Value, values: list[Value], name: str) -> Value:
    same = _same_folded if name.endswith("~") else _same
    wanted = not name.startswith("!")
    return lambda row: any(same(left(row), value(row)) for value in values) is wanted


def _compared(left: Value, right: Value, relation: Callable[[object, object], bool]) -> Value:
    return lambda row: relation(left(row), right(row))


def _constant(value: object) -> Value:
    return lambda _: value


def _unquoted(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1])


def is_true(value: object) -> bool:
    """Whether a value lets a row pass."""
    return value is True or (isinstance(value, str) and value.lower() == "true")


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (Mapping, list)):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return str(value)


def _same(a: object, b: object) -> bool:
    return a == b if type(a) is type(b) else _text(a) == _text(b)


def _same_folded(a: object, b: object) -> bool:
    return _text(a).casefold() == _text(b).casefold()


def _matches(a: object, b: object) -> bool:
    return re.search(_text(b), _text(a)) is not None


def ordered(a: object, b: object) -> int:
    """Compare two values: -1, 0 or 1."""
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return (a > b) - (a < b)
    return (_text(a) > _text(b)) - (_text(a) < _text(b))


def _has(a: object, b: object) -> bool:
    return re.search(rf"(?<![0-9A-Za-z]){re.escape(_text(b))}(?![0-9A-Za-z])", _text(a), re.IGNORECASE) is not None


def _negated(relation: Callable[[object, object], bool]) -> Callable[[object, object], bool]:
    return lambda a, b: not relation(a, b)


def _contains(a: object, b: object) -> bool:
    return _text(b).casefold() in _text(a).casefold()


def _starts(a: object, b: object) -> bool:
    return _text(a).casefold().startswith(_text(b).casefold())


def _ends(a: object, b: object) -> bool:
    return _text(a).casefold().endswith(_text(b).casefold())


_RELATIONS: dict[str, Callable[[object, object], bool]] = {
    "==": _same,
    "!=": _negated(_same),
    "=~": _same_folded,
    "!~": _negated(_same_folded),
    "<": lambda a, b: ordered(a, b) < 0,
    ">": lambda a, b: ordered(a, b) > 0,
    "<=": lambda a, b: ordered(a, b) <= 0,
    ">=": lambda a, b: ordered(a, b) >= 0,
    "contains": _contains,
    "!contains": _negated(_contains),
    "startswith": _starts,
    "!startswith": _negated(_starts),
    "endswith": _ends,
    "!endswith": _negated(_ends),
    "has": _has,
    "!has": _negated(_has),
}
_FUNCTIONS: dict[str, Callable[[object], object]] = {
    "tostring": _text,
    "tolower": lambda value: _text(value).lower(),
    "toupper": lambda value: _text(value).upper(),
    "isempty": lambda value: _text(value) == "",
    "isnotempty": lambda value: _text(value) != "",
    "isnull": lambda value: value is None,
    "isnotnull": lambda value: value is not None,
    "array_length": lambda value: len(value) if isinstance(value, list) else None,
}


def columns(parser: Parser) -> list[tuple[str, Value]]:
    """Read columns with the names that they are given or have. Raises Unknown."""
    found: list[tuple[str, Value]] = []
    while True:
        name = parser.word()
        if parser.take("="):
            found.append((name, expression(parser)))
        else:
            called = name.lower() in _FUNCTIONS and parser.peek() == "("
            value = _call(parser, name) if called else _path(parser, name)
            found.append((f"Column{len(found) + 1}" if called else name, value))
        if not parser.take(","):
            return found
