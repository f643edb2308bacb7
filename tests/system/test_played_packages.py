"""The patch script against package managers that are played: what dnf, dnf5 and tdnf say in the shapes that were
found of them.

Each sample is a fake program in a guest. Its shape is a fact from the place that the test's docstring names, its
words are the test's own. Not known, and so not played: how dnf5 of Azure Linux 4 words a failed download, and whether
it prints the heading "Upgrades" in every version (both shapes are played).
"""

from __future__ import annotations

import pytest

from tests.lab.patching import Guest, guest, needs_apt, package
from tests.system.test_patching import PATCH, Told, patch, sandboxed

ALL = {"SCOPE": "all", "DRY_RUN": "true"}


def fake(name: str, *cases: str) -> str:
    """Return shell text that puts a program into the guest: shell cases over its arguments, else it succeeds in silence."""
    text = "\n".join(cases)
    place = f"/opt/lab/sbin/{name}"
    return f"cat >{place} <<'THE_END'\n#!/bin/sh\ncase \" $* \" in\n{text}\nesac\nTHE_END\nchmod +x {place}\n"


DNF = (
    "*' --version '*) echo 4.14.0 ;;",
    "*' repolist '*) printf 'repo id  repo name\\nr  r\\n' ;;",
    "*' versionlock '*) echo 'No such command: versionlock' >&2; exit 1 ;;",
    "*' needs-restarting '*) echo 'Reboot should not be necessary.' ;;",
)
DNF5 = (
    "*' --version '*) echo 'dnf5 version 5.2.12.0' ;;",
    "*' repolist '*) printf 'repo id         repo name\\nazurelinux-base Azure Linux\\n' ;;",
    "*' needs-restarting '*) echo 'Reboot should not be necessary.' ;;",
)
TDNF = ("*' repolist '*) printf 'repo id       repo name     status\\nbase          base          enabled\\n' ;;",)


async def played(vm: Guest, fakes: str, **given: str) -> Told:
    """Put programs into a guest, and run the script."""
    await vm.run(fakes)
    return await patch(vm, **{"LOCK_WAIT": "1", **given})


@sandboxed
@pytest.mark.parametrize("manager", ["redhat", "azurelinux4"])
async def test_a_name_on_a_line_of_its_own_is_read(manager: str) -> None:
    """dnf before 4.2.x wraps long names without a terminal: the name, then version and repository indented on the next
    line.
    """
    text = "printf '\\na-very-long-name-indeed.noarch\\n                 2:2-1.el8  baseos\\nb.x86_64  3-1  baseos\\n'"
    name, own = ("dnf", DNF) if manager == "redhat" else ("dnf5", DNF5)
    async with guest(manager, {}) as vm:
        told = await played(vm, fake(name, *own, f"*' check-update '*) {text}; exit 100 ;;"), **ALL)
        assert (told.code, told.words["remaining"]) == (0, "2")
        assert told.waiting == ["a-very-long-name-indeed.noarch -> 2:2-1.el8", "b.x86_64 -> 3-1"]


@sandboxed
@pytest.mark.parametrize("said", ["", "Something waits.", "Problem: conflicting requests", "alpha beta gamma"])
@pytest.mark.parametrize("manager", ["redhat", "azurelinux4"])
async def test_something_waits_that_cannot_be_read(manager: str, said: str) -> None:
    """The exit code 100 with no update to be read is a failure, never nothing to do."""
    name, own = ("dnf", DNF) if manager == "redhat" else ("dnf5", DNF5)
    async with guest(manager, {}) as vm:
        told = await played(vm, fake(name, *own, f"*' check-update '*) echo '{said}'; exit 100 ;;"), **ALL)
        assert (told.code, told.state, told.words["note"]) == (87, "failed", "cannot_read_list")


@sandboxed
@pytest.mark.parametrize("stream", ["1", "2"])
async def test_warnings_are_no_updates(stream: str) -> None:
    """What dnf of RHEL 8 prints about modules is no list where the exit code says that nothing waits, whatever stream
    it is on.
    """
    warning = (
        "printf 'Modular dependency problem:\\n\\n Problem: conflicting requests\\n"
        f"  - nothing provides module(perl:5.26) needed by module perl-IO\\n' >&{stream}"
    )
    async with guest("redhat", {}) as vm:
        told = await played(vm, fake("dnf", *DNF, f"*' check-update '*) {warning} ;;"), **ALL)
        assert (told.code, told.state, told.waiting) == (0, "nothing_to_do", [])
        beside = fake("dnf", *DNF, f"*' check-update '*) {warning}; echo 'a.noarch 2-1 r'; exit 100 ;;")
        told = await played(vm, beside, **ALL)
        assert (told.code, told.waiting) == (0, ["a.noarch -> 2-1"])


