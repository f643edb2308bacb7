"""Guests with packages, on a desk: scripts run in them one after the other, without a server."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fleet.lab.guests import sandbox
from fleet.lab.guests.mounts import NOBODY
from fleet.lab.guests.packages import stock
from fleet.lab.guests.template import Profile
from fleet.lab.world.build import build
from fleet.lab.world.machine_spec import UpdatesSpec
from fleet.lab.world.scripted import Result, Script
from fleet.lab.world.world import Machine
from tests.lab.desk import spec

needs_apt = pytest.mark.skipif(
    shutil.which("apt-get") is None and os.environ.get("FLEET_NEEDS_PACKAGE_MANAGERS") != "1",
    reason="this machine has no apt",
)
VERSIONS = {"ubuntu": "22.04", "debian": "12", "redhat": "9", "sles": "15", "alpine": "3"}


def package(**more: Any) -> dict[str, Any]:
    """A package for which an update waits, from version 1 to 2."""
    return {"installed": "1", "available": "2", **more}


class Guest:
    """One machine of a distribution, and what runs in it."""

    def __init__(self, folder: Path, machine: Machine, system: str, updates: UpdatesSpec) -> None:
        self._folder, self._sandboxes, self.machine = folder, sandbox.Sandboxes(folder), machine
        name = system.rstrip("0123456789")
        version = system[len(name) :] or VERSIONS[system]
        self._profile = Profile(machine.host, machine.boot_id, name, version, stock(updates, name, machine.vm_id))
        self._turn = 0

    async def root(self) -> Path:
        """Return the guest's root folder, as the host sees it."""
        await self.run("true")
        (found,) = self._folder.glob("g-*/root")
        return found

    async def own(self, folder: str) -> None:
        """Hand what the test put below a folder of the guest to the guest."""
        if os.geteuid() == 0:
            root = await self.root()
            for each in (root / folder, *(root / folder).rglob("*")):
                os.chown(each, NOBODY, NOBODY, follow_symlinks=False)

    async def run(self, text: str, **environment: str) -> Result:
        """Run a script to its end."""
        self._turn += 1
        script = Script(text, f"/var/lib/waagent/{self._turn}", environment=environment)
        async with asyncio.timeout(60):
            return await self._sandboxes.run(self._turn, self.machine, script, self._profile)

    async def says(self, text: str, **environment: str) -> str:
        """Run a script and return what it printed."""
        return (await self.run(text, **environment)).stdout.decode()

    async def boot(self) -> None:
        """Restart."""
        self.machine.restart()
        await self._sandboxes.boot(self.machine)


@asynccontextmanager
async def guest(system: str, packages: Mapping[str, Any] | None = None, **updates: Any) -> AsyncIterator[Guest]:
    """Give one guest of a distribution (``azurelinux4``: in that version) with these packages; its own if none are given."""
    machine = next(iter(build(spec({"guest": "sandbox", "name": "vm1"})).machines()))
    with sandbox.Folder() as folder:
        given = UpdatesSpec.model_validate({"packages": packages, **updates})
        yield Guest(folder, machine, system, given)
