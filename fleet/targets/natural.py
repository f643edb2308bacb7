"""The order in which people expect names: ``web2`` before ``web10``."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"([0-9]+)")


def natural_key(name: str) -> tuple[list[str | tuple[int, str]], str]:
    """Return a sort key: numbers by value, letters without regard to case; no two names are equal."""
    parts: list[str | tuple[int, str]] = []
    for at, part in enumerate(_NUMBER.split(name.lower())):
        parts.append((len(number := part.lstrip("0")), number) if at % 2 else part)
    return parts, name
