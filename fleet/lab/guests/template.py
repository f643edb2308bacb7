"""What a new guest's folder holds: a small, plausible Linux system of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleet.lab.guests.packages import Stock
from fleet.lab.guests.windows.guest import Windows
from fleet.lab.world.machine_spec import DiskSpec

_FOLDERS = (
    "dev/shm", "etc/apt", "etc/cron.d", "etc/default", "etc/profile.d", "etc/ssh", "etc/ssl", "etc/sysctl.d",
    "etc/systemd/system", "home/azureuser", "media", "mnt", "opt", "proc", "root", "run/lock", "srv", "sys",
    "tmp", "usr", "var/cache", "var/lib/dpkg", "var/lib/waagent", "var/log/azure", "var/spool/cron",
    "var/tmp",
)  # fmt: skip
_NAMES = {
    "ubuntu": ("Ubuntu", "debian"),
    "debian": ("Debian GNU/Linux", ""),
    "redhat": ("Red Hat Enterprise Linux", "fedora"),
    "sles": ("SLES", "suse"),
    "almalinux": ("AlmaLinux", "rhel centos fedora"),
    "azurelinux": ("Microsoft Azure Linux", ""),
}
_IDS = {"redhat": "rhel"}
_FILES = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/bash\n"
        "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
        "bin:x:2:2:bin:/bin:/usr/sbin/nologin\n"
        "sys:x:3:3:sys:/dev:/usr/sbin/nologin\n"
        "www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"
        "sshd:x:110:65534::/run/sshd:/usr/sbin/nologin\n"
        "azureuser:x:1000:1000:Azure user:/home/azureuser:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "etc/group": (
        "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:azureuser\nsudo:x:27:azureuser\nwww-data:x:33:\n"
        "shadow:x:42:\nusers:x:100:\nazureuser:x:1000:\nnogroup:x:65534:\n"
    ),
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
    "etc/resolv.conf": "nameserver 168.63.129.16\n",
    "etc/fstab": "/dev/sda1 / ext4 defaults 0 1\n",
    "etc/profile": "umask 022\n",
    "etc/bash.bashrc": "",
    "etc/issue": "Authorized use only\n",
    "etc/motd": "",
    "etc/shells": "/bin/sh\n/bin/bash\n",
    "etc/crontab": "SHELL=/bin/sh\n",
    "etc/sysctl.conf": "net.ipv4.ip_forward = 0\n",
    "etc/login.defs": "PASS_MAX_DAYS 99999\nPASS_MIN_DAYS 0\nPASS_WARN_AGE 7\nUMASK 022\n",
    "etc/ssh/sshd_config": (
        "Port 22\nPermitRootLogin no\nPasswordAuthentication no\nX11Forwarding no\n"
        "Subsystem sftp /usr/lib/openssh/sftp-server\n"
    ),
    "etc/timezone": "Etc/UTC\n",
    "var/log/syslog": "",
}  # fmt: skip
_SECRET = {"etc/shadow": "root:*:19000:0:99999:7:::\nazureuser:!:19000:0:99999:7:::\n"}


@dataclass(frozen=True, slots=True)
class Profile:
    """What tells one guest from another. ``system`` is the distribution's short name."""

    host: str
    boot_id: str
    system: str
    version: str
    stock: Stock = field(default_factory=Stock)
    disks: Mapping[str, DiskSpec] = field(default_factory=dict)
    windows: Windows | None = None
    """What a Windows guest has instead of packages and disks; None of a Linux guest."""


def furnish(root: Path, profile: Profile) -> None:
    """Fill an empty folder with a guest's system, without programs."""
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    (root / "var/tmp").chmod(0o1777)
    (root / "root").chmod(0o700)
    (root / "var/run").symlink_to("/run")
    for name, text in {**_FILES, **_own(profile)}.items():
        (root / name).write_text(text, encoding="utf-8")
    for name, text in _SECRET.items():
        (root / name).write_text(text, encoding="utf-8")
        (root / name).chmod(0o640)


def _own(profile: Profile) -> dict[str, str]:
    name, like = _NAMES.get(profile.system, (profile.system.capitalize(), ""))
    id = _IDS.get(profile.system, profile.system)
    release = (
        f'PRETTY_NAME="{name} {profile.version}"\nNAME="{name}"\nVERSION_ID="{profile.version}"\n'
        f'VERSION="{profile.version}"\nID={id}\nID_LIKE="{like}"\n'
    )
    machine = hashlib.sha256(f"machine-id/{profile.boot_id}".encode()).hexdigest()[:32]
    return {
        "etc/hostname": f"{profile.host}\n",
        "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {profile.host}\n",
        "etc/machine-id": f"{machine}\n",
        "etc/os-release": release,
    }
