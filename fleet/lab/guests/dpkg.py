"""Guests of Debian and Ubuntu: a dpkg database of their own, and a mirror for this machine's real ``apt-get``.

Where this machine has no apt, such guests have the database and nothing that reads it.
"""

from __future__ import annotations

from pathlib import Path

from fleet.lab.guests.deb import Deb, write_repository
from fleet.lab.guests.packages import Package, Stock

_LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")
# $1 seconds, then files: locks them as apt does (fcntl, so not flock(1)), goes on in the background once it has them.
_HOLD = r"""
perl -MFcntl -e '
    my ($left, @files) = @ARGV;
    pipe(my $told, my $tell);
    if (fork) { close $tell; readline $told; exit }
    $0 = "unattended-upgr";
    for (@files) {
        open(my $file, ">>", $_);
        my $whole = pack("s s x![q] q q i x4", F_WRLCK, 0, 0, 0, 0);
        fcntl($file, F_SETLK, $whole);
        push @held, $file;
    }
    close $told; close $tell;
    sleep $left;
' "$@"
"""
_FOLDERS = (
    "etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/trusted.gpg.d", "etc/dpkg/dpkg.cfg.d",
    "var/cache/apt/archives/partial", "var/lib/apt/lists/partial", "var/lib/dpkg/info", "var/lib/dpkg/triggers",
    "var/lib/dpkg/updates", "var/log/apt",
)  # fmt: skip
# A guest has one user id and no terminals: apt can neither become its own user nor give its log to a group.
_CONFIGURATION = """\
APT::Sandbox::User "root";
Dir::Log::Terminal "";
Dpkg::Use-Pty "0";
Acquire::Retries "0";
"""
_CODENAMES = {"18.04": "bionic", "20.04": "focal", "22.04": "jammy", "24.04": "noble"}


def holding(left: str) -> str:
    """Return shell commands that hold the locks for so many seconds, a shell's expression."""
    return f'set -- "{left}" {" ".join(_LOCKS)}\n{_HOLD}'


def furnish(root: Path, stock: Stock, mirror: str) -> None:
    """Give a guest its database and its settings. ``mirror`` is where it will find the repositories."""
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "etc/apt/apt.conf.d/50lab").write_text(_CONFIGURATION, encoding="ascii")
    (root / "etc/dpkg/dpkg.cfg.d/lab").write_text("force-unsafe-io\nlog /var/log/dpkg.log\n", encoding="ascii")
    place = f"file:{mirror}" if stock.updates.mirror == "up" else "http://mirror.invalid"
    sources = "".join(f"deb [trusted=yes] {place}/{each} ./\n" for each in ("updates", "security"))
    (root / "etc/apt/sources.list").write_text(sources, encoding="ascii")
    installed = [each for each in stock.packages if each.installed]
    (root / "var/lib/dpkg/status").write_text("\n".join(map(_paragraph, installed)), encoding="ascii")
    (root / "var/lib/dpkg/available").touch()
    for each in installed:
        for kind in ("list", "md5sums"):
            (root / f"var/lib/dpkg/info/{each.name}.{kind}").touch()
        if _is_unfinished(each) and each.spec.fails:
            script = root / f"var/lib/dpkg/info/{each.name}.postinst"
            script.write_text(_postinst(each), encoding="ascii")
            script.chmod(0o755)


def write_mirror(folder: Path, stock: Stock, system: str, version: str) -> None:
    """Fill a new folder with two repositories: security updates, and all others."""
    suite = _CODENAMES.get(version, "release") if system == "ubuntu" else "stable"
    label = "Ubuntu" if system == "ubuntu" else "Debian"
    for name, security in (("updates", False), ("security", True)):
        debs = [_deb(each) for each in stock.packages if each.spec.security is security]
        own = "Debian-Security" if security and label == "Debian" else label
        write_repository(folder / name, debs, label=own, suite=f"{suite}-{name}")


def _deb(package: Package) -> Deb:
    return Deb(package.name, package.available, package.spec.brings, _postinst(package))


def _paragraph(package: Package) -> str:
    want = "hold" if package.spec.hold and package.waits else "install"
    state = "half-configured" if _is_unfinished(package) else "installed"
    depends = "" if package.waits else package.spec.brings
    return Deb(package.name, package.installed, depends).control(f"Status: {want} ok {state}")


def _is_unfinished(package: Package) -> bool:
    return package.spec.unfinished and package.waits


def _postinst(package: Package) -> str:
    if package.spec.fails:
        return f'#!/bin/sh\n[ "$1" != configure ] || {{ echo "{package.name} could not be started" >&2; exit 1; }}\n'
    if not package.spec.reboot:
        return ""
    return (
        '#!/bin/sh\n[ "$1" = configure ] || exit 0\necho "*** System restart required ***" >/run/reboot-required\n'
        f"echo {package.name} >>/run/reboot-required.pkgs\n"
    )
