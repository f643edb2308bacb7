"""The reasons of rows that are shown as one: what is a row's own in a message is masked, and nothing else.

Two rows give the same reason when their messages and hints are equal, or are equal once the parts that belong to one row
alone are masked: the VM's name, id and resource group, the command or operation, ids, times and addresses. A text that
rows of several VMs share word for word is no VM's own. What is masked is shown by its name in angle brackets, so that the
reason of a group is true of each of its rows.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fleet.report.model import JobRow
from fleet.report.normal import Rule, spans


class Part(StrEnum):
    """What may be a row's own in a reason, in the order in which it is sought."""

    OPERATION = "operation"
    """The row's operation, or a managed command of a run."""
    ID = "id"
    """The VM's resource id, GUIDs, long hexadecimal words."""
    HOST = "host"
    """The VM's own name, as a whole word, in any case."""
    GROUP = "group"
    """The name of its resource group."""
    ADDRESS = "address"
    TIME = "time"
    """Dates and times, and how long to wait before something is tried again."""


EVERY = tuple(Part)

_COMMAND = re.compile(r"\bfleet-\d{8}-\d{6}-[0-9a-z]+-\d+(?:-r\d+)?\b")
_WAIT = re.compile(r"\b(?:again|retry(?:-after)?)\b[^.;\n]{0,24}?\s'?(\d+(?:\.\d+)?)", re.IGNORECASE)
_SHORT = 4
"""A name of fewer letters may as well be a word of the message."""


Found = tuple[int, int, Part]
"""Where a text has something that may be a row's own."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text, and all that may be masked in it, in the order of the parts; what is found may overlap."""

    text: str
    found: tuple[Found, ...] = ()

    def masked(self, parts: Collection[Part]) -> str:
        """Return the text with these parts masked. Where two overlap, the earlier part wins."""
        taken: list[Found] = []
        covered = bytearray(len(self.text))
        for start, end, part in self.found:
            if part in parts and 1 not in covered[start:end]:
                covered[start:end] = b"\1" * (end - start)
                taken.append((start, end, part))
        pieces, at = [], 0
        for start, end, part in sorted(taken):
            pieces += [self.text[at:start], f"<{part}>"]
            at = end
        return "".join([*pieces, self.text[at:]])


@dataclass(frozen=True, slots=True)
class Reason:
    """A message and a hint, as some rows give them."""

    message: Text
    hint: Text

    def masked(self, parts: Collection[Part] = EVERY) -> tuple[str, str]:
        """Return message and hint with these parts masked."""
        return self.message.masked(parts), self.hint.masked(parts)


def reasons(rows: Sequence[JobRow]) -> list[Reason]:
    """Return the reason of each row; rows that say the same word for word share one."""
    saying: defaultdict[tuple[str, str], list[JobRow]] = defaultdict(list)
    for row in rows:
        saying[row.cause.message, row.cause.hint].append(row)
    made = {said: _reason(*said, members) for said, members in saying.items()}
    return [made[row.cause.message, row.cause.hint] for row in rows]


def common(given: Collection[Reason]) -> tuple[str, str]:
    """Return a message and a hint that are true of all these reasons, which are equal once masked.

    No more is masked than must be: what they share stays.
    """
    first, *others = dict.fromkeys(given)
    if not others:
        return first.message.text, first.hint.text
    parts = list(EVERY)
    shown = first.masked(parts)
    for part in EVERY:
        if not any(f"<{part}>" in text for text in shown):
            parts.remove(part)
            continue
        fewer = [other for other in parts if other is not part]
        wanted = first.masked(fewer)
        if all(reason.masked(fewer) == wanted for reason in others):
            parts, shown = fewer, wanted
    return shown


def _reason(message: str, hint: str, rows: Sequence[JobRow]) -> Reason:
    """Find what may be the own of these rows, which say the same: values that they have in common."""
    values = {
        Part.OPERATION: {row.operation for row in rows},
        Part.ID: {row.target for row in rows},
        Part.HOST: {row.name for row in rows},
        Part.GROUP: {row.resource_group for row in rows},
    }
    own = [(part, value) for part, found in values.items() if len(found) == 1 and (value := next(iter(found)))]
    return Reason(_text(message, own), _text(hint, own))


def _text(text: str, own: Collection[tuple[Part, str]]) -> Text:
    return Text(text, tuple((*span, part) for part in EVERY for span in _spans(text, part, own)) if text else ())


def _spans(text: str, part: Part, own: Collection[tuple[Part, str]]) -> Iterator[tuple[int, int]]:
    for kind, value in own:
        if kind is part:
            yield from _words(text, value)
    match part:
        case Part.OPERATION:
            yield from (found.span() for found in _COMMAND.finditer(text))
        case Part.ID:
            yield from spans(text, Rule.ID)
        case Part.ADDRESS:
            yield from spans(text, Rule.ADDRESS)
        case Part.TIME:
            yield from spans(text, Rule.TIME)
            yield from (found.span(1) for found in _WAIT.finditer(text))


def _words(text: str, word: str) -> Iterator[tuple[int, int]]:
    """Yield where a text has a name or an id as a whole word. Azure compares them without regard to case."""
    low, sought = text.lower(), word.lower()
    if len(low) != len(text) or len(sought) != len(word):
        low, sought = text, word
    at = low.find(sought)
    while at >= 0:
        end = at + len(sought)
        before, after = text[at - 1 : at], text[end : end + 1]
        is_word = not (_continues(before) or _continues(after))
        if is_word and (len(word) >= _SHORT or not word.isalpha() or before in tuple("'\"/")):
            yield at, end
        at = low.find(sought, end)


def _continues(char: str) -> bool:
    return char.isalnum() or char in tuple("-_")
