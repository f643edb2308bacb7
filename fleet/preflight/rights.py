"""Which rights a playbook's steps need, and why: the smallest role that can carry them.

Azure Resource Manager derives the action of a call from its path and method, so the list follows from the calls that
Fleet makes and from nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fleet.plan.transport import Carried, is_action
from fleet.playbook.model import Properties, Transport
from fleet.targets.kinds import USUAL
from fleet.targets.model import Kind

_VM = "Microsoft.Compute/virtualMachines"
_INSTANCE = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines"
_ARC = "Microsoft.HybridCompute/machines"
_TYPES = {Kind.VM: _VM, Kind.SCALE_SET: _INSTANCE, Kind.ARC: _ARC}
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)

OPERATIONS = "Microsoft.Compute/locations/operations/read"
"""The right to follow what was started. Its scope is the subscription, never a resource group (documented:
"Permission for tracking" of asynchronous operations)."""

_OPERATIONS = {
    Kind.VM: OPERATIONS,
    Kind.SCALE_SET: OPERATIONS,
    Kind.ARC: "Microsoft.HybridCompute/locations/operationstatus/read",
}
"""By the paths of operation URLs (recorded)."""


class Reach(StrEnum):
    """Where a right must hold: on each VM (or its group), or on the whole subscription."""

    VM = "vm"
    SUBSCRIPTION = "subscription"


@dataclass(frozen=True, slots=True)
class Right:
    """One action, why it is needed, and where. ``vital``: without it a step cannot be sent, or its end not be seen."""

    action: str
    reason: str
    reach: Reach = Reach.VM
    vital: bool = True


FINDING = (
    Right("Microsoft.Resources/subscriptions/read", "find subscriptions by name", Reach.SUBSCRIPTION, vital=False),
    Right(
        "Microsoft.ResourceGraph/resources/read",
        "search VMs; without it they are listed subscription by subscription",
        Reach.SUBSCRIPTION,
        vital=False,
    ),
)

_FINDING_KIND = {
    Kind.VM: (Right(f"{_VM}/read", "find VMs, and read their power and agent state"),),
    Kind.SCALE_SET: (
        Right("Microsoft.Compute/virtualMachineScaleSets/read", "find uniform scale sets"),
        Right(f"{_INSTANCE}/read", "find instances of scale sets, and read their power and agent state"),
    ),
    Kind.ARC: (Right(f"{_ARC}/read", "find Arc machines, and read whether they are connected"),),
}

BUILT_IN = Right(
    "Microsoft.Compute/locations/runCommands/read", "look up built-in commands", Reach.SUBSCRIPTION, vital=False
)


def _action(kind: Kind) -> tuple[Right, ...]:
    """The right to start, on the machine; the operation is read at the subscription's location (documented).

    Arc machines have no action, and a plan that would need it there is refused.
    """
    if kind is Kind.ARC:
        return ()
    follow = "see how an action ended: without it a script starts and nobody sees its end"
    return (
        Right(f"{_TYPES[kind]}/runCommand/action", "start a script by the action"),
        Right(_OPERATIONS[kind], follow, Reach.SUBSCRIPTION),
    )


def _managed(kind: Kind, own: Properties) -> tuple[Right, ...]:
    commands = f"{_TYPES[kind]}/runCommands"
    removal = Right(f"{commands}/delete", "remove managed commands afterwards: a VM holds 25 of them")
    return (
        Right(f"{commands}/write", "start a script by a managed command"),
        Right(f"{commands}/read", "read how a managed command ended"),
        *(() if own.command else (removal,)),  # a standing command is never deleted
        Right(_OPERATIONS[kind], "say why a managed command could not be set up", Reach.SUBSCRIPTION, vital=False),
    )


DOCTOR = Right(
    "Microsoft.Authorization/permissions/read", "let `fleet doctor` check these rights before a run", vital=False
)

LOCKS = Right(
    "Microsoft.Authorization/locks/read", "let `fleet doctor` see locks before a run", Reach.SUBSCRIPTION, False
)

PATCHERS = (
    Right(
        "Microsoft.Maintenance/configurationAssignments/read",
        "see which maintenance configurations also patch the VMs",
        Reach.SUBSCRIPTION,
        vital=False,
    ),
    Right(
        "Microsoft.Maintenance/maintenanceConfigurations/read",
        "see what those configurations do",
        Reach.SUBSCRIPTION,
        vital=False,
    ),
)
"""For playbooks that patch, and for the doctor. Resource Graph leaves out what may not be read, and does not say so."""


def rights(steps: Iterable[Carried], transport: Transport, kinds: Iterable[Kind] = USUAL) -> tuple[Right, ...]:
    """Return the rights that these steps need on machines of these kinds, each action once, with its strongest reason."""
    asked = frozenset(kinds)
    found = {right.action: right for right in FINDING}
    for kind in (kind for kind in Kind if kind in asked):
        found |= {right.action: right for right in _FINDING_KIND[kind]}
        for step in steps:
            for right in _action(kind) if is_action(step, transport) else _managed(kind, step.properties):
                if right.action not in found or right.vital:
                    found[right.action] = right
            if step.script.command_id:
                found[BUILT_IN.action] = BUILT_IN
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class Grant:
    """One permission of a principal at a scope: what a role assignment allows, less what it takes out again."""

    actions: tuple[str, ...]
    not_actions: tuple[str, ...] = ()

    def allows(self, action: str) -> bool:
        """Say whether this permission allows an action; ``*`` stands for any text, case does not count."""
        return _any(self.actions, action) and not _any(self.not_actions, action)


def missing(needed: Iterable[Right], granted: Sequence[Grant]) -> tuple[Right, ...]:
    """Return the rights that no permission allows. What one takes out, another may still allow (documented: Azure RBAC
    is additive).
    """
    return tuple(right for right in needed if not any(grant.allows(right.action) for grant in granted))


def _any(patterns: Iterable[str], action: str) -> bool:
    return any(
        re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), action, re.IGNORECASE | re.DOTALL)
        for pattern in patterns
    )


PLACEHOLDER = "/subscriptions/<subscription id>"


def scopes(subscriptions: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Turn a playbook's subscriptions into assignable scopes; return those, and the entries that are no ids.

    Only whole subscriptions: a role made for them can be assigned to a group or a VM in them as well, and the right to
    follow an operation only ever holds on a subscription.
    """
    entries = [entry for entry in dict.fromkeys(subscriptions) if not entry.startswith("!")]
    ids = [entry for entry in entries if _GUID.fullmatch(entry)]
    return tuple(f"/subscriptions/{entry}" for entry in ids), tuple(entry for entry in entries if entry not in ids)


def role(name: str, description: str, needed: Iterable[Right], scopes: Sequence[str]) -> dict[str, object]:
    """Return a custom role as ``az role definition create --role-definition @file`` reads it."""
    return {
        "Name": name,
        "IsCustom": True,
        "Description": description,
        "Actions": [right.action for right in needed],
        "NotActions": [],
        "DataActions": [],
        "NotDataActions": [],
        "AssignableScopes": list(scopes) or [PLACEHOLDER],
    }
