"""What stands in a run's way, from facts that were read beforehand: verdicts, and nothing is asked here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from fleet.errors import ExitCode
from fleet.plan.languages import reach
from fleet.plan.model import Plan
from fleet.plan.transport import is_action
from fleet.preflight import compatibility, locks, patchers
from fleet.preflight.facts import Agent, Condition, Facts, Permissions, Principal
from fleet.preflight.finding import BLOCKING as BLOCKING
from fleet.preflight.finding import Check as Check
from fleet.preflight.finding import Finding as Finding
from fleet.preflight.finding import Level as Level
from fleet.preflight.finding import joined
from fleet.preflight.rights import DOCTOR, PATCHERS, Reach, Right, missing, rights
from fleet.targets.kinds import USUAL
from fleet.targets.model import VM_UNREADABLE, Kind, Os, Power, Target, UnreadScope

SLOTS = 25
"""Managed commands that a VM can hold (documented)."""

OWN = "fleet-"
"""How the names of Fleet's own managed commands begin."""

OLDEST_AGENT = (2, 4, 0, 2)
"""The oldest Linux agent that runs managed commands (documented)."""


def needed(plan: Plan) -> tuple[Right, ...]:
    """Return the rights that a plan's steps need, on whatever kinds of machines it has."""
    return rights(plan.steps, plan.transport, {target.kind for target in plan.targets} or USUAL)


def _needed_on(plan: Plan) -> Mapping[Kind, tuple[Right, ...]]:
    """Return, for each kind, the rights that must hold on a machine of it."""
    return {
        kind: tuple(right for right in rights(plan.steps, plan.transport, {kind}) if right.reach is Reach.VM)
        for kind in Kind
    }


def uses_managed(plan: Plan) -> bool:
    """Say whether any step travels as a managed command, and so takes one of a VM's places for them."""
    return any(not is_action(step, plan.transport) for step in plan.steps)


# -- what to ask -----------------------------------------------------------------------------------------------------


def to_ask(plan: Plan, principals: Iterable[Principal], known: Iterable[Permissions]) -> tuple[tuple[int, str], ...]:
    """Return the principals and scopes whose permissions are to be asked for next, none if all is known.

    Rights are inherited downwards, so a group is asked only where its subscription does not tell or not suffice, and a
    VM only where its group does not suffice.
    """
    told = {(item.principal, item.scope): item.grants for item in known}
    vital = _needed_on(plan)
    wanted: dict[tuple[int, str], None] = {}
    for principal in principals:
        for target in () if principal.problem else plan.targets:
            for scope in _scopes(target):
                key = (principal.number, scope)
                if key not in told:
                    wanted[key] = None
                    break
                grants = told[key]
                enough = grants is not None and not missing(vital[target.kind], grants)
                if enough or (grants is None and scope != _top(target)):
                    break
    return tuple(wanted)


def _top(target: Target) -> str:
    return f"/subscriptions/{target.subscription}"


def _scopes(target: Target) -> tuple[str, str, str]:
    return _top(target), f"{_top(target)}/resourceGroups/{target.resource_group}", target.id


# -- what was found --------------------------------------------------------------------------------------------------


def examine(plan: Plan, facts: Facts) -> tuple[Finding, ...]:
    """Return every finding, alike ones joined, in the order of the checks."""
    found = [
        *map(_signed_in, facts.principals),
        *_subscriptions(plan),
        *_rights(plan, facts),
        *(finding for condition in facts.conditions for finding in _condition(condition, uses_managed(plan))),
        *locks.examine(plan, facts.locks),
        *_patching(plan, facts),
        *_playbook(plan, facts),
    ]
    return tuple(sorted(joined(found), key=lambda finding: list(Check).index(finding.check)))


def kept_out(findings: Iterable[Finding]) -> frozenset[Target]:
    """Return the targets that would not be reached."""
    return frozenset(target for finding in findings if finding.level in BLOCKING for target in finding.targets)


