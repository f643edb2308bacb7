"""The ids of runs: made, checked, and found by what a person typed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Protocol

from fleet.errors import RunNotFound

LAST = "last"
"""The word for the newest run."""

_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?")
_STAMP = re.compile(r"([0-9]{8}-[0-9]{6})-[a-z0-9]+")
_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
"""Without i, l, o and u: ids are read out aloud and typed again."""
_SHOWN = 8


class Dice(Protocol):
    """Draws, as :class:`random.Random` does."""

    def choices(self, population: str, *, k: int) -> Sequence[str]:
        """Return so many of the letters, each drawn anew."""
        ...


def new_id(now: float, rng: Dice) -> str:
    """Make a run id such as ``20261122-191733-k3f9``: UTC time to the second, and four random characters.

    Sortable by time; lower-case letters, digits and hyphens only, so that it may be part of an Azure resource
    name.
    """
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d-%H%M%S")
    return f"{stamp}-{''.join(rng.choices(_LETTERS, k=4))}"


def is_id(text: str) -> bool:
    """Whether a text can be a run's id: lower-case letters, digits and hyphens, at most 48."""
    return _ID.fullmatch(text) is not None


def check(text: str) -> str:
    """Return the id as it is. Raises RunNotFound if it cannot be one."""
    if is_id(text):
        return text
    hint = "an id is lower-case letters, digits and hyphens; see fleet runs"
    raise RunNotFound(f"{text!r} is not a run id", hint=hint)


def stamp_of(run_id: str) -> float:
    """Return the epoch seconds that an id bears, 0.0 if it bears none."""
    fits = _STAMP.fullmatch(run_id)
    if not fits:
        return 0.0
    try:
        return datetime.strptime(fits[1], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def find(text: str, ids: Collection[str], newest: Callable[[], str], place: str) -> str:
    """Return the id that an id, a unique prefix of one, or ``last`` stands for.

    ``newest`` says which run ``last`` is; ``place`` names the store. Raises RunNotFound.
    """
    if not ids:
        raise RunNotFound(f"there are no runs in {place}", hint="fleet run PLAYBOOK begins one")
    if text == LAST:
        return newest()
    if text in ids:
        return text
    fits = sorted(run_id for run_id in ids if text and run_id.startswith(text))
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise RunNotFound(f"{text!r} fits {len(fits)} runs: {_listed(fits)}", hint="type more of the id")
    close = difflib.get_close_matches(text, ids, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(close)}?" if close else "fleet runs lists the runs kept here"
    raise RunNotFound(f"there is no run {text!r} in {place}", hint=hint)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[-_SHOWN:])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
