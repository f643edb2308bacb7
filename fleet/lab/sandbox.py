"""Guests that really run scripts: one sandbox of Linux namespaces and one folder for each guest.

A guest is a folder with its own /etc, /var, /home, /root, /tmp and /run; the system (/usr and its kin) is
the host's, read-only. Its first script opens fresh user, mount, pid, uts, ipc and net namespaces around that
folder; scripts that come while it runs enter the same ones, so they see each other's processes as on one machine. What
a script changes stays in the guest, is there for the guest's next script, and reaches nothing else: no network, no host
files, no other guest. When the last one in the guest ends or is killed, everything that was started there ends with it.

Run as root, the lab starts sandboxes under an id that owns nothing: user id 0 of a sandbox that maps to the
host's root could still write to files of root under /proc.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from fleet.lab import mounts
from fleet.lab.blobs import LARGEST
from fleet.lab.guests import KILLED, Result, Script, unknown_user
from fleet.lab.mounts import NOBODY, furnished
from fleet.lab.template import Profile
from fleet.lab.world import Machine

_TOOLS = ("unshare", "nsenter", "mount", "umount", "pivot_root", "setpriv", "sh", "cat", "mkdir", "chmod")
_STAND_INS = f"/{mounts.STAND_INS}"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HELD = 1.0  # seconds after which a sandbox that is still running no longer counts as starting
_KEPT = LARGEST  # bytes kept of each stream: far more than the handlers report, for blobs
_TRIAL_LIMIT = 20.0

_STOPPING = 1.0  # seconds that what a script left behind may hold its streams while others run in the guest

# The first process of a guest: $1 table of mounts, $2 root folder, $3 host name, $4 what else begins with it. It lives until
# the lab closes its stdin, or dies, and buries the guest's orphans: a shell that waits for one child reaps all.
_OPEN = r"""
set -e
umask 022
mount -a -T "$1"
hostname "$3" 2>/dev/null || :
cd "$2"
pivot_root . mnt
umount -l /mnt
sh -c "$4" >/dev/null 2>&1 </dev/null || :
echo open
cat >/dev/null
:
"""

# $1 folder and $2 mode of the script, $3 its arguments, $4 user.
_SETUP = r"""
set -e
umask 022
mkdir -p "$1"
cd "$1"
rm -f script.sh
cat >script.sh
chmod "$2" script.sh
exec </dev/null
set +e
shell=/bin/bash
test -x $shell || shell=/bin/sh
if test -n "$4"; then
    unshare --user --map-user="$(id -u "$4")" --map-group="$(id -g "$4")" \
        env -i PATH="$PATH" HOME="/home/$4" USER="$4" LOGNAME="$4" $shell -c "$1/script.sh $3"
else
    $shell -c "$1/script.sh $3"
fi
"""


@dataclass(slots=True)
class _Guest:
    """A guest's folder, the table of its mounts, its first process, and how many scripts are in it."""

    folder: Path
    table: Path
    beginning: str = ""
    first: asyncio.subprocess.Process | None = None
    inside: int = 0
    booted: int | None = None
    """When its present boot began, in whole seconds of the host's own; None for the first boot, which is the host's."""
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def enter(self, name: str) -> int:
        """Open the guest if it is not, and return the process whose namespaces a script enters."""
        self.inside += 1
        async with self.opening:
            if self.first is None:
                self.first = await _opened(self, name)
            return _child(self.first.pid)

    async def boot(self, boot_id: str) -> None:
        """End everything in the guest; what comes next finds another boot, and an empty /run."""
        async with self.opening:
            await self.end()
            self.booted = int(time.clock_gettime(time.CLOCK_BOOTTIME))
            (self.folder / "boot_id").write_text(f"{boot_id}\n", encoding="ascii")
            await asyncio.to_thread(_emptied, self.folder / "root" / "run")

    async def leave(self) -> None:
        """A script is gone; with the last one goes all that any of them started."""
        self.inside -= 1
        if self.inside == 0:
            await self.end()

    async def end(self) -> None:
        """End everything in the guest."""
        first, self.first = self.first, None
        if first is not None and first.stdin is not None:
            _end(first)
            first.stdin.close()
            await first.wait()


