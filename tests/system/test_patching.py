"""The shipped playbook that patches: its script's contract in guests with real packages, and a whole run in the lab."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from fleet.lab.world.scripted import Result
from tests.lab.patching import Guest, guest, needs_apt, package
from tests.system.cli import ROOT, SHIPPED, Machine
from tests.system.conftest import Labs
from tests.test_promises import known_tests

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "patching.md").read_text(encoding="utf-8")
PATCH = (SHIPPED / "scripts" / "linux-patch.sh").read_text(encoding="utf-8")
AFTER = (SHIPPED / "scripts" / "after-patch.sh").read_text(encoding="utf-8")
RPM_SYSTEMS = ["redhat", "sles", "azurelinux3", "azurelinux4"]
SYSTEMS = [pytest.param("debian", marks=needs_apt), *RPM_SYSTEMS]
SHELLS = ["dash", "bash --posix", "busybox sh"]


def sandboxed(test: Any) -> Any:
    """Mark a test that runs in a guest."""
    return pytest.mark.sandbox(pytest.mark.asyncio(test))


class Told:
    """How the script ended: its exit code, the words of its last line, and what it said it updated."""

    def __init__(self, result: Result) -> None:
        *lines, last = result.stdout.decode().splitlines()
        assert last.startswith("FLEET-RESULT "), (result.stdout, result.stderr)
        self.words = dict(word.split("=", 1) for word in last.split()[1:])
        self.stderr = result.stderr.decode()
        self.code, self.state = result.exit_code, self.words["state"]
        self.updated = [line.removeprefix("updated: ") for line in lines if line.startswith("updated: ")]
        self.waiting = [line.removeprefix("waiting: ") for line in lines if line.startswith("waiting: ")]
        assert str(self.code) == self.words["code"]
        assert len(self.updated) == int(self.words["updated"])


async def patch(vm: Guest, script: str = PATCH, **given: str) -> Told:
    """Run the script."""
    return Told(await vm.run(script, **given))


def test_the_page_tells_every_exit_code() -> None:
    """Each code and state with which the scripts end has a row on the page, each row is a code, and names its tests."""
    ends = set(re.findall(r"finish (\d+) ([a-z_]+)", PATCH + AFTER))
    windows = "".join(path.read_text(encoding="utf-8") for path in (SHIPPED / "scripts").glob("*.ps1"))
    ends |= set(re.findall(r"Stop-With (\d+) '([a-z_]+)'", windows))
    codes = {code for code, _ in ends}
    rows = {cells[0]: cells for cells in (line[2:-2].split(" | ") for line in PAGE.splitlines()) if cells[0].isdigit()}
    assert set(rows) == codes
    for code, state in ends:
        assert state in ("healthy", "starting") or f"`{state}`" in rows[code][1], (code, state)
    for cells in rows.values():
        named = set(re.findall(r"`(test_\w+)`", cells[-1]))
        assert named and named <= known_tests(), cells


def test_the_page_tells_every_parameter() -> None:
    """The page's table of parameters names those of the playbook."""
    text = (SHIPPED / "linux-patch.yaml").read_text(encoding="utf-8")
    block = text.partition("\nparameters:\n")[2].partition("\ntargets:\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == re.findall(r"^  (\w+):$", block, re.MULTILINE)


@sandboxed
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("system", SYSTEMS)
async def test_everything_in_scope_is_installed_and_then_there_is_nothing_to_do(system: str, shell: str) -> None:
    """Under every shell: security updates first, then all, then nothing; holds and excluded packages stay as they are."""
    packages = {
        "openssl": package(security=True),
        "tzdata": package(),
        "held": package(hold=True, security=True),
        "nginx-core": package(security=True),
        "bash": {"installed": "1"},
    }
    exclude = "nginx*"
    if system == "sles":
        exclude = packages.pop("nginx-core") and ""
    script = f"exec {shell} -s <<'THE_END_OF_IT'\n{PATCH}\nTHE_END_OF_IT\n"
    async with guest(system, packages) as vm:
        if (await vm.run(f"command -v {shell.split()[0]}")).exit_code:
            pytest.skip(f"{shell} is not installed")
        first = await patch(vm, script, EXCLUDE=exclude)
        assert (first.code, first.state, first.words["held"]) == (0, "updated", "1")
        assert first.updated == ["openssl 1 -> 2"]
        rest = await patch(vm, script, EXCLUDE=exclude, SCOPE="all")
        assert (rest.code, rest.words["remaining"]) == (0, "0")
        assert rest.updated == ["tzdata 1 -> 2"]
        again = await patch(vm, script, EXCLUDE=exclude, SCOPE="all")
        assert (again.code, again.state, again.words["reboot"]) == (0, "nothing_to_do", "no")


@sandboxed
@pytest.mark.parametrize("system", SYSTEMS)
async def test_a_dry_run_tells_and_changes_nothing(system: str) -> None:
    """What waits is named and counted, nothing is installed, and a restart that is wanted is only told."""
    async with guest(system, {"a": package(), "b": package(security=True), "kernel": package(reboot=True)}) as vm:
        for _ in range(2):
            told = await patch(vm, SCOPE="all", DRY_RUN="true")
            assert (told.code, told.state, told.words["remaining"]) == (0, "planned", "3")
            assert [each.removeprefix("LAB-2024-")[0] for each in told.waiting] == ["a", "b", "k"]
            assert all(each.endswith(" -> 2") for each in told.waiting) or system == "sles"
        assert (await patch(vm, SCOPE="all")).code == 80
        told = await patch(vm, SCOPE="all", DRY_RUN="true")
        assert (told.code, told.state, told.words["reboot"]) == (0, "nothing_to_do", "yes")


@sandboxed
@pytest.mark.parametrize("system", SYSTEMS)
async def test_a_restart_is_asked_for_until_it_came(system: str) -> None:
    """An update that wants a restart ends with 80, again in the same boot, and with 0 in the next one."""
    async with guest(system, {"kernel": package(security=True, reboot=True)}) as vm:
        ends = [await patch(vm), await patch(vm)]
        await vm.boot()
        ends.append(await patch(vm))
        assert [(told.code, told.words["updated"]) for told in ends] == [(80, "1"), (80, "0"), (0, "0")]


@sandboxed
async def test_a_kernel_that_came_since_the_boot_wants_a_restart() -> None:
    """Where nobody left a mark, a newer kernel counts; the running one does not, nor one that was there before this
    boot, nor an older one, nor a folder that is no kernel, such as the one of a driver.
    """
    assert "/lib/modules" in PATCH
    elsewhere = PATCH.replace("/lib/modules", "/srv/modules")
    async with guest("redhat", {}) as vm:
        seen = []
        for change in (
            'mkdir -p "/srv/modules/$(uname -r)"; touch /srv/modules/*/modules.dep',
            "mkdir /srv/modules/kernel /srv/modules/0.9 /srv/modules/99; touch /srv/modules/0.9/modules.dep",
            "touch /srv/modules/99/modules.dep",
            "touch -d 2001-01-01 /srv/modules/99",
        ):
            await vm.run(change)
            seen.append((await patch(vm, elsewhere, SCOPE="all")).code)
        assert seen == [0, 0, 80, 0]


@sandboxed
@needs_apt
async def test_a_kernel_that_adds_a_package_is_installed() -> None:
    """An update that needs a new package is not left waiting for ever."""
    async with guest("ubuntu", {"linux-image": package(security=True, reboot=True, brings="linux-image-2")}) as vm:
        assert (await patch(vm)).updated == ["linux-image 1 -> 2", "linux-image-2 2"]


@sandboxed
@pytest.mark.parametrize("system", RPM_SYSTEMS)
async def test_what_was_updated_beside_a_failure_is_partial(system: str) -> None:
    """dnf and zypper end with 0 although a package's script failed; that is told."""
    async with guest(system, {"a": package(), "b": package(fails=True)}) as vm:
        told = await patch(vm, SCOPE="all")
        assert (told.code, told.state, told.words["failed"]) == (82, "partial", "1")
        assert told.words["note"] == "scripts_of_packages_failed"
        assert "%post(b-2.noarch) scriptlet failed" in told.stderr


@sandboxed
@pytest.mark.parametrize("system", SYSTEMS)
async def test_held_locks_are_waited_for(system: str) -> None:
    """Locks that come free in time only cost time."""
    async with guest(system, {"a": package()}, locked=2) as vm:
        assert (await patch(vm, SCOPE="all", LOCK_WAIT="20")).code == 0


@sandboxed
@pytest.mark.parametrize("system", SYSTEMS)
async def test_locks_that_stay_held_block(system: str) -> None:
    """Locks that do not come free end it, with nothing changed."""
    async with guest(system, {"a": package()}, locked=1000) as vm:
        told = await patch(vm, SCOPE="all", LOCK_WAIT="1")
        assert (told.code, told.state, told.words["note"]) == (83, "blocked", "locks_held")


@sandboxed
async def test_it_refuses_before_it_begins() -> None:
    """Too little space, a full /boot, or a mirror that says nothing about security: refused, with the reason."""
    async with guest("redhat", {"a": package()}, boot_mib=20) as vm:
        small = await patch(vm)
        full = await patch(vm, MIN_FREE_MB="999999999")
    async with guest("redhat", {"a": package()}) as vm:
        blind = await patch(vm)
        assert (await patch(vm, SCOPE="all")).code == 0
    assert [(told.code, told.state) for told in (small, full, blind)] == [(84, "refused")] * 3
    assert small.words["note"] == "free_on_/boot:20MiB"
    assert full.words["note"].startswith("free_on_/var:")
    assert blind.words["note"] == "no_security_data"


@sandboxed
@needs_apt
async def test_an_interrupted_installation_is_finished_first() -> None:
    """Packages that are half configured are configured; where that fails, nothing else is begun."""
    async with guest("debian", {"a": package(unfinished=True), "b": package()}) as vm:
        assert (await patch(vm, SCOPE="all")).updated == ["a 1 -> 2", "b 1 -> 2"]
    async with guest("debian", {"a": package(unfinished=True, fails=True), "b": package()}) as vm:
        told = await patch(vm, SCOPE="all")
        assert (told.code, told.words["note"], told.words["failed"]) == (84, "half_configured_before:a", "1")
        told = await patch(vm, SCOPE="all", DRY_RUN="true")
        assert (told.code, told.state, told.words["failed"]) == (0, "planned", "1")


@sandboxed
@pytest.mark.parametrize("system", SYSTEMS)
async def test_it_stops_between_packages_when_its_time_is_over(system: str) -> None:
    """With its budget used up it installs nothing more, and says what is left."""
    async with guest(system, {"a": package(), "b": package()}) as vm:
        told = await patch(vm, SCOPE="all", BUDGET="0")
        assert (told.code, told.state, told.words["remaining"]) == (85, "out_of_time", "2")


@sandboxed
@pytest.mark.parametrize("system", SYSTEMS)
async def test_a_mirror_that_is_away_is_no_empty_mirror(system: str) -> None:
    """apt warns and ends well where no list can be fetched; the script does not."""
    async with guest(system, {"a": package()}, mirror="gone") as vm:
        told = await patch(vm)
        assert (told.code, told.state) == (86, "no_metadata")
        assert "Failed" in told.words["note"] or told.words["note"] == "zypper_said_4"


@sandboxed
@needs_apt
async def test_nothing_updated_and_nothing_broken_is_failed() -> None:
    """A package manager that refuses for a reason of its own ends with 87, and what it said."""
    refuses = """cat >/opt/lab/sbin/apt-get <<'END'
#!/bin/sh
case " $* " in *' --download-only '* | *' update '* | *' -s '*) exec /usr/bin/apt-get "$@" ;; esac
echo 'E: the moon is in the wrong house' >&2; exit 100
END
chmod +x /opt/lab/sbin/apt-get"""
    async with guest("ubuntu", {"a": package()}) as vm:
        await vm.run(refuses)
        told = await patch(vm, SCOPE="all")
        assert (told.code, told.state, told.words["remaining"]) == (87, "failed", "1")
        assert told.words["note"] == "E:_the_moon_is_in_the_wrong_house"
        assert told.stderr == "E: the moon is in the wrong house\n"


@sandboxed
@needs_apt
async def test_packages_left_half_configured_are_inconsistent() -> None:
    """A package whose script fails leaves dpkg half done: 88, whatever else was updated, and 84 from then on."""
    async with guest("debian", {"a": package(), "b": package(fails=True), "k": package(reboot=True)}) as vm:
        told = await patch(vm, SCOPE="all")
        assert (told.code, told.state, told.words["note"]) == (88, "inconsistent", "half_configured:b")
        assert told.updated == ["a 1 -> 2", "k 1 -> 2"]
        assert "b could not be started" in told.stderr
        assert (await patch(vm, SCOPE="all")).code == 84


@sandboxed
async def test_other_distributions_are_not_touched() -> None:
    """Where neither apt nor dnf is at home nothing is begun, even if one of them is installed."""
    async with guest("alpine") as vm:
        told = await patch(vm)
        assert (told.code, told.words["note"]) == (90, "distribution:alpine")


@sandboxed
async def test_suse_updates_its_updater_first_and_says_what_it_cannot_leave_out() -> None:
    """zypper asks to be called again after it has updated itself; a package inside a patch cannot be left out, so none is."""
    packages = {"libzypp": package(), "nginx": package(), "kernel": package(reboot=True)}
    async with guest("sles", packages) as vm:
        told = await patch(vm, SCOPE="all", EXCLUDE="other,nginx*")
        assert (told.code, told.words["note"]) == (84, "cannot_leave_out:nginx")
        told = await patch(vm, SCOPE="all", EXCLUDE="other")
        assert (told.code, told.updated) == (80, ["kernel 1 -> 2", "libzypp 1 -> 2", "nginx 1 -> 2"])


@sandboxed
@pytest.mark.parametrize("shell", SHELLS)
async def test_a_vm_is_well_unless_something_new_failed(shell: str) -> None:
    """What had failed before is no reason; what failed since, a service that is not active, or no logins is one."""
    if shutil.which(shell.split()[0]) is None:
        pytest.skip(f"{shell} is not installed")
    systemctl = """mkdir -p /run/systemd/system; cat >/opt/lab/sbin/systemctl <<'END'
#!/bin/sh
case $1 in
    is-system-running) cat /var/state ;;
    list-units) echo 'old.service loaded failed failed'; cat /var/failed 2>/dev/null ;;
    is-active) [ "$3" = web ] ;;
esac
END
chmod +x /opt/lab/sbin/systemctl; echo degraded >/var/state"""
    script = f"exec {shell} -s <<'THE_END_OF_IT'\n{AFTER}\nTHE_END_OF_IT\n"
    async with guest("debian", {}) as vm:

        async def after(before: str = "", **given: str) -> tuple[int, str]:
            result = await vm.run(f"{before}\n{script}", FAILED_BEFORE="other.service,old.service", **given)
            words = dict(word.split("=", 1) for word in result.stdout.decode().split()[1:])
            assert words["code"] == str(result.exit_code)
            return result.exit_code, words["bad"]

        assert await after() == (0, "-"), "there is no systemd"
        assert await after(systemctl, SERVICES="web") == (0, "-")
        assert await after(SERVICES="web,db") == (89, "db")
        assert await after("echo 'new.service loaded failed failed' >/var/failed") == (89, "new.service")
        assert await after("echo starting >/var/state") == (83, "-")
        assert await after("echo running >/var/state; rm /var/failed; touch /run/nologin") == (89, "no_logins")


def quickened(name: str, folder: Path) -> Path:
    """The shipped playbook, in one wave and without long waits."""
    shutil.copytree(SHIPPED / "scripts", folder / "scripts")
    text = (SHIPPED / f"{name}.yaml").read_text(encoding="utf-8")
    text = text.replace("    reboot_timeout: 1h\n", "")
    for slow, quick in (
        ("soak: 1m", "soak: 0s"),
        ("waves: [canary, 5%, 25%, 100%]", "waves: [100%]"),
        ("reboot: if_needed", "reboot: if_needed\n    reboot_timeout: 30s"),
    ):
        assert slow in text
        text = text.replace(slow, quick)
    play = folder / f"{name}.yaml"
    play.write_text(text, encoding="utf-8")
    return play


@pytest.mark.sandbox
@needs_apt
def test_a_fleet_is_patched_once(machine: Machine, labs: Labs, tmp_path: Path) -> None:
    """Four guests, two of them with a kernel: each is up to date after one run, those two restarted once, and a second run
    finds nothing to do and restarts nobody.
    """
    play = quickened("linux-patch", tmp_path)
    lab = labs("patching")
    wide = ("--no-slow-start", "--max-failures", "4", "--max-unreachable", "4")
    command = ("run", play, "-y", "-e", "scope=all", *wide, lab.flag, "-o", "json")
    first = machine.run(*command)
    assert first.code == 0, first.err
    rows = {(row["name"], row["step"]): row for row in first.report["jobs"]}
    names = sorted({name for name, _ in rows})
    with_kernels = [name for name in names if rows[name, "patch"]["exit_code"] == 80]
    assert (with_kernels, len(names)) == (["kernel1", "rpm1"], 4)
    assert {rows[name, "patch"]["facts"]["remaining"] for name in names} == {"0"}
    assert all(rows[name, "patch"]["facts"]["updated"] != "0" for name in names)
    assert {rows[name, "health"]["facts"]["health"] for name in names} == {"healthy"}
    assert sorted(lab.state()["boots"].values()) == [1] * 2
    second = machine.run(*command)
    assert second.code == 0, second.err
    states = [row["facts"]["state"] for row in second.report["jobs"] if row["step"] == "patch"]
    assert states == ["nothing_to_do"] * 4
    assert sorted(lab.state()["boots"].values()) == [1] * 2


def test_windows_vms_that_ask_for_a_restart_again_and_again_fail(machine: Machine, labs: Labs, tmp_path: Path) -> None:
    """Played guests: one has nothing to do and is well. One waits for a restart, and the restart does not clear that: it is
    restarted once, installs nothing and fails. One asks for a restart after each of its two patch steps: it is restarted
    twice, and the check after that fails. Both count against the budget, and the run ends with 3.
    """
    play = quickened("windows-patch", tmp_path)
    wide = ("--no-slow-start", "--max-failures", "3", "--max-unreachable", "3")
    done = machine.run("run", play, "-y", *wide, labs("patching-windows").flag, "-o", "json")
    assert done.code == 3, done.err
    rows = {(row["name"], row["step"].removesuffix("-windows")): row for row in done.report["jobs"]}
    ended: dict[str, dict[str, list[str]]] = {}
    for (name, step), row in rows.items():
        ended.setdefault(name, {}).setdefault(row["status"], []).append(step)
    once = ["patch", "patch-reboot", "patch-back"]
    assert ended["quiet"]["succeeded"] == ["patch", "health"]
    assert (ended["late"]["succeeded"], ended["late"]["failed"]) == (once, ["patch-restarted"])
    twice = [*once, "patch-restarted", "patch-restarted-reboot", "patch-restarted-back"]
    assert (ended["again"]["succeeded"], ended["again"]["failed"]) == (twice, ["patch-check"])
    assert rows["late", "patch-restarted"]["facts"]["note"] == "restart_first"
