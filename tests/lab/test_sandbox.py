"""Sandboxed guests: scripts really run, and reach nothing but their guest."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fleet.lab.arm.server import serve
from fleet.lab.guests import sandbox
from fleet.lab.guests.template import Profile
from fleet.lab.world.build import build
from fleet.lab.world.scripted import Result, Script
from fleet.lab.world.spec import LabSpec
from tests.lab.desk import spec
from tests.lab.test_server import VM, client, finished
from tests.patience import stretched

pytestmark = pytest.mark.sandbox
HOME = os.path.expanduser("~")
AT_HOME = [os.path.join(HOME, each) for each in os.listdir(HOME)] if os.path.isdir(HOME) else []
HERE = {"guest": "sandbox", "name": "vm{n}", "count": 2}


class Guests:
    """Runs scripts in two guests without a server."""

    def __init__(self, folder: Path) -> None:
        world = build(spec(HERE))
        self.machines = list(world.machines())
        self.sandboxes = sandbox.Sandboxes(folder)
        self.turn = 0

    async def run(self, text: str, guest: int = 0, **more: Any) -> Result:
        """Run a script to its end."""
        self.turn += 1
        machine = self.machines[guest]
        profile = Profile(machine.name, machine.boot_id, "ubuntu", "22.04")
        script = Script(text, f"/var/lib/waagent/run-command/download/{self.turn}", **more)
        async with asyncio.timeout(stretched(30)):
            return await self.sandboxes.run(self.turn, machine, script, profile)


@pytest.fixture
def guests() -> Iterator[Guests]:
    """Give two guests."""
    with sandbox.Folder() as folder:
        yield Guests(folder)


@asynccontextmanager
async def served(lab_file: LabSpec) -> AsyncIterator[tuple[Any, Any]]:
    """Serve a lab and open a session."""
    async with serve(lab_file) as lab, client(lab) as session:
        yield lab, session


@pytest.mark.asyncio
async def test_changes_stay_in_the_guest_and_persist(guests: Guests) -> None:
    """What a script writes is there for its guest's next script, not for another guest, not on the host."""
    name = f"fleet-{uuid.uuid4().hex}"
    places = [f"/etc/{name}", f"/var/lib/{name}", f"/root/{name}", f"/tmp/{name}", f"/home/{name}"]
    wrote = await guests.run("".join(f"echo mine >{place}\n" for place in places))
    own = await guests.run("cat " + " ".join(places))
    other = await guests.run("ls " + " ".join(places), guest=1)
    assert (wrote.exit_code, own.stdout) == (0, b"mine\n" * 5)
    assert (other.exit_code, other.stdout) == (2, b"")
    assert not on_host(places)


@pytest.mark.asyncio
async def test_the_hosts_files_are_neither_writable_nor_shown(guests: Guests, tmp_path: Path) -> None:
    """The system is read-only; the user's home, temporary files and the lab's folder are not there."""
    secret = tmp_path / "secret"
    secret.touch()
    hidden = [secret, __file__, *AT_HOME, guests.sandboxes._folder]
    script = "touch /usr/x /bin/x /lib/x 2>/dev/null && echo wrote\n"
    script += "".join(f"test -e '{each}' && echo 'seen {each}'\n" for each in hidden)
    script += "echo 1 >/proc/sys/kernel/printk 2>/dev/null && echo tuned\n"
    script += "mount -o remount,rw /usr 2>/dev/null && touch /usr/x && echo remounted\n"
    script += "cut -d' ' -f2 /proc/mounts | grep -v -E '^/($|usr|etc|dev|proc|sys|bin|sbin|lib)' && echo mounts\n"
    assert (await guests.run(script + "true")).stdout == b""


@pytest.mark.asyncio
async def test_the_hosts_kernels_are_not_there(guests: Guests) -> None:
    """No kernel of the host is seen: whether it should restart is nothing to a guest."""
    assert (await guests.run("ls /lib/modules 2>/dev/null; true")).stdout == b""


