"""What is found out before a run: one finding, how bad it is, and which targets it is about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from fleet.targets.model import Target


class Check(StrEnum):
    """What is looked at."""

    SIGN_IN = "sign_in"
    SUBSCRIPTION = "subscription"
    RIGHTS = "rights"
    VM = "vm"
    POWER = "power"
    AGENT = "agent"
    EXTENSIONS = "extensions"
    SLOTS = "slots"
    LOCKS = "locks"
    PATCHING = "patching"
    SHELL = "shell"
    SIZE = "size"
    TIME = "time"


class Level(StrEnum):
    """How bad it is, from nothing to hopeless."""

    OK = "ok"
    NOTE = "note"
    """It will run; worth knowing."""
    UNCHECKED = "unchecked"
    """It could not be found out."""
    UNREACHABLE = "unreachable"
    """These targets would not be reached."""
    PLAYBOOK = "playbook"
    """The playbook does not fit these targets."""
    RIGHTS = "rights"
    """Sign-in or authorisation is in the way."""


BLOCKING = (Level.RIGHTS, Level.PLAYBOOK, Level.UNREACHABLE)
"""Levels that keep targets from being reached, worst first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found out: about ``targets``, or, where there are none, about ``subject``."""

    check: Check
    level: Level
    what: str
    next: str = ""
    subject: str = ""
    targets: tuple[Target, ...] = ()
    names: tuple[str, ...] = ()
    """Managed commands that this is about."""


def joined(found: Iterable[Finding]) -> Iterator[Finding]:
    """Join findings that differ in their targets only."""
    alike: dict[Finding, tuple[list[Target], list[str]]] = {}
    for finding in found:
        targets, names = alike.setdefault(replace(finding, targets=(), names=()), ([], []))
        targets += finding.targets
        names += finding.names
    for finding, (targets, names) in alike.items():
        yield replace(finding, targets=tuple(dict.fromkeys(targets)), names=tuple(names))