@sandboxed
async def test_a_dependency_problem_is_no_mirror_that_is_down() -> None:
    """A transaction that cannot be resolved is 87 with the problem as its note; only what is about fetching is 86."""
    problem = "printf 'Error: \\n Problem: package kmod-kvdo requires kernel, but none of the providers\\n' >&2"
    update = "*' check-update '*) echo 'kmod-kvdo.x86_64 2-1 r'; exit 100 ;;"
    async with guest("redhat", {}) as vm:
        told = await played(vm, fake("dnf", *DNF, update, f"*' --downloadonly '*) {problem}; exit 1 ;;"), SCOPE="all")
        assert (told.code, told.state) == (87, "failed")
        assert told.words["note"].startswith("Problem:_package_kmod-kvdo_requires_kernel")
        fetch = "echo 'Error: Error downloading packages:' >&2; echo '  Curl error (7): refused' >&2; exit 1"
        told = await played(vm, fake("dnf", *DNF, update, f"*' --downloadonly '*) {fetch} ;;"), SCOPE="all")
        assert (told.code, told.state) == (86, "download_failed")


@sandboxed
@pytest.mark.parametrize(
    "program", ["awk", "sort", "comm", "cut", "sed", "find", "timeout", "rpm", "grep", "df", "mktemp"]
)
async def test_a_program_that_is_not_there_is_named(program: str) -> None:
    """Where a program that the script calls is missing, it ends before anything is begun."""
    hide = (
        "mkdir -p /opt/bin; ln -s /usr/bin/* /usr/sbin/* /opt/bin/ 2>/dev/null; ln -sf /opt/lab/sbin/* /opt/bin/; "
        f"rm /opt/bin/{program}; export PATH=/opt/bin\n"
    )
    async with guest("redhat", {"a": package()}) as vm:
        told = Told(await vm.run(hide + PATCH, SCOPE="all"))
        assert (told.code, told.state, told.words["note"]) == (84, "refused", f"no_{program}")
        assert "a 1" in await vm.says("cat /var/lib/rpm/lab")


@sandboxed
@needs_apt
@pytest.mark.parametrize("scope", ["security", "all"])
async def test_a_security_update_that_was_overtaken_is_seen(scope: str) -> None:
    """A version above the installed one in the security archive is enough, though the newest one is an ordinary update."""
    async with guest("ubuntu", {"openssl": package(available="3"), "other": package()}) as vm:
        await vm.run(archive("2", "security"))
        told = await patch(vm, SCOPE=scope)
        assert told.code == 0, told.stderr
        assert told.updated == (["openssl 1 -> 3"] if scope == "security" else ["openssl 1 -> 3", "other 1 -> 2"])
        told = await patch(vm)
        assert (told.code, told.state) == (0, "nothing_to_do")


@sandboxed
@needs_apt
@pytest.mark.parametrize("by", ["hold", "pin", "exclude"])
async def test_an_overtaken_security_update_is_left_alone_where_somebody_says_so(by: str) -> None:
    """A hold, a pin to the installed version and an excluded name hold for it as well."""
    async with guest("ubuntu", {"openssl": package(available="3")}) as vm:
        await vm.run(archive("2", "security"))
        if by == "hold":
            await vm.run("apt-mark hold openssl")
        if by == "pin":
            await vm.run("printf 'Package: openssl\\nPin: version 1*\\nPin-Priority: 1001\\n' >/etc/apt/preferences")
        told = await patch(vm, EXCLUDE="openssl" if by == "exclude" else "")
        assert (told.code, told.state, told.words["held"]) == (0, "nothing_to_do", "1" if by == "hold" else "0")


