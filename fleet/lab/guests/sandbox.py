"""Guests that really run scripts: one sandbox for each, and how many may start at once.

What a script changes stays in the guest, is there for the guest's next script, and reaches nothing else: no network, no host
files, no other guest. When the last one in the guest ends or is killed, everything that was started there ends with it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from fleet.lab.guests.namespaces import (
    PATH,
    Guest,
    child,
    command,
    end_group,
    exit_code,
    exited,
    has_user,
    made,
    opening,
    start,
    wish,
    words,
)
from fleet.lab.guests.template import Profile
from fleet.lab.guests.windows.guest import POWERSHELL, Windows, environment
from fleet.lab.guests.windows.powershell import Installation, installation, trial_limit
from fleet.lab.world.blobs import LARGEST
from fleet.lab.world.scripted import KILLED, Result, Script, unknown_user
from fleet.lab.world.world import Machine

_TOOLS = ("unshare", "nsenter", "mount", "umount", "pivot_root", "setpriv", "sh", "cat", "mkdir", "chmod")
_HELD = 1.0  # seconds after which a sandbox that is still running no longer counts as starting
_HELD_BY_POWERSHELL = 4.0  # a script of a wrapper is a second PowerShell, and each takes a second of processor time
_KEPT = LARGEST  # bytes kept of each stream: far more than the handlers report, for blobs
_SIGNALS = 128  # a shell says more than this of a process that a signal ended

_LOOK = 0.2  # seconds between two looks at what a running script wants of the lab
_STOPPING = 1.0  # seconds that what a script left behind may hold its streams while others run in the guest


@dataclass(slots=True)
class _Stream:
    kept: bytearray = field(default_factory=bytearray)

    async def drain(self, reader: asyncio.StreamReader) -> None:
        while chunk := await reader.read(65536):
            self.kept += chunk
            if len(self.kept) > 2 * _KEPT:
                del self.kept[:-_KEPT]


def _nothing(*_: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Heard:
    """Whom a running script is reported to.

    ``began``: it no longer waits for others that start. ``wished``: its guest, a Windows one, is to restart after so many
    seconds, or no longer is. ``off``: its guest, a Windows one, powers off.
    """

    began: Callable[[], None] = _nothing
    wished: Callable[[float | None], None] = _nothing
    off: Callable[[], None] = _nothing


_UNHEARD = Heard()


class Sandboxes:
    """Runs scripts in sandboxes below one folder, at most ``starting`` (Windows: ``powershells``) starting at once."""

    def __init__(self, folder: Path, starting: int | None = None, powershells: int | None = None) -> None:
        self._folder = folder
        self._places = asyncio.Semaphore(starting or 4 * (os.cpu_count() or 1))
        self._powershells = asyncio.Semaphore(powershells or os.cpu_count() or 1)
        self._guests: dict[str, Guest] = {}
        self._furnishing: dict[str, asyncio.Lock] = {}
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._streams: dict[int, tuple[_Stream, _Stream]] = {}
        self._killed: set[int] = set()

    async def run(
        self,
        execution: int,
        machine: Machine,
        script: Script,
        profile: Profile,
        heard: Heard = _UNHEARD,
    ) -> Result:
        """Run a script to its end. Killed ones answer exit code -1, with what they had printed."""
        async with _Place(*self._place(profile)) as place:
            heard.began()
            guest = await self._guest(machine, profile)
            if script.user and not has_user(guest, script.user):
                return unknown_user(script.user)
            if execution in self._killed:
                return Result(KILLED)
            try:
                first = await guest.enter(machine.host)
                process = await start(guest, first, script, machine.host, _end(execution))
                self._running[execution] = process
                if execution in self._killed:
                    end_group(process)
                watch = _Watch(guest, heard)
                result = await self._finish(execution, process, watch, script, place)
                return replace(result, restart=watch.last())
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
            end_group(self._running[execution])

    def so_far(self, execution: int) -> tuple[bytes, bytes]:
        """Return what a script has printed until now on its two streams."""
        out, err = self._streams.get(execution, (_Stream(), _Stream()))
        return bytes(out.kept), bytes(err.kept)

    def _place(self, profile: Profile) -> tuple[asyncio.Semaphore, float]:
        return (self._places, _HELD) if profile.windows is None else (self._powershells, _HELD_BY_POWERSHELL)

    async def _finish(
        self, execution: int, process: asyncio.subprocess.Process, watch: _Watch, script: Script, place: _Place
    ) -> Result:
        guest = watch.guest
        out, err = self._streams[execution] = _Stream(), _Stream()
        assert process.stdout is not None and process.stderr is not None and process.stdin is not None
        async with asyncio.TaskGroup() as group:
            drains = [
                group.create_task(out.drain(process.stdout)),
                group.create_task(err.drain(process.stderr)),
            ]
            group.create_task(_feed(process.stdin, script.text))
            group.create_task(place.leave_in_time(process))
            watcher = group.create_task(watch.look_again()) if guest.windows else None
            code = await exited(process)
            if watcher is not None:
                watcher.cancel()
            if guest.inside == 1:
                await guest.end()
            else:
                await asyncio.wait(drains, timeout=_STOPPING)
                for drain in drains:
                    drain.cancel()
        if guest.windows and (full := exit_code(guest.folder, _end(execution))) is not None:
            code = full
        elif guest.windows and code > _SIGNALS:
            code = 1  # that is how Windows ends a process that is killed inside
        killed = execution in self._killed or process.returncode is None or process.returncode < 0
        return Result(KILLED if killed else code, bytes(out.kept), bytes(err.kept))

    async def _guest(self, machine: Machine, profile: Profile) -> Guest:
        """Find a guest, or furnish it in a thread: on a busy disk that takes a tenth of a second."""
        lock = self._furnishing.setdefault(machine.key, asyncio.Lock())
        async with lock:
            if machine.key not in self._guests:
                place = self._folder / f"g-{machine.group.subscription.id}-{machine.kind}-{machine.vm_id}"
                self._guests[machine.key] = await _to_its_end(made, place, profile)
            return self._guests[machine.key]


@dataclass(slots=True)
class _Watch:
    """Reports at once that a Windows guest is to restart or powers off: it does so while a script still runs."""

    guest: Guest
    heard: Heard
    seen: bool = False

    async def look_again(self) -> NoReturn:
        while True:
            self.look()
            await asyncio.sleep(_LOOK)

    def look(self) -> None:
        if self.guest.windows and self.guest.changed_wish():
            self.seen = True
            self.heard.wished(self.guest.wished)
        if self.guest.windows and self.guest.went_off():
            self.heard.off()

    def last(self) -> float | None:
        """Return the wish to restart that came up while the script ran."""
        self.look()
        if not self.guest.windows:
            return wish(self.guest.folder)
        return self.guest.wished if self.seen else None


class _Place:
    """A place among the starting sandboxes, given up early by scripts that take long."""

    def __init__(self, places: asyncio.Semaphore, seconds: float) -> None:
        self._places = places
        self._seconds = seconds
        self._held = False

    async def __aenter__(self) -> _Place:
        await self._places.acquire()
        self._held = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leave()

    async def leave_in_time(self, process: asyncio.subprocess.Process) -> None:
        """Give the place up when the process ends, or when it has been held long enough."""
        try:
            async with asyncio.timeout(self._seconds):
                await exited(process)
        except TimeoutError:
            self._leave()

    def _leave(self) -> None:
        if self._held:
            self._held = False
            self._places.release()


_TRIAL = Profile("trial", "0" * 8 + "-0000-4000-8000-" + "0" * 12, "ubuntu", "22.04")


def supported() -> str | None:
    """Try a real sandbox once. Return why there is none, or None if it works."""
    if not sys.platform.startswith("linux"):
        return "sandboxes need Linux"
    missing = [tool for tool in _TOOLS if shutil.which(tool, path=PATH) is None]
    if missing:
        return f"these programs are missing: {', '.join(missing)}"
    with Folder() as place:
        guest = made(place / "trial", _TRIAL)
        text = "#!/bin/sh\ncat /proc/sys/kernel/random/boot_id >&2\ntest -w /usr || echo works\n"
        try:
            done = _tried(guest, words(Script(text, "/var/trial")), trial_limit(), text)
        except (OSError, subprocess.SubprocessError) as problem:
            return f"a trial could not be started: {problem}"
    if done.returncode == 0 and done.stdout == b"works\n":
        return None
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return f"namespaces are not allowed here ({said[-1] if said else f'exit code {done.returncode}'})"


def powershell(program: str, limit: float | None = None) -> tuple[str, Installation | None]:
    """Try a PowerShell in a real sandbox once. Return its version and where it lies, or why it does not work and None.

    ``limit``: seconds that each of two starts may take; by default what the load of this machine asks for.
    """
    within = trial_limit() if limit is None else limit
    with Folder() as place:
        try:
            found = installation(program, os.environ, within)
            guest = made(place / "trial", replace(_TRIAL, windows=Windows(found)))
            done = _tried(
                guest,
                ["env", *(f"{key}={value}" for key, value in environment("trial").items()), POWERSHELL, "--version"],
                within,
            )
        except subprocess.TimeoutExpired as problem:
            last = f"no answer within {problem.timeout:.3g} seconds"
        except (OSError, subprocess.SubprocessError) as problem:
            last = str(problem)
        else:
            if done.returncode == 0 and done.stdout.startswith(b"PowerShell "):
                return done.stdout.decode("ascii", "replace").strip(), found
            last = (done.stderr.decode("utf-8", "replace").strip().splitlines() or [""])[-1]
    return f"{program} does not start in a sandbox{f' ({last})' if last else ''}", None


def _tried(guest: Guest, words: Sequence[str], limit: float, text: str = "") -> subprocess.CompletedProcess[bytes]:
    """Open a guest and run a command in it, for so many seconds at most."""
    first = subprocess.Popen(  # noqa: S603
        opening(guest, "trial"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": PATH},
        start_new_session=True,
    )
    with first:
        assert first.stdout is not None
        try:
            if first.stdout.readline() != b"open\n":
                _, said = first.communicate(timeout=limit)
                return subprocess.CompletedProcess((), first.wait(limit) or 1, b"", said)
            return subprocess.run(  # noqa: S603
                command(guest, child(first.pid), words),
                input=text.encode(),
                capture_output=True,
                env={"PATH": PATH},
                timeout=limit,
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


async def _to_its_end(work: Callable[[Path, Profile], Guest], place: Path, profile: Profile) -> Guest:
    """Do work in a thread. A cancelled caller still waits for it, so that nobody clears away beneath it."""
    thread = asyncio.ensure_future(asyncio.to_thread(work, place, profile))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.wait([thread])
        raise


def _end(execution: int) -> str:
    return f"lab-end-{execution}"


async def _feed(stdin: asyncio.StreamWriter, text: str) -> None:
    try:
        stdin.write(text.encode("utf-8", errors="surrogatepass"))
        await stdin.drain()
        stdin.close()
        await stdin.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        pass
