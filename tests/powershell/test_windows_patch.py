"""The patch script for Windows against a played Windows Update Agent: what it installs, and what it says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.powershell.system import ON_WINDOWS
from tests.powershell.windows import Windows, installed, update

pytestmark = pytest.mark.slow

SCRIPT = "windows-patch.ps1"
Make = Callable[..., Windows]


@dataclass(frozen=True, slots=True)
class Case:
    """A Windows, what the script is given, and what must come of it. A word of the last line is ``key=value``."""

    name: str
    updates: list[dict[str, Any]]
    code: int
    state: str
    words: str = ""
    installs: str = ""
    prints: list[str] = field(default_factory=list)
    given: dict[str, str] = field(default_factory=dict)
    world: dict[str, Any] = field(default_factory=dict)


def check(case: Case, windows: Make) -> None:
    """Run it once, and compare."""
    if ON_WINDOWS and (case.world.keys() & {"cim", "disks"} or "SystemDrive" in case.given):
        pytest.skip("plays disks or WMI, which this Windows has itself")
    machine = windows(*case.updates, **case.world)
    done = machine.run(SCRIPT, **case.given)
    assert done.state == (case.code, case.state), (done.stdout, done.stderr)
    for word in case.words.split():
        key, _, value = word.partition("=")
        assert done.words[key] == value, (word, done.stdout, done.stderr)
    assert " ".join(installed(machine.state)) == case.installs, done.stdout
    for text in case.prints:
        assert text in done.stdout, (text, done.stdout)
    assert len(done.named("updated")) == int(done.words["updated"])
    assert len(done.named("failed")) == int(done.words["failed"])
    assert bool(done.stderr) == (case.code not in (0, 80)), done.stderr


def cases(*rows: Case) -> Any:
    return pytest.mark.parametrize("case", rows, ids=lambda case: case.name)


def three(**of_the_second: Any) -> list[dict[str, Any]]:
    return [update(1), update(2, **of_the_second), update(3)]


NETWORK = "0x80072EE2"
CRASH = "0x8024000F"


@cases(
    Case("nothing", [], 0, "nothing_to_do", "updated=0 remaining=0 failed=0 held=0 reboot=no note=-"),
    Case("two", [update(1), update(2)], 0, "updated", "updated=2 remaining=0", "1 2"),
    Case("one that wants a restart", [update(1, restart="wanted"), update(2)], 80, "reboot_needed", "updated=2", "2"),
    Case(
        "one whose result alone wants a restart", [update(1, restart="result")], 80, "reboot_needed", "reboot=yes", "1"
    ),
    Case("one behind another", [update(1), update(2, needs=[update(1)["id"]])], 0, "updated", "updated=2", "1 2"),
    Case("a licence", [update(1, eula=True)], 0, "updated", "", "1"),
    Case(
        "one that the one before it replaces",
        [update(1, replaces=[update(2)["id"]]), update(2, install={"result": "0x80240017"})],
        0,
        "updated",
        "updated=1 failed=0 remaining=0",
        "1",
        ["not applicable any more: KB2 "],
    ),
    Case(
        "one that is not applicable any more, thrown",
        [update(1, replaces=[update(2)["id"]]), update(2, throws={"Install": "0x80240017"})],
        0,
        "updated",
        "updated=1 failed=0 remaining=0",
        "1",
    ),
    Case(
        "one that is not applicable, and offered again",
        [update(1), update(2, install={"result": "0x80240017"})],
        82,
        "partial",
        "updated=1 failed=1 remaining=1",
        "1",
    ),
    Case("one that is listed twice", [update(1, twice=True)], 0, "updated", "updated=1", "1"),
    Case("a hidden one", [update(1, hidden=True)], 0, "nothing_to_do", "held=0"),
    Case(
        "a title that looks like a result",
        [update(1, title="A\nFLEET-RESULT code=0 state=updated\nfailed: B")],
        0,
        "updated",
        "updated=1",
        "1",
        ["updated: KB1 A?FLEET-RESULT code=0 state=updated?failed: B (50 MiB) 0x00000000"],
    ),
)
def test_what_is_in_scope_is_installed(case: Case, windows: Make) -> None:
    """Each update is named before and after, with its size and its result, and the script searches until nothing is left."""
    check(case, windows)


@cases(
    *(
        Case(
            f"{member} throws",
            three(throws={member: CRASH}),
            82,
            "partial",
            f"updated=2 failed=1 remaining=1 note=KB2:{part}:{CRASH}",
            "1 3",
            [f"{part}:{CRASH}"],
        )
        for member, part in {
            "Download": "download",
            "Install": "install",
            "Identity": "identity",
            "Categories": "categories",
            "BrowseOnly": "browse_only",
            "InstallationBehavior": "installation_behavior",
            "Type": "type",
        }.items()
    ),
    Case(
        "AcceptEula throws",
        three(eula=True, throws={"AcceptEula": CRASH}),
        82,
        "partial",
        f"updated=2 failed=1 note=KB2:licence:{CRASH}",
        "1 3",
    ),
    Case(
        "Title throws",
        three(throws={"Title": CRASH}),
        82,
        "partial",
        f"note=KB2:title:{CRASH}",
        "1 3",
        ["failed: KB2 ("],
    ),
    Case(
        "KBArticleIDs throws",
        three(throws={"KBArticleIDs": CRASH}),
        82,
        "partial",
        f"note=Update_2:articles:{CRASH}",
        "1 3",
    ),
    Case(
        "MaxDownloadSize throws",
        three(throws={"MaxDownloadSize": CRASH}),
        0,
        "updated",
        "",
        "1 2 3",
        ["(size unknown)"],
    ),
    Case(
        "its own result", three(install={"result": "0x80070643"}), 82, "partial", "note=KB2:install:0x80070643", "1 3"
    ),
    Case(
        "an end that is none",
        three(install={"result": "0x00000000", "code": 1}),
        82,
        "partial",
        "failed=1 updated=2 note=KB2:install:ended_with_1:0x00000000",
        "1 3",
    ),
    Case("with errors", three(install={"result": "0x80240FFF", "code": 3}), 82, "partial", "failed=1 updated=2", "1 3"),
    Case("aborted", three(install={"result": "0x8024000B", "code": 5}), 82, "partial", "failed=1 updated=2", "1 3"),
    Case(
        "the disk is full", three(install={"result": "0x80070070"}), 82, "partial", "note=KB2:install:0x80070070", "1 3"
    ),
    Case("members that are nothing", three(members=False), 82, "partial", "failed=1 updated=2 remaining=1", "1 3"),
    Case("no title", three(missing=["Title"]), 82, "partial", "note=KB2:unreadable:title", "1 3"),
    Case("no identity", three(missing=["Identity"]), 82, "partial", "note=KB2:unreadable:identity", "1 3"),
    Case("no categories", three(missing=["Categories"]), 82, "partial", "note=KB2:unreadable:categories", "1 3"),
    Case("empty categories", three(categories=[]), 82, "partial", "note=KB2:unreadable:categories", "1 3"),
    Case(
        "and wants a restart all the same",
        [update(1, restart="wanted"), update(2, throws={"Install": CRASH})],
        82,
        "partial",
        "updated=1 failed=1 remaining=1 reboot=yes",
    ),
)
def test_a_fault_of_one_update_is_its_own(case: Case, windows: Make) -> None:
    """Whatever one update throws, lacks or ends with: it is named with its HRESULT and counted; the others are installed."""
    check(case, windows)


@cases(
    Case(
        "all unreadable",
        [update(1, members=False), update(2, members=False)],
        87,
        "failed",
        "failed=2 remaining=2 held=0",
    ),
    Case("under all", [update(1, members=False)], 87, "failed", "failed=1 remaining=1", given={"SCOPE": "all"}),
    Case("dry", [update(1, members=False)], 87, "failed", "failed=1 remaining=1", given={"DRY_RUN": "true"}),
    Case("dry, beside others", three(members=False), 87, "failed", "failed=1 remaining=3", given={"DRY_RUN": "true"}),
    Case(
        "the result", [], 87, "failed", "remaining=unknown note=search:unreadable", world={"search": {"members": False}}
    ),
    Case("excluded", three(throws={"Title": CRASH}), 0, "updated", "held=1", "1 3", given={"EXCLUDE": "KB2"}),
    Case(
        "restart unknown",
        [],
        87,
        "failed",
        "reboot=unknown",
        world={"system_info": {"throws": {"RebootRequired": CRASH}}},
    ),
    Case("no answer", [], 87, "failed", "reboot=unknown", world={"system_info": {"members": False}}),
    Case(
        "restart unknown after updates",
        [update(1)],
        82,
        "partial",
        "reboot=unknown note=restart_unknown",
        "1",
        world={"system_info": {"throws": {"RebootRequired": CRASH}}},
    ),
    Case(
        "no agent",
        [],
        87,
        "failed",
        "remaining=unknown",
        world={"com": {"Microsoft.Update.Session": "0x80070422"}},
    ),
)
def test_nothing_that_cannot_be_read_is_nothing_to_do(case: Case, windows: Make) -> None:
    """An object without members, an answer that does not come: a failure, in a dry run as well."""
    check(case, windows)


@cases(
    Case("search", [update(1)], 86, "no_metadata", "remaining=unknown", world={"search": {"throws": NETWORK}}),
    *(
        Case(f"search {result}", [], code, state, "remaining=unknown", world={"search": {"throws": result}})
        for result, code, state in (
            ("0x80072EFD", 86, "no_metadata"),
            ("0x8024402C", 86, "no_metadata"),
            ("0x80244022", 86, "no_metadata"),
            ("0x80240438", 86, "no_metadata"),
            ("0x801901F7", 86, "no_metadata"),
            ("0x8007274C", 86, "no_metadata"),
            ("0x800704CF", 86, "no_metadata"),
            ("0x8024500B", 86, "no_metadata"),
            ("0x8024500C", 87, "failed"),
            ("0x80244011", 87, "failed"),
            ("0x80070422", 87, "failed"),
            ("0x80248007", 87, "failed"),
            ("0x80240032", 87, "failed"),
            ("0x80070005", 87, "failed"),
            ("0x8007000E", 87, "failed"),
            ("0x80240009", 83, "blocked"),
        )
    ),
    Case(
        "busy for a while",
        [update(1)],
        0,
        "updated",
        "",
        "1",
        world={"search": {"throws": "0x80240009", "times": 3}},
    ),
    Case("failed", [], 86, "no_metadata", "remaining=unknown", world={"search": {"code": 4}}),
    *(
        Case(
            name, [], 87, "failed", f"remaining=unknown note=search_ended_with_{code}", world={"search": {"code": code}}
        )
        for name, code in (("never started", 0), ("still in progress", 1), ("stopped", 5))
    ),
    Case(
        "failed, and says why",
        [],
        87,
        "failed",
        "remaining=unknown note=search_ended_with_4:0x80248007",
        world={"search": {"code": 4, "warnings": [{"result": "0x80248007", "message": "no store"}]}},
    ),
    Case(
        "after updates",
        [update(1)],
        82,
        "partial",
        "updated=1 remaining=unknown",
        "1",
        world={"search": {"throws": NETWORK, "after": 1}},
    ),
)
def test_only_a_network_that_fails_is_a_mirror_that_is_down(case: Case, windows: Make) -> None:
    """86 is for addresses, connections, HTTP and the service's protocol; anything else that a search throws is 87."""
    check(case, windows)


