"""What is read before a run, for the doctor to judge: who signs, what they may do, how the VMs stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from fleet.targets.model import Os, Power, Target

if TYPE_CHECKING:
    from fleet.preflight.locks import Locks
    from fleet.preflight.patchers import Patching
    from fleet.preflight.rights import Grant


class Agent(StrEnum):
    """What a VM's instance view says about its agent."""

    READY = "ready"
    NOT_READY = "not_ready"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who signs calls. The ids are what its token says, empty where it does not."""

    number: int
    tenant: str = ""
    object_id: str = ""
    application: str = ""
    problem: str = ""
    """Why it cannot sign in; empty where it can."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a principal may do at a scope; None where that was not told, and why not."""

    principal: int
    scope: str
    grants: tuple[Grant, ...] | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """How a VM stands. ``why`` says what could not be read; ``commands`` are its managed commands, None if not read."""

    target: Target
    power: Power = Power.UNKNOWN
    agent: Agent = Agent.UNKNOWN
    agent_version: str = ""
    extensions: bool | None = None
    commands: tuple[str, ...] | None = None
    gone: bool = False
    why: str = ""
    commands_why: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that was read. ``sizes`` are bytes of the scripts as sent, the longest for each step and system."""

    principals: tuple[Principal, ...]
    permissions: tuple[Permissions, ...] = ()
    conditions: tuple[Condition, ...] = ()
    sizes: Mapping[tuple[str, Os], int] = field(default_factory=dict, hash=False)
    locks: tuple[Locks, ...] = ()
    """Of each subscription that was asked."""
    patching: Patching | None = field(default=None, hash=False)
    """None where it was not asked."""
