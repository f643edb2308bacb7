"""Which characters cannot be seen, by the Unicode standard. What is shown to people shows these by number."""

from __future__ import annotations

import re
import unicodedata

IGNORABLE = (
    (0x00AD, 0x00AD),
    (0x034F, 0x034F),
    (0x061C, 0x061C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x206F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
)
"""``Default_Ignorable_Code_Point``: 4,174 code points that a display leaves out. First and last of each range.

Source: the Unicode Character Database, DerivedCoreProperties.txt, the same in the versions 14.0 to 16.0. It covers what is
reserved for such characters, so that ones assigned later are known already. Python's ``unicodedata`` has no such property.
"""

_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_IGNORABLE = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in IGNORABLE) + "]")


def is_unseen(char: str) -> bool:
    """Say whether a character cannot be seen: a control, a surrogate, a line separator, a default ignorable one.

    There is no exception for joiners and variation selectors of emoji: they make two texts that differ look alike. White
    space takes room, which can be seen, and is not meant.
    """
    return unicodedata.category(char) in _CATEGORIES or _IGNORABLE.match(char) is not None


_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


def escaped(text: str) -> str:
    r"""Return a text with every character beyond ASCII that cannot be seen as ``\xNN``, ``\uNNNN`` or ``\UNNNNNNNN``."""
    return _NOT_ASCII.sub(lambda found: numbered(found[0]) if is_unseen(found[0]) else found[0], text)


def numbered(char: str) -> str:
    """Return a character as Python writes it by number."""
    point = ord(char)
    if point <= 0xFF:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"