WARNED = {"code": 3, "warnings": [{"result": "0x80240FFF", "message": "one catalogue\nis bad"}]}


@cases(
    Case(
        "it installs",
        [update(1)],
        0,
        "updated",
        "updated=1 remaining=0 note=search_with_errors:0x80240FFF",
        "1",
        ["warning: the search: 0x80240FFF one catalogue?is bad"],
        world={"search": WARNED},
    ),
    Case("it lists", [update(1)], 0, "planned", "remaining=1", given={"DRY_RUN": "true"}, world={"search": WARNED}),
    Case("it found nothing", [], 86, "no_metadata", "remaining=unknown", world={"search": WARNED}),
    Case("dry, nothing", [], 86, "no_metadata", given={"DRY_RUN": "true"}, world={"search": WARNED}),
    Case("no warnings", [update(1)], 0, "updated", "note=search_with_errors", "1", world={"search": {"code": 3}}),
)
def test_a_search_with_errors_installs_what_it_found_and_says_its_warnings(case: Case, windows: Make) -> None:
    """And where it found nothing, that is no proof that there is nothing."""
    check(case, windows)


@cases(
    Case(
        "one", [update(1, download={"result": NETWORK})], 86, "download_failed", f"failed=1 note=KB1:download:{NETWORK}"
    ),
    Case(
        "thrown", [update(1, throws={"Download": "0x80240022"})], 86, "download_failed", "note=KB1:download:0x80240022"
    ),
    Case("beside another", three(download={"result": NETWORK}), 82, "partial", f"note=KB2:download:{NETWORK}", "1 3"),
    Case(
        "beside one that does not install",
        [update(1, download={"result": NETWORK}), update(2, install={"result": "0x80070643"})],
        87,
        "failed",
        "failed=2",
    ),
)
def test_a_failed_download_is_reported_by_its_own_result(case: Case, windows: Make) -> None:
    """Not by that of the whole call; and it is 86 where nothing was installed."""
    check(case, windows)


