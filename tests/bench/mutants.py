"""Small wrong changes to a module, one at a time: what a test must notice.

Changed are comparisons, boolean and arithmetic operators, conditions, numbers, codes and other words, what is returned,
statements (left out), elements of tables and alternatives of patterns (left out). Not changed are sentences for people
(texts with a space), annotations, docstrings, assertions, decorators, defaults of arguments, and class bodies beside
their methods.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitXor: ast.BitAnd,
    ast.Pow: ast.Mult,
}
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
PATTERN_CALLS = frozenset({"compile", "sub", "search", "match", "fullmatch", "findall", "split"})
CONTEXT = 30
"""Characters of a statement shown on either side of a change."""


@dataclass(frozen=True)
class Mutant:
    """One change. ``name`` tells it from all others and does not depend on line numbers."""

    name: str
    function: tuple[str, int] | None
    """Qualified name and first line of the outermost function it is in; None for a statement of the module."""
    lines: tuple[int, int]
    """First and last line of the statement it is in."""
    statement: ast.stmt
    _holder: ast.AST
    _field: str
    _new: object

    def make(self) -> None:
        """Make the change in the tree that it was found in, for good."""
        setattr(self._holder, self._field, self._new)
        ast.fix_missing_locations(self._holder)


def mutants(path: Path, tree: ast.Module) -> Iterator[Mutant]:
    """Yield every change to a module; ``tree`` is its source, and the changes hold on to it."""
    seen: dict[str, int] = {}
    for change in _Walk(path.stem).module(tree):
        count = seen[change.name] = seen.get(change.name, 0) + 1
        yield change if count == 1 else replace(change, name=f"{change.name} #{count}")


class _Walk:
    """Goes through a module, keeping in mind in which function and statement it is."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._names: list[str] = []
        self._function: tuple[str, int] | None = None
        self._statement: ast.stmt | ast.match_case = ast.Pass()
        self._simple: ast.stmt = ast.Pass()

    def module(self, tree: ast.Module) -> Iterator[Mutant]:
        for statement in tree.body:
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                yield from self._definition(statement)
            elif isinstance(statement, (ast.Assign, ast.AnnAssign)) and not _is_alias(statement.value):
                yield from self._in(statement)

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Iterator[Mutant]:
        self._names.append(node.name)
        outer = self._function
        if not isinstance(node, ast.ClassDef) and outer is None:
            first = min([node.lineno, *(item.lineno for item in node.decorator_list)])
            self._function = ".".join(self._names), first
        if isinstance(node, ast.ClassDef):
            inner = [item for item in node.body if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef))]
            for item in inner:
                yield from self._definition(item)
        else:
            yield from self._block(node, "body")
        self._function = outer
        self._names.pop()

    def _block(self, holder: ast.AST, field: str) -> Iterator[Mutant]:
        statements: list[ast.stmt] = getattr(holder, field)
        for index, statement in enumerate(statements):
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield from self._block(statement, "body")
                continue
            if _is_assertion(statement) or _is_docstring(statement):
                continue
            self._statement = self._simple = statement
            is_last = index + 1 == len(statements) and isinstance(holder, (ast.FunctionDef, ast.AsyncFunctionDef))
            for new in () if is_last and _returns_nothing(statement) else _instead(statement):
                rest = [*statements[:index], new, *statements[index + 1 :]]
                yield self._mutant(holder, field, rest, self._text(statement), self._text(new))
            yield from self._in(statement)

    def _in(self, node: ast.AST) -> Iterator[Mutant]:
        """Go through what a statement, a case or an expression consists of."""
        if isinstance(node, (ast.stmt, ast.match_case)):
            self._statement = node
        if isinstance(node, ast.stmt):
            self._simple = node
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "format_spec") or (isinstance(node, ast.JoinedStr) and _is_text(value)):
                continue
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                kept = self._statement, self._simple
                yield from self._block(node, field)
                self._statement, self._simple = kept
            elif isinstance(value, list):
                yield from self._list(node, field, value)
            elif isinstance(value, ast.AST):
                for new in _others(value, node, field):
                    yield self._changed(node, field, new)
                yield from self._in(value)

    def _list(self, node: ast.AST, field: str, items: list[ast.AST]) -> Iterator[Mutant]:
        kept = self._statement, self._simple
        for index, item in enumerate(items):
            if not isinstance(item, ast.AST) or (isinstance(node, ast.JoinedStr) and isinstance(item, ast.Constant)):
                continue
            for new in _others(item, node, field):
                yield self._changed(node, field, [*items[:index], new, *items[index + 1 :]])
            yield from self._in(item)
            self._statement, self._simple = kept

    def _changed(self, holder: ast.AST, field: str, new: object) -> Mutant:
        before = self._text(self._statement)
        old = getattr(holder, field)
        setattr(holder, field, new)
        after = self._text(self._statement)
        setattr(holder, field, old)
        return self._mutant(holder, field, new, before, after)

    def _text(self, node: ast.AST) -> str:
        return ast.unparse(ast.fix_missing_locations(node)).partition("\n")[0]

    def _mutant(self, holder: ast.AST, field: str, new: object, before: str, after: str) -> Mutant:
        place = ".".join((self._module, *self._names))
        first, last = _lines(self._statement)
        return Mutant(
            f"{place}: {_difference(before, after)}", self._function, (first, last), self._simple, holder, field, new
        )