@dataclass(slots=True)
class _Stream:
    kept: bytearray = field(default_factory=bytearray)

    async def drain(self, reader: asyncio.StreamReader) -> None:
        while chunk := await reader.read(65536):
            self.kept += chunk
            if len(self.kept) > 2 * _KEPT:
                del self.kept[:-_KEPT]


class Sandboxes:
    """Runs scripts in sandboxes below one folder, at most ``starting`` of them starting at once."""

    def __init__(self, folder: Path, starting: int | None = None) -> None:
        self._folder = folder
        self._places = asyncio.Semaphore(starting or 4 * (os.cpu_count() or 1))
        self._guests: dict[str, _Guest] = {}
        self._furnishing: dict[str, asyncio.Lock] = {}
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._streams: dict[int, tuple[_Stream, _Stream]] = {}
        self._killed: set[int] = set()

    async def run(self, execution: int, machine: Machine, script: Script, profile: Profile) -> Result:
        """Run a script to its end. Killed ones answer exit code -1, with what they had printed."""
        async with _Place(self._places) as place:
            guest = await self._guest(machine, profile)
            if script.user and not _has_user(guest.folder, script.user):
                return unknown_user(script.user)
            if execution in self._killed:
                return Result(KILLED)
            try:
                process = await _start(await guest.enter(machine.host), script, own_time=guest.booted is not None)
                self._running[execution] = process
                if execution in self._killed:
                    _end(process)
                result = await self._finish(execution, process, guest, script, place)
                return replace(result, restart=_wish(guest.folder))
            finally:
                await guest.leave()
                self._running.pop(execution, None)
                self._streams.pop(execution, None)

    async def boot(self, machine: Machine) -> None:
        """Put a guest into the machine's present boot. One that has not run anything yet will begin in it."""
        async with self._furnishing.setdefault(machine.key, asyncio.Lock()):
            if machine.key in self._guests:
                await self._guests[machine.key].boot(machine.boot_id)

    def kill(self, execution: int) -> None:
        """End a script's process group, as the handlers do, now or as soon as it starts."""
        self._killed.add(execution)
        if execution in self._running:
            _end(self._running[execution])

    def so_far(self, execution: int) -> tuple[bytes, bytes]:
        """Return what a script has printed until now on its two streams."""
        out, err = self._streams.get(execution, (_Stream(), _Stream()))
        return bytes(out.kept), bytes(err.kept)

    async def _finish(
        self, execution: int, process: asyncio.subprocess.Process, guest: _Guest, script: Script, place: _Place
    ) -> Result:
        out, err = self._streams[execution] = _Stream(), _Stream()
        assert process.stdout is not None and process.stderr is not None and process.stdin is not None
        async with asyncio.TaskGroup() as group:
            drains = [
                group.create_task(out.drain(process.stdout)),
                group.create_task(err.drain(process.stderr)),
            ]
            group.create_task(_feed(process.stdin, script.text))
            group.create_task(place.leave_after(_HELD, process))
            code = await _exit(process)
            if guest.inside == 1:
                await guest.end()
            else:
                await asyncio.wait(drains, timeout=_STOPPING)
                for drain in drains:
                    drain.cancel()
        killed = execution in self._killed or code < 0
        return Result(KILLED if killed else code, bytes(out.kept), bytes(err.kept))

    async def _guest(self, machine: Machine, profile: Profile) -> _Guest:
        """Find a guest, or furnish it in a thread: on a busy disk that takes a tenth of a second."""
        lock = self._furnishing.setdefault(machine.key, asyncio.Lock())
        async with lock:
            if machine.key not in self._guests:
                place = self._folder / f"g-{machine.group.subscription.id}-{machine.kind}-{machine.vm_id}"
                self._guests[machine.key] = await _to_its_end(_made, place, profile)
            return self._guests[machine.key]