def archive(version: str, suite: str, more: str = "") -> str:
    """Return shell text that adds an archive with openssl in a version, made in the guest; ``more`` is one more field."""
    return f"""set -e
mkdir -p /srv/{suite}/openssl/DEBIAN && cd /srv/{suite}
printf 'Package: openssl\\nVersion: {version}\\nArchitecture: all\\nMaintainer: m\\nDescription: d\\n' >openssl/DEBIAN/control
dpkg-deb -b --root-owner-group openssl openssl.deb >/dev/null
size=$(stat -c %s openssl.deb) hash=$(sha256sum openssl.deb | cut -d' ' -f1)
cp openssl/DEBIAN/control Packages
printf '{more}Filename: ./openssl.deb\\nSize: %s\\nSHA256: %s\\n' "$size" "$hash" >>Packages
printf 'Origin: Ubuntu\\nLabel: Ubuntu\\nSuite: jammy-{suite}\\nDate: Tue, 14 Nov 2023 22:13:20 UTC\\n' >Release
printf 'Architectures: all\\nSHA256:\\n %s %s Packages\\n' \\
    "$(sha256sum Packages | cut -d' ' -f1)" "$(stat -c %s Packages)" >>Release
echo 'deb [trusted=yes] file:/srv/{suite} ./' >>/etc/apt/sources.list
"""


@sandboxed
@needs_apt
async def test_a_security_update_below_one_that_cannot_be_installed_is_installed() -> None:
    """Where apt keeps the newest version back, the one of the security archive below it is installed; all says what stays."""
    async with guest("ubuntu", {"openssl": {"installed": "1"}}) as vm:
        await vm.run(archive("2", "security") + archive("3", "updates", "Depends: nothing-here\\n"))
        dry = await patch(vm, DRY_RUN="true")
        assert (dry.code, dry.words["remaining"]) == (0, "1"), dry.waiting
        told = await patch(vm)
        assert (told.code, told.updated, told.words["remaining"]) == (0, ["openssl 1 -> 2"], "0"), told.stderr
        whole = await patch(vm, SCOPE="all")
        assert (whole.code, whole.state, whole.words["note"]) == (0, "nothing_to_do", "kept_back:openssl")


@sandboxed
@needs_apt
async def test_a_security_update_that_cannot_be_installed_is_not_left_out_in_silence() -> None:
    """Where the version of the security archive is kept back itself, the VM lacks it: failed, with its name."""
    async with guest("ubuntu", {"openssl": {"installed": "1"}}) as vm:
        await vm.run(archive("2", "security", "Depends: nothing-here\\n"))
        told = await patch(vm)
        assert (told.code, told.state, told.words["note"], told.words["remaining"]) == (
            87,
            "failed",
            "kept_back:openssl",
            "1",
        )


@sandboxed
@needs_apt
async def test_what_apt_will_not_resolve_is_no_mirror_that_is_down() -> None:
    """apt says 100 whatever it is: what a simulation refuses too is a matter of packages, what only fetching meets is not."""
    no = "echo 'E: Unable to correct problems, you have held broken packages.' >&2; exit 100"
    update, real = "*' update '*|*' upgrade '*) exec /usr/bin/apt-get \"$@\" ;;", '*) exec /usr/bin/apt-get "$@" ;;'
    async with guest("ubuntu", {"a": package()}) as vm:
        told = await played(vm, fake("apt-get", update, f"*' install '*) {no} ;;", real), SCOPE="all")
        assert (told.code, told.state) == (87, "failed")
        assert told.words["note"] == "E:_Unable_to_correct_problems__you_have_held_broken_packages."
        fetch = "echo 'E: Failed to fetch file:/x  404' >&2; exit 100"
        told = await played(vm, fake("apt-get", update, f"*' --download-only '*) {fetch} ;;", real), SCOPE="all")
        assert (told.code, told.state) == (86, "download_failed")


@sandboxed
@pytest.mark.parametrize(
    "system", [pytest.param("debian", marks=needs_apt), "redhat", "sles", "azurelinux3", "azurelinux4"]
)
async def test_a_short_tmp_refuses_and_changes_nothing(system: str) -> None:
    """Lists that could not be written are no empty lists: with no room for them nothing is begun."""
    async with guest(system, {"a": package(security=True)}) as vm:
        told = Told(await vm.run(f"mount -t tmpfs -o size=16k t /tmp\n{PATCH}", SCOPE="all"))
        assert (told.code, told.state, told.words["note"]) == (84, "refused", "no_room_in_/tmp")
        assert (await patch(vm, SCOPE="all")).updated == ["a 1 -> 2"]


