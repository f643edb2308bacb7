"""A selector: which targets a ``where`` expression lets in, and why.

The language is described in ``docs/selectors.md``, its grammar in ``fleet.targets.grammar``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from fleet.errors import InvalidInput
from fleet.targets.expression import Any, Clause, Expression, Not, TargetTest, Words, compile_expression, read_field
from fleet.targets.grammar import read_expression
from fleet.targets.model import Target
from fleet.targets.partial import PartialTarget, truth_of


@dataclass(frozen=True, slots=True)
class Explanation:
    """A part of a selector, as written, and its truth for one target; ``parts`` are the parts it is made of.

    ``found`` says for a single clause what the target has there: ``tag env is "dev"``, ``no tag env``.
    """

    text: str
    truth: bool
    parts: tuple[Explanation, ...] = ()
    found: str = ""
    every: bool = True
    """Whether all parts must hold (``and``, ``not``) or one is enough (``or``)."""

    def deciding(self) -> tuple[Explanation, ...]:
        """Return the single clauses that made this part true or false, in the order of the text."""
        return tuple(self._deciding())

    def _deciding(self) -> Iterator[Explanation]:
        if not self.parts:
            yield self
        one_decides = self.truth != self.every
        for part in self.parts:
            if len(self.parts) == 1 or not one_decides or part.truth == self.truth:
                yield from part._deciding()

    def __str__(self) -> str:
        verdict = "true" if self.truth else "false"
        return f"{self.text} is {verdict} ({self.found})" if self.found else f"{self.text} is {verdict}"


@dataclass(frozen=True, slots=True)
class Selector:
    """A checked ``where`` expression. Made by :func:`parse`; equal when the expressions are."""

    text: str = field(compare=False)
    expression: Expression
    _test: TargetTest = field(compare=False, repr=False)

    def matches(self, target: Target) -> bool:
        """Say whether the target is let in."""
        return self._test(target)

    def decides(self, partial: PartialTarget) -> bool | None:
        """Say whether a machine that is known in part is let in: certainly, certainly not, or perhaps (None)."""
        return truth_of(self.expression, partial)

    def explain(self, target: Target) -> Explanation:
        """Say of every part whether it is true of the target; the whole agrees with ``matches``."""
        return _explain(self.expression, target)

    def __str__(self) -> str:
        return self.text


def parse(text: str, *, file: str = "", line: int = 0, column: int = 0) -> Selector:
    """Read a ``where`` expression; empty text lets everything in.

    ``file``, ``line`` and ``column`` say where the text begins and move the places in the problems. Raises
    InvalidInput with every problem found; no text raises anything else.
    """
    expression, mistakes = read_expression(text)
    if mistakes:
        raise InvalidInput([mistake.placed(text, file=file, line=line, column=column) for mistake in mistakes])
    return Selector(text.strip(), expression, compile_expression(expression))


@lru_cache(maxsize=256)
def parse_condition(condition: str) -> Expression:
    """Read a condition of a step, whose names of facts and steps the playbook's loader has found right.

    Raises ValueError if it cannot be read.
    """
    words = Words(
        tuple(re.findall(r"facts\.(\w+)", condition)),
        tuple(re.findall(r"steps\.([\w-]+)\.", condition)),
    )
    expression, mistakes = read_expression(condition, words)
    if mistakes:
        raise ValueError(f"the plan's condition cannot be read: {mistakes[0].message}")
    return expression


EVERYTHING = parse("")
"""The selector without a condition."""


def _explain(expression: Expression, target: Target) -> Explanation:
    if isinstance(expression, Clause):
        return Explanation(expression.text, compile_expression(expression)(target), found=_found(expression, target))
    if isinstance(expression, Not):
        inner = _explain(expression.part, target)
        return Explanation(expression.text, not inner.truth, (inner,))
    parts = tuple(_explain(part, target) for part in expression.parts)
    truths = [part.truth for part in parts]
    if isinstance(expression, Any):
        return Explanation(expression.text, any(truths), parts, every=False)
    return Explanation(expression.text or "everything", all(truths), parts)


def _found(clause: Clause, target: Target) -> str:
    values = read_field(clause, target)
    name = f"tag {clause.tag}" if clause.field == "tag" else clause.field
    if not values:
        return f"no {name}"
    return f"{name} is " + " or ".join(f'"{value}"' for value in dict.fromkeys(values))
