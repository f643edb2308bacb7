"""What the life of executions has the sandboxes do. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.lab.world.scripted import Script
from fleet.lab.world.world import Machine


@dataclass(frozen=True, slots=True)
class Start:
    """An order to run a script in a sandbox."""

    execution: int
    machine: Machine
    script: Script


@dataclass(frozen=True, slots=True)
class Kill:
    """An order to end a sandboxed script and everything it started."""

    execution: int


@dataclass(frozen=True, slots=True)
class Look:
    """An order to tell what a sandboxed script has printed until now."""

    execution: int


@dataclass(frozen=True, slots=True)
class Boot:
    """An order to end everything in a sandbox, which is in another boot from now on."""

    machine: Machine


Order = Start | Kill | Look | Boot