def _instead(node: ast.stmt) -> Iterator[ast.stmt]:
    """What a whole statement may become."""
    match node:
        case ast.Return(value=value) if value is not None and not _is_none(value):
            yield ast.copy_location(ast.Return(ast.Constant(None)), node)
        case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple()) if _are_places(names):
            for index in range(len(names)):
                fewer = copy.deepcopy(node)
                fewer.targets[0].elts.pop(index)
                fewer.value.elts.pop(index)
                yield fewer
        case ast.Assign(targets=targets) if _are_places(targets):
            yield ast.copy_location(ast.Pass(), node)
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Delete() | ast.Continue() | ast.Break():
            yield ast.copy_location(ast.Pass(), node)
        case ast.Return():
            yield ast.copy_location(ast.Pass(), node)
    match node:
        case ast.AugAssign(op=op) if type(op) in OPERATORS:
            other = copy.deepcopy(node)
            other.op = OPERATORS[type(op)]()
            yield other


def _others(node: ast.AST, holder: ast.AST, field: str) -> Iterator[ast.AST]:  # noqa: C901 (one case for each kind)
    """What an expression may become."""
    if field in ("test", "guard", "ifs") and not isinstance(node, (ast.Compare, ast.BoolOp, ast.UnaryOp)):
        yield ast.copy_location(ast.UnaryOp(ast.Not(), node), node)
    match node:
        case ast.Compare(ops=ops):
            for index, op in enumerate(ops):
                other = copy.deepcopy(node)
                other.ops[index] = OPERATORS[type(op)]()
                yield other
        case ast.BoolOp(op=op) | ast.BinOp(op=op) if type(op) in OPERATORS:
            changed = copy.deepcopy(node)
            changed.op = OPERATORS[type(op)]()
            yield changed
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.Constant(value=bool() as value):
            yield ast.copy_location(ast.Constant(not value), node)
        case ast.Constant(value=int() | float() as value):
            yield ast.copy_location(ast.Constant(value + 1), node)
        case ast.Constant(value=str() as value):
            if not any(character.isspace() for character in value):
                yield ast.copy_location(ast.Constant(f"XX{value}XX"), node)
            if _is_pattern(holder):
                yield from (ast.copy_location(ast.Constant(fewer), node) for fewer in _fewer_alternatives(value))
        case ast.Call(func=ast.Name(id=name)) if name in CALLS:
            call = copy.deepcopy(node)
            call.func = ast.copy_location(ast.Name(CALLS[name], ast.Load()), node)
            yield call
        case ast.Dict(keys=keys) if len(keys) > 1:
            for index in range(len(keys)):
                table = copy.deepcopy(node)
                del table.keys[index], table.values[index]
                yield table
        case ast.Set() | ast.Tuple(ctx=ast.Load()) if len(node.elts) > 1 and _is_table(node, holder):
            yield from _shorter(node, "elts")
        case ast.MatchOr():
            yield from _shorter(node, "patterns")


