"""The packages of the lab's guests: drawn from the seed, and updated by the real apt or by the lab's own dnf."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from fleet.lab.guests import rpm
from fleet.lab.guests.packages import Stock, stock
from fleet.lab.world.build import build
from fleet.lab.world.chance import named_uuid
from fleet.lab.world.machine_spec import UpdatesSpec
from tests.lab.desk import spec
from tests.lab.patching import guest, needs_apt, package

IDS = [named_uuid(1, f"vm/{n}") for n in range(60)]
UPDATE = "apt-get -q -o APT::Update::Error-Mode=any update"


def waiting(drawn: Stock) -> tuple[str, ...]:
    return tuple(each.name for each in drawn.packages if each.waits)


@pytest.mark.parametrize("system", ["ubuntu", "debian", "redhat", "sles"])
def test_machines_differ_and_the_seed_decides(system: str) -> None:
    """Machines of a distribution have the same packages and different updates waiting; the same id, the same updates."""
    drawn = [stock(UpdatesSpec(), system, each) for each in IDS]
    assert drawn == [stock(UpdatesSpec(), system, each) for each in IDS]
    assert len({waiting(each) for each in drawn}) > 20
    assert len({tuple((package.name, package.available) for package in each.packages) for each in drawn}) == 1


def test_how_often_an_update_waits() -> None:
    """An update waits about as often as its chance says, a package without another version in the mirror never."""
    given = {"always": package(), "never": package(chance=0), "half": package(chance=0.5), "same": {"installed": "1"}}
    updates = UpdatesSpec.model_validate({"packages": given})
    seen = Counter(name for each in IDS for name in waiting(stock(updates, "debian", each)))
    assert seen["always"] == 60 and seen["never"] == seen["same"] == 0
    assert 15 < seen["half"] < 45


def test_a_machine_knows_the_updates_of_its_class() -> None:
    """What a lab file says about updates is known of each machine of the class, and of no other."""
    world = build(spec({"name": "a", "updates": {"locked": 3}}, {"name": "b"}))
    assert [each.updates.locked for each in world.machines()] == [3, 0]


@needs_apt
@pytest.mark.sandbox
@pytest.mark.asyncio
async def test_apt_updates_a_guest_for_good() -> None:
    """The real apt finds what waits, says which of it is about security, installs it, and finds nothing afterwards."""
    packages = {"a": package(security=True), "b": package(), "c": {"installed": "1"}, "h": package(hold=True)}
    async with guest("ubuntu", packages) as vm:
        plan = f"{UPDATE} >/dev/null && apt-get -s upgrade | grep ^Inst"
        assert (
            await vm.says(plan)
            == "Inst a [1] (2 Ubuntu:jammy-security [all])\nInst b [1] (2 Ubuntu:jammy-updates [all])\n"
        )
        assert await vm.says("apt-mark showhold") == "h\n"
        done = await vm.run("apt-get -y -q upgrade")
        assert (done.exit_code, done.stderr) == (0, b"")
        assert await vm.says("dpkg-query -W") == "a\t2\nb\t2\nc\t1\nh\t1\n"
        assert await vm.says(f"{plan}; dpkg --audit") == ""


@needs_apt
@pytest.mark.sandbox
@pytest.mark.asyncio
async def test_a_kernel_brings_a_package_and_wants_a_restart() -> None:
    """A kernel's update waits for an upgrade that may add packages, and leaves a mark that is gone after a restart."""
    packages = {"linux-image": package(reboot=True, brings="linux-image-2")}
    async with guest("debian", packages) as vm:
        assert "kept back" in await vm.says(f"{UPDATE} >/dev/null; apt-get -y upgrade; cat /run/reboot-required.pkgs")
        done = await vm.says(
            "apt-get -y --with-new-pkgs upgrade >/dev/null; sort /var/run/reboot-required.pkgs; dpkg-query -W"
        )
        assert done == "linux-image\nlinux-image-2\nlinux-image\t2\nlinux-image-2\t2\n"
        await vm.boot()
        assert "reboot" not in await vm.says("ls /run")


@needs_apt
@pytest.mark.sandbox
@pytest.mark.asyncio
async def test_what_stands_in_the_way_of_apt() -> None:
    """A mirror that is gone, an interrupted installation, a script that fails, a small /boot: apt meets them for real."""
    async with guest("debian", {"a": package()}, mirror="gone", boot_mib=20) as vm:
        assert (
            await vm.says(f"apt-get -q update >/dev/null 2>&1; echo $?; {UPDATE} >/dev/null 2>&1; echo $?")
            == "0\n100\n"
        )
        assert await vm.says("df -P -m /boot | awk 'NR == 2 {print $2, $6}'") == "20 /boot\n"
    packages = {"a": package(unfinished=True), "b": package(unfinished=True, fails=True)}
    async with guest("debian", packages) as vm:
        state = "dpkg-query -W -f '${Package} ${db:Status-Abbrev}\\n'"
        assert await vm.says(state) == "a iF \nb iF \n"
        assert (await vm.run("dpkg --configure -a")).exit_code == 1
        assert await vm.says(state) == "a ii \nb iF \n"