class _Place:
    """A place among the starting sandboxes, given up early by scripts that take long."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._held = False

    async def __aenter__(self) -> _Place:
        await self._places.acquire()
        self._held = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    async def leave_after(self, seconds: float, process: asyncio.subprocess.Process) -> None:
        """Give the place up when the process ends, or after that many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await _exit(process)
        except TimeoutError:
            self._leave()

    def _leave(self) -> None:
        if self._held:
            self._held = False
            self._places.release()


def supported() -> str | None:
    """Try a real sandbox once. Return why there is none, or None if it works."""
    if not sys.platform.startswith("linux"):
        return "sandboxes need Linux"
    missing = [tool for tool in _TOOLS if shutil.which(tool, path=_PATH) is None]
    if missing:
        return f"these programs are missing: {', '.join(missing)}"
    with Folder() as place:
        guest = _made(place / "trial", Profile("trial", "0" * 8 + "-0000-4000-8000-" + "0" * 12, "ubuntu", "22.04"))
        script = Script(
            "#!/bin/sh\ncat /proc/sys/kernel/random/boot_id >&2\ntest -w /usr || echo works\n", "/var/trial"
        )
        try:
            done = _tried(guest, script)
        except (OSError, subprocess.SubprocessError) as problem:
            return f"a trial could not be started: {problem}"
    if done.returncode == 0 and done.stdout == b"works\n":
        return None
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return f"namespaces are not allowed here ({said[-1] if said else f'exit code {done.returncode}'})"


