"""What a VM printed is data of whoever owns that VM. Here it is made harmless for each kind of reader.

Terminals get backslash escapes, without loss. Documents (HTML, Markdown, CSV, XML) get visible stand-ins,
which is lossy; the JSON report keeps every character.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from functools import lru_cache

from fleet.unseen import is_unseen, numbered

_NOT_PLAIN = re.compile(r"[^ -~\n\t]")
_NOT_PLAIN_OR_BACKSLASH = re.compile(r"[^ -\[\]-~\n\t]")
_FORMULA = frozenset("=+-@\t\r\n＝＋－＠")
_URL_QUERY = re.compile(r"(https?://[^\s?#\"'<>]+)[?#][^\s\"'<>]*", re.IGNORECASE)


def terminal(text: str) -> str:
    r"""Return text that cannot steer a terminal; it may keep line ends and tabs.

    Every character that cannot be seen (``fleet.unseen``) becomes ``\xNN``, ``\uNNNN`` or ``\UNNNNNNNN``, and a
    backslash two, so the original can be told from the result.
    """
    return _NOT_PLAIN_OR_BACKSLASH.sub(lambda match: _escaped(match.group()), text)


def terminal_line(text: str) -> str:
    """Return :func:`terminal` text on one line: a record cannot forge a second one."""
    return terminal(text).replace("\n", "\\n").replace("\t", "\\t")


@lru_cache(maxsize=4096)
def _escaped(char: str) -> str:
    if char == "\\":
        return "\\\\"
    return numbered(char) if is_unseen(char) else char


def visible(text: str) -> str:
    """Return text for documents: line ends and tabs stay, everything unseen gets a stand-in.

    Control characters show as their pictures (``␛``), other unseen ones as ``⟨U+202E⟩``. The result is legal
    XML 1.0 and can be encoded as UTF-8.
    """
    return _NOT_PLAIN.sub(lambda match: _shown(match.group()), text.replace("\r\n", "\n"))


def visible_line(text: str) -> str:
    """Return :func:`visible` text on one line."""
    return visible(text).replace("\n", "␊").replace("\t", " ")


@lru_cache(maxsize=4096)
def _shown(char: str) -> str:
    point = ord(char)
    if point < 0x20:
        return chr(0x2400 + point)
    if point == 0x7F:
        return "␡"
    # XML 1.0 section 2.2 forbids U+FFFE and U+FFFF, which are unassigned rather than controls.
    if is_unseen(char) or point in (0xFFFE, 0xFFFF):
        return f"⟨U+{point:04X}⟩"
    return char


def csv_cell(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula.

    OWASP "CSV Injection" names ``= + - @``, TAB, CR and LF as first characters, and full-width forms; leading
    characters that cannot be seen are skipped before judging. Such cells get a leading apostrophe.
    """
    first = next((char for char in text if char in _FORMULA or not _unseen(char)), "")
    cell = visible(text)
    return f"'{cell}" if first in _FORMULA else cell


def csv_text(rows: Iterable[Iterable[str | int | float | bool | None]]) -> str:
    """Return RFC 4180 text, every cell quoted; no text cell can be taken for a formula."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerows([_cell(value) for value in row] for row in rows)
    return buffer.getvalue()


def _cell(value: str | int | float | bool | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return csv_cell(value) if isinstance(value, str) else str(value)


def _unseen(char: str) -> bool:
    return char.isspace() or is_unseen(char)


_MARKDOWN = re.compile(r"[\\`*_{}\[\]()<>#+\-!|~&\"'=:.^$@]")
_MENTION = re.compile(r"[@#](?=\w)|(?<=:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)


def markdown(text: str) -> str:
    """Return one line of Markdown that shows ``text`` and does nothing: no markup, mention, link.

    Forges look for mentions and links after rendering, so escaping is not enough: a word joiner breaks them.
    """
    line = _MENTION.sub(lambda match: f"{match.group()}\u2060", visible_line(text))
    return _MARKDOWN.sub(lambda match: f"&#{ord(match.group())};", line)


def markdown_code(text: str) -> str:
    """Return inline code: an HTML element, because backticks hold no backticks and, in tables, no pipes."""
    return f"<code>{_MARKDOWN.sub(lambda match: f'&#{ord(match.group())};', visible_line(text))}</code>"


def markdown_block(text: str) -> str:
    """Return a fenced block that the text cannot close: its fence is longer than any run of backticks."""
    shown = visible(text).rstrip("\n")
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"


def without_query(text: str) -> str:
    """Cut the query off every URL: operation URLs and SAS links carry their signature there."""
    return _URL_QUERY.sub(r"\1?…", text)
