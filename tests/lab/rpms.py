"""Small rpm packages and repositories, and guests in which the dnf or zypper of this machine is at work on them.

The packages are made by the real rpmbuild and createrepo_c. The guest is the lab's, with its stand-ins taken away: a
database, a configuration and a repository of its own, while the programs are those of this machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from tests.lab.patching import Guest, guest

TOOLS = ("dnf", "zypper", "rpm", "rpmbuild", "createrepo_c", "modifyrepo_c")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
MUST = os.environ.get("FLEET_NEEDS_PACKAGE_MANAGERS") == "1"
"""Whether these programs may not be missing: then the tests run, and fail without them."""
needs_rpm = pytest.mark.skipif(bool(MISSING) and not MUST, reason=f"this machine lacks {', '.join(MISSING)}")
REPOSITORY = "srv/r"


@dataclass(frozen=True)
class Rpm:
    """A package without files: tags of its own, and the scripts that run when it is installed."""

    name: str
    version: str = "1"
    tags: Sequence[str] = ()
    scripts: Sequence[str] = ()


@dataclass(frozen=True)
class Advisory:
    """What a repository says about updates: their kind, the packages in version 2, and flags such as ``reboot_suggested``."""

    id: str
    kind: str
    packages: Sequence[str]
    flag: str = ""


def build(folder: Path, packages: Iterable[Rpm]) -> dict[tuple[str, str], Path]:
    """Build packages, and return their files by name and version. One call of rpmbuild makes all of one version."""
    made = {}
    by_version: dict[str, list[Rpm]] = {}
    for package in packages:
        by_version.setdefault(package.version, []).append(package)
    for version, each in by_version.items():
        spec = folder / f"{version}.spec"
        spec.write_text(_spec(version, each), encoding="ascii")
        out = folder / "out"
        define = (f"_topdir {folder}/top", f"_rpmdir {out}", f"_dbpath {folder}/db", "_build_id_links none")
        subprocess.run(
            ["rpmbuild", "-bb", "--quiet", *(word for each in define for word in ("--define", each)), spec],
            check=True,
            capture_output=True,
        )
        made |= {(one.name, version): out / "noarch" / f"{one.name}-{version}-1.noarch.rpm" for one in each}
    return made


def _spec(version: str, packages: Sequence[Rpm]) -> str:
    text = (
        f"Name: source\nVersion: {version}\nRelease: 1\nSummary: s\nLicense: none\nBuildArch: noarch\n%description\ns\n"
    )
    for each in packages:
        tags = "".join(f"{tag}\n" for tag in each.tags)
        text += f"%package -n {each.name}\nSummary: s\n{tags}%description -n {each.name}\ns\n%files -n {each.name}\n"
        for script in each.scripts:
            kind, _, body = script.partition("\n")
            head, _, rest = kind.partition(" -- ")
            text += f"{head} -n {each.name}{' -- ' + rest if rest else ''}\n{body}\n"
    return text


def write_repository(folder: Path, files: Iterable[Path], advisories: Sequence[Advisory] = ()) -> None:
    """Fill a folder with packages and their lists."""
    folder.mkdir(parents=True)
    for file in files:
        shutil.copy(file, folder)
    subprocess.run(["createrepo_c", "-q", str(folder)], check=True, capture_output=True)
    if advisories:
        written = folder / "updateinfo.xml"
        written.write_text(f"<updates>{''.join(map(_advisory, advisories))}</updates>", encoding="utf-8")
        command = ["modifyrepo_c", "--mdtype=updateinfo", str(written), str(folder / "repodata")]
        subprocess.run(command, check=True, capture_output=True)


def _advisory(each: Advisory) -> str:
    flag = f"<{each.flag}>True</{each.flag}>" if each.flag else ""
    packages = "".join(
        f'<package name="{name}" version="2" release="1" epoch="0" arch="noarch" src="{name}-2-1.src.rpm">'
        f"<filename>{name}-2-1.noarch.rpm</filename>{flag}</package>"
        for name in each.packages
    )
    return (
        f'<update from="lab" status="final" type="{each.kind}" version="1"><id>{escape(each.id)}</id><title>t</title>'
        f'<issued date="2024-01-01 00:00:00"/><updated date="2024-01-01 00:00:00"/><severity>Important</severity>'
        f'<description>d</description><pkglist><collection short="c"><name>c</name>{packages}</collection></pkglist></update>'
    )


_SETTINGS = """\
rm -f /opt/lab/sbin/dnf /opt/lab/sbin/yum /opt/lab/sbin/rpm /opt/lab/sbin/zypper /opt/lab/sbin/needs-restarting
rm -f /etc/yum.repos.d/lab.repo /var/lib/rpm/lab
mkdir -p /etc/rpm /etc/dnf /etc/yum.repos.d /etc/zypp/repos.d /var/lib/zypp /var/cache/zypp
echo '%_dbpath /var/lib/rpm' >/etc/rpm/macros
rm -rf /var/lib/dnf/*
printf '%s\\n' '[main]' gpgcheck=1 installonly_limit=3 best=True skip_if_unavailable=False pluginpath=/opt/none \\
    >/etc/dnf/dnf.conf
printf '%s\\n' '[r]' name=r baseurl=file:///srv/r enabled=1 gpgcheck=0 autorefresh=1 >/etc/yum.repos.d/r.repo
cp /etc/yum.repos.d/r.repo /etc/zypp/repos.d/r.repo
rpm --initdb && rpm -i --nodeps --noscripts /srv/installed/*.rpm
"""


@asynccontextmanager
async def rpm_guest(
    manager: str, installed: Iterable[Path], offered: Iterable[Path], advisories: Sequence[Advisory] = ()
) -> AsyncIterator[Guest]:
    """Give a guest in which the real ``dnf`` or ``zypper`` finds these packages installed, and those offered."""
    async with guest("sles" if manager == "zypper" else "redhat", {}) as vm:
        root = await vm.root()
        write_repository(root / REPOSITORY, offered, advisories)
        (root / "srv/installed").mkdir()
        for file in installed:
            shutil.copy(file, root / "srv/installed")
        done = await vm.run(_SETTINGS)
        assert done.exit_code == 0, done.stderr
        yield vm