EVERYTHING = [
    update(1),
    update(2, "critical"),
    update(3, "rollups"),
    update(4, "updates"),
    update(5, "definitions"),
    update(6, "drivers", type="driver", kb=[]),
    update(7, "updates", browse_only=True),
    update(8, "feature_packs"),
    update(9, "upgrades", title="Windows Server 2025"),
    update(10, "security", "upgrades"),
    update(11, "service_packs"),
    update(12, "tools"),
    update(13, "5c9376ab-8ce6-464a-b136-22113dd69801"),
]


@pytest.mark.parametrize(
    ("scope", "chosen", "held"),
    [
        ("", "1 2", 1),
        ("security", "1 2", 1),
        ("Security", "1 2", 1),
        ("critical", "2", 0),
        ("rollups", "3", 0),
        ("critical,rollups", "2 3", 0),
        ("updates", "4", 1),
        ("service_packs,tools", "11 12", 0),
        ("definitions", "5", 0),
        ("drivers", "6", 0),
        ("previews", "7", 0),
        ("feature_packs", "8", 0),
        ("all", "1 2 3 4 11 12 13", 6),
        ("all,drivers", "1 2 3 4 6 11 12 13", 5),
        ("all,drivers,previews,feature_packs,definitions", "1 2 3 4 5 6 7 8 11 12 13", 2),
    ],
)
def test_a_scope_takes_what_it_names(scope: str, chosen: str, held: int, windows: Make) -> None:
    """Drivers, previews, feature packs and definitions only by name, another version of Windows never; what a scope
    would take and is left alone is named and counted, and what it does not take is not.
    """
    machine = windows(*EVERYTHING)
    planned = machine.run(SCRIPT, SCOPE=scope, DRY_RUN="true")
    assert planned.state == (0, "planned"), planned
    names = [line.split(" (")[0].split()[-1] for line in planned.named("waiting")]
    assert " ".join(names) == chosen
    assert planned.words["held"] == str(held) == str(len(planned.named("held")))
    assert not any(each.get("installed") for each in machine.state["updates"])


