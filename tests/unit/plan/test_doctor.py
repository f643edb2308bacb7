"""Verdicts before a run, each from the facts that lead to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import ExitCode
from fleet.plan.model import Plan
from fleet.playbook.model import Script, Shell, Transport
from fleet.preflight.doctor import Check, Finding, Level, examine, exit_code, kept_out, to_ask
from fleet.preflight.facts import Agent, Condition, Facts, Permissions, Principal
from fleet.preflight.locks import Lock, Locks
from fleet.preflight.patchers import Patching, PatchSettings
from fleet.preflight.rights import OPERATIONS, Grant
from fleet.targets.model import Os, Power, Target, UnreadScope
from tests.unit.run.factory import plan as a_plan

ALL = (Grant(("*",)),)
ME = (Principal(0, "tenant", "object", "app"),)
GROUP = "/subscriptions/sub-0/resourceGroups/rg"


def healthy(target: Target, **changes: object) -> Condition:
    """A VM that nothing is wrong with."""
    values: dict[str, object] = {
        "power": Power.RUNNING,
        "agent": Agent.READY,
        "agent_version": "2.11.1.4",
        "extensions": True,
        "commands": (),
    }
    return Condition(target, **{**values, **changes})  # type: ignore[arg-type]


def facts(plan: Plan, *conditions: Condition, **changes: object) -> Facts:
    """Good facts about a plan, but for what is given."""
    other = {condition.target: condition for condition in conditions}
    values: dict[str, object] = {
        "principals": ME,
        "permissions": tuple(
            Permissions(0, scope, ALL) for scope in {f"/subscriptions/{vm.subscription}" for vm in plan.targets}
        ),
        "conditions": tuple(other.get(target) or healthy(target) for target in plan.targets),
        "locks": tuple(Locks(name, ()) for name in {vm.subscription for vm in plan.targets}),
        "patching": Patching({vm.key: PatchSettings("ImageDefault") for vm in plan.targets}),
    }
    return Facts(**{**values, **changes})  # type: ignore[arg-type]


def of(found: tuple[Finding, ...], check: Check) -> list[Finding]:
    return [finding for finding in found if finding.check is check]


def only(found: tuple[Finding, ...], check: Check, level: Level) -> Finding:
    [finding] = [finding for finding in of(found, check) if finding.level is level]
    return finding


def test_nothing_in_the_way_is_told_as_such() -> None:
    """A healthy fleet has ``ok`` findings only, each over all targets, and exits with 0."""
    plan = a_plan(40)
    found = examine(plan, facts(plan))
    assert {finding.level for finding in found} == {Level.OK}
    assert {finding.check for finding in found} == set(Check) - {Check.VM, Check.SHELL, Check.SIZE, Check.TIME}
    assert all(finding.targets in ((), plan.targets) for finding in found)
    assert exit_code(found) is ExitCode.OK
    assert not kept_out(found)


UNREACHABLE: dict[str, tuple[dict[str, object], Check]] = {
    "stopped": ({"power": Power.STOPPED}, Check.POWER),
    "deallocated": ({"power": Power.DEALLOCATED}, Check.POWER),
    "agent not ready": ({"agent": Agent.NOT_READY}, Check.AGENT),
    "agent never reported": ({"agent": Agent.ABSENT}, Check.AGENT),
    "extensions off": ({"extensions": False}, Check.EXTENSIONS),
    "no slot": ({"commands": tuple(f"x{n}" for n in range(25))}, Check.SLOTS),
    "gone": ({"gone": True}, Check.VM),
}


@pytest.mark.parametrize("name", UNREACHABLE)
def test_vms_out_of_reach_are_named_with_what_to_do(name: str) -> None:
    """Each state that keeps a VM from answering is found, folded over its VMs, says what to do next, and exits with 4."""
    changes, check = UNREACHABLE[name]
    plan = a_plan(10)
    bad = plan.targets[2:5]
    found = examine(plan, facts(plan, *(healthy(target, **changes) for target in bad)))
    finding = only(found, check, Level.UNREACHABLE)
    assert finding.targets == bad
    assert finding.next
    assert kept_out(found) == set(bad)
    assert exit_code(found) is ExitCode.NOT_REACHED


NOT_KNOWN: dict[str, tuple[dict[str, object], Check]] = {
    "power": ({"power": Power.UNKNOWN}, Check.POWER),
    "agent": ({"agent": Agent.UNKNOWN}, Check.AGENT),
    "state": ({"why": "HTTP 500"}, Check.VM),
    "slots": ({"commands": None, "commands_why": "HTTP 403"}, Check.SLOTS),
}


@pytest.mark.parametrize("name", NOT_KNOWN)
def test_what_could_not_be_read_is_not_guessed(name: str) -> None:
    """It is ``unchecked``: neither fine nor out of reach, and no reason to fail."""
    changes, check = NOT_KNOWN[name]
    plan = a_plan(3)
    found = examine(plan, facts(plan, healthy(plan.targets[0], **changes)))
    assert only(found, check, Level.UNCHECKED).targets == plan.targets[:1]
    assert exit_code(found) is ExitCode.OK


NOTED: dict[str, tuple[dict[str, object], Check]] = {
    "starting": ({"power": Power.STARTING}, Check.POWER),
    "old agent": ({"agent_version": "2.3.9"}, Check.AGENT),
    "leftover": ({"commands": ("fleet-20260101-000000-abcd-7", "other")}, Check.SLOTS),
}


@pytest.mark.parametrize("name", NOTED)
def test_what_is_worth_knowing_keeps_nobody_out(name: str) -> None:
    """A note is told and changes neither the reach nor the exit code."""
    changes, check = NOTED[name]
    plan = a_plan(3)
    found = examine(plan, facts(plan, healthy(plan.targets[0], **changes)))
    assert only(found, check, Level.NOTE).targets == plan.targets[:1]
    assert not kept_out(found)
    assert exit_code(found) is ExitCode.OK


def test_own_leftovers_are_named() -> None:
    """Commands of Fleet's own are told by name and run, on full VMs as on others."""
    plan = a_plan(1)
    own = ("fleet-20260101-000000-abcd-7", "fleet-20260101-000000-abcd-8")
    full = healthy(plan.targets[0], commands=(*own, *(f"x{n}" for n in range(23))))
    finding = only(examine(plan, facts(plan, full)), Check.SLOTS, Level.UNREACHABLE)
    assert finding.names == own
    assert "20260101-000000-abcd" in finding.next


