"""Guests that really run scripts: one sandbox of Linux namespaces for each script, one folder for each guest.

A guest is a folder with its own /etc, /var, /home, /root, /tmp and /run; the system (/usr and its kin) is
the host's, read-only. Each script gets fresh user, mount, pid, uts, ipc and net namespaces around that
folder, so what it changes stays in the guest, is there for the guest's next script, and reaches nothing
else: no network, no host files, no other guest. When a script ends or is killed, everything it started ends
with it.

Run as root, the lab starts sandboxes under an id that owns nothing: user id 0 of a sandbox that maps to the
host's root could still write to files of root under /proc.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleet.lab.guests import KILLED, Result, Script, unknown_user
from fleet.lab.template import Profile, furnish
from fleet.lab.world import Machine

_TOOLS = ("unshare", "mount", "umount", "pivot_root", "setpriv", "sh", "cat", "mkdir", "chmod")
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/gnu")
_READABLE = ("/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_NOBODY = 65533  # owns nothing anywhere; within the range that nested containers map
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HELD = 1.0  # seconds after which a sandbox that is still running no longer counts as starting
_KEPT = 1024 * 1024  # bytes kept of each stream: far more than the handlers report, for blobs
_TRIAL_LIMIT = 20.0

# $1 table of mounts, $2 root folder, $3 host name, $4 folder and $5 mode of the script, $6 its arguments, $7
# user.
_SETUP = r"""
set -e
umask 022
mount -a -T "$1"
hostname "$3" 2>/dev/null || :
cd "$2"
pivot_root . mnt
umount -l /mnt
mkdir -p "$4"
cd "$4"
rm -f script.sh
cat >script.sh
chmod "$5" script.sh
exec </dev/null
set +e
shell=/bin/bash
test -x $shell || shell=/bin/sh
if test -n "$7"; then
    unshare --user --map-user="$(id -u "$7")" --map-group="$(id -g "$7")" \
        env -i PATH="$PATH" HOME="/home/$7" USER="$7" LOGNAME="$7" $shell -c "$4/script.sh $6"
else
    $shell -c "$4/script.sh $6"
fi
"""


@dataclass(slots=True)
class _Guest:
    folder: Path
    table: Path
    runs: int = 0


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
            process = await _start(guest, machine.host, script)
            self._running[execution] = process
            if execution in self._killed:
                _end(process)
            try:
                return await self._finish(execution, process, script, place)
            finally:
                _end(process)
                self._running.pop(execution, None)
                self._streams.pop(execution, None)

    def kill(self, execution: int) -> None:
        """End a script and everything it started, now or as soon as it starts."""
        self._killed.add(execution)
        if execution in self._running:
            _end(self._running[execution])

    def so_far(self, execution: int) -> tuple[bytes, bytes]:
        """Return what a script has printed until now on its two streams."""
        out, err = self._streams.get(execution, (_Stream(), _Stream()))
        return bytes(out.kept), bytes(err.kept)

    async def _finish(
        self, execution: int, process: asyncio.subprocess.Process, script: Script, place: _Place
    ) -> Result:
        out, err = self._streams[execution] = _Stream(), _Stream()
        assert process.stdout is not None and process.stderr is not None and process.stdin is not None
        async with asyncio.TaskGroup() as group:
            group.create_task(out.drain(process.stdout))
            group.create_task(err.drain(process.stderr))
            group.create_task(_feed(process.stdin, script.text))
            group.create_task(place.leave_after(_HELD, process))
            code = await process.wait()
        killed = execution in self._killed or code < 0
        return Result(KILLED if killed else code, bytes(out.kept), bytes(err.kept))

    async def _guest(self, machine: Machine, profile: Profile) -> _Guest:
        """Find a guest, or furnish it in a thread: on a busy disk that takes a tenth of a second."""
        lock = self._furnishing.setdefault(machine.key, asyncio.Lock())
        async with lock:
            if machine.key not in self._guests:
                place = self._folder / f"g-{machine.group.subscription.id}-{machine.kind}-{machine.vm_id}"
                self._guests[machine.key] = await _to_its_end(_furnished, place, profile)
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
                await process.wait()
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
        guest = _furnished(
            place / "trial", Profile("trial", "0" * 8 + "-0000-4000-8000-" + "0" * 12, "ubuntu", "22.04")
        )
        script = Script(
            "#!/bin/sh\ncat /proc/sys/kernel/random/boot_id >&2\ntest -w /usr || echo works\n", "/var/trial"
        )
        try:
            done = subprocess.run(  # noqa: S603
                _command(guest, "trial", script),
                input=script.text.encode(),
                capture_output=True,
                timeout=_TRIAL_LIMIT,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as problem:
            return f"a trial could not be started: {problem}"
    if done.returncode == 0 and done.stdout == b"works\n":
        return None
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return f"namespaces are not allowed here ({said[-1] if said else f'exit code {done.returncode}'})"


class Folder:
    """A temporary folder for guests, taken away whole at the end, whatever rights scripts left in it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="fleet-lab-"))
        self.path.chmod(0o711)  # guests of another id pass through, and cannot look around

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, onerror=_unlocked)


