"""The grammar of selectors: text in, tree out, every mistake with its column.

Recursive descent, one method a rule::

    any        = all { "or" all }
    all        = negation { "and" negation }
    negation   = "not" negation | "(" any ")" | clause
    clause     = field ( "==" | "!=" | "matches" ) string | field [ "not" ] "in" list | tag | fact
    list       = "[" string { "," string } "]"
    field      = "name" | "os" | ... | tag | fact | step
    tag        = "tag." NAME | "tag" "[" string "]"
    fact       = "facts." NAME                                     (conditions of steps only)
    step       = "steps." ID ".status" | "steps." ID ".exit_code"  (conditions of steps only)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, NoReturn

from fleet.errors import Problem
from fleet.targets.expression import CLOSED, FIELDS, All, Any, Clause, Expression, Not, Operator, Words
from fleet.targets.glob import same_case

MAX_LENGTH: Final = 10_000
MAX_DEPTH: Final = 100

KEYWORDS: Final = frozenset({"and", "or", "not", "in", "matches"})

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)
    | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<tag>tag\.\w[\w.:-]*)
    | (?P<word>\w[\w.-]*)
    | (?P<sign>==|!=|[()\[\],])
    | (?P<foreign>=~|!~|&&|\|\||<>|<=|>=|[=!<>])
    | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(r"""\\([\\"'])""")

_FOREIGN: Final = {
    "=": 'write "=="',
    "=~": 'write "matches" with a glob, such as name matches "web-*"',
    "!~": 'write "not" before the clause and "matches" with a glob',
    "<>": 'write "!="',
    "&&": 'write "and"',
    "||": 'write "or"',
    "!": 'write "not"',
}

_OTHER_NAMES: Final = {
    "tags": "tag.NAME",
    "region": "location",
    "rg": "resource_group",
    "resourcegroup": "resource_group",
    "group": "resource_group",
    "vm": "name",
    "hostname": "name",
    "vmsize": "size",
    "vm_size": "size",
    "sku": "size",
    "state": "power",
    "status": "power",
    "connection": "power",
    "type": "kind",
    "vmss": "scale_set",
    "scaleset": "scale_set",
    "virtualmachinescaleset": "scale_set",
    "ostype": "os",
    "os_type": "os",
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something wrong at ``start`` in the text (counted from 0)."""

    code: str
    message: str
    start: int
    found: str = ""
    expected: str = ""
    hint: str = ""

    def placed(self, text: str, *, file: str, line: int, column: int) -> Problem:
        """Say where in the file this is, for a text that begins at the given line and column."""
        before = text[: self.start]
        rows = before.count("\n")
        if rows:
            line, column = (line or 1) + rows, self.start - before.rindex("\n")
        else:
            column = max(column, 1) + self.start
        return Problem(self.code, self.message, file, line, column, self.found, self.expected, self.hint)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class _Unreadable(Exception):
    """The text makes no sense from here on; the mistake is already noted."""


def read_expression(text: str, words: Words | None = None) -> tuple[Expression, tuple[Mistake, ...]]:
    """Read a selector, or with ``words`` a condition of a step, which may speak of these facts and steps as well.

    With mistakes, the tree is not to be used. Never raises, for any text.
    """
    if len(text) > MAX_LENGTH:
        message = f"a selector may have {MAX_LENGTH:,} characters, this one has {len(text):,}"
        return All(()), (Mistake("selector_too_long", message, 0),)
    parser = _Parser(text, words)
    try:
        expression = parser.whole()
    except _Unreadable:
        expression = All(())
    return expression, tuple(sorted(parser.mistakes, key=lambda mistake: mistake.start))


def _tokens(text: str) -> Iterator[_Token]:
    for found in _TOKEN.finditer(text):
        if found.lastgroup != "space":
            yield _Token(found.lastgroup or "other", found.group(), found.start())
    yield _Token("end", "", len(text))


class _Parser:
    """One reading of one text."""

    def __init__(self, text: str, words: Words | None) -> None:
        self.text = text
        self.words = words
        self.tokens = tuple(_tokens(text))
        self.at = 0
        self.depth = 0
        self.mistakes: list[Mistake] = []

    @property
    def token(self) -> _Token:
        return self.tokens[self.at]

    def whole(self) -> Expression:
        if self.token.kind == "end":
            return All(())
        expression = self.any()
        if self.token.kind != "end":
            self.stop('"and", "or" or the end')
        return expression

    def any(self) -> Expression:
        return self.chain("or", self.all, Any)

    def all(self) -> Expression:
        return self.chain("and", self.negation, All)

    def chain(self, word: str, rule: Callable[[], Expression], join: type[All] | type[Any]) -> Expression:
        start = self.token.start
        parts = [rule()]
        while self.took(word):
            parts.append(rule())
        return parts[0] if len(parts) == 1 else join(tuple(parts), self.since(start))

    def negation(self) -> Expression:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.note("selector_too_deep", f"parentheses and not may nest {MAX_DEPTH} deep, no deeper")
            raise _Unreadable
        start = self.token.start
        if self.took("not"):
            part = self.negation()
            expression: Expression = Not(part, self.since(start))
        elif self.took("("):
            expression = self.any()
            self.need(")")
        else:
            expression = self.clause()
        self.depth -= 1
        return expression

    def clause(self) -> Expression:
        start = self.token.start
        field, tag = self.field()
        operator, negated, values = self.comparison(field)
        return Clause(field, operator, values, tag, negated, self.since(start))

    def field(self) -> tuple[str, str]:
        token = self.token
        if token.kind == "tag":
            self.at += 1
            return "tag", token.text.removeprefix("tag.")
        if token.kind != "word" or token.text in KEYWORDS:
            self.stop("a field, such as name or tag.env, or (")
        self.at += 1
        if token.text == "tag":
            self.need("[")
            name = self.string()
            self.need("]")
            return "tag", name
        if self.words is not None and token.text.startswith(("facts.", "steps.")):
            return self.known(token, self.words)
        if token.text not in FIELDS:
            self.unknown_field(token)
            return "tag", token.text
        return token.text, ""

    def known(self, token: _Token, words: Words) -> tuple[str, str]:
        """Read ``facts.NAME``, ``steps.ID.status`` or ``steps.ID.exit_code``."""
        kind, _, rest = token.text.partition(".")
        name, field = (rest, "fact") if kind == "facts" else rest.rpartition(".")[::2]
        names = words.facts if kind == "facts" else words.steps
        if field not in ("fact", "status", "exit_code"):
            expected = "steps.ID.status or steps.ID.exit_code"
            self.note("unknown_field", f"a step has no {token.text!r}", token, expected=expected)
            return "status", name
        if name not in names:
            what = "no step collects the fact" if kind == "facts" else "there is no step"
            hint = _did_you_mean(name, names) or "only what stands above this step, or belongs to it, is known"
            self.note(f"unknown_{kind[:-1]}", f"{what} {name!r} here", token, expected=", ".join(names), hint=hint)
        return field, name

    def comparison(self, field: str) -> tuple[Operator, bool, tuple[str, ...]]:
        negated = False
        if self.token.text in ("==", "!="):
            negated = self.token.text == "!="
            self.at += 1
            return Operator.EQUALS, negated, (self.value(field),)
        if self.took("matches"):
            return Operator.MATCHES, False, (self.glob(),)
        if self.token.text == "not" and self.tokens[self.at + 1].text == "in":
            self.at += 1
            negated = True
        if self.took("in"):
            return Operator.ONE_OF, negated, self.listing(field)
        if field not in ("tag", "fact") or self.token.kind not in ("end", "word", "sign"):
            self.stop("==, !=, in, not in or matches")
        return Operator.PRESENT, False, ()

    def listing(self, field: str) -> tuple[str, ...]:
        self.need("[")
        values = [self.value(field)]
        while self.took(","):
            values.append(self.value(field))
        self.need("]")
        return tuple(values)

    def value(self, field: str) -> str:
        token = self.token
        value = self.string()
        choices = CLOSED.get(field, ())
        if choices and same_case(value) not in choices:
            self.note(
                "unknown_value",
                f"{field} is never {value!r}",
                token,
                expected=" or ".join(choices),
                hint=_did_you_mean(value, choices),
            )
        return value

    def glob(self) -> str:
        token = self.token
        pattern = self.string()
        if pattern.startswith("^") or pattern.endswith("$"):
            self.note(
                "not_a_glob",
                "matches takes a glob (* and ?), which covers the whole text, and no regular expression",
                token,
                expected="a glob",
                hint="leave out ^ and $, and write * for any text",
            )
        return pattern

    def string(self) -> str:
        token = self.token
        if token.kind in ("word", "tag") and token.text not in KEYWORDS:
            self.note("not_quoted", f"{token.text} is not in quotes", token, hint=f'write "{token.text}"')
        elif token.kind != "string":
            self.stop("a text in quotes")
        self.at += 1
        return _ESCAPE.sub(r"\1", token.text[1:-1])

    def took(self, text: str) -> bool:
        """Go past the next token if it is this word or sign."""
        found = self.token.kind in ("word", "sign") and self.token.text == text
        self.at += found
        return found

    def need(self, text: str) -> None:
        if not self.took(text):
            self.stop(f'"{text}"')

    def since(self, start: int) -> str:
        return self.text[start : self.tokens[self.at - 1].end]

    def unknown_field(self, token: _Token) -> None:
        head, dot, rest = token.text.partition(".")
        other = _OTHER_NAMES.get(head.lower(), "")
        if head.lower() in ("tag", "tags") and dot and rest:
            hint = f"did you mean tag.{rest}?"
        elif other:
            hint = f"did you mean {other}?"
        else:
            hint = _did_you_mean(token.text, FIELDS) or f'for a VM of that name write name == "{token.text}"'
        expected = ", ".join([*FIELDS, "tag.NAME"])
        self.note("unknown_field", f"there is no field {token.text!r}", token, expected=expected, hint=hint)

    def note(self, code: str, message: str, token: _Token | None = None, *, expected: str = "", hint: str = "") -> None:
        token = token or self.token
        self.mistakes.append(Mistake(code, message, token.start, token.text, expected, hint))

    def stop(self, expected: str) -> NoReturn:
        """Note what stands here instead of what was expected, and read no further."""
        token = self.token
        if token.kind == "other" and token.text in "\"'":
            self.note("selector_syntax", f"the text that begins here has no closing {token.text}", expected=expected)
        else:
            found = repr(token.text) if token.text else "the end"
            hint = _FOREIGN.get(token.text, "")
            if not hint and token.text.lower() in KEYWORDS and token.text not in KEYWORDS:
                hint = f'write "{token.text.lower()}"'
            self.note("selector_syntax", f"expected {expected}, found {found}", expected=expected, hint=hint)
        raise _Unreadable


def _did_you_mean(word: str, choices: tuple[str, ...]) -> str:
    close = get_close_matches(word.lower()[:100], choices, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else ""