def exit_code(findings: Iterable[Finding]) -> ExitCode:
    """Return 7 for sign-in and rights, else 2 for the playbook, else 4 for targets out of reach, else 0."""
    codes = {
        Level.RIGHTS: ExitCode.AZURE_UNUSABLE,
        Level.PLAYBOOK: ExitCode.USAGE,
        Level.UNREACHABLE: ExitCode.NOT_REACHED,
    }
    levels = {finding.level for finding in findings}
    return next((codes[level] for level in BLOCKING if level in levels), ExitCode.OK)


def _signed_in(principal: Principal) -> Finding:
    subject = f"principal {principal.number + 1}"
    if principal.problem:
        hint = "the others of the pool carry the run; mend azure.credential, or take this one out"
        return Finding(Check.SIGN_IN, Level.NOTE, f"cannot sign in: {principal.problem}", hint, subject)
    ids = (("tenant", principal.tenant), ("object", principal.object_id), ("application", principal.application))
    who = ", ".join(f"{name} {value}" for name, value in ids if value)
    return Finding(Check.SIGN_IN, Level.OK, f"signed in: {who or 'its token does not say as whom'}", subject=subject)


_CLOSED = ("authoriz", "authentic")


def _subscriptions(plan: Plan) -> Iterator[Finding]:
    for scope in plan.unread:
        yield _unread(scope)
    closed = {scope.subscription for scope in plan.unread if not scope.subject}
    for identity, name in dict.fromkeys((target.subscription, target.subscription_name) for target in plan.targets):
        if identity not in closed:
            yield Finding(Check.SUBSCRIPTION, Level.OK, "readable", subject=f"subscription {name or identity}")


def _unread(scope: UnreadScope) -> Finding:
    if scope.subject:
        check = Check.VM if scope.code == VM_UNREADABLE else Check.SUBSCRIPTION
        hint = "look at it in the portal, or leave it out with --exclude"
        return Finding(check, Level.UNREACHABLE, f"could not be read: {scope.message}", hint, scope.subject)
    refused = any(word in scope.code.casefold() for word in _CLOSED)
    hint = "give the principal the role of `fleet rbac` there" if refused else "try again, or see whether it is enabled"
    return Finding(
        Check.SUBSCRIPTION,
        Level.RIGHTS if refused else Level.UNREACHABLE,
        f"not readable, or not wholly: {scope.code}: {scope.message}",
        hint,
        f"subscription {scope.name or scope.subscription}",
    )


# -- rights ----------------------------------------------------------------------------------------------------------


def _rights(plan: Plan, facts: Facts) -> Iterator[Finding]:
    present = [principal.number for principal in facts.principals if not principal.problem]
    told = {(item.principal, item.scope): item for item in facts.permissions}
    silent = {number: why for number in present if (why := _silence(facts, number))}
    for number, why in silent.items():
        text = f"principal {number + 1}: rights could not be checked: {why}"
        yield Finding(Check.RIGHTS, Level.UNCHECKED, text, _ASK_RIGHTS, targets=plan.targets)
    present = [number for number in present if number not in silent]
    yield from _rights_above(plan, present, told)
    wanted = {kind: [right for right in found if right.vital] for kind, found in _needed_on(plan).items()}
    for target in plan.targets:
        lacking = {number: _lacking(wanted[target.kind], target, number, told) for number in present}
        for number, lack in lacking.items():
            yield _rights_at(target, number, lack, pooled=any(other == () for other in lacking.values()))


def _silence(facts: Facts, number: int) -> str:
    """Return why nothing at all is known of what a principal may do, where each question got that one answer."""
    items = [item for item in facts.permissions if item.principal == number]
    reasons = {item.why for item in items if item.grants is None}
    return reasons.pop() if items and len(reasons) == 1 and all(item.grants is None for item in items) else ""


_ASK_RIGHTS = f"reading them needs {DOCTOR.action}"

Told = Mapping[tuple[int, str], Permissions]


def _lacking(wanted: Iterable[Right], target: Target, number: int, told: Told) -> tuple[Right, ...] | str:
    """Return the rights that are missing on a machine, or why that is not known."""
    items = [told[number, scope] for scope in _scopes(target) if (number, scope) in told]
    grants = [grant for item in items for grant in item.grants or ()]
    if items and any(item.grants is not None for item in items):
        lack = missing(wanted, grants)
        if not lack or items[-1].grants is not None:
            return lack
    return next((item.why for item in reversed(items) if item.why), "not asked")


