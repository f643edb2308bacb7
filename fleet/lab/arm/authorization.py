"""Which right a request needs, and how rights, locks and policies refuse it. Pure."""

from __future__ import annotations

import json

from fleet.lab.arm.routes import Call
from fleet.lab.wire import Answer, denied, gateway, refusal
from fleet.lab.world.access import Chain, Scope

_WORDS = {
    Call.GROUP: "Microsoft.Resources/subscriptions/resourceGroups/read",
    Call.VMS: "Microsoft.Compute/virtualMachines/read",
    Call.VMS_OF_GROUP: "Microsoft.Compute/virtualMachines/read",
    Call.SETS: "Microsoft.Compute/virtualMachineScaleSets/read",
    Call.SET: "Microsoft.Compute/virtualMachineScaleSets/read",
    Call.INSTANCES: "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/read",
    Call.ARC_MACHINES: "Microsoft.HybridCompute/machines/read",
    Call.BUILTIN: "Microsoft.Compute/locations/runCommands/read",
    Call.BUILTINS: "Microsoft.Compute/locations/runCommands/read",
    Call.PERMISSIONS: "Microsoft.Authorization/permissions/read",
    Call.LOCKS: "Microsoft.Authorization/locks/read",
    Call.INTERFACE: "Microsoft.Network/networkInterfaces/read",
    Call.INTERFACES: "Microsoft.Network/networkInterfaces/read",
    Call.ADDRESSES: "Microsoft.Network/publicIPAddresses/read",
    Call.EXTENSIONS: "Microsoft.Compute/virtualMachines/extensions/read",
    Call.TAG_NAMES: "Microsoft.Resources/subscriptions/tagNames/read",
}
_BELOW_A_MACHINE = {
    Call.VM: "read",
    Call.VM_VIEW: "instanceView/read",
    Call.ACT: "runCommand/action",
    Call.COMMANDS: "runCommands/read",
    Call.COMMAND: "runCommands/read",
    Call.COMMAND_PUT: "runCommands/write",
    Call.COMMAND_PATCH: "runCommands/write",
    Call.COMMAND_DELETE: "runCommands/delete",
}
_HOLDERS = (
    ("/microsoft.hybridcompute/", "Microsoft.HybridCompute/machines"),
    ("/virtualmachinescalesets/", "Microsoft.Compute/virtualMachineScaleSets/virtualMachines"),
    ("", "Microsoft.Compute/virtualMachines"),
)


def action_of(call: Call, path: str) -> str:
    """Return the action that a request needs; "" for one that everybody may send (documented: by path and method)."""
    folded = path.casefold()
    if call is Call.OPERATION:
        hybrid = "/microsoft.hybridcompute/" in folded
        provider = "Microsoft.HybridCompute" if hybrid else "Microsoft.Compute"
        return f"{provider}/locations/{'operationstatus' if hybrid else 'operations'}/read"
    if call is Call.POWER:
        return f"Microsoft.Compute/virtualMachines/{path.rstrip('/').rpartition('/')[2]}/action"
    if call in _BELOW_A_MACHINE:
        holder = next(name for part, name in _HOLDERS if part in folded)
        return f"{holder}/{_BELOW_A_MACHINE[call]}"
    return _WORDS.get(call, "")


_WRITES = {Call.COMMAND_PUT, Call.COMMAND_PATCH, Call.ACT, Call.POWER}


def refused(call: Call, chain: Chain, resource: str) -> Answer | None:
    """Refuse what a lock or a policy above a resource forbids, or return None (texts as users posted them)."""
    word = "delete" if call is Call.COMMAND_DELETE else "write" if call in _WRITES else ""
    if not word:
        return None
    holding = ("ReadOnly",) if word == "write" else ("ReadOnly", "CanNotDelete")
    locked = [scope.id for scope in chain if scope.access.lock in holding]
    if locked:
        text = (
            f"The scope '{resource}' cannot perform {word} operation because following scope(s) are locked: "
            f"'{','.join(locked)}'. Please remove the lock and try again."
        )
        return denied(409, "ScopeLocked", text)
    denying = next((scope for scope in chain if scope.access.policy), None)
    if denying is None or call not in (Call.COMMAND_PUT, Call.COMMAND_PATCH):
        return None
    return _disallowed(denying, resource.rpartition("/")[2])


def _disallowed(scope: Scope, name: str) -> Answer:
    """Refuse by policy: a PUT or PATCH of a resource, never an action (documented)."""
    policy = scope.access.policy
    place = f"{scope.id}/providers/Microsoft.Authorization"
    assignment = {"name": policy, "id": f"{place}/policyAssignments/{policy}"}
    definition = {"name": policy, "id": f"{place}/policyDefinitions/{policy}", "version": "1.0.0"}
    identifiers = [{"policyAssignment": assignment, "policyDefinition": definition}]
    text = (
        f"Resource '{name}' was disallowed by policy. Policy identifiers: "
        f"'{json.dumps(identifiers, separators=(',', ':'))}'."
    )
    info = {
        "type": "PolicyViolation",
        "info": {
            "policyDefinitionName": policy,
            "policyDefinitionId": definition["id"],
            "policyDefinitionEffect": "deny",
            "policyAssignmentName": policy,
            "policyAssignmentId": assignment["id"],
            "policyAssignmentScope": scope.id,
        },
    }
    body = refusal("RequestDisallowedByPolicy", text, target=name, additionalInfo=[info])
    return gateway(403, body, {"x-ms-failure-cause": "gateway"})


def forbidden(action: str, scope: str, principal: str) -> Answer:
    """Refuse a caller who lacks a right (recorded text)."""
    text = (
        f"The client '{principal}' with object id '{principal}' does not have authorization to perform action "
        f"'{action}' over scope '{scope}' or the scope is invalid. If access was recently granted, please refresh "
        "your credentials."
    )
    return denied(403, "AuthorizationFailed", text)
