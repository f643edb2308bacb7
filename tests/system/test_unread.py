"""What cannot be read of Azure's lists, at the command line: named as what it is, and counted only where it may be meant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.cli import PLAYBOOKS, Here, Machine
from tests.system.conftest import Labs
from tests.system.odd_answers import ABSENT, Change, Door, Tap, tapped

SUBSCRIPTIONS = "GET /subscriptions"
GRAPH = "POST /providers/Microsoft.ResourceGraph/resources"
DEV = "22222222-2222-4222-8222-222222222222"
VMS = f"GET /subscriptions/{DEV}/providers/Microsoft.Compute/virtualMachines"
HELLO = PLAYBOOKS / "everything.yaml"


@pytest.fixture
def door(labs: Labs) -> Iterator[Door]:
    """A lab of web1 and web2 in prod, and of good and bad in dev, whose answers may be changed on their way."""
    with tapped(labs("answers").url) as server:
        yield server


def change(answer: str, *path: str | int, value: Any) -> Change:
    return Change(answer, path, "odd", value)


def without_system(row: int, listed: int, **more: Any) -> tuple[Change, ...]:
    """Let a VM of dev have no operating system, in both listings."""
    changes = [
        change(GRAPH, "data", row, "osType", value=""),
        change(GRAPH, "data", row, "isLinux", value=0),
        change(VMS, "value", listed, "properties", "storageProfile", "osDisk", "osType", value=ABSENT),
        change(VMS, "value", listed, "properties", "osProfile", value=ABSENT),
    ]
    changes += [change(VMS, "value", listed, "properties", name, value=value) for name, value in more.items()]
    return tuple(changes)


BAD = without_system(2, 1)
"""In Resource Graph's order of ids, and in that of the lab file."""

