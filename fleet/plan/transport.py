"""Which API carries a step: the action Run Command, or the managed one."""

from __future__ import annotations

from typing import Protocol

from fleet.playbook.model import Properties, Script, Transport


class Carried(Protocol):
    """A step, of a playbook or of a plan."""

    @property
    def script(self) -> Script: ...
    @property
    def properties(self) -> Properties: ...


def is_action(step: Carried, transport: Transport) -> bool:
    """Say whether the action carries a step: as the step says, else built-in commands, else as the run says."""
    own = step.properties.transport
    if own is not Transport.AUTO:
        return own is Transport.ACTION
    return transport is Transport.ACTION or bool(step.script.command_id)
