"""Entries of ``exclude``, ``--exclude`` and ``--limit``: what a person writes to point at VMs.

An entry is, decided by its look and in this order:

* a resource id, or a glob over ids, when it begins with ``/``; it covers what lies beneath it, so the id of a
  resource group covers the VMs in it;
* a ``where`` expression, when it has an operator (``==``, ``and``, ``in``, ``tag.NAME`` ...);
* otherwise names: one, or several as ``web[001-040],db*``, each of which may be a glob.

All of them compare without regard to case, as ARM does (documented).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from fleet.errors import InvalidInput, Problem
from fleet.targets.expression import TargetTest
from fleet.targets.folding import unfold
from fleet.targets.glob import compile_glob, is_glob, same_case
from fleet.targets.model import Target
from fleet.targets.partial import PartialTarget
from fleet.targets.selector import Selector, parse

_EXPRESSION: Final = re.compile(
    r"""[=<>]|!= | (?:^|[\s)\]"'])(?:and|or|not|in|matches)[\s(\["'] | ^\s*\(?\s*tag[.\[]""", re.VERBOSE
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, ready to be compared. ``negated`` says that it began with ``!``."""

    text: str
    negated: bool
    names: frozenset[str]
    tests: tuple[TargetTest, ...]
    field: str = "name"
    """What the tests compare, ``id`` or ``name``; ``where`` is the expression where they are one."""
    where: Selector | None = None

    def covers(self, target: Target) -> bool:
        """Say whether the entry points at this target (whatever ``negated`` says)."""
        return same_case(target.name) in self.names or any(test(target) for test in self.tests)

    def decides(self, partial: PartialTarget) -> bool | None:
        """Say whether the entry points at a machine that is known in part: certainly, certainly not, or perhaps."""
        if self.where is not None:
            return self.where.decides(partial)
        return None if self.field in partial.unknown else self.covers(partial.target)


def read_entries(texts: Iterable[str], *, place: str, negatable: bool) -> tuple[Entry, ...]:
    """Read every entry of a list. ``place`` names the list for people.

    Raises InvalidInput with the problems of all entries; unless ``negatable``, a leading ``!`` is one.
    """
    entries: list[Entry] = []
    problems: list[Problem] = []
    for text in texts:
        try:
            entries.append(_entry(text.strip(), place, negatable))
        except InvalidInput as invalid:
            found = (replace(one, message=f"{place} {text!r}: {one.message}") for one in invalid.problems)
            problems.extend(found)
    if problems:
        raise InvalidInput(problems)
    return tuple(entries)


def _entry(text: str, place: str, negatable: bool) -> Entry:
    negated = text.startswith("!")
    body = text.removeprefix("!").strip()
    if not body:
        raise InvalidInput([Problem("empty_entry", "the entry is empty", found=text, expected="a name")])
    if negated and not negatable:
        raise InvalidInput(
            [Problem("double_exclude", f"{place} leaves out already", found=text, hint=f"write {body!r}")]
        )
    if body.startswith("/"):
        tests = tuple(_by_id(part.strip()) for part in body.split(",") if part.strip())
        return Entry(text, negated, frozenset(), tests, field="id")
    if _EXPRESSION.search(body):
        where = parse(body)
        return Entry(text, negated, frozenset(), (where.matches,), where=where)
    names = unfold(body)
    plain = frozenset(same_case(name) for name in names if not is_glob(name))
    return Entry(text, negated, plain, tuple(_by_name(name) for name in names if is_glob(name)))


def _by_id(pattern: str) -> TargetTest:
    pattern = pattern.rstrip("/")
    itself, beneath = compile_glob(pattern), compile_glob(f"{pattern}/*")
    return lambda target: itself(target.id) or beneath(target.id)


def _by_name(pattern: str) -> TargetTest:
    fits = compile_glob(pattern)
    return lambda target: fits(target.name)