@pytest.mark.asyncio
async def test_guests_differ(guests: Guests) -> None:
    """Two guests have host names, boot ids and machine ids of their own, which stay the same."""
    ask = "hostname; cat /proc/sys/kernel/random/boot_id /etc/machine-id /etc/hostname"
    first, again, second = await guests.run(ask), await guests.run(ask), await guests.run(ask, guest=1)
    lines, others = first.stdout.decode().split(), second.stdout.decode().split()
    assert first.stdout == again.stdout
    assert (lines[0], lines[1], lines[3]) == ("vm1", guests.machines[0].boot_id, "vm1")
    assert all(a != b for a, b in zip(lines, others, strict=True))


@pytest.mark.asyncio
async def test_exit_codes_and_streams(guests: Guests) -> None:
    """Exit code and both streams arrive; arguments are split, the environment is set, stdin is empty."""
    script = 'echo "$0 $1 $2 $A"; cat; echo oops >&2; exit 42'
    result = await guests.run(script, arguments="a b", environment={"A": "x y"})
    path = "/var/lib/waagent/run-command/download/1/script.sh"
    assert result == Result(42, f"{path} a b x y\n".encode(), b"oops\n")


@pytest.mark.asyncio
async def test_an_interpreter_line_is_honoured(guests: Guests) -> None:
    """A script with #! runs in its interpreter; one without runs in bash."""
    assert (await guests.run("#!/bin/cat\nread me\n")).stdout == b"#!/bin/cat\nread me\n"
    assert (await guests.run('echo "${BASH_VERSION:+bash}"')).stdout == b"bash\n"


@pytest.mark.asyncio
async def test_no_network(guests: Guests) -> None:
    """There is no interface but a loopback that is down, and nothing can be reached."""
    listed = await guests.run("tail -n +3 /proc/net/dev | cut -d: -f1; cat /proc/net/route | tail -n +2")
    reached = await guests.run("exec 3<>/dev/tcp/127.0.0.1/22")
    assert (listed.stdout.split(), reached.exit_code) == ([b"lo"], 1)


@pytest.mark.asyncio
async def test_run_as_a_user(guests: Guests) -> None:
    """A known user runs as that user without the parameters' environment; an unknown one is -102."""
    script = 'id -un; echo "$HOME${A:-}"'
    known = await guests.run(script, user="azureuser", environment={"A": "x"})
    unknown = await guests.run(script, user="stranger")
    assert (known.stdout, unknown.exit_code) == (b"azureuser\n/home/azureuser\n", -102)


@pytest.mark.asyncio
async def test_everything_ends_with_the_script(guests: Guests) -> None:
    """Killing a script ends all it started, and so does its own end; a killed one is -1 with its output."""
    mark = f"9{uuid.uuid4().int % 10**8:08}"

    async def kill() -> None:
        await until(lambda: running(mark))
        guests.sandboxes.kill(1)

    script = f"echo begun; setsid sleep {mark} & setsid sh -c 'sleep {mark}; :' & sleep {mark}"
    result, _ = await asyncio.gather(guests.run(script), kill())
    assert result == Result(-1, b"begun\n")
    await guests.run(f"setsid sleep {mark} >/dev/null 2>&1 </dev/null & echo left")
    await until(lambda: not running(mark))


@pytest.mark.asyncio
async def test_scripts_of_one_guest_share_its_processes(guests: Guests) -> None:
    """Two scripts at once see each other's processes; killing one, or its end, leaves the other alone."""
    mark = f"9{uuid.uuid4().int % 10**8:08}"
    long = asyncio.create_task(guests.run(f"sleep {mark} & echo $! >/tmp/pid; wait 2>/dev/null; echo over"))
    await until(lambda: running(mark))
    seen = await guests.run(f"grep -q {mark} /proc/$(cat /tmp/pid)/cmdline && echo seen")
    assert seen.stdout == b"seen\n"
    assert not long.done()
    again = asyncio.create_task(guests.run("echo mine; sleep 600"))
    await until(lambda: guests.sandboxes.so_far(3)[0])
    guests.sandboxes.kill(3)
    assert (await again).exit_code == -1
    freed = await guests.run("kill $(cat /tmp/pid)")
    assert freed.exit_code == 0
    assert await long == Result(0, b"over\n")


