"""One guest: a folder, and Linux namespaces around it.

A guest is a folder with its own /etc, /var, /home, /root, /tmp and /run; the system (/usr and its kin) is
the host's, read-only. Its first script opens fresh user, mount, pid, uts, ipc and net namespaces around that
folder; scripts that come while it runs enter the same ones, so they see each other's processes as on one machine.

Run as root, the lab starts sandboxes under an id that owns nothing: user id 0 of a sandbox that maps to the
host's root could still write to files of root under /proc.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from fleet.lab.guests import mounts
from fleet.lab.guests.mounts import NOBODY, furnished
from fleet.lab.guests.template import Profile
from fleet.lab.guests.windows import guest as windows
from fleet.lab.guests.windows import kept
from fleet.lab.world.scripted import Script

_STAND_INS = f"/{mounts.STAND_INS}"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

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
class Guest:
    """A guest's folder, the table of its mounts, its first process, and how many scripts are in it."""

    folder: Path
    table: Path
    beginning: str = ""
    windows: bool = False
    first: asyncio.subprocess.Process | None = None
    inside: int = 0
    booted: tuple[int, int] | None = None
    """When its present boot began on the host's two clocks that count from its boot, in whole seconds.

    None for the first boot, which is the host's.
    """
    wished: float | None = None
    """Seconds after which a Windows guest restarts, as far as is known."""
    gate: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def enter(self, name: str) -> int:
        """Open the guest if it is not, and return the process whose namespaces a script enters."""
        self.inside += 1
        async with self.gate:
            if self.first is None:
                self.first = await _opened(self, name)
            return child(self.first.pid)

    async def boot(self, boot_id: str) -> None:
        """End everything in the guest; what comes next finds another boot, and an empty /run."""
        async with self.gate:
            await self.end()
            self.wished = None
            self.booted = int(time.clock_gettime(time.CLOCK_BOOTTIME)), int(time.clock_gettime(time.CLOCK_MONOTONIC))
            (self.folder / "boot_id").write_text(f"{boot_id}\n", encoding="ascii")
            await asyncio.to_thread(_emptied, self.folder / "root" / "run")
            if self.windows:
                await asyncio.to_thread(kept.boot, self.folder / mounts.STATE, host_time())

    def changed_wish(self) -> bool:
        """Read whether a Windows guest is to restart; say whether that has changed. What it wrote stays until it restarts."""
        earlier, self.wished = self.wished, wish(self.folder, take=False)
        return self.wished != earlier

    def went_off(self) -> bool:
        """Say whether a Windows guest has powered off since this was asked last."""
        return kept.went_off(self.folder / mounts.STATE)

    async def leave(self) -> None:
        """A script is gone; with the last one goes all that any of them started."""
        self.inside -= 1
        if self.inside == 0:
            await self.end()

    async def end(self) -> None:
        """End everything in the guest."""
        first, self.first = self.first, None
        if first is not None and first.stdin is not None:
            end_group(first)
            first.stdin.close()
            await first.wait()


def made(place: Path, profile: Profile) -> Guest:
    """Furnish a guest's folder."""
    windows = profile.windows is not None
    return Guest(place, furnished(place, profile), mounts.beginning(profile), windows)


def host_boot() -> float:
    """Return when this machine's boot began, which is that of guests that have not restarted."""
    return host_time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def host_time() -> float:
    """Return this machine's time, which is that of guests."""
    return time.clock_gettime(time.CLOCK_REALTIME)


def _identity() -> list[str]:
    return [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []


def opening(guest: Guest, name: str) -> list[str]:
    """The command that begins a guest's first process."""
    return [
        *("setpriv", "--pdeathsig", "KILL", *_identity()),  # a lab that dies takes its sandboxes along
        *("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"),
        *("--uts", "--net", "--ipc"),
        *(() if guest.booted is None else ("--time", *_clocks(guest.booted))),
        *("sh", "-c", _OPEN, "sh", str(guest.table), str(guest.folder / "root"), name, guest.beginning),
    ]


def _clocks(booted: tuple[int, int]) -> tuple[str, ...]:
    return "--boottime", str(-booted[0]), "--monotonic", str(-booted[1])


def command(guest: Guest, first: int, words: Sequence[str]) -> list[str]:
    """The command that runs these words in the guest of this first process."""
    return [
        *("setpriv", "--pdeathsig", "KILL", *_identity()),
        *("nsenter", "--target", str(first), "--user", "--preserve-credentials"),
        *("--mount", "--pid", "--uts", "--net", "--ipc"),
        *(() if guest.booted is None else ("--time",)),
        *words,
    ]


def words(script: Script) -> list[str]:
    """The command that runs the script on its stdin, as the Linux handlers run it."""
    mode = "0550" if script.user else "0500"  # handler source
    return ["sh", "-c", _SETUP, "sh", script.folder, mode, script.arguments, script.user]


def child(pid: int) -> int:
    """The one child of a process: namespaces are entered through a process that lives in all of them."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    if not found:
        raise ProcessLookupError("the guest's first process is gone")
    return int(found[0])


def _environment(guest: Guest, script: Script, name: str) -> dict[str, str]:
    """Return a script's environment: the search path, and what it was given (the agent passes little
    more).
    """
    given = script.environment
    usable = {name: value for name, value in given.items() if "=" not in name and "\0" not in name + value}
    own = windows.environment(name, script.user, script.shell) if guest.windows else {"PATH": f"{_STAND_INS}:{PATH}"}
    return {**own, **usable}


async def _opened(guest: Guest, name: str) -> asyncio.subprocess.Process:
    """Start a guest's first process, and return when its folders are mounted. Raises OSError."""
    first = await _process(opening(guest, name), {"PATH": PATH})
    assert first.stdout is not None
    if await first.stdout.readline() != b"open\n":
        end_group(first)
        raise OSError("a sandbox could not be opened")
    return first


async def start(guest: Guest, first: int, script: Script, name: str, end: str) -> asyncio.subprocess.Process:
    """Start a script in the guest of this first process, whose machine has this name.

    Where the guest stands for Windows, the script's exit code is left in the file ``end`` of /run.
    """
    inner = windows.words(script, end) if guest.windows else words(script)
    return await _process(command(guest, first, inner), _environment(guest, script, name))


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


async def exited(process: asyncio.subprocess.Process) -> int:
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


def end_group(process: asyncio.subprocess.Process) -> None:
    """Kill a process group; with a guest's first process the kernel kills all others in its pid namespace."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def has_user(guest: Guest, user: str) -> bool:
    """Look a user up in the guest's own list."""
    if guest.windows:
        return user in windows.USERS
    lines = (_read(guest.folder, "etc", "passwd") or b"").splitlines()
    return any(line.split(b":", 1)[0] == user.encode("utf-8", "surrogateescape") for line in lines)


def wish(place: Path, *, take: bool = True) -> float | None:
    """Take the wish to restart that the guest's ``shutdown`` left, or only read it: seconds until then."""
    text = _read(place, "run", mounts.WISH, take=take)
    return float(text) if text is not None and text.isdigit() and len(text) < 7 else None


def exit_code(place: Path, end: str) -> int | None:
    """Take the exit code that a PowerShell left in this file of /run; its process could only show the low 8 bits of it."""
    text = _read(place, "run", end, take=True)
    return int(text) if text is not None and re.fullmatch(rb"-?\d{1,10}", text) else None


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
