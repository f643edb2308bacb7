"""Globs and letter case: the two rules by which names are compared.

A glob knows ``*`` (any text, also none) and ``?`` (one character) and nothing else. It is matched segment by
segment from the left, so no pattern can take more than length x length steps, whatever a person writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Test = Callable[[str], bool]


def same_case(text: str) -> str:
    """Return the text in the one case used for comparing Azure names.

    Letters never cross between ASCII and the rest: the Kelvin sign is no ``k``.
    """
    if text.isascii():
        return text.lower()
    return "".join(map(_lower, text))


def is_glob(text: str) -> bool:
    """Say whether the text has a wildcard."""
    return "*" in text or "?" in text


def compile_glob(pattern: str, *, ignore_case: bool = True) -> Test:
    """Return a test for whole texts. Without a wildcard the test is equality."""
    if ignore_case:
        exact = compile_glob(same_case(pattern), ignore_case=False)
        return lambda text: exact(same_case(text))
    if not is_glob(pattern):
        return lambda text: text == pattern
    head, *rest = (_segment(part) for part in re.split(r"\*+", pattern))
    if not rest:
        return lambda text: head.fullmatch(text) is not None
    *middle, tail = rest
    tail_length = len(pattern) - pattern.rindex("*") - 1
    return lambda text: _fits(text, head, middle, tail, tail_length)


def _lower(char: str) -> str:
    low = char.lower()
    return low if len(low) == 1 and low.isascii() == char.isascii() else char


def _segment(part: str) -> re.Pattern[str]:
    return re.compile("".join("." if char == "?" else re.escape(char) for char in part), re.DOTALL)


def _fits(
    text: str, head: re.Pattern[str], middle: list[re.Pattern[str]], tail: re.Pattern[str], tail_length: int
) -> bool:
    """Head and tail are anchored; each middle part is taken leftmost, which leaves the most for the rest."""
    found = head.match(text)
    end = len(text) - tail_length
    for part in middle:
        if found is None:
            return False
        found = part.search(text, found.end(), max(end, 0))
    return found is not None and found.end() <= end and tail.fullmatch(text, end) is not None
