"""Output without what differs everywhere: host names, times, ids, addresses, numbers. So that equal states fold.

Each rule replaces what it finds by a name in angle brackets. Masks are for comparing and showing what differs; the kept
output itself is never changed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleet.report.model import JobRow


class Rule(StrEnum):
    """What is masked."""

    HOST = "host"
    """The target's own name, as a whole word, in any case."""
    TIME = "time"
    """Dates, times of day, both together with or without an offset, and epoch seconds of this century."""
    ID = "id"
    """GUIDs, and hexadecimal words of at least 12 digits."""
    ADDRESS = "address"
    """IPv4, IPv6 and hardware addresses."""
    NUMBER = "number"
    """Every other number, with its unit's letters left alone."""


DEFAULT = (Rule.HOST, Rule.TIME, Rule.ID, Rule.ADDRESS)

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?"
_TIME = re.compile(
    rf"\b\d{{4}}-\d{{2}}-\d{{2}}(?:[T ]{_CLOCK}(?:Z|\s?[+-]\d{{2}}:?\d{{2}})?)?(?!\w)"
    rf"|\b(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),?\s+)?{_MONTH}\s+\d{{1,2}}\s+{_CLOCK}(?:\s+\d{{4}})?\b"
    rf"|\b(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),\s+)?\d{{1,2}}\s+{_MONTH}\s+\d{{4}}(?:\s+{_CLOCK}(?:\s+(?:GMT|UTC))?)?\b"
    rf"|\b\d{{1,2}}/\d{{1,2}}/\d{{4}}(?:,?\s+{_CLOCK}(?:\s?[AP]M)?)?\b"
    rf"|\b{_CLOCK}\b"
    r"|\b(?:1[5-9]|2[0-9])\d{8}(?:\.\d{1,9})?\b"
)
_ID = re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b|\b(?=[0-9a-f]*\d)[0-9a-f]{12,128}\b")
_HARDWARE = re.compile(r"\b(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}\b")
_MAYBE_ADDRESS = re.compile(r"(?<![\w:.])(?=[0-9a-fA-F]*[:.])[0-9a-fA-F:.]{2,45}(?<!\.)(?:/\d{1,3})?(?![\w:])")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:[.,]\d+)*")


def mask(text: str, row: JobRow, rules: Iterable[Rule] = DEFAULT) -> str:
    """Return the text of a row with everything masked that the rules name; the order of rules does not matter."""
    wanted = set(rules)
    for rule, apply in _MASKS:
        if rule in wanted:
            text = apply(text, row)
    return text


def spans(text: str, rule: Rule) -> Iterator[tuple[int, int]]:
    """Yield where a text has what a rule masks: times, ids or addresses. The other rules need more than the text."""
    match rule:
        case Rule.TIME:
            yield from (found.span() for found in _TIME.finditer(text))
        case Rule.ID:
            yield from (found.span() for found in _ID.finditer(text))
        case Rule.ADDRESS:
            yield from (found.span() for found in _HARDWARE.finditer(text))
            yield from (found.span() for found in _MAYBE_ADDRESS.finditer(text) if _address(found) != found[0])


def _host(text: str, row: JobRow) -> str:
    if not row.name:
        return text
    return re.sub(rf"(?<![\w-]){re.escape(row.name)}(?![\w-])", "<host>", text, flags=re.IGNORECASE)


def _addresses(text: str, row: JobRow) -> str:
    return _MAYBE_ADDRESS.sub(_address, _HARDWARE.sub("<address>", text))


def _address(found: re.Match[str]) -> str:
    try:
        ipaddress.ip_interface(found[0])
    except ValueError:
        return found[0]
    return "<address>"


_MASKS: tuple[tuple[Rule, Callable[[str, JobRow], str]], ...] = (
    (Rule.HOST, _host),
    (Rule.ID, lambda text, row: _ID.sub("<id>", text)),
    (Rule.ADDRESS, _addresses),
    (Rule.TIME, lambda text, row: _TIME.sub("<time>", text)),
    (Rule.NUMBER, lambda text, row: _NUMBER.sub("<number>", text)),
)