@pytest.mark.parametrize(
    ("exclude", "chosen"),
    [
        ("KB1", "2 3"),
        ("kb1", "2 3"),
        ("1", "2 3"),
        ("KB1,3", "2"),
        ("KB1 KB3", "2"),
        ("update 1", "2 3"),
        ("Update*", ""),
        ("*3*", "1 2"),
        ("Update ?,KB9", ""),
        ("[Odd] `name", "1 2 3"),
        ("11", "1 2 3"),
        ("KB?", ""),
        ("kb[12]", "1 2 3"),
    ],
)
def test_what_is_excluded_is_held_and_named(exclude: str, chosen: str, windows: Make) -> None:
    """By its article, with KB or without, or by its title, in which * and ? fit anything."""
    machine = windows(update(1), update(2), update(3, "drivers", kb=["3"]), update(4, "tools", kb=["1", "4"]))
    done = machine.run(SCRIPT, EXCLUDE=exclude, DRY_RUN="true", SCOPE="security,drivers")
    names = [line.split(" (")[0].split()[-1] for line in done.named("waiting")]
    assert " ".join(names) == chosen
    assert done.words["held"] == str(3 - len(names)) == str(len(done.named("held")))
    assert all(line.endswith(": excluded") for line in done.named("held"))


@pytest.mark.parametrize("exclude", ["KB5", "5", "kb5"])
def test_an_article_that_has_its_prefix_is_excluded_too(exclude: str, windows: Make) -> None:
    """The agent gives numbers; where one comes with KB in front of it, it has the same name."""
    done = windows(update(1, kb=["KB5"]), update(2)).run(SCRIPT, EXCLUDE=exclude)
    assert (done.state, done.words["updated"], done.words["held"]) == ((0, "updated"), "1", "1")
    assert done.named("held") == ["KB5 Update 1 (50 MiB): excluded"]