def _shorter(node: ast.AST, field: str) -> Iterator[ast.AST]:
    for index in range(len(getattr(node, field))):
        fewer = copy.deepcopy(node)
        del getattr(fewer, field)[index]
        if field == "patterns" and len(getattr(fewer, field)) == 1:
            fewer = getattr(fewer, field)[0]
        yield fewer


def _is_table(node: ast.AST, holder: ast.AST) -> bool:
    """Whether membership is what a display is for: in a test, of types, or named in the module."""
    if isinstance(node, ast.Set):
        return True
    by_type = isinstance(holder, ast.Call) and isinstance(holder.func, ast.Name) and holder.func.id == "isinstance"
    return by_type or isinstance(holder, ast.Compare)


def _is_pattern(holder: ast.AST) -> bool:
    return isinstance(holder, ast.Call) and isinstance(holder.func, ast.Attribute) and holder.func.attr in PATTERN_CALLS


def _fewer_alternatives(pattern: str) -> Iterator[str]:
    """Yield the pattern without each of its alternatives, at any depth."""
    groups: list[list[int]] = [[0]]
    cuts: list[tuple[int, int]] = []
    in_class = escaped = False
    for place, character in enumerate(f"{pattern})"):
        if escaped or character == "\\":
            escaped = not escaped
        elif in_class or character == "[":
            in_class = character != "]"
        elif character == "(":
            groups.append([place + 1 + 2 * pattern.startswith("?:", place + 1)])
        elif character == "|":
            groups[-1].append(place + 1)
        elif character == ")":
            starts = groups.pop()
            ends = [*(start - 1 for start in starts[1:]), place]
            if len(starts) > 1:
                spans = list(zip(starts, ends, strict=True))
                cuts += [(spans[0][0], spans[0][1] + 1), *((start - 1, end) for start, end in spans[1:])]
    yield from (pattern[:start] + pattern[end:] for start, end in sorted(cuts))


def _are_places(targets: list[ast.expr]) -> bool:
    """Whether an assignment writes to parts of something; one to a name cannot be left out."""
    return all(isinstance(target, (ast.Attribute, ast.Subscript)) for target in targets)


def _is_alias(value: ast.expr | None) -> bool:
    """Whether a name is given to a union of types."""
    return isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr) and isinstance(value.right, ast.Name)


def _is_assertion(statement: ast.stmt) -> bool:
    """Whether a statement only says what holds, to readers and to the type checker."""
    match statement:
        case ast.Assert() | ast.Expr(ast.Call(func=ast.Name("assert_never"))):
            return True
    return False


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _returns_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Return) and (statement.value is None or _is_none(statement.value))


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def _is_text(value: object) -> bool:
    return isinstance(value, ast.Constant)


def _lines(node: ast.stmt | ast.match_case) -> tuple[int, int]:
    """The lines of a statement; of one with a body, those of its head."""
    first = node.pattern.lineno if isinstance(node, ast.match_case) else node.lineno
    body = getattr(node, "body", None) or getattr(node, "cases", None)
    if body:
        inner = body[0].pattern if isinstance(body[0], ast.match_case) else body[0]
        return first, max(first, inner.lineno - 1)
    assert isinstance(node, ast.stmt)
    return first, node.end_lineno or first


def _difference(before: str, after: str) -> str:
    start = next(
        (n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    left, right = before[start:], after[start:]
    same = 0
    while same < min(len(left), len(right)) and left[-1 - same] == right[-1 - same]:
        same += 1
    head = max(0, start - CONTEXT)
    tail = max(0, same - CONTEXT)
    return f"{before[head : len(before) - tail]} -> {after[head : len(after) - tail]}"