def test_slots_count_for_managed_commands_only() -> None:
    """A playbook that travels by the action needs no place, and none is looked for."""
    plan = a_plan(1, transport=Transport.ACTION)
    assert not of(examine(plan, facts(plan, healthy(plan.targets[0], commands=None))), Check.SLOTS)


# -- sign-in, subscriptions, rights


def test_who_signs_in_is_told() -> None:
    """The token's owner is named by tenant, object and application; who cannot sign in is noted with the reason."""
    plan = a_plan(1)
    found = examine(plan, facts(plan, principals=(*ME, Principal(1, problem="secret expired"))))
    good, bad = of(found, Check.SIGN_IN)
    assert good.what == "signed in: tenant tenant, object object, application app"
    assert (bad.level, bad.subject) == (Level.NOTE, "principal 2")
    assert "secret expired" in bad.what


@pytest.mark.parametrize(
    ("code", "level", "exit"),
    [
        ("AuthorizationFailed", Level.RIGHTS, ExitCode.AZURE_UNUSABLE),
        ("server_error", Level.UNREACHABLE, ExitCode.NOT_REACHED),
    ],
)
def test_subscriptions_that_cannot_be_read_are_told(code: str, level: Level, exit: ExitCode) -> None:
    """A refusal is a matter of rights, everything else of reach."""
    plan = replace(a_plan(1), unread=(UnreadScope("sub-9", "nine", code, "m"),))
    found = examine(plan, facts(plan))
    assert only(found, Check.SUBSCRIPTION, level).subject == "subscription nine"
    assert exit_code(found) is exit


READER = (Grant(("*/read",)),)


def test_missing_rights_are_named_for_the_vms_they_are_missing_on() -> None:
    """A right that is missing exits with 7 and names action and VMs."""
    plan = a_plan(2)
    permissions = (Permissions(0, "/subscriptions/sub-0", READER), Permissions(0, GROUP, READER))
    permissions += tuple(Permissions(0, vm.id, READER if vm is plan.targets[0] else ALL) for vm in plan.targets)
    found = examine(plan, facts(plan, permissions=permissions))
    finding = only(found, Check.RIGHTS, Level.RIGHTS)
    assert finding.targets == plan.targets[:1]
    assert "Microsoft.Compute/virtualMachines/runCommands/write" in finding.what
    assert exit_code(found) is ExitCode.AZURE_UNUSABLE
    assert kept_out(found) == set(plan.targets[:1])


def test_rights_in_the_group_do_not_let_anybody_follow_an_action() -> None:
    """Operations are read at the subscription: all rights in the group are not enough for the action."""
    plan = a_plan(2, transport=Transport.ACTION)
    permissions = (Permissions(0, "/subscriptions/sub-0", ()), Permissions(0, GROUP, ALL))
    found = examine(plan, facts(plan, permissions=permissions))
    finding = only(found, Check.RIGHTS, Level.RIGHTS)
    assert OPERATIONS in finding.what
    assert finding.subject == "subscription sub-0"
    managed = examine(a_plan(2), facts(a_plan(2), permissions=permissions))
    assert all(finding.level is not Level.RIGHTS for finding in managed)