@sandboxed
@needs_apt
async def test_an_error_goes_before_any_warning() -> None:
    """Twenty warnings hide neither the reason in the note nor the line that tells it."""
    async with guest("ubuntu", {"a": package()}) as vm:
        noise = (
            'i=0; while [ $i -lt 40 ]; do echo "W: Target Packages is there many times ($i)" >&2; i=$((i + 1)); done'
        )
        error = "E: Repository 'https://x jammy InRelease' changed its 'Origin' value from 'a' to 'b'"
        text = fake(
            "apt-get", f"*' update '*) echo \"{error}\" >&2; {noise}; exit 100 ;;", '*) exec /usr/bin/apt-get "$@" ;;'
        )
        told = await played(vm, text)
        assert (told.code, told.state) == (86, "no_metadata")
        assert told.words["note"].startswith("E:_Repository__https://x_jammy_InRelease__changed_its")
        assert error in told.stderr and len(told.stderr.splitlines()) <= 20


@sandboxed
@pytest.mark.parametrize("heading", ["Upgrades\\n", ""])
async def test_dnf5_lists_upgrades_and_what_replaces_others(heading: str) -> None:
    """dnf5: headings, names with epochs and tildes, what is replaced indented below what replaces it.

    From dnf5/commands/check-upgrade/check-upgrade.cpp and libdnf5-cli/output/package_list_sections.cpp of dnf5; the names
    without a heading from the comments of Dnf5PackageManager.py of Azure/LinuxPatchExtension.
    """
    table = (
        f"printf '{heading}rubygem-json.x86_64 2.13.2-2.azl4~20260501 azurelinux-base\\nnewname.noarch 1:2-1 base\\n\\n"
        "Obsoleting packages\\nnewname.noarch 1:2-1 base\\n    oldname.noarch 1-1 base\\n\\n'"
    )
    async with guest("azurelinux4", {}) as vm:
        told = await played(vm, fake("dnf5", *DNF5, f"*' check-update '*) {table}; exit 100 ;;"), **ALL)
        assert (told.code, told.words["manager"]) == (0, "dnf5")
        assert told.waiting == ["rubygem-json.x86_64 -> 2.13.2-2.azl4~20260501", "newname.noarch -> 1:2-1"]


@sandboxed
async def test_dnf5_without_advisories_does_not_pass_for_up_to_date() -> None:
    """dnf5 prints a sentence and ends with 0 where updates wait that no advisory names; without any advisory that is refused.

    From the end of CheckUpgradeCommand::run in dnf5/commands/check-upgrade/check-upgrade.cpp of dnf5.
    """
    quiet = "*' check-update --security '*) echo 'No security updates needed, but 3 update(s) available' ;;"
    others = "*' check-update '*) echo 'a.noarch 2-1 r'; exit 100 ;;"
    async with guest("azurelinux4", {}) as vm:
        told = await played(vm, fake("dnf5", *DNF5, quiet, others))
        assert (told.code, told.state, told.words["note"]) == (84, "refused", "no_security_data")
        told = await played(vm, fake("dnf5", *DNF5, quiet, "*' check-update '*) ;;"))
        assert (told.code, told.state) == (0, "nothing_to_do")


@sandboxed
@pytest.mark.parametrize("which", ["Non-critical error", "Error"])
async def test_dnf5_says_which_scripts_failed(which: str) -> None:
    """dnf5 prints messages about scripts behind ``>>> `` on its error stream.

    From RpmTransCB::script_stop in dnf5/context.cpp, the names of scripts in libdnf5/rpm/transaction_callbacks.cpp and the
    prefix in libdnf5-cli/progressbar/progress_bar.cpp of dnf5.
    """
    message = f">>> {which} in %triggerin scriptlet: watcher-1-1.noarch"
    upgrade = f"*' -y upgrade '*) echo '{message}' >&2; sed -i 's/^a 1/a 2/' /var/lib/rpm/lab ;;"
    update = "*' check-update '*) grep -q '^a 1' /var/lib/rpm/lab || exit 0; echo 'a.noarch 2-1 r'; exit 100 ;;"
    async with guest("azurelinux4", {"a": package()}) as vm:
        told = await played(vm, fake("dnf5", *DNF5, update, upgrade), SCOPE="all")
        assert (told.code, told.state, told.words["failed"]) == (82, "partial", "1")
        assert message in told.stderr