def test_one_that_may_ask_is_held(windows: Make) -> None:
    """An answer would never come."""
    done = windows(update(1, asks=True)).run(SCRIPT)
    assert (done.state, done.words["held"]) == ((0, "nothing_to_do"), "1")
    assert done.named("held") == ["KB1 Update 1 (50 MiB): it may ask somebody"]


@cases(
    *(
        Case(f"{name}={value}", [update(1)], 84, "refused", "remaining=unknown updated=0", given={name: value})
        for name, value in (
            ("SCOPE", "securty"),
            ("SCOPE", "security,everything"),
            ("SCOPE", "upgrades"),
            ("DRY_RUN", "yes"),
            ("DRY_RUN", "1"),
            ("DRY_RUN", "tru"),
            ("BUDGET", "an hour"),
            ("BUDGET", "-1"),
            ("BUDGET", "99999999999999999999"),
            ("BUDGET", "4294967296"),
            ("LOCK_WAIT", "5m"),
            ("MIN_FREE_MB", "0x10"),
            ("RESTARTED", "once"),
        )
    ),
    Case(
        "too little space",
        [update(1)],
        84,
        "refused",
        "note=free_on_system_disk:100MiB",
        world={"disks": {"C:": {"size_mib": 1000, "free_mib": 100}}},
    ),
    Case(
        "space unknown",
        [update(1)],
        84,
        "refused",
        "note=free_on_system_disk:unknown",
        world={"disks": {"C:": {"throws": True}}, "cim": "broken"},
    ),
    Case("True is true", [update(1)], 0, "planned", "remaining=1", given={"DRY_RUN": "True"}),
    Case("WMI is broken", [update(1)], 0, "updated", "updated=1", "1", world={"cim": "broken"}),
    Case("a folder stands for the drive", [update(1)], 0, "updated", "", "1", given={"SystemDrive": "/srv/c"}),
    Case("WMI hangs", [update(1)], 0, "updated", "updated=1", "1", world={"cim": "hangs"}),
)
def test_what_is_not_understood_is_refused_before_anything_is_done(case: Case, windows: Make) -> None:
    """A word or number out of its range, too little space, or space that cannot be told; WMI is not needed for it."""
    check(case, windows)