def test_rights_that_are_not_told_are_unchecked() -> None:
    """Where permissions cannot be read the doctor says so and claims nothing."""
    plan = a_plan(2)
    permissions = tuple(Permissions(0, scope, None, "HTTP 404") for scope in ("/subscriptions/sub-0", GROUP))
    found = examine(plan, facts(plan, permissions=permissions))
    assert {finding.level for finding in of(found, Check.RIGHTS)} == {Level.UNCHECKED}
    assert all("could not be checked: HTTP 404" in finding.what for finding in of(found, Check.RIGHTS))
    assert exit_code(found) is ExitCode.OK


def test_of_a_pool_one_with_rights_is_enough() -> None:
    """A principal without rights beside one with them is a note: the other steps in."""
    plan = a_plan(2)
    permissions = (Permissions(0, "/subscriptions/sub-0", ALL), Permissions(1, "/subscriptions/sub-0", ()))
    permissions += (Permissions(1, GROUP, ()), *(Permissions(1, vm.id, ()) for vm in plan.targets))
    found = examine(plan, facts(plan, principals=(*ME, Principal(1)), permissions=permissions))
    assert {finding.level for finding in of(found, Check.RIGHTS)} == {Level.OK, Level.NOTE}
    assert exit_code(found) is ExitCode.OK


def test_permissions_are_asked_for_from_the_top_and_only_as_far_as_needed() -> None:
    """Subscriptions first; groups where those do not suffice or tell; VMs where their group does not suffice."""
    plan = a_plan(3)
    top = ((0, "/subscriptions/sub-0"),)
    assert to_ask(plan, ME, ()) == top

    def known(*scopes: tuple[str, tuple[Grant, ...] | None]) -> list[Permissions]:
        return [Permissions(0, scope, grants) for scope, grants in scopes]

    assert to_ask(plan, ME, known((top[0][1], ALL))) == ()
    assert to_ask(plan, ME, known((top[0][1], None))) == ((0, GROUP),)
    assert to_ask(plan, ME, known((top[0][1], READER))) == ((0, GROUP),)
    assert to_ask(plan, ME, known((top[0][1], READER), (GROUP, None))) == ()
    assert to_ask(plan, ME, known((top[0][1], READER), (GROUP, ALL))) == ()
    assert to_ask(plan, ME, known((top[0][1], None), (GROUP, READER))) == tuple((0, vm.id) for vm in plan.targets)
    assert to_ask(plan, (Principal(0, problem="x"),), ()) == ()


# -- the playbook against its targets


def stepped(plan: Plan, script: Script, **changes: object) -> Plan:
    return replace(plan, steps=(replace(plan.steps[0], script=script, **changes),))  # type: ignore[arg-type]


def windows(plan: Plan) -> Plan:
    return replace(plan, targets=tuple(replace(vm, os=Os.WINDOWS) for vm in plan.targets))


