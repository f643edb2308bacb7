"""The part of the Resource Graph query language that the lab understands. Pure.

A query is a table and a pipe of operators. Whatever is not known is refused by name, never passed over, so
that a lab does not answer a question that was not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cmp_to_key

from fleet.lab.arm.expressions import Row, Value, columns, expression, is_true, operand, ordered
from fleet.lab.arm.tokens import Parser

TABLES = ("resources", "resourcecontainers", "maintenanceresources")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The rows of a query, and whether each still has an ``id`` (without it there is no paging;
    documented).
    """

    rows: list[Row]
    has_id: bool


def run(text: str, tables: Mapping[str, Callable[[], Sequence[Row]]]) -> Outcome:
    """Run a query. Raises Unknown."""
    parser = Parser(text)
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


def _where(parser: Parser, rows: list[Row]) -> list[Row]:
    keep = expression(parser)
    return [row for row in rows if is_true(keep(row))]


def _project(parser: Parser, rows: list[Row]) -> list[Row]:
    named = columns(parser)
    return [{name: value(row) for name, value in named} for row in rows]


def _extend(parser: Parser, rows: list[Row]) -> list[Row]:
    named = columns(parser)
    return [{**row, **{name: value(row) for name, value in named}} for row in rows]


def _order(parser: Parser, rows: list[Row]) -> list[Row]:
    parser.need("by")
    keys: list[tuple[Value, int]] = []
    while True:
        value = operand(parser)
        keys.append((value, 1 if parser.take("asc") else -1))
        if keys[-1][1] == -1:
            parser.take("desc")  # the language's default
        if not parser.take(","):
            break

    def compare(a: Row, b: Row) -> int:
        for value, sign in keys:
            if (found := ordered(value(a), value(b))) != 0:
                return found * sign
        return 0

    return sorted(rows, key=cmp_to_key(compare))


def _limit(parser: Parser, rows: list[Row]) -> list[Row]:
    return rows[: parser.number()]


def _count(parser: Parser, rows: list[Row]) -> list[Row]:
    return [{"Count": len(rows)}]


def _distinct(parser: Parser, rows: list[Row]) -> list[Row]:
    named = columns(parser)
    return list({repr(key): key for row in rows for key in [{n: value(row) for n, value in named}]}.values())


def _summarize(parser: Parser, rows: list[Row]) -> list[Row]:
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
    named = columns(parser)
    groups: dict[str, Row] = {}
    counts: dict[str, int] = {}
    for row in rows:
        key = {column: value(row) for column, value in named}
        groups.setdefault(repr(key), key)
        counts[repr(key)] = counts.get(repr(key), 0) + 1
    return [{**key, name: counts[at]} for at, key in groups.items()]


_OPERATORS: dict[str, Callable[[Parser, list[Row]], list[Row]]] = {
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