def on_host(places: list[str]) -> list[str]:
    """Return the places that are there on the host."""
    return [place for place in places if Path(place).exists()]


async def until(condition: Callable[[], object]) -> None:
    """Wait for something outside of this process."""
    async with asyncio.timeout(stretched(20)):
        while not condition():  # noqa: ASYNC110  no event tells of other processes
            await asyncio.sleep(0.01)


def running(mark: str) -> list[str]:
    """Find the processes that have a mark in their command line."""
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                line = (each / "cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in line.split(b"\0"):
                found.append(each.name)
    return found


@pytest.mark.asyncio
async def test_the_folder_goes_whatever_scripts_left(tmp_path: Path) -> None:
    """Closed folders and links left by scripts neither stop the clearing away nor lead it astray."""
    (tmp_path / "kept").touch()
    with sandbox.Folder() as folder:
        guests = Guests(folder)
        left = await guests.run(
            f"mkdir -p /opt/a/b; touch /opt/a/b/c; ln -s {tmp_path} /opt/link; chmod 0 /opt/a/b /opt/a /opt"
        )
        assert left.exit_code == 0
    assert (folder.exists(), (tmp_path / "kept").exists()) == (False, True)


@pytest.mark.asyncio
async def test_a_managed_command_over_http() -> None:
    """A managed command runs for real: parameters, secrets, exit code and streams come through."""
    async with served(spec(HERE, speed=100.0)) as (lab, session):
        assert lab.notes == ()
        properties = {
            "source": {"script": 'echo "$A $B $1"; echo e >&2; exit 5'},
            "parameters": [{"name": "A", "value": "one"}, {"name": "", "value": "three"}],
            "protectedParameters": [{"name": "B", "value": "two"}],
        }
        path = f"{VM}/vm1/runCommands/c"
        body = {"location": "westeurope", "properties": properties}
        async with session.put(f"{path}?api-version=2024-07-01", json=body) as answer:
            await finished(session, answer.headers["Azure-AsyncOperation"])
        async with session.get(f"{path}?$expand=instanceView&api-version=2024-07-01") as answer:
            view = (await answer.json())["properties"]["instanceView"]
        assert (view["executionState"], view["exitCode"]) == ("Failed", 5)
        assert (view["output"], view["error"]) == ("one two three\n", "e\n")
        assert list(lab.executions.values()) == [1]


@pytest.mark.asyncio
async def test_kills_over_http() -> None:
    """A time limit and a DELETE each end the script in the guest, and the end of the lab ends the rest."""
    marks = [f"8{uuid.uuid4().int % 10**8:08}" for _ in range(3)]
    async with served(spec(HERE, speed=200.0)) as (_, session):

        async def put(name: str, mark: str, **more: object) -> str:
            properties = {"source": {"script": f"sleep {mark}"}, **more}
            body = {"location": "westeurope", "properties": properties}
            path = f"{VM}/vm1/runCommands/{name}?api-version=2024-07-01"
            async with session.put(path, json=body) as answer:
                return str(answer.headers["Azure-AsyncOperation"])

        limited = await put("a", marks[0], timeoutInSeconds=1)
        await put("b", marks[1])
        await put("c", marks[2])
        await until(lambda: all(running(mark) for mark in marks[1:]))
        await session.delete(f"{VM}/vm1/runCommands/b?api-version=2024-07-01")
        await until(lambda: not running(marks[1]))
        assert (await finished(session, limited))["status"] == "Succeeded"
        async with session.get(f"{VM}/vm1/runCommands/a?$expand=instanceView&api-version=2024-07-01") as read:
            view = (await read.json())["properties"]["instanceView"]
        assert (view["executionState"], view["exitCode"]) == ("Failed", -1)
        assert running(marks[2])
    await until(lambda: not any(running(mark) for mark in marks))