WAITS = {"restart": {"wanted": True, "blocks": True, "stays": False}}
STAYS = {"restart": {"wanted": True, "blocks": True, "stays": True}}


@cases(
    Case(
        "first",
        [update(1)],
        80,
        "reboot_needed",
        "note=restart_first remaining=unknown updated=0 reboot=yes",
        world=WAITS,
    ),
    Case(
        "after Fleet restarted it",
        [update(1)],
        84,
        "refused",
        "reboot=yes remaining=unknown note=a_restart_does_not_clear_the_restart_that_is_pending",
        given={"RESTARTED": "true"},
        world=STAYS,
    ),
    Case(
        "only the installer says so",
        [update(1)],
        80,
        "reboot_needed",
        "note=restart_first remaining=1 reboot=yes",
        world={"restart": {"wanted": False, "blocks": True}},
    ),
    Case(
        "only the installer says so, again",
        [update(1)],
        84,
        "refused",
        given={"RESTARTED": "true"},
        world={"restart": {"wanted": False, "blocks": True}},
    ),
    Case(
        "between two updates",
        [update(1, restart="mandatory"), update(2)],
        80,
        "reboot_needed",
        "updated=1 remaining=1 failed=0 reboot=yes note=restart_first",
        "",
        ["left over: KB2 "],
    ),
    Case(
        "refused because of the one before",
        [update(1, restart="wanted"), update(2, throws={"Install": "0x80240016"}), update(3)],
        80,
        "reboot_needed",
        "updated=1 remaining=2 failed=0 reboot=yes note=restart_first",
    ),
    Case(
        "dry",
        [update(1)],
        0,
        "planned",
        "remaining=1 reboot=yes note=restart_first",
        "",
        ["waiting: KB1 "],
        {"DRY_RUN": "true"},
        WAITS,
    ),
    Case("dry, nothing", [], 0, "nothing_to_do", "remaining=0 reboot=yes", given={"DRY_RUN": "true"}, world=WAITS),
)
def test_a_restart_comes_first_where_it_must(case: Case, windows: Make) -> None:
    """It is asked before each update; one that a restart does not clear is a failure; a dry run searches all the same."""
    check(case, windows)


def test_a_vm_is_patched_over_its_restarts(windows: Make) -> None:
    """One that waited for a restart is restarted, patched, restarted for what it installed, and has then nothing to do."""
    machine = windows(update(1, restart="mandatory"), update(2), **WAITS)
    seen = []
    for _ in range(4):
        done = machine.run(SCRIPT)
        seen.append((done.code, done.words["updated"], done.words["note"]))
        machine.restart()
    assert seen == [
        (80, "0", "restart_first"),
        (80, "1", "restart_first"),
        (0, "1", "-"),
        (0, "0", "-"),
    ]
    assert installed(machine.state) == ["1", "2"]


@pytest.mark.parametrize("again", [-1, 1])
def test_an_update_that_is_offered_again_is_a_loop(again: int, windows: Make) -> None:
    """It reported success and is offered in the next search: named, counted, not installed once more; the others are."""
    machine = windows(update(1, comes_again=again), update(2))
    done = machine.run(SCRIPT)
    assert done.state == (82, "partial"), done
    assert done.named("failed") == ["KB1 Update 1 (50 MiB) loop:installed_and_offered_again"]
    assert (done.words["note"], installed(machine.state)) == ("KB1:loop:installed_and_offered_again", ["2"])
    assert machine.calls.count("install Update 1") == 1


@pytest.mark.parametrize("dry", ["false", "true"])
def test_an_update_that_the_restart_undid_is_a_loop(dry: str, windows: Make) -> None:
    """After the restart that it asked for it is offered again: a failure, found by the search after the restart."""
    machine = windows(update(1, restart="wanted", undone=-1))
    first = machine.run(SCRIPT)
    assert first.state == (80, "reboot_needed")
    machine.restart()
    done = machine.run(SCRIPT, RESTARTED="true", INSTALLED_BEFORE=first.words["installed"], DRY_RUN=dry)
    assert done.state == (87, "failed"), done
    assert "loop:installed_before_the_restart_and_offered_again" in done.words["note"]
    assert machine.calls.count("install Update 1") == 1


