"""The patch script against the real dnf and zypper of this machine, in each trap that was met with them.

The packages are small, the repositories are made by createrepo_c, the guests are the lab's. dnf5 and tdnf are in no
package of Debian: they are played from their sources (``test_played_packages``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.lab.rpms import Advisory, Rpm, build, needs_rpm, rpm_guest
from tests.system.test_patching import PATCH, Told, patch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.sandbox,
    needs_rpm,
    pytest.mark.asyncio,
    pytest.mark.timeout(300),
]
LONG = "longname-" + "x" * 100
PLAIN = ("alpha", "beta", "gamma", "glibc", "kernel", "agent", LONG)
FAILS = "\nexit 1"
PACKAGES = [
    Rpm("bash", tags=["Provides: /bin/sh"]),  # without it no package with a script can be installed
    *(Rpm(name, version) for name in PLAIN for version in ("1", "2")),
    *(Rpm(name) for name in ("oldname", "needs", "brings", "badpost", "badpre", "vanish")),
    Rpm("newname", "2", ["Obsoletes: oldname < 2"]),
    Rpm("needs", "2", ["Requires: nothing-here"]),
    Rpm("brings", "2", ["Requires: agent"]),
    Rpm("badpost", "2", scripts=[f"%post{FAILS}"]),
    Rpm("badpre", "2", scripts=[f"%pre{FAILS}"]),
    Rpm("watcher", scripts=[f"%triggerin -- alpha{FAILS}"]),
    Rpm("vanish", "2", scripts=["%post\nmv /srv/r /srv/gone"]),
]
RPM_LOCK = (
    'python3 -c \'import fcntl, time; f = open("/var/lib/rpm/.rpm.lock", "w"); fcntl.lockf(f, fcntl.LOCK_EX); '
    "time.sleep(60)' >/dev/null 2>&1 & sleep 1; "
)


@pytest.fixture(scope="module")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Return the packages' files by name and version."""
    return build(tmp_path_factory.mktemp("rpms"), PACKAGES)


def security(*names: str, flag: str = "") -> Advisory:
    """Return an advisory about security."""
    return Advisory("S-1", "security", names, flag)


@dataclass(frozen=True)
class Trap:
    """What is installed in version 1 and offered in version 2, what the repository says of it, and what is done before."""

    installed: str
    offered: str | None = None
    advisories: Sequence[Advisory] = ()
    before: str = ""
    given: dict[str, str] = field(default_factory=dict)
    page: bool = False
    missing: str = ""


async def met(manager: str, rpms: dict[tuple[str, str], Path], trap: Trap) -> Told:
    """Run the script in a guest with this trap."""
    names = trap.installed.split()
    offered = names if trap.offered is None else trap.offered.split()
    installed = [rpms[name, "1"] for name in ("bash", *names)]
    async with rpm_guest(
        manager, installed, [rpms[name, "2"] for name in offered if (name, "2") in rpms], trap.advisories
    ) as vm:
        root = await vm.root()
        if trap.page:
            (root / "srv/r/repodata/repomd.xml").write_text("<html>sign in first</html>", encoding="ascii")
        for file in (root / "srv/r").glob(f"{trap.missing}-2*" if trap.missing else "nothing"):
            file.unlink()
        await vm.own("srv")
        text = f"{trap.before}\nexec sh -s <<'THE_END_OF_IT'\n{PATCH}\nTHE_END_OF_IT\n"
        return await patch(vm, text, **{"LOCK_WAIT": "2", "MIN_FREE_MB": "50", **trap.given})