def _tried(guest: _Guest, script: Script) -> subprocess.CompletedProcess[bytes]:
    """Open a guest and run a script in it."""
    first = subprocess.Popen(  # noqa: S603
        _opening(guest, "trial"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with first:
        assert first.stdout is not None
        try:
            if first.stdout.readline() != b"open\n":
                _, said = first.communicate(timeout=_TRIAL_LIMIT)
                return subprocess.CompletedProcess((), first.wait(_TRIAL_LIMIT) or 1, b"", said)
            return subprocess.run(  # noqa: S603
                _command(_child(first.pid), script),
                input=script.text.encode(),
                capture_output=True,
                timeout=_TRIAL_LIMIT,
                check=False,
            )
        finally:
            first.kill()


class Folder:
    """A temporary folder for guests, taken away whole at the end, whatever rights scripts left in it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="fleet-lab-"))
        self.path.chmod(0o711)  # guests of another id pass through, and cannot look around

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        for at, folders, _files in os.walk(
            self.path
        ):  # from the top, so that what was closed is open when its turn comes
            for inside in (Path(at, each) for each in folders):
                if not inside.is_symlink() and not os.access(inside, os.R_OK | os.W_OK | os.X_OK):
                    inside.chmod(stat.S_IRWXU)
        shutil.rmtree(self.path, ignore_errors=True)


def _made(place: Path, profile: Profile) -> _Guest:
    return _Guest(place, furnished(place, profile), mounts.beginning(profile))


def _identity() -> list[str]:
    return [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []


def _opening(guest: _Guest, name: str) -> list[str]:
    return [
        *("setpriv", "--pdeathsig", "KILL", *_identity()),  # a lab that dies takes its sandboxes along
        *("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"),
        *("--uts", "--net", "--ipc"),
        *(() if guest.booted is None else ("--time", "--boottime", str(-guest.booted))),
        *("sh", "-c", _OPEN, "sh", str(guest.table), str(guest.folder / "root"), name, guest.beginning),
    ]


def _command(first: int, script: Script, *, own_time: bool = False) -> list[str]:
    mode = "0550" if script.user else "0500"  # handler source
    return [
        *("setpriv", "--pdeathsig", "KILL", *_identity()),
        *("nsenter", "--target", str(first), "--user", "--preserve-credentials"),
        *("--mount", "--pid", "--uts", "--net", "--ipc"),
        *(("--time",) if own_time else ()),
        *("sh", "-c", _SETUP, "sh", script.folder, mode, script.arguments, script.user),
    ]


def _child(pid: int) -> int:
    """The one child of a process: namespaces are entered through a process that lives in all of them."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    if not found:
        raise ProcessLookupError("the guest's first process is gone")
    return int(found[0])


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return a script's environment: the search path, and what it was given (the agent passes little
    more).
    """
    usable = {name: value for name, value in given.items() if "=" not in name and "\0" not in name + value}
    return {"PATH": f"{_STAND_INS}:{_PATH}", **usable}


async def _opened(guest: _Guest, name: str) -> asyncio.subprocess.Process:
    """Start a guest's first process, and return when its folders are mounted. Raises OSError."""
    first = await _process(_opening(guest, name), {"PATH": _PATH})
    assert first.stdout is not None
    if await first.stdout.readline() != b"open\n":
        _end(first)
        raise OSError("a sandbox could not be opened")
    return first


async def _start(first: int, script: Script, *, own_time: bool) -> asyncio.subprocess.Process:
    return await _process(_command(first, script, own_time=own_time), _environment(script.environment))


async def _process(command: list[str], environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        env=environment,
        start_new_session=True,
    )


async def _exit(process: asyncio.subprocess.Process) -> int:
    """Wait for a process alone: ``Process.wait`` also waits for all that hold its pipes (Python 3.11)."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process.pid)
        gone = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
    while process.returncode is None:  # noqa: ASYNC110  the loop learns of it a moment later, and tells nobody
        await asyncio.sleep(0.005)
    return process.returncode


async def _to_its_end(work: Callable[[Path, Profile], _Guest], place: Path, profile: Profile) -> _Guest:
    """Do work in a thread. A cancelled caller still waits for it, so that nobody clears away beneath it."""
    thread = asyncio.ensure_future(asyncio.to_thread(work, place, profile))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.wait([thread])
        raise


async def _feed(stdin: asyncio.StreamWriter, text: str) -> None:
    try:
        stdin.write(text.encode("utf-8", errors="surrogatepass"))
        await stdin.drain()
        stdin.close()
        await stdin.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        pass


def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a process group; with a guest's first process the kernel kills all others in its pid namespace."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _has_user(place: Path, user: str) -> bool:
    """Look a user up in the guest's own list."""
    lines = (_read(place, "etc", "passwd") or b"").splitlines()
    return any(line.split(b":", 1)[0] == user.encode("utf-8", "surrogateescape") for line in lines)


def _wish(place: Path) -> float | None:
    """Take the wish to restart that the guest's ``shutdown`` left: seconds until then."""
    text = _read(place, "run", mounts.WISH, take=True)
    return float(text) if text is not None and text.isdigit() and len(text) < 7 else None


def _read(place: Path, folder: str, name: str, *, take: bool = False) -> bytes | None:
    """Read a small file of the guest, and take it away. No link is followed: the guest could have put one there."""
    with suppress(OSError), ExitStack() as opened:
        root = os.open(place / "root", os.O_RDONLY | os.O_DIRECTORY)
        opened.callback(os.close, root)
        inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
        opened.callback(os.close, inside)
        with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=inside), "rb") as stream:
            text = stream.read(1024 * 1024)
        if take:
            os.unlink(name, dir_fd=inside)
        return text
    return None


def _emptied(folder: Path) -> None:
    """Empty a folder that a real system keeps in memory. Nothing is done where the guest has put a link in its place."""
    if not folder.is_symlink() and folder.is_dir():
        for each in folder.iterdir():
            if each.is_symlink() or not each.is_dir():
                each.unlink(missing_ok=True)
            else:
                shutil.rmtree(each, ignore_errors=True)
