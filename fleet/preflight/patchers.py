"""Who else patches the VMs of a plan: Azure, the operating system, or a maintenance configuration.

A run that patches and another patcher on the same VM wait for each other's locks, install what was to be left alone, or
restart the VM under the other's hands. Fleet says who they are; it changes none of their settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from fleet.plan.model import Plan
from fleet.preflight.finding import Check, Finding, Level, joined
from fleet.targets.glob import same_case
from fleet.targets.model import Kind, Os, Target

PURPOSE = "patching"
"""The value of a playbook's label ``purpose`` that says that it installs updates."""

_PLATFORM, _SYSTEM, _IMAGE, _MANUAL = "automaticbyplatform", "automaticbyos", "imagedefault", "manual"

_TYPES = {Kind.VM: "microsoft.compute/virtualmachines", Kind.ARC: "microsoft.hybridcompute/machines"}
"""The kinds whose guests Azure patches; instances of uniform scale sets get new images instead (documented)."""


@dataclass(frozen=True, slots=True)
class PatchSettings:
    """What a VM's model says of its updates. ``mode`` is as Azure writes it, empty where none is set.

    ``on_schedule`` is ``bypassPlatformSafetyChecksOnUserSchedule``: Azure installs at the times of a maintenance
    configuration only. ``automatic`` is Windows' ``enableAutomaticUpdates``, None where it is not told.
    """

    mode: str = ""
    on_schedule: bool = False
    automatic: bool | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """The condition of an assignment to a subscription or group. What is empty fits any VM; compared without case."""

    types: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    is_any_tag: bool = False
    """One tag suffices; otherwise each must fit."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A maintenance configuration and what it is assigned to: the id of a VM, a resource group or a subscription."""

    place: str
    configuration: str
    scope: Scope | None = None


@dataclass(frozen=True, slots=True)
class Patching:
    """What could be read about other patchers. A ``why`` is empty where the question was answered."""

    settings: Mapping[str, PatchSettings] = field(default_factory=dict)
    """By the target's key."""
    assignments: tuple[Assignment, ...] = ()
    purposes: Mapping[str, str] = field(default_factory=dict)
    """What each configuration is for (``maintenanceScope``), by its id in one case."""
    settings_why: str = ""
    assignments_why: str = ""
    purposes_why: str = ""


def is_patching(plan: Plan) -> bool:
    """Whether the playbook says that it installs updates: its label ``purpose`` is ``patching``."""
    return plan.playbook.purpose == PURPOSE


def examine(plan: Plan, patching: Patching) -> tuple[Finding, ...]:
    """Say who else patches the targets; for a playbook that patches those are notes, for others facts."""
    level = Level.NOTE if is_patching(plan) else Level.OK
    targets = [target for target in plan.targets if target.kind in _TYPES]
    found = joined([*_modes(targets, patching, level), *_assigned(targets, patching, level)])
    return tuple(replace(finding, next="") if finding.level is Level.OK else finding for finding in found)


def warnings(plan: Plan, patching: Patching) -> tuple[Finding, ...]:
    """Return what somebody who is about to patch must know: other patchers, and questions that were not answered."""
    found = examine(plan, patching) if is_patching(plan) else ()
    return tuple(finding for finding in found if finding.level is not Level.OK)


# -- patch modes -----------------------------------------------------------------------------------------------------

_ONE_PATCHER = "let one of them patch: leave these VMs out (--exclude), or change their patch mode (docs/patching.md)"


def _modes(targets: Iterable[Target], patching: Patching, level: Level) -> Iterator[Finding]:
    for target in targets:
        settings = patching.settings.get(target.key)
        if settings is None:
            why = patching.settings_why or "Resource Graph does not list them"
            hint = "look at Updates in the portal, or give the principal the role of `fleet rbac`"
            text = f"whether they patch themselves is not known: {why}"
            yield Finding(Check.PATCHING, Level.UNCHECKED, text, hint, targets=(target,))
        else:
            yield _mode(target, settings, level)