@sandboxed
async def test_dnf5_waits_for_a_lock_no_longer_than_it_may() -> None:
    """dnf5 waits without an end and says so, with the processes that hold the lock: after LOCK_WAIT that is blocked.

    From Context::Impl::load_repos in dnf5/context.cpp of dnf5. The rpm lock's text is from TRANSACTION_RUN_RESULT_DICT in
    libdnf5/base/transaction.cpp.
    """
    waits = (
        "printf 'Waiting for a lock on the system repository. The following processes are currently accessing it:\\n"
        '12\\tdnf5 upgrade\\nUse the "--skip-file-locks" option to bypass the lock.\\n\' >&2; exec sleep 60'
    )
    async with guest("azurelinux4", {}) as vm:
        told = await played(vm, fake("dnf5", *DNF5, f"*' makecache '*) {waits} ;;"))
        assert (told.code, told.state) == (83, "blocked")
        rpm = "echo 'Transaction failed: Failed to obtain rpm transaction lock. Another one is there.' >&2; exit 1"
        update = "*' check-update '*) echo 'a.noarch 2-1 r'; exit 100 ;;"
        told = await played(
            vm, fake("dnf5", *DNF5, update, "*' --downloadonly '*) ;;", f"*' upgrade '*) {rpm} ;;"), SCOPE="all"
        )
        assert (told.code, told.state) == (83, "blocked")


@sandboxed
async def test_tdnf_is_believed_by_the_number_of_its_error() -> None:
    """tdnf ends with the last eight bits of numbers above 1000: 1280 looks like success and 1032 like 8.

    From include/tdnferror.h, and TDNFCliPrintError and main in tools/cli/main.c of tdnf; run as tdnf 3.6.0.
    """
    async with guest("azurelinux3", {}) as vm:
        wrapped = "echo 'Error(1280) : curl says no' >&2; exit 0"
        told = await played(vm, fake("tdnf", *TDNF, f"*' makecache '*) {wrapped} ;;"))
        assert (told.code, told.state, told.words["note"]) == (86, "no_metadata", "Error_1280__:_curl_says_no")
        told = await played(vm, fake("tdnf", *TDNF, f"*' upgrade '*) {wrapped} ;;"), SCOPE="all")
        assert told.code == 86
        other = "echo 'Error(1288) : another matter' >&2; exit 8"
        told = await played(vm, fake("tdnf", *TDNF, f"*' upgrade '*) {other} ;;"), SCOPE="all")
        assert told.code == 86
        aborted = "echo 'Error(1032) : Operation aborted.' >&2; exit 8"
        told = await played(vm, fake("tdnf", *TDNF, f"*' upgrade '*) {aborted} ;;"), SCOPE="all")
        assert (told.code, told.words["note"]) == (87, "cannot_read_list")
        unsolved = "echo 'Error(1301) : Solv general runtime error' >&2; exit 21"
        told = await played(vm, fake("tdnf", *TDNF, f"*' upgrade '*) {unsolved} ;;"), SCOPE="all")
        assert (told.code, told.state) == (87, "failed")


@sandboxed
async def test_tdnf_disables_a_repository_in_passing() -> None:
    """Azure Linux sets skip_if_unavailable: then a mirror that is away is two sentences and the exit code 0.

    From TDNFRefreshSack in client/init.c of tdnf; the setting from azurelinux-official-base.repo of microsoft/azurelinux; run
    as tdnf 3.6.0.
    """
    away = "echo \"Disabling Repo: 'base'\"; echo \"Error: Failed to synchronize cache for repo 'base'\" >&2; exit 0"
    async with guest("azurelinux3", {}) as vm:
        told = await played(vm, fake("tdnf", *TDNF, f"*' makecache '*) {away} ;;"))
        assert (told.code, told.state) == (86, "no_metadata")


@sandboxed
async def test_tdnf_lists_what_it_would_do() -> None:
    """tdnf: tables below "Upgrading:" and "Installing:"; what it cannot resolve is only in check-update, behind a
    carriage return.

    From PrintAction in tools/cli/lib/installcmd.c and TDNFCliCheckUpdateCommand in tools/cli/lib/api.c of tdnf; run
    as tdnf 3.6.0.
    """
    sizes = "0.00b 5.36k\\n"
    sums = "\\nTotal installed size:   0.00b\\nTotal download size:   5.43k\\n"
    table = (
        f"printf '\\nInstalling:\\nnewname noarch 2-1 base {sizes}{sums}\\nUpgrading:\\n"
        f"openssl x86_64 1:3.3.2-1.azl3 base {sizes}{sums}\\nObsoleting:\\noldname noarch 1-1 @System {sizes}{sums}'; "
        "echo 'Error(1032) : Operation aborted.' >&2; exit 8"
    )
    listed = (
        "printf '                     base\\r%%s\\ropenssl.x86_64\\n                     base\\r%%s\\rneeds.noarch\\n'"
    )
    async with guest("azurelinux3", {}) as vm:
        fakes = fake("tdnf", *TDNF, f"*' --assumeno upgrade '*) {table} ;;", f"*' check-update '*) {listed} ;;")
        told = await played(vm, fakes, **ALL)
        assert (told.code, told.words["remaining"]) == (0, "3")
        assert told.waiting == ["openssl.x86_64 -> 1:3.3.2-1.azl3", "newname.noarch -> 2-1", "needs.noarch -> newer"]
        told = await patch(vm, SCOPE="all")
        assert (told.code, told.words["remaining"], told.words["note"][:5]) == (87, "3", "left:")
        told = await played(vm, "echo needs >/etc/tdnf/locks.d/lab.conf", **ALL)
        assert (told.words["remaining"], told.words["held"]) == ("2", "1")