ALL = {"SCOPE": "all"}
BOTH = [security("alpha"), Advisory("B-1", "bugfix", ["beta"])]
LOCKED = "zypper -n addlock alpha >/dev/null"
TMP = "mount -t tmpfs -o size=16k t /tmp"
CACHE = "rm -rf /var/cache/*; mount -t tmpfs -o size=24k t /var/cache"
AWAY = "mv /srv/r /srv/away"
DISABLED = "sed -i s/enabled=1/enabled=0/ /etc/yum.repos.d/r.repo /etc/zypp/repos.d/r.repo"
SIGNED = "sed -i s/gpgcheck=0/gpgcheck=1/ /etc/yum.repos.d/r.repo /etc/zypp/repos.d/r.repo"
EITHER = {
    "security only": (Trap("alpha beta gamma", advisories=BOTH), 0, "updated", 1, ""),
    "all": (Trap("alpha beta gamma", advisories=BOTH, given=ALL), 0, "updated", 3, ""),
    "nothing waits and nothing is said of security": (Trap("alpha", "beta"), 0, "nothing_to_do", 0, ""),
    "advisories for what is not installed": (Trap("alpha", "gamma", [security("gamma")]), 0, "nothing_to_do", 0, ""),
    "no word about security": (Trap("alpha"), 84, "refused", 0, "no_security_data"),
    "no room in /tmp": (Trap("alpha", given=ALL, before=TMP), 84, "refused", 0, "no_room_in_/tmp"),
    "no room in /var/cache": (Trap("alpha", advisories=BOTH[:1], before=CACHE), 84, "refused", 0, "No_space_left"),
    "a mirror that is away": (Trap("alpha", advisories=BOTH[:1], before=AWAY), 86, "no_metadata", 0, ""),
    "a page of HTML": (Trap("alpha", advisories=BOTH[:1], page=True), 86, "no_metadata", 0, ""),
    "no repository": (Trap("alpha", before=DISABLED), 86, "no_metadata", 0, ""),
    "a package that is missing": (Trap("alpha", advisories=BOTH[:1], missing="alpha"), 86, "download_failed", 0, ""),
    "a failing %post": (
        Trap("alpha badpost", advisories=[security("alpha", "badpost")]),
        82,
        "partial",
        2,
        "scripts_of",
    ),
    "a failing %pre beside another": (
        Trap("alpha badpre", advisories=[security("alpha", "badpre")]),
        82,
        "partial",
        1,
        "",
    ),
    "a failing trigger": (Trap("alpha watcher", "alpha", BOTH[:1]), 82, "partial", 1, "scripts_of"),
    "what it needs is nowhere": (Trap("needs", advisories=[security("needs")]), 87, "failed", 0, "Problem:_"),
    "rpm itself is locked": (Trap("alpha", advisories=BOTH[:1], before=RPM_LOCK), 83, "blocked", 0, "locks_held"),
    "the mirror goes afterwards": (Trap("vanish", advisories=[security("vanish")]), 0, "updated", 1, ""),
    "long names": (Trap(f"alpha {LONG}", given={**ALL, "COLUMNS": "40"}), 0, "updated", 2, ""),
}
DNF = {
    "unsigned packages": (Trap("alpha", advisories=BOTH[:1], before=SIGNED), 87, "failed", 0, "not_have_any_GPG"),
    "an excluded package is needed": (
        Trap("brings", "brings agent", [security("brings")], given={"EXCLUDE": "agent"}),
        *(87, "failed", 0, "Problem:_package_brings"),
    ),
    "glibc without needs-restarting": (Trap("glibc", advisories=[security("glibc")]), 80, "reboot_needed", 1, ""),
    "a rename alone": (Trap("alpha oldname", "newname", given=ALL), 0, "updated", 1, ""),
    "a rename beside another": (Trap("alpha oldname", "newname alpha", given=ALL), 0, "updated", 2, ""),
}
ZYPPER = {
    "a locked package beside another": (
        Trap("alpha beta", advisories=BOTH, before=LOCKED, given=ALL),
        0,
        "updated",
        1,
        "",
    ),
    "a locked package alone": (Trap("alpha", advisories=BOTH[:1], before=LOCKED), 0, "nothing_to_do", 0, ""),
    "one patch that cannot be installed": (
        Trap("alpha needs", advisories=[security("alpha"), Advisory("S-2", "security", ["needs"])]),
        *(82, "partial", 1, "Problem:_nothing_provides"),
    ),
    "an excluded package that is new": (
        Trap("brings", "brings agent", [security("brings")], given={"EXCLUDE": "agent"}),
        *(84, "refused", 0, "cannot_leave_out:agent"),
    ),
    "an excluded package outside the scope": (
        Trap("alpha beta", advisories=BOTH, given={"EXCLUDE": "beta"}),
        *(0, "updated", 1, ""),
    ),
    "patches of other kinds": (
        Trap("alpha", advisories=[Advisory("O-1", "optional", ["alpha"])], given=ALL),
        0,
        "updated",
        1,
        "",
    ),
    "a patch that wants a restart": (
        Trap("alpha", advisories=[security("alpha", flag="reboot_suggested")]),
        80,
        "reboot_needed",
        1,
        "",
    ),
    "the same beside a lock": (
        Trap(
            "alpha beta",
            advisories=[security("beta", flag="reboot_suggested"), Advisory("S-2", "security", ["alpha"])],
            before=LOCKED,
        ),
        *(80, "reboot_needed", 1, ""),
    ),
    "a patch of the update stack": (
        Trap(
            "alpha beta",
            advisories=[security("alpha", flag="restart_suggested"), Advisory("S-2", "security", ["beta"])],
        ),
        *(0, "updated", 2, ""),
    ),
}
CASES = [
    *(
        pytest.param(manager, *row, id=f"{manager}: {name}")
        for manager in ("dnf", "zypper")
        for name, row in EITHER.items()
    ),
    *(pytest.param("dnf", *row, id=f"dnf: {name}") for name, row in DNF.items()),
    *(pytest.param("zypper", *row, id=f"zypper: {name}") for name, row in ZYPPER.items()),
]


@pytest.mark.parametrize(("manager", "trap", "code", "state", "updated", "note"), CASES)
async def test_the_real_package_manager_is_understood(
    rpms: dict[tuple[str, str], Path], manager: str, trap: Trap, code: int, state: str, updated: int, note: str
) -> None:
    """In every trap: the right code and state, as many updates as there were, and the reason; a success leaves nothing
    behind.
    """
    told = await met(manager, rpms, trap)
    assert (told.code, told.state, len(told.updated)) == (code, state, updated), told.words
    assert note in told.words["note"], told.words
    assert told.words["manager"] == manager or code == 84
    if code in (0, 80):
        assert told.words["remaining"] == told.words["failed"] == "0"
        assert told.words["reboot"] == ("yes" if code == 80 else "no")
    if code == 82:
        assert told.words["failed"] != "0" or told.words["remaining"] != "0"


@pytest.mark.parametrize("manager", ["dnf", "zypper"])
async def test_a_look_with_the_real_package_manager_names_all_that_waits(
    rpms: dict[tuple[str, str], Path], manager: str
) -> None:
    """A dry run counts every update, in an advisory or not, and installs none."""
    told = await met(manager, rpms, Trap("alpha beta gamma", advisories=BOTH, given={**ALL, "DRY_RUN": "true"}))
    assert (told.code, told.state, told.words["remaining"], told.updated) == (0, "planned", "3", [])
    assert [line.split(".")[0].split(" ")[0] for line in told.waiting] == ["alpha", "beta", "gamma"]