ENTRIES = {
    "null": (change(SUBSCRIPTIONS, "value", 1, value=None), "it is null, not an object"),
    "a null id": (change(SUBSCRIPTIONS, "value", 1, "subscriptionId", value=None), "its subscriptionId is null"),
    "a list": (change(SUBSCRIPTIONS, "value", 1, "subscriptionId", value=[]), "is a list, not a text"),
    "a number": (change(SUBSCRIPTIONS, "value", 1, "subscriptionId", value=7), "is a number, not a text"),
    "absence": (change(SUBSCRIPTIONS, "value", 1, "subscriptionId", value=ABSENT), "it has no subscriptionId"),
    "a surrogate": (change(SUBSCRIPTIONS, "value", 1, "subscriptionId", value="\ud800x"), "cannot be encoded"),
    "fewer than counted": (change(SUBSCRIPTIONS, "value", 1, value=ABSENT), "says that it has 2"),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_a_subscription_that_is_dropped_is_named_and_makes_4(here: Here, door: Door, name: str) -> None:
    """The others are listed; the entry is named by its place, with what is wrong with it."""
    odd, why = ENTRIES[name]
    door.tap = Tap((odd,))
    done = here("targets", "all", "-o", "names", door.flag)
    assert (done.code, done.out) == (4, "web[1-2]\n")
    assert "of the list of subscriptions" in done.err and why in done.err


def test_a_run_goes_on_with_what_was_read_and_ends_with_4(here: Here, door: Door) -> None:
    """All its rows are good, and the report names the entry: nobody takes it for the whole fleet."""
    door.tap = Tap((change(SUBSCRIPTIONS, "value", 1, "subscriptionId", value=None),))
    done = here("run", HELLO, door.flag, "-y", "-o", "json")
    assert done.code == done.report["exit_code"] == 4
    assert {(job["name"], job["status"]) for job in done.report["jobs"]} == {
        ("web1", "succeeded"),
        ("web2", "succeeded"),
    }
    [unread] = done.report["unread"]
    assert unread["subject"] == "entry 2 of the list of subscriptions (dev)"
    assert (unread["code"], unread["message"]) == ("subscription_unreadable", "its subscriptionId is null")


def test_an_entry_that_cannot_be_meant_changes_no_exit_code(here: Here, door: Door) -> None:
    """Its name is known, and the patterns do not fit it; by its exclusion it is certainly not meant either."""
    door.tap = Tap((change(SUBSCRIPTIONS, "value", 1, "subscriptionId", value=None),))
    for more in (("--subscription", "prod"), ("--subscription", "p*"), ("--subscription", "!dev")):
        done = here("targets", "all", "-o", "names", *more, door.flag)
        assert (done.code, done.out) == (0, "web[1-2]\n"), done.err
        assert "could not be read" not in done.err
    assert here("targets", "all", "--subscription", "d*", door.flag).code == 6
    assert here("targets", "all", "--subscription", "1*", "-o", "names", door.flag).code == 4  # it may be its id


@pytest.mark.parametrize("odd", [None, [], 7, "text", ABSENT])
def test_a_row_of_the_graph_that_is_none_is_made_good(here: Here, door: Door, odd: Any) -> None:
    """Compute's lists have the VM, so nothing is missing and nothing is said."""
    door.tap = Tap((change(GRAPH, "data", 3, value=odd),))
    done = here("targets", "all", "-o", "names", door.flag)
    assert (done.code, done.out) == (0, "bad,good,web[1-2]\n")


def test_a_row_of_another_subscription_is_made_good(here: Here, door: Door) -> None:
    """Its column names another subscription than its id: whose it is, Compute's lists tell."""
    door.tap = Tap((change(GRAPH, "data", 3, "subscriptionId", value="another"),))
    done = here("targets", "all", "-o", "names", door.flag)
    assert (done.code, done.out) == (0, "bad,good,web[1-2]\n")


def test_one_odd_vm_is_about_that_vm(here: Here, door: Door) -> None:
    """The sentence names the VM, not its subscription, of which the others were read."""
    door.tap = Tap(BAD)
    done = here("targets", "all", "-o", "names", door.flag)
    assert (done.code, done.out) == (4, "good,web[1-2]\n")
    assert "VM bad could not be read: its operating system is not known" in done.err
    assert "subscription dev could not be read" not in done.err


OUT = {
    "another name": ('name == "good"',),
    "another group": ('resource_group matches "rg-w*"',),
    "another subscription": ('subscription == "prod"',),
    "another tag": ('tag.env == "prod"',),
    "false whatever its system": ('os == "linux" and tag.env == "prod"',),
    "excluded by name": ("all", "-x", "bad"),
    "excluded by id": ("all", "-x", f"/subscriptions/{DEV}/resourceGroups/rg-dev"),
    "excluded by expression": ("all", "-x", 'tag.env == "dev"'),
    "beyond the limit": ("all", "-l", "web*,good"),
    "left out by the limit": ("all", "-l", "!bad"),
}


@pytest.mark.parametrize("name", OUT)
def test_a_vm_that_is_certainly_not_selected_changes_no_exit_code(here: Here, door: Door, name: str) -> None:
    """What is known of it decides: then nothing is said of what is not known."""
    door.tap = Tap(BAD)
    done = here("targets", *OUT[name], "-o", "names", door.flag)
    assert done.code == 0 and "could not be read" not in done.err, done.err


IN_DOUBT = {
    "its system decides": ('os == "linux"',),
    "either decides": ('os == "windows" or name == "good"',),
    "negated": ('not os == "windows"',),
    "the limit asks for its system": ("all", "-l", 'os == "linux"'),
    "an exclusion that may fit": ("all", "-x", 'os == "windows"'),
}


@pytest.mark.parametrize("name", IN_DOUBT)
def test_a_vm_that_may_be_selected_is_named(here: Here, door: Door, name: str) -> None:
    """A selection that cannot be decided without what is not known counts as one that may be true."""
    door.tap = Tap(BAD)
    done = here("targets", *IN_DOUBT[name], "-o", "names", door.flag)
    assert done.code == 4 and "VM bad could not be read" in done.err


def test_explain_lists_the_vm_with_its_reason(here: Here, door: Door) -> None:
    """As a row of its own: out by the rule that certainly keeps it out, else because it cannot be read."""
    door.tap = Tap(BAD)
    done = here("targets", "all", "--explain", "-o", "json", door.flag)
    rows = {row["name"]: row for row in json.loads(done.out)}
    assert sorted(rows) == ["bad", "good", "web1", "web2"] and done.code == 4
    assert (rows["bad"]["included"], rows["bad"]["rule"]) == (False, "unreadable")
    assert rows["bad"]["reason"] == "its operating system is not known"
    assert rows["bad"]["id"].endswith("/virtualMachines/bad")
    done = here("targets", 'name == "good"', "--explain", "-o", "json", door.flag)
    rows = {row["name"]: row for row in json.loads(done.out)}
    assert (done.code, rows["bad"]["rule"]) == (0, "where")
    assert rows["bad"]["reason"] == 'where name == "good" cannot be true of it; its operating system is not known'


def test_vms_are_counted_as_vms(here: Here, door: Door) -> None:
    """Two odd VMs of one subscription are two VMs, and no subscription."""
    door.tap = Tap((*without_system(2, 1), *without_system(3, 0)))
    done = here("targets", 'subscription == "dev"', door.flag)
    assert done.code == 6
    assert "no target is selected, and 2 VMs could not be read: VM " in done.err


def test_a_vm_that_is_being_created_makes_no_run_of_the_night_a_4(here: Here, door: Door) -> None:
    """It is left out and the report says so; every other VM is proven, so the run ends with 0."""
    door.tap = Tap(without_system(2, 1, provisioningState="Creating"))
    done = here("run", HELLO, door.flag, "-y", "-o", "json")
    assert (done.code, done.report["unread"]) == (0, [])
    note = "VM bad is left out: Azure is still creating it, and its operating system is not known"
    assert note in done.err and note in done.report["notes"]
    done = here("targets", 'name == "bad"', door.flag)
    assert done.code == 6 and note in done.err
    done = here("targets", "all", "--explain", door.flag)
    assert done.code == 0 and "Azure is still creating it" in done.out


def test_a_cap_counts_vms_that_are_selected_and_cannot_be_read(here: Here, door: Door, machine: Machine) -> None:
    """Four VMs are selected whether one of them can be read or not; one that may not be selected does not count."""
    door.tap = Tap(BAD)
    capped = machine.cwd / "capped.yaml"
    for where, code in (("", 6), ('  where: os == "linux"\n', 0), ('  where: name != "bad"\n', 0)):
        capped.write_text(HELLO.read_text() + f"targets:\n  max: 3\n{where}")
        done = here("plan", capped, door.flag)
        assert done.code == code, done.err
    capped.write_text(HELLO.read_text() + "targets:\n  max: 3\n")
    assert (
        "4 targets are selected (1 of them cannot be read), and at most 3 may be" in here("plan", capped, door.flag).err
    )


def test_a_vm_of_which_something_else_is_odd_is_a_target(here: Here, door: Door) -> None:
    """A size that cannot be read does not keep a VM out that is selected by its name; a selection by size is in doubt."""
    sizes = (
        change(GRAPH, "data", 2, "vmSize", value=[]),
        change(VMS, "value", 1, "properties", "hardwareProfile", "vmSize", value=[]),
    )
    door.tap = Tap(sizes)
    assert here("targets", 'name == "bad"', door.flag).code == 0
    done = here("targets", 'size matches "Standard*"', "-o", "names", door.flag)
    assert (done.code, done.out) == (4, "good,web[1-2]\n")
    assert "VM bad could not be read: its size is a list, not a text" in done.err


def test_an_entry_of_no_known_vm_is_in_doubt_for_every_selection(here: Here, door: Door) -> None:
    """Of an entry that is no object nothing is known: it may be the VM that is asked for."""
    door.tap = Tap((change(GRAPH, "data", 2, value=None), change(VMS, "value", 1, value=7)))
    done = here("targets", 'name == "good"', "-o", "names", door.flag)
    assert done.code == 4
    assert "entry 2 of the list of VMs could not be read: it is a number, not an object" in done.err
    assert here("targets", 'subscription == "prod"', "-o", "names", door.flag).code == 0


def test_the_doctor_names_the_vm(here: Here, door: Door, machine: Machine) -> None:
    """As a VM that would not be reached; its subscription is readable."""
    door.tap = Tap(BAD)
    done = here("doctor", HELLO, door.flag, "-o", "json")
    findings = json.loads(done.out)["findings"]
    assert done.code == 4
    assert ("VM bad", "vm", "unreachable") in {(item["subject"], item["check"], item["level"]) for item in findings}
    assert ("subscription dev", "ok") in {(item["subject"], item["level"]) for item in findings}


@pytest.mark.parametrize("form", ["table", "md", "jsonl", "csv"])
def test_every_form_of_the_report_names_it(here: Here, door: Door, form: str) -> None:
    """A person who reads the report sees which VM is missing and why."""
    door.tap = Tap(BAD)
    done = here("run", HELLO, door.flag, "-y", "-o", form)
    assert done.code == 4
    assert "VM bad" in done.out + done.err and "its operating system is not known" in done.out + done.err