@sandboxed
async def test_tdnf_waits_for_a_lock_no_longer_than_it_may() -> None:
    """tdnf waits without an end, and says so on its standard output.

    From tdnflockAcquire in common/lock.c and pytests/tests/test_lock.py of tdnf; run as tdnf 3.6.0.
    """
    waits = "echo 'waiting for tdnf_instance lock on /var/run/.tdnf-instance-lockfile'; exec sleep 60"
    async with guest("azurelinux3", {}) as vm:
        told = await played(vm, fake("tdnf", *TDNF, f"*' makecache '*) {waits} ;;"))
        assert (told.code, told.state, told.words["note"]) == (83, "blocked", "locks_held")


@sandboxed
async def test_who_else_patches_is_a_fact() -> None:
    """unattended-upgrades, dnf-automatic, tdnf-automatic and zypper's timers are named where they install, none where
    they do not.
    """
    systemd = "mkdir -p /run/systemd/system /etc/systemd/system\n" + fake(
        "systemctl", '*" is-enabled "*) cat "/etc/state/$2" 2>/dev/null || echo disabled ;;'
    )
    async with guest("redhat", {}) as vm:
        assert (await played(vm, systemd)).words["also_patches"] == "none"
        await vm.run(
            "mkdir -p /etc/state; for t in dnf-automatic dnf-automatic-install; do touch /etc/systemd/system/$t.timer; done"
        )
        assert (await patch(vm)).words["also_patches"] == "none"
        await vm.run("echo enabled >/etc/state/dnf-automatic.timer; echo 'apply_updates = no' >/etc/dnf/automatic.conf")
        assert (await patch(vm)).words["also_patches"] == "none"
        await vm.run("echo 'apply_updates = yes' >/etc/dnf/automatic.conf")
        assert (await patch(vm)).words["also_patches"] == "dnf-automatic"
        await vm.run("echo enabled >/etc/state/dnf-automatic-install.timer")
        assert (await patch(vm)).words["also_patches"] == "dnf-automatic-install,dnf-automatic"
        await vm.run("echo strange >/etc/state/dnf-automatic-install.timer; rm /etc/state/dnf-automatic.timer")
        assert (await patch(vm)).words["also_patches"] == "unknown"
    async with guest("sles", {}) as vm:
        await vm.run(
            systemd
            + "mkdir -p /etc/state; touch /etc/systemd/system/os-update.timer; echo enabled >/etc/state/os-update.timer"
        )
        assert (await patch(vm)).words["also_patches"] == "os-update"


@sandboxed
@needs_apt
async def test_unattended_upgrades_is_a_fact() -> None:
    """It is named where it is there, asked for in apt's settings, and its timer is on; unknown where no timer answers."""
    async with guest("ubuntu", {"a": package()}) as vm:
        assert (await patch(vm)).words["also_patches"] in ("none", "unknown")
        await vm.run(
            "printf '#!/bin/sh\\n' >/opt/lab/sbin/unattended-upgrade; chmod +x /opt/lab/sbin/unattended-upgrade"
        )
        assert (await patch(vm)).words["also_patches"] == "none"
        await vm.run("echo 'APT::Periodic::Unattended-Upgrade \"1\";' >/etc/apt/apt.conf.d/20auto-upgrades")
        assert (await patch(vm)).words["also_patches"] == "unknown"
        await vm.run("mkdir -p /run/systemd/system; " + fake("systemctl", '*" is-enabled "*) echo enabled ;;'))
        assert (await patch(vm)).words["also_patches"] == "unattended-upgrades"
        await vm.run("echo 'APT::Periodic::Enable \"0\";' >/etc/apt/apt.conf.d/21off")
        assert (await patch(vm)).words["also_patches"] == "none"
