"""Hostile text made harmless."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given

from fleet.report import render_csv, render_html, render_junit, render_markdown, render_text, safe
from fleet.report.aggregate import aggregate
from fleet.report.model import Report
from fleet.unseen import IGNORABLE, numbered

from . import factory as f
from .hostile import texts

CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
HIDDEN = {chr(point) for first, last in IGNORABLE for point in range(first, last + 1)}
FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2065\u3164\uffa0\ufff0\ufff8\U000e0000\U000e0fff"
SELECTORS = "".join(map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))


@cache
def every() -> str:
    """Every assigned character, every surrogate and plane 14; of the other unassigned and the private ones a sample."""
    return "".join(
        char
        for point, char in enumerate(map(chr, range(sys.maxunicode + 1)))
        if unicodedata.category(char) not in ("Cn", "Co")
        or point % 97 == 0
        or point & 0xFFFE == 0xFFFE
        or point >> 12 == 0xE0
    )


def unseen(text: str) -> set[str]:
    """The characters of a text that cannot be seen."""
    return {char for char in set(text) if char in HIDDEN or unicodedata.category(char) in CATEGORIES}


def test_the_table_is_the_standards_property() -> None:
    """The property is Cf without annotations, hieroglyph controls and signs that stand before numbers, and what is listed
    besides: fillers, variation selectors, plane 14 (UAX 44, and DerivedCoreProperties.txt).
    """
    not_ignorable = {*range(0xFFF9, 0xFFFC), *range(0x13430, 0x13440), *range(0x600, 0x606), 0x6DD, 0x70F, 0x8E2}
    not_ignorable |= {0x890, 0x891, 0x110BD, 0x110CD}
    formats = {char for char in every() if unicodedata.category(char) == "Cf" and ord(char) not in not_ignorable}
    fillers = {*map(chr, [0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2065, 0x3164, 0xFFA0, *range(0xFFF0, 0xFFF9)])}
    selectors = {*map(chr, [*range(0x180B, 0x180E), 0x180F]), *SELECTORS}
    assert {*formats, *fillers, *selectors, *map(chr, range(0xE0000, 0xE1000))} == HIDDEN
    assert len(HIDDEN) == 4174
    assert not {char for char in HIDDEN if char.isspace()}


@pytest.mark.parametrize(
    "form", [render_text.render, render_html.render, render_markdown.render, render_csv.render, render_junit.render]
)
@pytest.mark.parametrize("chars", [FILLERS, SELECTORS, "\u00ad\u200d\u202e\ufeff\U0001d173"])
def test_no_form_for_people_holds_a_character_that_cannot_be_seen(form: Callable[[Report], str], chars: str) -> None:
    """Wherever a name, a message or output may stand, what hides in it is shown by number."""
    plain = form(aggregate(f.hostile("ab")))
    allowed = {"\u2060", "\ufe0f"} if form is render_markdown.render else set()  # our own, not the VM's
    for some in (chars[at : at + 8] for at in range(0, len(chars), 8)):
        shown = form(aggregate(f.hostile("".join(f"a{char}b" for char in some))))
        assert unseen(shown) <= unseen(plain) | {"\n"} | allowed
        for char in some:
            assert f"a{char}b" not in shown
            assert numbered(char) in shown or f"⟨U+{ord(char):04X}⟩" in shown


def test_what_emoji_are_made_of_is_shown_too() -> None:
    """Joiners and variation selectors have no exception: two texts that differ never look alike."""
    assert safe.terminal("\u2764\ufe0f") == "\u2764\\ufe0f"
    assert safe.visible("\U0001f469\u200d\U0001f4bb") == "\U0001f469⟨U+200D⟩\U0001f4bb"
    assert safe.terminal("a\u00a0b\u3000c\u2003d") == "a\u00a0b\u3000c\u2003d", "white space takes room"


@given(texts, texts)
def test_texts_that_differ_look_different_on_a_terminal(one: str, other: str) -> None:
    """Whatever is put between, the two can be told apart."""
    assert (safe.terminal(one) == safe.terminal(other)) == (one == other)


def test_a_terminal_gets_no_control_of_all_unicode() -> None:
    """Of all of Unicode only line end and tab survive among the characters that cannot be seen."""
    shown = safe.terminal(every())
    assert unseen(shown) == {"\n", "\t"}
    assert set(shown) >= set(every()) - unseen(every())


def test_escapes_have_three_widths_and_backslashes_double() -> None:
    r"""Characters show as ``\xNN``, ``\uNNNN``, ``\UNNNNNNNN``."""
    assert safe.terminal("\x1b\x9b\u202e\ud800\U000e0001\\é") == r"\x1b\x9b\u202e\ud800\U000e0001\\é"
    assert safe.terminal_line("a\nb\tc") == r"a\nb\tc"


@given(texts)
def test_the_terminal_form_can_be_undone(text: str) -> None:
    """Nothing is lost for the terminal: the original can be read back."""

    def back(match: re.Match[str]) -> str:
        body = match.group(1)
        return "\\" if body == "\\" else chr(int(body[1:], 16))

    escape = r"\\(\\|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})"
    assert re.sub(escape, back, safe.terminal(text)) == text


def test_documents_get_nothing_unseen_of_all_unicode() -> None:
    """Of all of Unicode only line end and tab survive, all of it legal in XML 1.0 and in UTF-8."""
    shown = safe.visible(every())
    shown.encode("utf-8")
    assert unseen(shown) == {"\n", "\t"}
    assert set(shown) >= set(every()) - unseen(every()) - {"\ufffe", "\uffff"}
    legal = re.compile("[\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")
    assert legal.fullmatch(shown)


@given(texts)
def test_a_line_is_one_line(text: str) -> None:
    """A record cannot forge a second line in any form."""
    for form in (safe.terminal_line, safe.visible_line, safe.markdown, safe.markdown_code):
        assert len(form(text).splitlines()) <= 1


@given(texts)
def test_no_cell_is_a_formula(text: str) -> None:
    """A cell that begins, after what cannot be seen, with a formula's first character gets an apostrophe."""
    cell = safe.csv_cell(text)
    visible = text.lstrip("".join(char for char in text if safe._unseen(char) and char not in "\t\r\n"))
    assert cell.startswith("'") or not visible or visible[0] not in "=+-@\t\r\n＝＋－＠"
    cell.encode("utf-8")


def test_plain_cells_stay_as_they_are() -> None:
    """Ordinary text is not touched."""
    assert safe.csv_cell("web-001, ready") == "web-001, ready"
    assert safe.csv_cell("=1") == "'=1"


@given(texts)
def test_a_fence_cannot_be_closed(text: str) -> None:
    """No line of the block but the last one closes it."""
    lines = safe.markdown_block(text).split("\n")
    fence = lines[0].removesuffix("text")
    assert lines[-1] == fence
    assert not any(line.strip().startswith(fence) for line in lines[1:-1])


@given(texts)
def test_inline_markdown_holds_no_markup(text: str) -> None:
    """Every character that means something in Markdown or HTML is an entity, and mentions are broken."""
    said = re.sub(r"&#\d+;", "", safe.markdown(text))
    assert not set(said) & set("\\`*_{}[]()<>#+-!|~&\"'=:.^$@")
    assert "&#64;everyone" not in safe.markdown(text)


def test_queries_of_urls_are_cut() -> None:
    """Signatures in URLs never get through."""
    assert safe.without_query("see https://a.example/b?sig=SECRET&x=1 now") == "see https://a.example/b?… now"
    assert "SECRET" not in safe.without_query("HTTPS://a.example/b#t=SECRET")
