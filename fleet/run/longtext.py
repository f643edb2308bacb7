"""Long text kept small: a field of a dataclass that deflates what it is given, and inflates it each time it is read.

Output comes packed, in some kilobytes, and unpacks to as much as 64 KiB a row; ten thousand such rows would take most of a
gigabyte if all of them lay about as text. What the channel carries as it is stays as it is.
"""

from __future__ import annotations

import zlib

SHORT = 8192
"""Characters up to which a text is kept as it is."""

_FAST = 1


class Deflated(bytes):
    """A text as zlib has it, of UTF-8 with lone surrogates."""


class LongText:
    """The field. It is empty by default; the dataclass must not have slots."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, item: object | None, owner: type | None = None) -> str:
        if item is None:
            return ""  # what the dataclass takes for the default
        kept = item.__dict__[self._name]
        return kept if isinstance(kept, str) else zlib.decompress(kept).decode("utf-8", "surrogatepass")

    def __set__(self, item: object, text: str | Deflated) -> None:
        if isinstance(text, str) and len(text) > SHORT:
            text = Deflated(zlib.compress(text.encode("utf-8", "surrogatepass"), _FAST))
        item.__dict__[self._name] = text


def as_kept(item: object, name: str) -> str | Deflated:
    """Return a field as it is kept, to be handed on or compared: equal texts are kept equal."""
    kept: str | Deflated = item.__dict__[name]
    return kept
