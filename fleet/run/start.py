"""What is known of the start of an accepted command."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Start:
    """Whether a command's script has started, as far as looks show. Written only by :mod:`fleet.run.agent`."""

    seen: bool = False
    """A look has shown the start."""
    asks_agent: bool = False
    """The next read is of the VM's agent: the script should have started, and the last look showed no start."""
    asking: bool = False
    """That read is on the wire."""
    due: float = 0.0
    """The moment from which the agent may be read again."""
    is_ready: bool = False
    """The agent was read since the command was accepted, and is ready: only the view lags."""
    given_up: bool = False
    """The job has ended because of its agent: the command must not start the script later."""
