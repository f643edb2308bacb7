"""A sandboxed guest's folder and the table of what is mounted there: its own places, and the host's system read-only."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from fleet.lab.guests import disks, dpkg, rpm
from fleet.lab.guests.packages import Family
from fleet.lab.guests.template import Profile, furnish
from fleet.lab.guests.windows import guest as windows
from fleet.lab.guests.windows import kept
from fleet.lab.guests.windows.machine import SYSTEM

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/gnu")
_READABLE = ("/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
STAND_INS = "opt/lab/sbin"
"""Where a guest has the commands that the lab provides, first in the path of its scripts."""
_MIRROR = "opt/lab/mirror"
_LOCKED_UNTIL = "/var/lib/lab-locked-until"
WISH = "lab-restart"
"""The file in /run by which the stand-in of ``shutdown`` tells the lab that the guest is to restart."""
STATE = "state"
"""The folder of a Windows guest's state, beside its root."""
NOBODY = 65533  # owns nothing anywhere; within the range that nested containers map


def furnished(place: Path, profile: Profile) -> Path:
    """Make a guest's folder below ``place/root``, and return the table of its mounts."""
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
    lines += _no_kernels(place, root)
    lines += _devices(root)
    lines.append(f"proc {_escaped(root / 'proc')} proc nosuid,nodev,noexec 0 0")
    lines.append(f"sysfs {_escaped(root / 'sys')} sysfs ro,nosuid,nodev,noexec,nofail 0 0")
    lines.append(_mount(boot, root / "proc/sys/kernel/random/boot_id", _read_only(boot)))
    if Path("/usr/lib/os-release").is_file():
        lines.append(_mount(release, root / "usr/lib/os-release", _read_only(release)))
    lines += _linux(place, root, profile) if profile.windows is None else _windows(place, root, profile.windows)
    table = place / "mounts"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if os.geteuid() == 0:
        _hand_over(place)
    return table


def beginning(profile: Profile) -> str:
    """Return what a guest's first process does when it opens: what else is at work there, if anything."""
    seconds = profile.stock.updates.locked
    if not seconds or profile.stock.family is Family.OTHER:
        return ""
    holding = dpkg.holding if profile.stock.family is Family.DEB else rpm.holding
    return (
        f"test -s {_LOCKED_UNTIL} || echo $(($(date +%s) + {seconds})) >{_LOCKED_UNTIL}\n"
        f"left=$(($(cat {_LOCKED_UNTIL}) - $(date +%s)))\ntest $left -gt 0 || exit 0\n{holding('$left')}"
    )


def _windows(place: Path, root: Path, played: windows.Windows) -> list[str]:
    lines = [_mount(source, inside, _read_only(source)) for source, inside in windows.furnish(root, played)]
    state = place / STATE
    state.mkdir()
    kept.write(state, played.state)
    (state / "user").write_text(f"{SYSTEM}\n", encoding="ascii")
    return [*lines, _mount(state, root / windows.STATE.lstrip("/"), "bind")]


def _linux(place: Path, root: Path, profile: Profile) -> list[str]:
    """Give a guest its commands, disks and packages."""
    _stand_in(root / STAND_INS)
    disks.furnish(root, profile.disks, root / STAND_INS)
    return _packages(place, root, profile)


def _packages(place: Path, root: Path, profile: Profile) -> list[str]:
    """Give a guest its packages, the mirror of its class, and a /boot of its own if it has one."""
    stock = profile.stock
    lines = []
    if stock.updates.boot_mib is not None:
        (root / "boot").mkdir()
        lines.append(f"tmpfs {_escaped(root / 'boot')} tmpfs size={stock.updates.boot_mib}m 0 0")
    if stock.family is not Family.OTHER:
        mirror = _mirror(place.parent / "mirrors", profile)
        (root / _MIRROR).mkdir(parents=True)
        lines.append(_mount(mirror, root / _MIRROR, _read_only(mirror)))
    if stock.family is Family.DEB:
        dpkg.furnish(root, stock, f"/{_MIRROR}")
    elif stock.family is Family.RPM:
        tool = rpm.tool_of(profile.system, profile.version)
        rpm.furnish(root, stock, f"/{_MIRROR}", root / STAND_INS, tool=tool)
    return lines


def _mirror(mirrors: Path, profile: Profile) -> Path:
    """Find the mirror of guests with these packages, or make it: at once or not at all, since several may ask."""
    stock = profile.stock
    has = [(each.name, each.available, each.spec.model_dump_json()) for each in stock.packages]
    made = mirrors / hashlib.sha256(repr((profile.system, profile.version, has)).encode()).hexdigest()[:16]
    if made.is_dir():
        return made
    mirrors.mkdir(exist_ok=True)
    mirrors.chmod(0o711)
    draft = Path(tempfile.mkdtemp(dir=mirrors)) / "mirror"
    if stock.family is Family.DEB:
        dpkg.write_mirror(draft, stock, profile.system, profile.version)
    else:
        rpm.write_mirror(draft, stock)
    if os.geteuid() == 0:
        _hand_over(draft)
    try:
        draft.rename(made)
    except OSError:  # another guest of this class was faster
        shutil.rmtree(draft)
    draft.parent.rmdir()
    return made


_SHUTDOWN = r"""#!/bin/sh
# The lab's stand-in: the guest restarts some time after the script that asks has ended.
restart= when= said=
for word; do
    case $word in
        -r | --reboot) restart=1 ;;
        -c) rm -f "/run/$wish"; exit 0 ;;
        -*) ;;
        *) [ -n "$when" ] || when=$word ;;
    esac
done
case ${when:-+1} in
    now) seconds=0 ;;
    +*[!0-9]* | +) said="Failed to parse time specification: $when" ;;
    +*) seconds=$((${when#+} * 60)) ;;
    *) said="Failed to parse time specification: $when" ;;
esac
[ -n "$restart" ] || said='guests of the lab restart (-r) and do nothing else'
[ "$(id -u)" = 0 ] || said='Interactive authentication required.'
[ -z "$said" ] || { echo "$said" >&2; exit 1; }
printf %s "$seconds" >"/run/$wish"
"""


def _stand_in(folder: Path) -> None:
    """Write the commands that a guest without an init of its own lacks."""
    folder.mkdir(parents=True)
    commands = {
        "shutdown": _SHUTDOWN.replace("restart= when=", f"wish={WISH} restart= when="),
        "reboot": f"#!/bin/sh\nexec /{STAND_INS}/shutdown -r now\n",
    }
    for name, text in commands.items():
        (folder / name).write_text(text, encoding="ascii")
        (folder / name).chmod(0o755)


def _readable(each: Path, root: Path) -> list[str]:
    if not each.exists():
        return []
    inside = root / each.relative_to("/")
    if each.is_dir():
        inside.mkdir(parents=True, exist_ok=True)
    else:
        inside.touch()
    return [_mount(each, inside, _read_only(each))]


def _no_kernels(place: Path, root: Path) -> list[str]:
    """Hide the host's kernels: one that waits for the host's restart is no reason to restart a guest."""
    modules = Path("/lib/modules").resolve()
    if not modules.is_dir():
        return []
    (place / "modules").mkdir()
    return [_mount(place / "modules", root / modules.relative_to("/"), _read_only(place))]


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
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