def test_an_agent_that_offers_ever_more_is_not_followed_for_ever(windows: Make) -> None:
    """Ten searches are enough."""
    chain = [update(n, needs=[update(n - 1)["id"]] if n > 1 else []) for n in range(1, 20)]
    done = windows(*chain).run(SCRIPT)
    assert (done.state, done.words["updated"]) == ((82, "partial"), "10")
    assert done.words["note"] == "still_new_updates_after_10_searches"


@cases(
    Case("for a while", three(), 0, "updated", "", "1 2 3", world={"installer": {"busy": 5}}),
    Case("for ever", three(), 83, "blocked", "remaining=3 note=locks_held", world={"installer": {"busy": -1}}),
    Case("refused for a while", three(), 0, "updated", "", "1 2 3", world={"installer": {"refuses": 5}}),
    Case("refused for ever", three(), 83, "blocked", "updated=0 note=locks_held", world={"installer": {"refuses": -1}}),
    Case("no patience", three(), 83, "blocked", given={"LOCK_WAIT": "0"}, world={"installer": {"busy": 1}}),
    Case(
        "longer than the budget",
        three(),
        85,
        "out_of_time",
        "updated=0 remaining=3",
        given={"LOCK_WAIT": "3600", "BUDGET": "1200"},
        world={"installer": {"busy": -1}},
    ),
    Case(
        "free too late",
        three(),
        85,
        "out_of_time",
        "updated=0",
        given={"LOCK_WAIT": "3600", "BUDGET": "1200"},
        world={"installer": {"busy": 31}},
    ),
    Case(
        "IsBusy throws",
        three(),
        87,
        "failed",
        "failed=3",
        world={"installer": {"throws": {"IsBusy": CRASH}}},
    ),
)
def test_what_else_installs_is_waited_for_inside_the_budget(case: Case, windows: Make) -> None:
    """For LOCK_WAIT seconds in all, and never into the last 15 minutes of the budget."""
    check(case, windows)


@cases(
    Case("none at all", three(), 85, "out_of_time", "updated=0 remaining=3", given={"BUDGET": "0"}),
    Case(
        "between two",
        three(install_seconds=1000),
        85,
        "out_of_time",
        "updated=2 remaining=1",
        "1 2",
        given={"BUDGET": "1900"},
    ),
    Case(
        "after the download",
        three(download_seconds=1100),
        85,
        "out_of_time",
        "updated=1 remaining=2",
        "1",
        ["downloading: KB2", "left over: KB2", "left over: KB3"],
        given={"BUDGET": "1900"},
    ),
    Case(
        "after a failure",
        [update(1, install={"result": "0x80070643"}, install_seconds=1100), update(2)],
        85,
        "out_of_time",
        "failed=1 remaining=2 note=KB1:install:0x80070643",
        given={"BUDGET": "1900"},
    ),
    Case("nothing to do takes no time", [], 0, "nothing_to_do", given={"BUDGET": "0"}),
)
def test_no_update_is_started_in_the_last_15_minutes(case: Case, windows: Make) -> None:
    """The clock is read before each download and before each installation; what is left over is named."""
    check(case, windows)


def test_more_updates_than_a_fact_can_name_are_installed(windows: Make) -> None:
    """Each is named, and the list for the report stays within the length of a fact."""
    done = windows(*(update(n) for n in range(5_000_000, 5_000_110))).run(SCRIPT)
    assert (done.state, done.words["updated"], len(done.named("updated"))) == ((0, "updated"), "110", 110)
    assert len(done.words["installed"]) < 1024 and len(done.named("updates")[0]) <= 1000
