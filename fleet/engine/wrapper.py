"""A cloud around another: what wraps one writes only what it changes."""

from __future__ import annotations

from fleet.engine.ports import Cloud, Reply
from fleet.run import answers as a
from fleet.targets.model import Target


class WrappedCloud:
    """Passes every call to ``cloud``."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def submit(self, command: a.Command) -> Reply[a.SubmitAnswer]:
        """Send a command once."""
        return await self._cloud.submit(command)

    async def look(self, target: Target, operation: a.Operation) -> Reply[a.LookAnswer]:
        """Read how an operation stands."""
        return await self._cloud.look(target, operation)

    async def find(self, target: Target, name: str) -> Reply[a.FindAnswer]:
        """Find a managed command by its name."""
        return await self._cloud.find(target, name)

    async def remove(self, target: Target, name: str) -> Reply[a.RemoveAnswer]:
        """Delete a managed command."""
        return await self._cloud.remove(target, name)

    async def agent(self, target: Target) -> Reply[a.AgentAnswer]:
        """Read the state of the VM's agent."""
        return await self._cloud.agent(target)
