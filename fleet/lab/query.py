"""The part of the Resource Graph query language that the lab understands. Pure.

A query is a table and a pipe of operators. Whatever is not known is refused by name, never passed over, so
that a lab does not answer a question that was not asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cmp_to_key

Row = dict[str, object]
Value = Callable[[Row], object]
TABLES = ("resources", "resourcecontainers")

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<number>\d+(?:\.\d+)?)
    |(?P<word>!?[A-Za-z_$][\w$]*(?:~)?)
    |(?P<mark>==|=~|!=|!~|<=|>=|[|()\[\],.=<>])""",
    re.VERBOSE,
)


class Unknown(Exception):
    """The query cannot be understood. ``token`` is the text it fails at."""

    def __init__(self, token: str, line: int, column: int) -> None:
        super().__init__(f"{token or '<EOF>'} in line {line}, character {column}")
        self.token = token or "<EOF>"
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Outcome:
    """The rows of a query, and whether each still has an ``id`` (without it there is no paging;
    documented).
    """

    rows: list[Row]
    has_id: bool


def run(text: str, tables: Mapping[str, Callable[[], Sequence[Row]]]) -> Outcome:
    """Run a query. Raises Unknown."""
    parser = _Parser(text)
    table = parser.word().lower()
    if table not in tables:
        raise parser.unknown(back=1)
    rows: list[Row] = [dict(row) for row in tables[table]()]
    shaped = False
    while parser.take("|"):
        name = parser.word().lower()
        operator = _OPERATORS.get(name)
        if operator is None:
            raise parser.unknown(back=1)
        rows = operator(parser, rows)
        shaped = shaped or name in ("summarize", "count", "distinct")
    parser.end()
    return Outcome(rows, has_id=not shaped and all("id" in row for row in rows))


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str, int]] = []
        self._at = 0
        place = 0
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise self._fail(text[place], place)
            if match.lastgroup and match.lastgroup != "space":
                self._tokens.append((match.lastgroup, match.group(), place))
            place = match.end()

    def peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def kind(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def next(self) -> str:
        token = self.peek()
        self._at += 1
        return token

    def take(self, *words: str) -> bool:
        """Step over a token if it is one of these, whatever its case."""
        if self.peek().lower() in words and self.kind() != "text":
            self._at += 1
            return True
        return False

    def need(self, word: str) -> None:
        if not self.take(word):
            raise self.unknown()

    def word(self) -> str:
        if self.kind() != "word":
            raise self.unknown()
        return self.next()

    def number(self) -> int:
        if self.kind() != "number":
            raise self.unknown()
        return int(float(self.next()))

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise self.unknown()

    def unknown(self, back: int = 0) -> Unknown:
        at = self._at - back
        if at < len(self._tokens):
            return self._fail(self._tokens[at][1], self._tokens[at][2])
        return self._fail("", len(self._text))

    def _fail(self, token: str, place: int) -> Unknown:
        line = self._text.count("\n", 0, place) + 1
        return Unknown(token, line, place - (self._text.rfind("\n", 0, place) + 1))


# -- expressions -------------------------------------------------------------------------------------------


def _either(parser: _Parser) -> Value:
    parts = [_both(parser)]
    while parser.take("or"):
        parts.append(_both(parser))
    return parts[0] if len(parts) == 1 else lambda row: any(_true(part(row)) for part in parts)


def _both(parser: _Parser) -> Value:
    parts = [_comparison(parser)]
    while parser.take("and"):
        parts.append(_comparison(parser))
    return parts[0] if len(parts) == 1 else lambda row: all(_true(part(row)) for part in parts)


def _comparison(parser: _Parser) -> Value:
    left = _operand(parser)
    name = parser.peek().lower()
    if parser.kind() == "text":
        return left
    if name in ("in", "in~", "!in", "!in~"):
        parser.next()
        return _membership(left, _listed(parser), name)
    if name == "matches":
        parser.next()
        parser.need("regex")
        return _compared(left, _operand(parser), _matches)
    relation = _RELATIONS.get(name)
    if relation is None:
        return left
    parser.next()
    return _compared(left, _operand(parser), relation)


def _operand(parser: _Parser) -> Value:
    if parser.take("("):
        inner = _either(parser)
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


def _call(parser: _Parser, name: str) -> Value:
    function = _FUNCTIONS.get(name.lower())
    if name.lower() != "not" and function is None:
        raise parser.unknown(back=1)
    parser.need("(")
    inner = _either(parser)
    parser.need(")")
    if function is None:
        return lambda row: not _true(inner(row))
    known = function
    return lambda row: known(inner(row))


def _path(parser: _Parser, name: str) -> Value:
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


def _listed(parser: _Parser) -> list[Value]:
    parser.need("(")
    values = [_operand(parser)]
    while parser.take(","):
        values.append(_operand(parser))
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


def _true(value: object) -> bool:
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


def _ordered(a: object, b: object) -> int:
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
    "<": lambda a, b: _ordered(a, b) < 0,
    ">": lambda a, b: _ordered(a, b) > 0,
    "<=": lambda a, b: _ordered(a, b) <= 0,
    ">=": lambda a, b: _ordered(a, b) >= 0,
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


# -- operators ---------------------------------------------------------------------------------------------


def _where(parser: _Parser, rows: list[Row]) -> list[Row]:
    keep = _either(parser)
    return [row for row in rows if _true(keep(row))]


def _columns(parser: _Parser) -> list[tuple[str, Value]]:
    found: list[tuple[str, Value]] = []
    while True:
        name = parser.word()
        if parser.take("="):
            found.append((name, _either(parser)))
        else:
            called = name.lower() in _FUNCTIONS and parser.peek() == "("
            value = _call(parser, name) if called else _path(parser, name)
            found.append((f"Column{len(found) + 1}" if called else name, value))
        if not parser.take(","):
            return found


def _project(parser: _Parser, rows: list[Row]) -> list[Row]:
    columns = _columns(parser)
    return [{name: value(row) for name, value in columns} for row in rows]


def _extend(parser: _Parser, rows: list[Row]) -> list[Row]:
    columns = _columns(parser)
    return [{**row, **{name: value(row) for name, value in columns}} for row in rows]


def _order(parser: _Parser, rows: list[Row]) -> list[Row]:
    parser.need("by")
    keys: list[tuple[Value, int]] = []
    while True:
        value = _operand(parser)
        keys.append((value, 1 if parser.take("asc") else -1))
        if keys[-1][1] == -1:
            parser.take("desc")  # the language's default
        if not parser.take(","):
            break

    def compare(a: Row, b: Row) -> int:
        for value, sign in keys:
            if (found := _ordered(value(a), value(b))) != 0:
                return found * sign
        return 0

    return sorted(rows, key=cmp_to_key(compare))


def _limit(parser: _Parser, rows: list[Row]) -> list[Row]:
    return rows[: parser.number()]


def _count(parser: _Parser, rows: list[Row]) -> list[Row]:
    return [{"Count": len(rows)}]


def _distinct(parser: _Parser, rows: list[Row]) -> list[Row]:
    columns = _columns(parser)
    return list({repr(key): key for row in rows for key in [{n: value(row) for n, value in columns}]}.values())


def _summarize(parser: _Parser, rows: list[Row]) -> list[Row]:
    name = "count_"
    word = parser.word()
    if parser.take("="):
        name, word = word, parser.word()
    if word.lower() != "count":
        raise parser.unknown(back=1)
    parser.need("(")
    parser.need(")")
    if not parser.take("by"):
        return [{name: len(rows)}]
    columns = _columns(parser)
    groups: dict[str, Row] = {}
    counts: dict[str, int] = {}
    for row in rows:
        key = {column: value(row) for column, value in columns}
        groups.setdefault(repr(key), key)
        counts[repr(key)] = counts.get(repr(key), 0) + 1
    return [{**key, name: counts[at]} for at, key in groups.items()]


_OPERATORS: dict[str, Callable[[_Parser, list[Row]], list[Row]]] = {
    "where": _where,
    "project": _project,
    "extend": _extend,
    "order": _order,
    "sort": _order,
    "limit": _limit,
    "take": _limit,
    "count": _count,
    "distinct": _distinct,
    "summarize": _summarize,
}
