"""The managed commands that lie on VMs, whoever put them there: what is known of one, whose it is, what is left over."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from fleet.targets.glob import same_case
from fleet.targets.model import Target

LEFT_AFTER = 3600.0
"""Seconds after its end from which a command of a run that is not known here is left over: by then its run has read it."""

_OWN = re.compile(r"fleet-([0-9]{8}-[0-9]{6}-[a-z0-9]{4})-[0-9]+(?:-(?:read|probe|free)-[0-9a-f]{8})?", re.IGNORECASE)
"""A job's command, or one that read from, probed or freed its VM."""


def run_of(name: str) -> str:
    """Return the id of the Fleet run that a managed command belongs to, by its name; empty for other tools' commands."""
    found = _OWN.fullmatch(name)
    return found[1].lower() if found else ""


@dataclass(frozen=True, slots=True)
class ManagedCommand:
    """One managed command of a VM, without its secrets: those never come back, and its script is told by a digest.

    Times are epoch seconds; None where the service tells none. ``view`` is the instance view as it came.
    """

    target: Target
    name: str
    provisioning: str = ""
    state: str = ""
    running: bool = True
    """Not known to have ended: deleting it ends its script."""
    exit_code: int | None = None
    started: float | None = None
    ended: float | None = None
    source: str = ""
    """What it runs: ``script``, ``command_id``, ``uri`` or ``gallery``, and which."""
    timeout: float = 0.0
    """The service's own limit in seconds; 0 for none."""
    run_as: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)
    view: Mapping[str, object] = field(default_factory=dict, hash=False, repr=False)

    @property
    def run(self) -> str:
        """The Fleet run it belongs to, or empty."""
        return run_of(self.name)

    def age(self, now: float) -> float | None:
        """Seconds since its script began; None where that is not told (a command itself has no date)."""
        return None if self.started is None else max(0.0, now - self.started)


def is_left(command: ManagedCommand, now: float, known: Mapping[str, bool]) -> bool:
    """Say whether a command is what a Fleet run left behind.

    It has ended, and so has its run: ``known`` says of the runs kept here whether they have; of any other run, that its
    command ended an hour ago.
    """
    if not command.run or command.running:
        return False
    if command.run in known:
        return known[command.run]
    return command.ended is not None and now - command.ended >= LEFT_AFTER


def chosen(
    commands: Sequence[ManagedCommand], names: Sequence[str], leftovers: bool, now: float, known: Mapping[str, bool]
) -> tuple[ManagedCommand, ...]:
    """Return the commands that fit one of the globs (any, if there are none) and, if wanted, are left over."""
    return tuple(
        command
        for command in commands
        if (not names or any(fnmatchcase(same_case(command.name), same_case(glob)) for glob in names))
        and (not leftovers or is_left(command, now, known))
    )


@dataclass(frozen=True, slots=True)
class Change:
    """What is to change in managed commands; None or nothing leaves a property as it is."""

    script: str | None = field(default=None, repr=False)
    timeout: float | None = None
    """Seconds; 0 takes the limit away."""
    parameters: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    protected: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)
    untag: tuple[str, ...] = ()

    @property
    def runs_again(self) -> bool:
        """Whether the script runs again: on any changed content (documented); tags alone are none."""
        return self.script is not None or self.timeout is not None or bool(self.parameters or self.protected)

    @property
    def is_nothing(self) -> bool:
        return not (self.runs_again or self.tags or self.untag)

    def tags_of(self, command: ManagedCommand) -> dict[str, str] | None:
        """All tags afterwards, since a PATCH replaces them together; None where they stay."""
        kept = {name: value for name, value in command.tags.items() if name not in self.untag}
        wanted = {**kept, **self.tags}
        return wanted if wanted != command.tags else None

    def parameters_of(self, command: ManagedCommand) -> dict[str, str] | None:
        """All parameters afterwards, since a PATCH replaces them together; None where they stay."""
        wanted = {**command.parameters, **self.parameters}
        return wanted if wanted != command.parameters else None
