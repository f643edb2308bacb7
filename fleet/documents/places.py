"""A document's data, and the place of everything in it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleet.errors import Problem

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Lookalike:
    """An unquoted scalar that different YAML readers read differently. Fits no type but ``object``."""

    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Stands where something was refused already, so that nothing further is said about that place."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a value stands, counted from 1, and its text, shortened (empty for mappings and lists)."""

    line: int
    column: int
    found: str = ""
    style: str = ""
    """How text is written: empty for plain, else the quote or ``|`` or ``>``."""
    last_line: int = 0
    """The line where text ends; 0 for mappings and lists."""


class Document:
    """One YAML document: plain data, and the place of every key and value."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.data: object = None
        self.lines: tuple[str, ...] = ()
        self.problems: list[Problem] = []
        """What ``examine`` found; empty in a document that ``read`` returned."""
        self.keys: dict[Path, Mark] = {}
        self.values: dict[Path, Mark] = {}

    def mark(self, path: Sequence[str | int], *, key: bool = False) -> Mark:
        """Return the place of the value at ``path`` (of its key, if asked), else of its nearest parent."""
        where = tuple(path)
        if key and where in self.keys:
            return self.keys[where]
        for length in range(len(where), -1, -1):
            if where[:length] in self.values:
                found = self.values[where[:length]]
                return found if length == len(where) else Mark(found.line, found.column)
        return Mark(1, 1)

    def within(self, path: Sequence[str | int], text: str, offset: int) -> tuple[int, int]:
        """Return line and column of a character of the text at ``path``; the text's beginning if in doubt."""
        mark = self.mark(path)
        if mark.style == "|":
            row, content = text.count("\n", 0, offset), text.split("\n")
            line = self.lines[mark.line + row] if mark.line + row < len(self.lines) else ""
            if content[row] and line.endswith(content[row]):
                inside = offset - (text.rfind("\n", 0, offset) + 1)
                return mark.line + row + 1, len(line) - len(content[row]) + inside + 1
        elif mark.last_line == mark.line:
            source = self.lines[mark.line - 1][mark.column - 1 :] if mark.line <= len(self.lines) else ""
            if source[len(mark.style) :].startswith(text):
                return mark.line, mark.column + len(mark.style) + offset
        return mark.line, mark.column

    def at(self, path: Sequence[str | int]) -> object:
        """Return the data at ``path``, or None where there is none."""
        node = self.data
        for part in path:
            node = step(node, part)
        return None if node is ABSENT else node


def problem(
    document: Document,
    path: Sequence[str | int],
    code: str,
    message: str,
    *,
    found: str | None = None,
    expected: str = "",
    hint: str = "",
    key: bool = False,
) -> Problem:
    """Build a problem that stands at ``path`` (at its key, if asked); ``found`` defaults to its text."""
    mark = document.mark(path, key=key)
    text = mark.found if found is None else found
    return Problem(code, message, document.file, mark.line, mark.column, text, expected, hint)


def described(value: object) -> str:
    """Say what a value is, as an end of a sentence: ``the number 3``, ``a list``, ``nothing``."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text '{shown(value)}'"
        case Lookalike():
            return value.text
        case list():
            return "a list"
        case _:
            return "a mapping"


ABSENT = object()


def step(data: object, part: str | int) -> object:
    """Go one part of a path into plain data; ``ABSENT`` where there is nothing."""
    if isinstance(data, dict):
        return data.get(part, ABSENT)
    if isinstance(data, list) and isinstance(part, int) and 0 <= part < len(data):
        return data[part]
    return ABSENT


def closest(word: str, options: Iterable[str]) -> str:
    """Return the hint "did you mean 'x'?" for the option nearest to ``word``, or nothing."""
    choices = {option.casefold(): option for option in options}
    near = difflib.get_close_matches(word.casefold(), list(choices), n=1, cutoff=0.6)
    return f"did you mean '{choices[near[0]]}'?" if near else ""


def dotted(path: Sequence[str | int]) -> str:
    """Spell a path as people write it: ``steps[0].run.file``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def shown(value: str) -> str:
    """Shorten a text to one printable line of at most 80 characters, for messages."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in value[:81])
    return line if len(line) <= 80 else line[:79] + "…"


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Sort problems by their place and drop those said twice."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda item: (item.file, item.line, item.column)))
