"""Limits of time on a machine that others use as well."""

from __future__ import annotations

import os


def stretched(seconds: float) -> float:
    """Return a limit for a machine of one's own, lengthened by what waits for a processor on this one now."""
    return seconds * (1.0 + os.getloadavg()[0] / (os.cpu_count() or 1))
