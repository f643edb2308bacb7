"""Regular expressions for what machines print: RE2, which takes linear time whatever the text.

The pattern is a person's, the text may be an enemy's. Python's own ``re`` can be kept busy for hours by forty characters.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

from fleet.documents.places import shown

_MEMORY = 1 << 20
"""Bytes that one compiled pattern may take."""


def mistake(pattern: str) -> str:
    """Say what is wrong with a pattern, in RE2's words; empty if nothing is."""
    try:
        _compiled(pattern)
    except re2.error as error:
        text = error.args[0] if error.args else "it cannot be read"
        return shown(text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text))
    return ""


def find(pattern: str, text: str) -> str | None:
    """Return the first group of the first match, the whole match of a pattern without groups, or None."""
    whole = text.encode("utf-8", "replace").decode("utf-8")  # RE2 reads UTF-8, which has no half characters
    match = _compiled(pattern).search(whole)
    if match is None:
        return None
    found: str | None = match.group(1 if match.re.groups else 0)
    return found


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    return re2.compile(pattern, options)
