"""Hostile text made harmless."""

from __future__ import annotations

import re
import sys
import unicodedata

from hypothesis import given, settings

from fleet.report import safe

from .hostile import texts

EVERY = "".join(
    char
    for point, char in enumerate(map(chr, range(sys.maxunicode + 1)))
    if unicodedata.category(char) not in ("Cn", "Co") or point % 97 == 0 or point & 0xFFFE == 0xFFFE
)
"""Every assigned character and every surrogate; of the unassigned and the private ones a sample."""
UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_a_terminal_gets_no_control_of_all_unicode() -> None:
    """Of all of Unicode only line end and tab survive among the characters that cannot be seen."""
    shown = set(safe.terminal(EVERY))
    assert {char for char in shown if unicodedata.category(char) in UNSEEN} == {"\n", "\t"}
    assert shown >= {char for char in EVERY if unicodedata.category(char) not in UNSEEN}


def test_escapes_have_three_widths_and_backslashes_double() -> None:
    r"""Characters show as ``\xNN``, ``\uNNNN``, ``\UNNNNNNNN``."""
    assert safe.terminal("\x1b\x9b\u202e\ud800\U000e0001\\é") == r"\x1b\x9b\u202e\ud800\U000e0001\\é"
    assert safe.terminal_line("a\nb\tc") == r"a\nb\tc"


@settings(deadline=None)
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
    shown = safe.visible(EVERY)
    shown.encode("utf-8")
    assert {char for char in set(shown) if unicodedata.category(char) in UNSEEN} == {"\n", "\t"}
    legal = re.compile("[\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")
    assert legal.fullmatch(shown)


@settings(deadline=None)
@given(texts)
def test_a_line_is_one_line(text: str) -> None:
    """A record cannot forge a second line in any form."""
    for form in (safe.terminal_line, safe.visible_line, safe.markdown, safe.markdown_code):
        assert len(form(text).splitlines()) <= 1


@settings(deadline=None)
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


@settings(deadline=None)
@given(texts)
def test_a_fence_cannot_be_closed(text: str) -> None:
    """No line of the block but the last one closes it."""
    lines = safe.markdown_block(text).split("\n")
    fence = lines[0].removesuffix("text")
    assert lines[-1] == fence
    assert not any(line.strip().startswith(fence) for line in lines[1:-1])


@settings(deadline=None)
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
