"""What can be asked of a VM while a script runs there: how it is doing (probe), and to end it (release).

Both are scripts of ours beside the user's own, named by the same key. They answer with one piece, as readers of kept
output do (``fleet.guest.spool``): facts, a line each, then sections. What comes back was written in the VM and is worth
as much as the VM is.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.resources import files

from fleet.guest import wrapper_pwsh, wrapper_sh
from fleet.guest.packing import gunzip_most
from fleet.guest.spool import KEPT_SH, PIECE, Piece, Stream, Wanted, shown_piece

GRACE = 5
"""Seconds between TERM and KILL."""

_HEAD = re.compile(
    r"# Fleet [^\n]*\n\$?(?:fleet_k|FleetK)ey ?= ?'(?P<key>[^'\n]+)'\n(?:\$FleetEntry = '[^'\n]+'\n)?"
    r"\$?(?:fleet_n|FleetN)once ?= ?'(?P<nonce>[0-9a-f]+)'\n"
)
_LARGEST = 65_536
"""Bytes of a report, at most."""


def _text(name: str) -> str:
    return files("fleet.guest").joinpath(name).read_text(encoding="ascii")


_STATE_SH = KEPT_SH + wrapper_sh.CLAIM + _text("state.sh")
_PROBE_SH, _RELEASE_SH = _STATE_SH + _text("probe.sh"), _STATE_SH + _text("release.sh")
_PROBE_PS1 = wrapper_pwsh.script_text("tools", "claim", "kept", "state", "boot", "probe")
_RELEASE_PS1 = wrapper_pwsh.script_text("tools", "claim", "kept", "state", "release")


class Standing(StrEnum):
    """How a delivery stands in its VM. Windows tells neither ``rebooted`` nor ``hidden``."""

    MISSING = "missing"
    STARTING = "starting"
    ALIVE = "alive"
    ENDED = "ended"
    GONE = "gone"
    """The wrapper is gone without an answer."""
    REBOOTED = "rebooted"
    HIDDEN = "hidden"
    """It runs where its processes cannot be seen from: another container."""
    UNTOLD = ""


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a script, ``depth`` below the wrapper. ``age`` and ``used`` (processor time) in whole seconds."""

    pid: int
    depth: int
    state: str
    """As the kernel says it: R running, S sleeping, D waiting for a device, Z dead, T stopped; ``-`` on Windows."""
    age: int
    used: int
    waits: str
    """Where in the kernel it waits; ``0`` where that is not told."""
    command: str


@dataclass(frozen=True, slots=True)
class Disk:
    """A mounted file system; sizes in bytes."""

    place: str
    size: int
    free: int


@dataclass(frozen=True, slots=True)
class Findings:
    """What a VM said of a delivery and of itself. ``whole`` is False where the end of it is missing."""

    standing: Standing
    facts: Mapping[str, str] = field(default_factory=dict, hash=False)
    locks: tuple[str, ...] = ()
    """Locks of package tools that are held: file, process and program."""
    processes: tuple[Process, ...] = ()
    disks: tuple[Disk, ...] = ()
    stdout: str = ""
    stderr: str = ""
    agent: str = ""
    whole: bool = True

    def number(self, name: str) -> int | None:
        """A fact that is a whole number; None where it is not told."""
        text = self.facts.get(name, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None

    def silent_for(self) -> int | None:
        """Seconds since the script last printed, by the VM's own clock; None where that is not told."""
        now, last = self.number("time"), [at for at in map(self.number, ("stdout_at", "stderr_at")) if at is not None]
        return max(0, now - max(last)) if now is not None and last else None


def prober(key: str, nonce: str, *, windows: bool) -> str:
    """Return the script that looks at a delivery, and changes nothing."""
    return _script("Fleet looks at a script that is running; nothing is changed.", key, nonce, windows, probe=True)


def releaser(key: str, nonce: str, *, windows: bool) -> str:
    """Return the script that ends a delivery's script, and no other process."""
    return _script("Fleet ends a script on request.", key, nonce, windows, probe=False)


def _script(title: str, key: str, nonce: str, windows: bool, *, probe: bool) -> str:
    if windows:
        return (
            f"# {title}\n$FleetKey = '{key}'\n$FleetEntry = '{wrapper_pwsh.entry(key)}'\n$FleetNonce = '{nonce}'\n"
            f"$FleetBytes = {PIECE}\n\n{_PROBE_PS1 if probe else _RELEASE_PS1}"
        )
    grace = "" if probe else f"fleet_grace={GRACE}\n"
    body = _PROBE_SH if probe else _RELEASE_SH
    return f"# {title}\nfleet_key='{key}'\nfleet_nonce='{nonce}'\nfleet_bytes={PIECE}\n{grace}\n{body}"


def asked(script: str) -> Wanted | None:
    """Read back what one of these scripts asks: always its one piece; None if the text is none."""
    text = script.replace("\r\n", "\n")
    head = _HEAD.match(text)
    if head is None:
        return None
    key, nonce = head["key"], head["nonce"]
    made = (each(key, nonce, windows=windows) for each in (prober, releaser) for windows in (False, True))
    same = any(text.rstrip("\n") == one.rstrip("\n") for one in made)
    return Wanted(key, Stream.STDOUT, 0, nonce) if same else None


def nothing_to_tell(wanted: Wanted) -> tuple[bytes, bytes]:
    """Return what a guest prints that runs nothing, and so has no process to show or to end."""
    return shown_piece(wanted, gzip.compress(f"state=\n\n{wanted.nonce} end\n".encode("ascii"), mtime=0))


def read_report(piece: Piece, nonce: str) -> Findings:
    """Read a report. Whatever is not as it should be is left out. Raises ValueError if it cannot be unpacked."""
    data = gunzip_most(piece.data, _LARGEST) if piece.form == "gzip" else piece.data
    head, *rest = data.decode("utf-8", "replace").split(f"\n{nonce} ")
    facts = [line.partition("=") for line in head.split("\n") if "=" in line]
    sections: dict[str, str] = {}
    for part in rest:
        name, _, text = part.partition("\n")
        sections.setdefault(name.strip(), text)
    plain = {name: value.strip() for name, _, value in facts if name != "lock"}
    return Findings(
        standing=_standing(plain.get("state", "")),
        facts=plain,
        locks=tuple(value.strip() for name, _, value in facts if name == "lock"),
        processes=tuple(each for line in sections.get("processes", "").split("\n") for each in _process(line)),
        disks=tuple(each for line in sections.get("disk", "").split("\n") for each in _disk(line)),
        stdout=sections.get("stdout", ""),
        stderr=sections.get("stderr", ""),
        agent=sections.get("agent", ""),
        whole="end" in sections,
    )


def _standing(text: str) -> Standing:
    return Standing(text) if text in set(Standing) else Standing.UNTOLD


def _process(line: str) -> tuple[Process, ...]:
    words = line.split(" ", 6)
    if len(words) < 7 or not all(_is_number(words[index]) for index in (0, 1, 3, 4)):
        return ()
    pid, depth, state, age, used, waits, command = words
    return (Process(int(pid), min(int(depth), 40), state, int(age), int(used), waits, command.strip()),)


def _disk(line: str) -> tuple[Disk, ...]:
    words = line.split(" ", 2)
    if len(words) < 3 or not all(map(_is_number, words[:2])):
        return ()
    return (Disk(words[2].strip(), int(words[0]) * 1024, int(words[1]) * 1024),)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19
