"""Globs: what they fit, and that no pattern is slow."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from fleet.targets.glob import compile_glob

pieces = st.text(alphabet="ab*?", max_size=8)


@given(pieces, st.text(alphabet="ab", max_size=10))
@example("ab*ba", "aba")
@example("a*b*b", "ab")
def test_fits_what_a_regular_expression_would(pattern: str, text: str) -> None:
    """A glob fits exactly the texts that its spelling as a regular expression fits."""
    spelled = pattern.replace("?", ".").replace("*", ".*")
    assert compile_glob(pattern)(text) == (re.fullmatch(spelled, text) is not None)


def test_case_is_minded_only_on_request() -> None:
    """Names compare without regard to case, values of tags with it."""
    assert compile_glob("WEB-*")("web-É")
    assert not compile_glob("WEB-*", ignore_case=False)("web-1")


def test_only_two_characters_are_special() -> None:
    """Everything but * and ? stands for itself."""
    assert compile_glob("a.[b]+$*")("a.[b]+$x")
    assert not compile_glob("a.c")("abc")


def test_no_pattern_is_slow() -> None:
    """A pattern made to make a backtracking matcher hang is answered."""
    assert not compile_glob("a*" * 2_000 + "b")("a" * 5_000)
