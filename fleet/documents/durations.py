"""Durations as text: ``1h30m``."""

from __future__ import annotations

import re

DURATION = r"^(?=\d)(\d+d)?(\d+h)?(\d+m)?(\d+s)?$"
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
MAX_DURATION = 366 * 86400.0


def seconds(value: object) -> float:
    """Read a duration: ``45m``, ``1h30m``, ``90s``, or plain seconds. Raises ValueError with a sentence.

    At most 366 days, so that sums of durations stay exact.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        total = float(value)
    elif isinstance(value, str) and re.fullmatch(DURATION, value, re.ASCII):
        parts = re.findall(r"(\d+)([dhms])", value)
        total = float(sum(int(number[:12]) * _SECONDS[unit] for number, unit in parts))
    else:
        raise ValueError("is not a duration")
    if not 0 <= total <= MAX_DURATION:
        raise ValueError("is not between 0 and 366 days")
    return total


def spelled(duration: float) -> str:
    """Spell seconds the way :func:`seconds` reads them: ``1h30m``, ``45m``, ``0s``."""
    if duration != int(duration):
        return f"{duration:g}"
    rest, text = int(duration), ""
    for unit, size in _SECONDS.items():
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"