@needs_apt
@pytest.mark.sandbox
@pytest.mark.asyncio
async def test_something_else_holds_the_locks_of_apt() -> None:
    """For so many seconds from the first script on, an unattended upgrade holds all three locks, across scripts."""
    async with guest("ubuntu", {"a": package()}, locked=2) as vm:
        tries = "apt-get -q update; apt-get -y install a; dpkg --configure -a"
        said = (await vm.run(tries)).stderr.decode()
        assert said.count("unattended-upgr") >= 2 and "frontend lock was locked by another process" in said
        assert (await vm.run("sleep 2; apt-get -q update && dpkg --configure -a")).exit_code == 0


@pytest.mark.sandbox
@pytest.mark.asyncio
@pytest.mark.parametrize("shell", ["sh", "bash --posix", "busybox sh"])
async def test_dnf_updates_a_guest_for_good(shell: str) -> None:
    """The lab's dnf says what waits and what is about security, updates, and knows whether a restart is wanted."""
    packages = {"a": package(security=True, reboot=True), "b": package(), "h": package(hold=True), "x1": package()}
    async with guest("redhat", packages) as vm:
        if (await vm.run(f"command -v {shell.split()[0]}")).exit_code:
            pytest.skip(f"{shell} is not installed")
        await vm.run(f"sed -i '1s|.*|#!/usr/bin/env -S {shell}|' /opt/lab/sbin/*")
        look = "dnf -q check-update --exclude='x*' $MORE; echo $?; needs-restarting -r >/dev/null; echo $?"
        assert await vm.says(look) == "\na.noarch  2  lab\nb.noarch  2  lab\n100\n0\n"
        assert await vm.says(look, MORE="--security") == "\na.noarch  2  lab\n100\n0\n"
        assert "a-2.noarch" in await vm.says("dnf -q updateinfo list --security")
        assert (await vm.run("dnf -q upgrade")).exit_code == 1, "nobody said yes"
        assert (await vm.run("dnf -y upgrade --downloadonly")).exit_code == 0
        assert (await vm.run("dnf -y upgrade")).exit_code == 0
        assert await vm.says(look) == "0\n1\n"
        assert await vm.says("rpm -qa; rpm -q a no; echo $?; dnf versionlock list") == (
            "a-2.noarch\nb-2.noarch\nh-1.noarch\nx1-2.noarch\na-2.noarch\npackage no is not installed\n1\nh-*\n"
        )
        await vm.boot()
        assert await vm.says(look) == "0\n0\n"


@pytest.mark.sandbox
@pytest.mark.asyncio
async def test_what_stands_in_the_way_of_dnf() -> None:
    """A failed script of a package ends with 0, a mirror that is gone with 1, a lock that is held with 200 if one asks."""
    async with guest("redhat", {"a": package(fails=True)}, locked=2) as vm:
        assert (await vm.run("dnf -q --setopt=exit_on_lock=1 check-update")).exit_code == 200
        assert (await vm.run("dnf -q check-update")).exit_code == 100
        done = await vm.run("dnf -y upgrade")
        assert (done.exit_code, b"Error in POSTIN scriptlet" in done.stdout) == (0, True)
    async with guest("redhat", {"a": package()}, mirror="gone") as vm:
        assert (await vm.run("dnf -q check-update")).exit_code == 1


@pytest.mark.sandbox
@pytest.mark.asyncio
async def test_a_distribution_of_which_the_lab_knows_nothing_has_no_packages() -> None:
    """Other distributions run scripts as ever."""
    async with guest("alpine") as vm:
        assert await vm.says("ls /opt/lab; . /etc/os-release; echo $ID") == "sbin\nalpine\n"


@pytest.mark.sandbox
@pytest.mark.asyncio
async def test_zypper_patches_a_guest_for_good() -> None:
    """The lab's zypper leaves out what wants a restart unless told otherwise, says so once, and updates itself first."""
    packages = {
        "a": package(security=True),
        "k": package(security=True, reboot=True),
        "libzypp": package(),
        "f": package(fails=True),
    }
    patch, look = "zypper -n patch", "zypper -n --no-refresh list-patches"
    async with guest("sles", packages, locked=1) as vm:
        assert (await vm.run("zypper -n refresh")).exit_code == 7
        await vm.run("sleep 1")
        ends = [
            (await vm.run(f"{patch} {more}")).exit_code
            for more in ("", "", "", "--with-interactive", "--with-interactive")
        ]
        assert ends == [103, 0, 0, 102, 0]
        assert await vm.says(look) == "No updates found.\n"
        assert (await vm.run("zypper -n needs-rebooting")).exit_code == 102
    async with guest("sles", packages, mirror="gone") as vm:
        assert (await vm.run("zypper -n refresh")).exit_code == 4
    async with guest("sles", packages) as vm:
        named = await vm.says(f"{look} --category security | sed 1,2d | cut -d' ' -f3")
        assert named.split() == ["LAB-2024-a", "LAB-2024-k"]


def test_the_stand_in_is_clean() -> None:
    """shellcheck finds nothing in the lab's dnf."""
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    script = Path(rpm.__file__).with_name("rpm.sh")
    checked = subprocess.run(["shellcheck", str(script)], capture_output=True, text=True, check=False)
    assert checked.stdout == ""