def _unlocked(function: object, path: str, _: object) -> None:
    """Open what a script closed to us, and try once more; symbolic links are never followed."""
    parent = Path(path).parent
    for each in (parent, Path(path)):
        if not each.is_symlink() and each.is_dir():
            each.chmod(stat.S_IRWXU)
    if Path(path).is_dir() and not Path(path).is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        Path(path).unlink(missing_ok=True)


def _furnished(place: Path, profile: Profile) -> _Guest:
    """Make a guest's folder and the table of its mounts."""
    root = place / "root"
    root.mkdir(parents=True)
    furnish(root, profile)
    boot = place / "boot_id"
    boot.write_text(f"{profile.boot_id}\n", encoding="ascii")
    release = place / "os-release"
    release.write_text((root / "etc/os-release").read_text(encoding="utf-8"), encoding="utf-8")
    lines = [_mount(root, root, "bind")]
    for each in map(Path, _SYSTEM):
        inside = root / each.relative_to("/")
        if each.is_symlink():
            inside.symlink_to(each.readlink())
        elif each.is_dir():
            inside.mkdir(exist_ok=True)
            lines.append(_mount(each, inside, _read_only(each)))
    for each in map(Path, _READABLE):
        lines += _readable(each, root)
    lines += _devices(root)
    lines.append(f"proc {_escaped(root / 'proc')} proc nosuid,nodev,noexec 0 0")
    lines.append(f"sysfs {_escaped(root / 'sys')} sysfs ro,nosuid,nodev,noexec,nofail 0 0")
    lines.append(_mount(boot, root / "proc/sys/kernel/random/boot_id", _read_only(boot)))
    if Path("/usr/lib/os-release").is_file():
        lines.append(_mount(release, root / "usr/lib/os-release", _read_only(release)))
    table = place / "mounts"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if os.geteuid() == 0:
        _hand_over(place)
    return _Guest(place, table)


def _readable(each: Path, root: Path) -> list[str]:
    if not each.exists():
        return []
    inside = root / each.relative_to("/")
    if each.is_dir():
        inside.mkdir(parents=True, exist_ok=True)
    else:
        inside.touch()
    return [_mount(each, inside, _read_only(each))]


def _devices(root: Path) -> list[str]:
    lines = []
    for name in _DEVICES:
        if Path("/dev", name).exists():
            (root / "dev" / name).touch()
            lines.append(_mount(Path("/dev", name), root / "dev" / name, "bind"))
    for name, goal in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        (root / "dev" / name).symlink_to(f"/proc/self/fd{goal}")
    return lines


def _mount(source: Path, target: Path, options: str) -> str:
    return f"{_escaped(source)} {_escaped(target)} none {options} 0 0"


def _escaped(path: Path) -> str:
    text = str(path)
    for character in ("\\", " ", "\t", "\n"):
        text = text.replace(character, f"\\{ord(character):03o}")
    return text


def _read_only(path: Path) -> str:
    """Return the options of a read-only bind. Flags the host's mount has may not be dropped in a user
    namespace.
    """
    flags = os.statvfs(path).f_flag
    kept = {
        "nosuid": os.ST_NOSUID,
        "nodev": os.ST_NODEV,
        "noexec": os.ST_NOEXEC,
        "noatime": os.ST_NOATIME,
        "nodiratime": os.ST_NODIRATIME,
        "relatime": os.ST_RELATIME,
    }
    return ",".join(["bind", "ro", *(name for name, flag in kept.items() if flags & flag)])


def _hand_over(place: Path) -> None:
    for path in (place, *place.rglob("*")):
        os.chown(path, _NOBODY, _NOBODY, follow_symlinks=False)


def _identity() -> list[str]:
    return [f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []


def _command(guest: _Guest, name: str, script: Script) -> list[str]:
    mode = "0550" if script.user else "0500"  # handler source
    return [
        *("setpriv", "--pdeathsig", "KILL", *_identity()),  # a lab that dies takes its sandboxes along
        *("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"),
        *("--uts", "--net", "--ipc"),
        *("sh", "-c", _SETUP, "sh", str(guest.table), str(guest.folder / "root"), name),
        *(script.folder, mode, script.arguments, script.user),
    ]


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return a script's environment: the search path, and what it was given (the agent passes little
    more).
    """
    usable = {name: value for name, value in given.items() if "=" not in name and "\0" not in name + value}
    return {"PATH": _PATH, **usable}


async def _start(guest: _Guest, name: str, script: Script) -> asyncio.subprocess.Process:
    guest.runs += 1
    return await asyncio.create_subprocess_exec(
        *_command(guest, name, script),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        env=_environment(script.environment),
        start_new_session=True,
    )


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
    """Kill the sandbox; the kernel then kills every process in its pid namespace."""
    if process.returncode is None:
        process.kill()


def _has_user(place: Path, user: str) -> bool:
    """Look a user up in the guest's own list. No link is followed: the guest could have put one there."""
    try:
        root = os.open(place / "root", os.O_RDONLY | os.O_DIRECTORY)
        etc = os.open("etc", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
        file = os.open("passwd", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=etc)
    except OSError:
        return False
    with os.fdopen(file, "rb") as stream:
        os.close(etc)
        os.close(root)
        lines = stream.read(1024 * 1024).splitlines()
    return any(line.split(b":", 1)[0] == user.encode("utf-8", "surrogateescape") for line in lines)
