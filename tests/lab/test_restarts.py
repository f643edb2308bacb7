"""Guests that restart: when, what is gone afterwards, and what the lab counts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.desk import spec
from tests.lab.test_sandbox import HERE, Guests, guests, served, until
from tests.lab.test_server import VM, finished

__all__ = ["guests"]
pytestmark = pytest.mark.sandbox


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("script", "code", "seconds"),
    [
        ("shutdown -r +1 'soon now'", 0, 60.0),
        ("shutdown --reboot +10", 0, 600.0),
        ("shutdown -r now", 0, 0.0),
        ("reboot", 0, 0.0),
        ("shutdown -r +1; shutdown -c", 0, None),
        ("shutdown -h now", 1, None),
        ("shutdown -r +x", 1, None),
        ("shutdown -r 12:00", 1, None),
        ("ln -s /etc/passwd /run/lab-restart", 0, None),
        ("echo 99999999 >/run/lab-restart", 0, None),
    ],
)
async def test_what_a_script_asks_for(guests: Guests, script: str, code: int, seconds: float | None) -> None:
    """The lab's commands understand what restarts ask for, and nothing else; what guests put in their place is no wish."""
    done = await guests.run(script)
    assert (done.exit_code, done.restart) == (code, seconds)
    assert (await guests.run("true")).restart is None or "lab-restart" in script


@pytest.mark.asyncio
async def test_only_root_restarts_a_guest(guests: Guests) -> None:
    """Another user is refused."""
    done = await guests.run("shutdown -r now", user="azureuser")
    assert (done.exit_code, done.restart) == (1, None)


@pytest.mark.asyncio
async def test_a_boot_begins_anew(guests: Guests) -> None:
    """After a restart the boot id is another, time since boot begins at nought, /run is empty, and all else is there."""
    look = "cat /proc/sys/kernel/random/boot_id; cut -d. -f1 /proc/uptime; cat /run/mark /var/mark 2>/dev/null; true"
    await guests.run("echo gone >/run/mark; mkdir /run/place; echo kept >/var/mark")
    before = (await guests.run(look)).stdout.decode().split()
    machine = guests.machines[0]
    machine.restart()
    await guests.sandboxes.boot(machine)
    after = (await guests.run(look)).stdout.decode().split()
    assert before[2:] == ["gone", "kept"] and after[2:] == ["kept"]
    assert after[0] == machine.boot_id != before[0]
    assert int(after[1]) <= 10
    assert (await guests.run(look, guest=1)).stdout.decode().split()[0] == guests.machines[1].boot_id


@pytest.mark.asyncio
async def test_a_restart_over_http() -> None:
    """Asked twice, a guest restarts once; what ran in it ends without a word, and what comes meanwhile runs after it."""
    async with served(spec(HERE, speed=100.0)) as (lab, session):

        async def act(text: str) -> str:
            body = {"commandId": "RunShellScript", "script": [text]}
            async with session.post(f"{VM}/vm1/runCommand?api-version=2024-07-01", json=body) as answer:
                return str(answer.headers["Azure-AsyncOperation"])

        async def put(name: str, text: str) -> str:
            body = {"location": "westeurope", "properties": {"source": {"script": text}}}
            path = f"{VM}/vm1/runCommands/{name}?api-version=2024-07-01"
            async with session.put(path, json=body) as answer:
                return str(answer.headers["Azure-AsyncOperation"])

        long = await put("long", "sleep 600")
        for _ in range(2):
            await finished(session, await act("shutdown -r +1"))
        machine = next(iter(lab._plane.world.machines()))
        await until(lambda: machine.boots > 0)
        state: Any = await finished(session, await act("cat /proc/sys/kernel/random/boot_id"))
        assert machine.boot_id in state["properties"]["output"]["value"][0]["message"]
        async with session.get("/lab/state") as answer:
            assert (await answer.json())["boots"] == {machine.id: 1}
        async with session.get(long) as answer:
            assert (await answer.json())["status"] == "InProgress"