def _mode(target: Target, settings: PatchSettings, level: Level) -> Finding:
    def say(at: Level, what: str, hint: str = "") -> Finding:
        return Finding(Check.PATCHING, at, what, hint, targets=(target,))

    match same_case(settings.mode) or _unset(target, settings):
        case str(mode) if mode == _PLATFORM:
            if settings.on_schedule:
                return say(Level.OK, "Azure patches them at the times of a maintenance configuration only")
            text = "Azure also patches them, at times of its own, and may restart them (AutomaticByPlatform)"
            return say(level, text, _ONE_PATCHER)
        case str(mode) if mode == _SYSTEM:
            text = "Windows also patches itself, at times of its own, and may restart (AutomaticByOS)"
            return say(level, text, _ONE_PATCHER)
        case str(mode) if mode == _IMAGE:
            return say(Level.OK, "Azure does not patch them (ImageDefault); the image may, as by unattended-upgrades")
        case str(mode) if mode == _MANUAL:
            return say(Level.OK, "neither Azure nor Windows patches them (Manual)")
        case "":
            hint = "look at Updates in the portal"
            return say(Level.UNCHECKED, "Azure does not say whether they patch themselves", hint)
        case _:
            hint = "look at Updates in the portal"
            return say(Level.UNCHECKED, f"Fleet does not know their patch mode {settings.mode!r}", hint)


def _unset(target: Target, settings: PatchSettings) -> str:
    """Return what holds where no mode is set (documented): Linux leaves it to the image, Windows has its own switch."""
    if target.os is Os.LINUX:
        return _IMAGE
    if settings.automatic is None:
        return ""
    return _SYSTEM if settings.automatic else _MANUAL


# -- maintenance configurations --------------------------------------------------------------------------------------


def _assigned(targets: Iterable[Target], patching: Patching, level: Level) -> Iterator[Finding]:
    chosen = list(targets)
    if patching.assignments_why and chosen:
        text = f"whether a maintenance configuration is assigned is not known: {patching.assignments_why}"
        hint = "give the principal the role of `fleet rbac`, or look at Updates in the portal"
        yield Finding(Check.PATCHING, Level.UNCHECKED, text, hint, targets=tuple(chosen))
    for assignment in patching.assignments:
        purpose = patching.purposes.get(same_case(assignment.configuration))
        if purpose is not None and same_case(purpose) != "inguestpatch":
            continue  # it cares for hosts, images or databases, not for the guest's updates
        fitting = tuple(target for target in chosen if is_assigned(assignment, target))
        if fitting:
            name = assignment.configuration.rpartition("/")[2]
            how = ", by its dynamic scope" if assignment.scope else ""
            text = f"maintenance configuration {name} may also patch and restart them{how}"
            if purpose is None:
                why = patching.purposes_why or "it cannot be read"
                text = f"maintenance configuration {name} is assigned{how}; what it does is not known: {why}"
            hint = f"keep out of its times: {_show(assignment.configuration)}"
            yield Finding(Check.PATCHING, level, text, hint, targets=fitting)


def _show(configuration: str) -> str:
    """Return the command that shows a configuration with its times."""
    command, parts = "az maintenance configuration show", configuration.strip("/").split("/")
    if len(parts) != 8:
        return f"{command} --ids {configuration}"
    return f"{command} -g {parts[3]} -n {parts[7]} --subscription {parts[1]}"


def is_assigned(assignment: Assignment, target: Target) -> bool:
    """Whether an assignment reaches a VM: it, its group or its subscription is named, and the condition fits."""
    place = same_case(assignment.place).rstrip("/")
    if assignment.scope is None:
        return place == target.key
    if not f"{target.key}/".startswith(f"{place}/"):
        return False
    scope = assignment.scope
    return (
        _has(scope.types, _TYPES[target.kind])
        and _has(scope.groups, target.resource_group)
        and _has(scope.systems, target.os.value)
        and _has([place.replace(" ", "") for place in scope.locations], target.location.replace(" ", ""))
        and _has_tags(scope, target)
    )


def _has(wanted: Iterable[str], value: str) -> bool:
    names = {same_case(name) for name in wanted}
    return not names or same_case(value) in names


def _has_tags(scope: Scope, target: Target) -> bool:
    if not scope.tags:
        return True
    tags = {same_case(name): value for name, value in target.tags.items()}
    found = [tags.get(same_case(name)) in values for name, values in scope.tags.items()]
    return any(found) if scope.is_any_tag else all(found)
