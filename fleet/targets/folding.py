"""Names folded for people and back: ``web001 web002 web004`` is ``web[001-002,004]``.

A folded text is a list of patterns separated by commas. A pattern is text with any number of ``[...]``, each
a list of numbers and ranges; digits are kept as written: ``web1`` and ``web01`` stay two names. A name with a
character that means something here stands in double quotes, a backslash before each quote and backslash.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from math import prod
from typing import Final, NoReturn

from fleet.errors import InvalidInput, Problem
from fleet.targets.natural import natural_key

MAX_NAMES: Final = 100_000
MAX_AXES: Final = 3
"""Only the last numbers of a name are folded: more brackets are harder to read than the names."""
MAX_DIGITS: Final = 15

_SPECIAL: Final = re.compile(r'[\[\],"\\\s]')
_NUMBER: Final = re.compile(r"([0-9]+)")
_ITEM: Final = re.compile(
    r"""\s*
    (?: "(?P<quoted>(?:[^"\\]|\\.)*)" | (?P<pattern>(?:[^\[\],"\\\s]|\[[^\[\]]*\])+) )
    \s*(?P<next>,|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_BRACKET: Final = re.compile(r"\[([^\[\]]*)\]")
_RANGE: Final = re.compile(rf"\s*([0-9]{{1,{MAX_DIGITS}}})(?:-([0-9]{{1,{MAX_DIGITS}}}))?\s*")

Values = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Range:
    """Numbers from ``low`` to ``high``, padded with zeros to ``width``."""

    low: int
    high: int
    width: int

    def __len__(self) -> int:
        return self.high - self.low + 1

    def __str__(self) -> str:
        low = str(self.low).zfill(self.width)
        return low if self.low == self.high else f"{low}-{str(self.high).zfill(self.width)}"

    def values(self) -> Iterator[str]:
        return (str(number).zfill(self.width) for number in range(self.low, self.high + 1))


def fold(names: Iterable[str]) -> str:
    """Return the shortest honest way to write a set of names, in natural order; repeated names count once."""
    quoted: list[str] = []
    shapes: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for name in dict.fromkeys(names):
        if not name or _SPECIAL.search(name):
            quoted.append(name)
        else:
            texts, numbers = _split(name)
            shapes.setdefault(texts, []).append(numbers)
    patterns = [(name, _quote(name)) for name in quoted]
    for texts, rows in shapes.items():
        patterns += (_written(texts, row) for row in _merged(rows, len(texts) - 1))
    return ",".join(text for _, text in sorted(patterns, key=lambda pattern: natural_key(pattern[0])))


def unfold(text: str) -> tuple[str, ...]:
    """Return the names that a folded text stands for, each once, in natural order. Empty text is no name.

    Raises InvalidInput if the text cannot be read or stands for more than ``MAX_NAMES`` names.
    """
    names: set[str] = set()
    room = MAX_NAMES
    for choices in _items(text):
        room -= prod(sum(map(len, ranges)) for ranges in choices if not isinstance(ranges, str))
        if room < 0:
            _refuse(text, 0, f"this stands for more than {MAX_NAMES:,} names")
        parts = ((part,) if isinstance(part, str) else tuple(_spelled(part)) for part in choices)
        names.update(map("".join, product(*parts)))
    return tuple(sorted(names, key=natural_key))


def _split(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Cut a name into texts and the numbers between them; what is not folded stays text."""
    parts = _NUMBER.split(name)
    at = [at for at in range(1, len(parts), 2) if len(parts[at]) <= MAX_DIGITS][-MAX_AXES:]
    if 2 * len(at) == len(parts) - 1:
        return tuple(parts[::2]), tuple(parts[1::2])
    texts = ["".join(parts[start + 1 : end]) for start, end in pairwise([-1, *at, len(parts)])]
    return tuple(texts), tuple([parts[number] for number in at])


def _merged(names: list[tuple[str, ...]], axes: int) -> list[tuple[Values, ...]]:
    """Join rows that differ in one number only, the last number first. The rows stay disjoint."""
    rows: list[tuple[tuple[str, ...], tuple[Values, ...]]] = [(numbers, ()) for numbers in names]
    for _ in range(axes):
        joined: dict[tuple[tuple[str, ...], tuple[Values, ...]], list[str]] = {}
        for numbers, values in rows:
            joined.setdefault((numbers[:-1], values), []).append(numbers[-1])
        rows = [(rest, (tuple(sorted(last)), *values)) for (rest, values), last in joined.items()]
    return [values for _, values in rows]


def _written(texts: tuple[str, ...], row: tuple[Values, ...]) -> tuple[str, str]:
    """Return the first name of a row, to sort by, and the row's pattern."""
    first, pattern = texts[0], texts[0]
    for values, text in zip(row, texts[1:], strict=True):
        if len(values) == 1:
            number = folded = values[0]
        else:
            ranges = _ranges(values)
            number, folded = next(ranges[0].values()), f"[{','.join(map(str, ranges))}]"
        first += number + text
        pattern += folded + text
    return first, pattern


def _ranges(values: Values) -> list[_Range]:
    """Gather numbers as written into ranges. A number joins a padded range only if it is as wide."""
    padded = {len(value) for value in values if value[0] == "0" and len(value) > 1}
    numbers = sorted((len(value) if len(value) in padded else 1, int(value)) for value in values)
    ranges: list[_Range] = []
    (width, low), high = numbers[0], numbers[0][1]
    for next_width, number in [*numbers[1:], (0, 0)]:
        if next_width != width or number != high + 1:
            ranges.append(_Range(low, high, width))
            width, low = next_width, number
        high = number
    return sorted(ranges, key=lambda found: (found.low, found.width))


def _quote(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _items(text: str) -> Iterator[tuple[str | list[_Range], ...]]:
    at = 0
    while text.strip():
        found = _ITEM.match(text, at)
        if found is None:
            _refuse(text, at, "this is not a name, and not a pattern such as web[01-20,25]")
        if found["pattern"] is None:
            yield (re.sub(r"\\(.)", r"\1", found["quoted"], flags=re.DOTALL),)
        else:
            yield _pattern(text, found["pattern"], found.start("pattern"))
        at = found.end()
        if not found["next"]:
            return


def _pattern(text: str, pattern: str, start: int) -> tuple[str | list[_Range], ...]:
    parts: list[str | list[_Range]] = []
    for at, part in enumerate(_BRACKET.split(pattern)):
        if at % 2:
            parts.append([_range(text, one, start) for one in part.split(",")])
        else:
            parts.append(part)
    return tuple(parts)


def _range(text: str, written: str, start: int) -> _Range:
    found = _RANGE.fullmatch(written)
    if found is None:
        _refuse(text, start, f"{written!r} is not a number or a range such as 01-20")
    low, high = found[1], found[2] or found[1]
    if int(low) > int(high) or len(low) > len(high):
        _refuse(text, start, f"the range {written.strip()} runs backwards, or its ends are padded differently")
    return _Range(int(low), int(high), len(low))


def _spelled(ranges: list[_Range]) -> Iterator[str]:
    return (value for one in ranges for value in one.values())


def _refuse(text: str, start: int, message: str) -> NoReturn:
    found = text[start : start + 60]
    problem = Problem("bad_names", message, column=start + 1, found=found, expected="names such as web[01-20,25]")
    raise InvalidInput([problem])