def _rights_at(target: Target, number: int, lack: tuple[Right, ...] | str, *, pooled: bool) -> Finding:
    who = f"principal {number + 1}"
    if isinstance(lack, str):
        text = f"{who}: rights could not be checked: {lack}"
        return Finding(Check.RIGHTS, Level.UNCHECKED, text, _ASK_RIGHTS, targets=(target,))
    if not lack:
        return Finding(Check.RIGHTS, Level.OK, f"{who} has the rights on these VMs", targets=(target,))
    text = f"{who} lacks {', '.join(right.action for right in lack)}"
    if pooled:
        return Finding(Check.RIGHTS, Level.NOTE, text, "others of the pool have them and step in", targets=(target,))
    return Finding(Check.RIGHTS, Level.RIGHTS, text, "assign the role that `fleet rbac` prints", targets=(target,))


def _rights_above(plan: Plan, present: list[int], told: Told) -> Iterator[Finding]:
    """Look at the rights that only hold on a whole subscription; a group's permissions say nothing of them."""
    wanted = [right for right in needed(plan) if right.reach is Reach.SUBSCRIPTION]
    for identity, name in dict.fromkeys((target.subscription, target.subscription_name) for target in plan.targets):
        subject = f"subscription {name or identity}"
        items = {number: told.get((number, f"/subscriptions/{identity}")) for number in present}
        everybody = [
            set(missing(wanted, item.grants)) for item in items.values() if item is not None and item.grants is not None
        ]
        for number, item in items.items():
            who = f"principal {number + 1}"
            if item is None or item.grants is None:
                text = f"{who}: rights on the subscription could not be checked: {item.why if item else 'not asked'}"
                yield Finding(Check.RIGHTS, Level.UNCHECKED, text, _ASK_RIGHTS, subject)
                continue
            for right in missing(wanted, item.grants):
                alone = right.vital and len(everybody) == len(items) and all(right in lack for lack in everybody)
                level = Level.RIGHTS if alone else Level.NOTE
                text = f"{who} lacks {right.action}: {right.reason}"
                yield Finding(Check.RIGHTS, level, text, "assign the role on the whole subscription", subject)


def _patching(plan: Plan, facts: Facts) -> tuple[Finding, ...]:
    """Resource Graph leaves out what may not be read without a word, so what is missing counts for nothing then."""
    if facts.patching is None:
        return ()
    granted = [item.grants for item in facts.permissions if item.principal == 0 and item.scope.count("/") == 2]
    lack = [right for grants in granted if grants is not None for right in missing(PATCHERS, grants)]
    why = facts.patching.assignments_why or (f"principal 1 lacks {lack[0].action}" if lack else "")
    return patchers.examine(plan, replace(facts.patching, assignments_why=why))


# -- VMs -------------------------------------------------------------------------------------------------------------


def _condition(condition: Condition, managed: bool) -> Iterator[Finding]:
    def say(check: Check, level: Level, what: str, hint: str = "", names: tuple[str, ...] = ()) -> Finding:
        return Finding(check, level, what, hint, targets=(condition.target,), names=names)

    if condition.gone:
        yield say(Check.VM, Level.UNREACHABLE, "there is no such VM any more", "leave it out with --exclude")
        return
    if condition.why:
        yield say(Check.VM, Level.UNCHECKED, f"its state could not be read: {condition.why}", "try again")
    else:
        yield _power(condition, say)
        if condition.power is Power.RUNNING:
            yield _agent(condition, managed, say)
        if condition.target.kind is not Kind.ARC:  # whose agent takes commands itself, without Compute's extensions
            yield _extensions(condition, say)
    if managed:
        yield _slots(condition, say)


Say = Callable[..., Finding]


def _extensions(condition: Condition, say: Say) -> Finding:
    if condition.extensions is False:
        hint = "az vm update --set osProfile.allowExtensionOperations=true"
        return say(Check.EXTENSIONS, Level.UNREACHABLE, "extension operations are switched off on the VM", hint)
    return say(Check.EXTENSIONS, Level.OK, "extension operations are allowed")


