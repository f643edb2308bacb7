"""Who else patches a plan's targets, from what Azure said about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from fleet.plan.model import Plan
from fleet.preflight import patchers
from fleet.preflight.doctor import Finding, Level
from fleet.preflight.patchers import Assignment, Patching, PatchSettings, Scope, is_assigned
from fleet.targets.model import Os, Target
from tests.unit.run.factory import plan as a_plan

GROUP = "/subscriptions/s1/resourceGroups/rg-Web"
WEEKLY = f"{GROUP}/providers/Microsoft.Maintenance/maintenanceConfigurations/weekly"


def vm(name: str = "web1", system: Os = Os.LINUX, **tags: str) -> Target:
    identity = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/{name}"
    return Target(identity, "s1", "prod", "rg-web", name, "westeurope", system, tags=tags)


def plan_of(*targets: Target, purpose: str = "patching") -> Plan:
    made = a_plan(1)
    return replace(made, targets=targets, playbook=replace(made.playbook, purpose=purpose))


def found(target: Target, settings: PatchSettings | None, purpose: str = "patching") -> Finding:
    known = {} if settings is None else {target.key: settings}
    [finding] = patchers.examine(plan_of(target, purpose=purpose), Patching(known))
    return finding


@pytest.mark.parametrize(
    ("system", "settings", "level", "said"),
    [
        (Os.LINUX, PatchSettings("AutomaticByPlatform"), Level.NOTE, "Azure also patches them"),
        (Os.WINDOWS, PatchSettings("automaticbyplatform"), Level.NOTE, "Azure also patches them"),
        (Os.LINUX, PatchSettings("AutomaticByPlatform", True), Level.OK, "of a maintenance configuration only"),
        (Os.WINDOWS, PatchSettings("AutomaticByOS"), Level.NOTE, "Windows also patches itself"),
        (Os.WINDOWS, PatchSettings("", automatic=True), Level.NOTE, "Windows also patches itself"),
        (Os.WINDOWS, PatchSettings("", automatic=False), Level.OK, "neither Azure nor Windows"),
        (Os.WINDOWS, PatchSettings("Manual", automatic=False), Level.OK, "neither Azure nor Windows"),
        (Os.WINDOWS, PatchSettings(), Level.UNCHECKED, "does not say whether they patch themselves"),
        (Os.LINUX, PatchSettings("ImageDefault"), Level.OK, "the image may"),
        (Os.LINUX, PatchSettings(), Level.OK, "the image may"),
        (Os.LINUX, PatchSettings("ByMagic"), Level.UNCHECKED, "does not know their patch mode 'ByMagic'"),
        (Os.LINUX, None, Level.UNCHECKED, "Resource Graph does not list them"),
    ],
)
def test_each_patch_mode_says_what_it_means(
    system: Os, settings: PatchSettings | None, level: Level, said: str
) -> None:
    """Only a patcher that acts by itself is a note; what is not known is never taken for nobody."""
    finding = found(vm(system=system), settings)
    assert (finding.level, said in finding.what) == (level, True)
    assert bool(finding.next) == (level is not Level.OK)


def test_another_playbook_gets_facts_and_no_warning() -> None:
    """What is a note for a playbook that patches is a fact for one that does not, with nothing to do."""
    finding = found(vm(), PatchSettings("AutomaticByPlatform"), purpose="")
    assert (finding.level, finding.next) == (Level.OK, "")
    assert patchers.warnings(plan_of(vm(), purpose=""), Patching()) == ()
    assert patchers.warnings(plan_of(vm()), Patching(settings_why="HTTP 403 Forbidden"))[0].what.endswith("Forbidden")


@pytest.mark.parametrize(
    ("purposes", "levels"),
    [
        ({WEEKLY.casefold(): "InGuestPatch"}, [Level.NOTE]),
        ({WEEKLY.casefold(): "inguestpatch"}, [Level.NOTE]),
        ({WEEKLY.casefold(): "Host"}, []),
        ({}, [Level.NOTE]),
    ],
)
def test_only_configurations_for_guests_patch(purposes: Mapping[str, str], levels: list[Level]) -> None:
    """One for hosts is no patcher of the guest; one of unknown purpose is said to be unknown."""
    target = vm()
    known = {target.key: PatchSettings("ImageDefault")}
    told = patchers.warnings(plan_of(target), Patching(known, (Assignment(target.id, WEEKLY),), purposes))
    assert [finding.level for finding in told] == levels
    assert all(
        "weekly" in finding.what and finding.next.endswith("-g rg-Web -n weekly --subscription s1") for finding in told
    )
    assert all(("not known" in finding.what) is not purposes for finding in told if not purposes)


def test_unread_assignments_are_said_once_for_all() -> None:
    """A refused question is one finding over every target."""
    targets = (vm("web1"), vm("web2"))
    known = {target.key: PatchSettings("ImageDefault") for target in targets}
    [finding] = patchers.warnings(plan_of(*targets), Patching(known, assignments_why="HTTP 403 AuthorizationFailed"))
    assert (finding.level, finding.targets) == (Level.UNCHECKED, targets)
    assert "HTTP 403 AuthorizationFailed" in finding.what


@pytest.mark.parametrize(
    ("place", "scope", "fits"),
    [
        (f"{GROUP}/providers/Microsoft.Compute/virtualMachines/WEB1", None, True),
        (f"{GROUP}/providers/Microsoft.Compute/virtualMachines/web10", None, False),
        ("/subscriptions/s1", Scope(), True),
        ("/subscriptions/s10", Scope(), False),
        ("/subscriptions/S1/resourcegroups/RG-WEB", Scope(), True),
        ("/subscriptions/s1/resourceGroups/rg", Scope(), False),
        ("/subscriptions/s1", Scope(types=("Microsoft.Compute/virtualMachines",)), True),
        ("/subscriptions/s1", Scope(types=("Microsoft.HybridCompute/machines",)), False),
        ("/subscriptions/s1", Scope(groups=("RG-web", "other")), True),
        ("/subscriptions/s1", Scope(groups=("other",)), False),
        ("/subscriptions/s1", Scope(systems=("Linux",)), True),
        ("/subscriptions/s1", Scope(systems=("Windows",)), False),
        ("/subscriptions/s1", Scope(locations=("West Europe",)), True),
        ("/subscriptions/s1", Scope(locations=("northeurope",)), False),
        ("/subscriptions/s1", Scope(tags={"ENV": ("prod", "test"), "ring": ("a",)}), True),
        ("/subscriptions/s1", Scope(tags={"env": ("prod",), "ring": ("b",)}), False),
        ("/subscriptions/s1", Scope(tags={"env": ("prod",), "ring": ("b",)}, is_any_tag=True), True),
        ("/subscriptions/s1", Scope(tags={"absent": ("x",)}, is_any_tag=True), False),
    ],
)
def test_an_assignment_reaches_what_its_place_and_scope_say(place: str, scope: Scope | None, fits: bool) -> None:
    """A direct one reaches its VM; a dynamic one every VM of its place that fits each condition given."""
    assert is_assigned(Assignment(place, WEEKLY, scope), vm("web1", env="prod", ring="a")) is fits
