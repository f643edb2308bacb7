"""The page about selectors says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fleet.targets.entries import read_entries
from fleet.targets.expression import CLOSED, FIELDS
from fleet.targets.folding import fold, unfold
from fleet.targets.selector import parse

from .strategies import make

PAGE = (Path(__file__).parents[3] / "docs" / "selectors.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", _blocks("selector"))
def test_examples_of_selectors_are_read(text: str) -> None:
    """Every selector on the page can be read and explained."""
    assert parse(text).explain(make()).text


@pytest.mark.parametrize("text", _blocks("entry"))
def test_examples_of_entries_are_read(text: str) -> None:
    """Every entry on the page can be read."""
    assert len(read_entries([text], place="limit", negatable=True)) == 1


def test_the_page_has_examples_and_every_field() -> None:
    """The page shows examples, and names every field and every value of a closed list."""
    assert len(_blocks("selector")) >= 8
    assert len(_blocks("entry")) >= 3
    for word in (*FIELDS, *(value for values in CLOSED.values() for value in values)):
        assert f"`{word}`" in PAGE


def test_what_it_says_of_missing_tags() -> None:
    """A VM without the tag is let in by != and kept out once the tag is asked for as well."""
    assert parse('tag.env != "prod"').matches(make())
    assert not parse('tag.env and tag.env != "prod"').matches(make())


def test_what_it_says_of_folded_names() -> None:
    """The folded names on the page are what Fleet writes and reads."""
    assert fold(["web001", "web002", "web003", "web005"]) == "web[001-003,005]"
    assert fold(["rack1-n1", "rack1-n2", "rack2-n1", "rack2-n2"]) == "rack[1-2]-n[1-2]"
    assert "web[001-003,005]" in PAGE
    assert "rack[1-2]-n[1-2]" in PAGE
    assert len(unfold("web[001-040,042]")) == 41