def _power(condition: Condition, say: Say) -> Finding:
    match condition.power:
        case Power.RUNNING:
            return say(Check.POWER, Level.OK, "running")
        case Power.STARTING:
            return say(Check.POWER, Level.NOTE, "still starting; a script waits until it is up")
        case Power.UNKNOWN:
            return say(Check.POWER, Level.UNCHECKED, "no power state is told", "look at the VM in the portal")
        case Power.CONNECTED:
            return say(Check.POWER, Level.OK, "connected")
        case Power.DISCONNECTED | Power.EXPIRED as state:
            hint = "start it and see that its Connected Machine agent reaches Azure (azcmagent show), or leave it out"
            return say(Check.POWER, Level.UNREACHABLE, state.value, hint)
        case state:
            verb = "az vmss start --instance-ids" if condition.target.kind is Kind.SCALE_SET else "az vm start"
            return say(Check.POWER, Level.UNREACHABLE, state.value, f"start it ({verb}), or leave it out")


def _agent(condition: Condition, managed: bool, say: Say) -> Finding:
    if condition.agent is Agent.READY:
        old = managed and condition.target.os is Os.LINUX and _version(condition.agent_version) < OLDEST_AGENT
        if old:
            text = f"agent {condition.agent_version} is older than 2.4.0.2, which managed commands need"
            return say(Check.AGENT, Level.NOTE, text, "update the agent in the VM, or use --transport action")
        return say(Check.AGENT, Level.OK, "agent ready")
    if condition.agent is Agent.UNKNOWN:
        return say(Check.AGENT, Level.UNCHECKED, "no agent state is told", "look at the VM in the portal")
    what = "agent not ready" if condition.agent is Agent.NOT_READY else "no agent has reported"
    hint = "after a start wait some minutes; else restart the agent in the VM, and see that it reaches Azure by 443"
    return say(Check.AGENT, Level.UNREACHABLE, what, hint)


def _version(text: str) -> tuple[int, ...]:
    parts = text.split(".")
    return tuple(map(int, parts)) if text and all(part.isascii() and part.isdigit() for part in parts) else OLDEST_AGENT


def _slots(condition: Condition, say: Say) -> Finding:
    if condition.commands is None:
        text = f"managed commands could not be counted: {condition.commands_why or 'not read'}"
        return say(Check.SLOTS, Level.UNCHECKED, text, "try again")
    own = tuple(name for name in condition.commands if name.startswith(OWN))
    runs = ", ".join(sorted({name.removeprefix(OWN).rpartition("-")[0] for name in own}))
    # The number is documented for VMs and their like; for Arc machines nothing is.
    if len(condition.commands) >= SLOTS and condition.target.kind is not Kind.ARC:
        hint = "make room with fleet commands delete" + (f"; those of run {runs} are Fleet's" if own else "")
        text = f"all {SLOTS} places for managed commands are taken"
        return say(Check.SLOTS, Level.UNREACHABLE, text, hint, own)
    if own:
        text = f"a managed command of run {runs} is there: under way, or left behind"
        return say(Check.SLOTS, Level.NOTE, text, "fleet commands delete --leftovers removes what was left behind", own)
    return say(Check.SLOTS, Level.OK, "room for managed commands")


# -- playbook --------------------------------------------------------------------------------------------------------


def _playbook(plan: Plan, facts: Facts) -> Iterator[Finding]:
    for step in plan.steps:
        for system in Os:
            targets = tuple(target for target in plan.targets if target.os is system)
            if targets:
                size = facts.sizes.get((step.id, system), 0)
                for misfit in compatibility.misfits(plan, step, system, size):
                    level = Level.PLAYBOOK if misfit.fatal else Level.NOTE
                    what = f"step {step.id!r}: {misfit.what}"
                    found = targets if misfit.kind != "shell" else tuple(reach(plan.steps, step, system, targets))
                    if found:
                        yield Finding(Check(misfit.kind), level, what, misfit.next, targets=found)