MISFITS: dict[str, tuple[Plan, Check]] = {
    "bash on Windows": (stepped(windows(a_plan(2)), Script("true\n"), shell=Shell.BASH), Check.SHELL),
    "a .sh file on Windows": (stepped(windows(a_plan(2)), Script("true\n", file="x/a.sh")), Check.SHELL),
    "a first line on Windows": (stepped(windows(a_plan(2)), Script("#!/bin/bash\n")), Check.SHELL),
    "PowerShell on Linux": (stepped(a_plan(2), Script("ls\n"), shell=Shell.PWSH), Check.SHELL),
    "a .ps1 file on Linux": (stepped(a_plan(2), Script("ls\n", file="a.PS1")), Check.SHELL),
    "IPConfig on Linux": (stepped(a_plan(2), Script(command_id="IPConfig")), Check.SHELL),
    "ifconfig on Windows": (stepped(windows(a_plan(2)), Script(command_id="ifconfig")), Check.SHELL),
    "two hours by action": (
        stepped(a_plan(2, transport=Transport.ACTION), Script("true\n"), timeout=7200.0),
        Check.TIME,
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_scripts_that_cannot_work_are_the_playbooks_problem(name: str) -> None:
    """A script that cannot run on its targets is found before anything is sent, and exits with 2."""
    plan, check = MISFITS[name]
    found = examine(plan, facts(plan))
    finding = only(found, check, Level.PLAYBOOK)
    assert finding.targets == plan.targets
    assert finding.next
    assert exit_code(found) is ExitCode.USAGE


FITTING = {
    "bash on Linux": stepped(a_plan(1), Script("#!/bin/bash\n", file="a.sh"), shell=Shell.BASH),
    "PowerShell on Windows": stepped(windows(a_plan(1)), Script("ls\n", file="a.ps1")),
    "no telling": stepped(windows(a_plan(1)), Script("echo hello\n")),
    "its own interpreter": stepped(a_plan(1, receipts=False), Script("#!/usr/bin/env pwsh\nls\n"), shell=Shell.PWSH),
    "two hours managed": stepped(a_plan(1), Script("true\n"), timeout=7200.0),
    "IPConfig on Windows": stepped(windows(a_plan(1)), Script(command_id="ipconfig")),
}


@pytest.mark.parametrize("name", FITTING)
def test_scripts_that_fit_are_left_alone(name: str) -> None:
    """No alarm for what works."""
    plan = FITTING[name]
    assert exit_code(examine(plan, facts(plan))) is ExitCode.OK
    assert not of(examine(plan, facts(plan)), Check.SHELL)


def test_an_unknown_built_in_command_is_noted() -> None:
    """The service may have more of them than Fleet knows."""
    plan = stepped(a_plan(1), Script(command_id="NewOne"))
    assert only(examine(plan, facts(plan)), Check.SHELL, Level.NOTE)


@pytest.mark.parametrize(
    ("transport", "size", "level"),
    [
        (Transport.ACTION, 196_608, None),
        (Transport.ACTION, 196_609, Level.PLAYBOOK),
        (Transport.MANAGED, 262_144, None),
        (Transport.MANAGED, 262_145, Level.NOTE),
    ],
)
def test_the_size_of_a_script_is_held_against_its_transport(
    transport: Transport, size: int, level: Level | None
) -> None:
    """The action takes 262,144 bytes of base64; for managed commands the same number is a warning."""
    plan = a_plan(1, transport=transport)
    found = examine(plan, facts(plan, sizes={("step0", Os.LINUX): size}))
    assert [finding.level for finding in of(found, Check.SIZE)] == ([level] if level else [])


def test_the_worst_finding_decides_the_exit_code() -> None:
    """Rights before playbook before reach."""
    every = {level: Finding(Check.VM, level, "x") for level in Level}
    assert exit_code(every.values()) is ExitCode.AZURE_UNUSABLE
    del every[Level.RIGHTS]
    assert exit_code(every.values()) is ExitCode.USAGE
    del every[Level.PLAYBOOK]
    assert exit_code(every.values()) is ExitCode.NOT_REACHED


def test_the_page_lists_every_check_and_level() -> None:
    """docs/rights.md has each check and each verdict, and no other."""
    page = (Path(__file__).parents[3] / "docs" / "rights.md").read_text()
    told = {
        line.split("`")[1] for line in page.splitlines() if line.startswith("| `") and "/" not in line.split("`")[1]
    }
    assert told == {check.value for check in Check} | {level.value for level in Level}


def test_permissions_that_cannot_be_asked_are_one_line() -> None:
    """Where each question about rights got the same refusal, one finding over every target says so, and exits with 0."""
    plan = a_plan(40)
    scopes = {f"/subscriptions/{vm.subscription}" for vm in plan.targets} | {GROUP}
    refused = tuple(Permissions(0, scope, None, "HTTP 404 InvalidResourceType") for scope in scopes)
    found = examine(plan, facts(plan, permissions=refused))
    [finding] = of(found, Check.RIGHTS)
    assert (finding.level, finding.targets) == (Level.UNCHECKED, plan.targets)
    assert "HTTP 404 InvalidResourceType" in finding.what
    assert exit_code(found) == ExitCode.OK


def test_locks_and_patchers_are_looked_at() -> None:
    """A ReadOnly lock keeps its VMs out; a right that is missing makes assignments unknown, however empty the answer."""
    plan = a_plan(4)
    first = plan.targets[0]
    lock = Locks(first.subscription, (Lock("l", "ReadOnly", first.id),))
    found = examine(plan, facts(plan, locks=(lock,)))
    assert only(found, Check.LOCKS, Level.UNREACHABLE).targets == (first,)
    assert kept_out(found) == {first}
    assert exit_code(found) == ExitCode.NOT_REACHED
    reader = tuple(
        Permissions(0, scope, (Grant(("*",), ("Microsoft.Maintenance/*",)),))
        for scope in {f"/subscriptions/{vm.subscription}" for vm in plan.targets}
    )
    unsure = only(examine(plan, facts(plan, permissions=reader)), Check.PATCHING, Level.UNCHECKED)
    assert "lacks Microsoft.Maintenance/configurationAssignments/read" in unsure.what
