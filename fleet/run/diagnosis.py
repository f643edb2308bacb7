"""What a refusal of Azure means, read from its status, code and message: a cause, and a hint that names what lacks.

Everything here is a table. The first rule that fits decides. A hint is filled with what its rule's text finds in the
message: the right and its scope, the policy, the lock, the extension. Texts are those that the service sends (recorded,
documented, or pasted in public).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fleet.playbook.model import Script
from fleet.run.answers import EXTENSIONS_OFF, Refusal
from fleet.run.model import CauseCode

EXTENSIONS_HINT = (
    "install the VM agent and set osProfile.allowExtensionOperations to true, then rerun the unreachable ones"
)

LONGEST_VALUE = 300
"""Characters of a value of the message that are repeated in a hint."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The cause that a refusal has, and what to do about it; the hint is empty where only the message can say."""

    cause: CauseCode
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a refusal must have to fit, and what it then means. What is empty fits everything."""

    cause: CauseCode
    hint: str = ""
    statuses: frozenset[int] = frozenset()
    codes: frozenset[str] = frozenset()
    """In lower case."""
    text: re.Pattern[str] | None = None
    """Searched in the message. Its named groups fill the hint."""

    def read(self, status: int | None, code: str, message: str) -> Mapping[str, str] | None:
        """Return the values that fill the hint; None if the rule does not fit. Status None fits any."""
        if self.statuses and status is not None and status not in self.statuses:
            return None
        if self.codes and code.casefold() not in self.codes:
            return None
        if self.text is None:
            return {}
        found = self.text.search(message)
        return None if found is None else {name: _short(value or "") for name, value in found.groupdict().items()}


def diagnose(refusal: Refusal, script: Script | None = None) -> Diagnosis:
    """Return what a refusal means. ``script`` is what the command was to run: Azure may not know a part of it."""
    found = _diagnosis(_RULES, refusal.status, refusal.code, refusal.message, script)
    return found or Diagnosis(CauseCode.REFUSED)


def hint_of_failure(code: str, message: str) -> str:
    """Return what to do about an operation that failed with this code and message; empty if only the message can say."""
    found = _diagnosis(_FAILURES, None, code, message, None)
    return found.hint if found is not None else ""


def is_settled(refusal: Refusal) -> bool:
    """Whether a refused delete stays refused until a person changes a right, a policy, a lock or the subscription."""
    return refusal.status == 403 or refusal.code.casefold() in _SETTLED


def _diagnosis(
    rules: Sequence[Rule], status: int | None, code: str, message: str, script: Script | None
) -> Diagnosis | None:
    for rule in rules:
        values = rule.read(status, code, message)
        if values is not None:
            named = _policies(message) if rule.codes == _POLICY else ""
            return Diagnosis(rule.cause, named or rule.hint.format_map({**_named(script), **values}))
    return None


_SETTLED = frozenset(
    {"scopelocked", "requestdisallowedbypolicy", "readonlydisabledsubscription", "denyassignmentauthorizationfailed"}
)


def _short(value: str) -> str:
    text = " ".join(value.split())
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _named(script: Script | None) -> Mapping[str, str]:
    """Return how a hint names what the step asks Azure to find."""
    if script is not None and script.command_id:
        return {"source": f"check run.command_id: Azure does not know {script.command_id!r} in this region"}
    if script is not None and script.gallery:
        return {"source": f"check run.gallery: Azure does not find {script.gallery!r} in this region"}
    return {"source": "check that the VM and what the command names exist in this region"}


def _policies(message: str) -> str:
    """Return the hint of a policy's refusal: the assignments by name, with their ids where the message has them."""
    assignments = [
        f"{_short(name)} ({_short(identity)})" if identity else _short(name)
        for name, identity in dict.fromkeys(_assignments(message))
    ]
    if not assignments:
        return ""
    which = "policy assignment" if len(assignments) == 1 else "policy assignments"
    return f"the {which} {', '.join(assignments[:3])} must allow it, or exempt the VM; no role helps"


_NAMED = re.compile(r"\(policy assignment ([^()]{1,300})\)", re.IGNORECASE)
"""How the names of ``additionalInfo`` are added to a message."""

_ASSIGNMENT = re.compile(r'"policyAssignment"\s*:\s*\{([^{}]{0,2000})', re.IGNORECASE)
_NAME = re.compile(r'"name"\s*:\s*"([^"]{1,300})"', re.IGNORECASE)
_ID = re.compile(r'"id"\s*:\s*"([^"]{1,600})"', re.IGNORECASE)


def _assignments(message: str) -> Iterator[tuple[str, str]]:
    for found in _ASSIGNMENT.finditer(message.replace('\\"', '"')):
        name, identity = _NAME.search(found.group(1)), _ID.search(found.group(1))
        if name or identity:
            yield (name or identity).group(1), identity.group(1) if name and identity else ""  # type: ignore[union-attr]
    for found in _NAMED.finditer(message):
        yield found.group(1), ""


def _text(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _codes(*codes: str) -> frozenset[str]:
    return frozenset(code.casefold() for code in codes)


_CONFLICT = frozenset({409})
_MISSING = frozenset({404, 410})
_POLICY = _codes("RequestDisallowedByPolicy")
_START = "start the VM, then run again on the unreachable ones"
_OTHER_OPERATION = "another operation changes this VM, and its activity log names it: wait for its end, then rerun"
_LOCK = r"locked: '?(?P<lock>[^']{1,1000}?)(?:'|\.(?:\s|$)|$)"
_ACTION = r"perform action '(?P<action>[^']{1,300})'"

_RULES: Sequence[Rule] = (
    Rule(
        CauseCode.AGENT_NOT_READY,
        EXTENSIONS_HINT,
        _CONFLICT,
        text=_text(re.escape(EXTENSIONS_OFF)),
    ),
    Rule(CauseCode.THROTTLED, "lower the concurrency, or run when the subscription is less busy", frozenset({429})),
    Rule(CauseCode.UNAUTHENTICATED, "sign in again, then rerun what was not reached and not started", frozenset({401})),
    # A person must change something first.
    Rule(
        CauseCode.FORBIDDEN,
        "a policy of the subscription must allow it, or exempt the VM; no role helps",
        codes=_POLICY,
    ),
    Rule(
        CauseCode.FORBIDDEN,
        "the deny assignment {name} at {scope} forbids {action}; no role helps: ask its owner",
        text=_text(
            _ACTION
            + r".{0,1500}?deny assignment with name '(?P<name>[^']{1,300})'.{0,300}?at scope '(?P<scope>[^']{1,1000})'"
        ),
    ),
    Rule(
        CauseCode.FORBIDDEN,
        "deny assignments on {scope} forbid it; no role helps: ask their owner",
        text=_text(r"deny assignments? on the '?\d{1,4}'? linked scope\(s\) '?(?P<scope>[^'\s]{1,1000})"),
    ),
    Rule(
        CauseCode.FORBIDDEN,
        "a deny assignment forbids it; no role helps: ask its owner",
        frozenset({403}),
        text=_text(r"deny assignment"),
    ),
    Rule(
        CauseCode.FORBIDDEN,
        "give the credential the action {action} on {scope}, or correct that id: it may be wrong",
        codes=_codes("LinkedAuthorizationFailed"),
        text=_text(r"not have permission to " + _ACTION + r" on the linked scope\(s\) '?(?P<scope>[^'\s]{1,1000})"),
    ),
    Rule(
        CauseCode.FORBIDDEN,
        "give the credential the action {action} on {scope}; fleet rbac PLAYBOOK prints the role",
        codes=_codes("AuthorizationFailed"),
        text=_text(_ACTION + r" over scope '(?P<scope>[^']{1,1000})'"),
    ),
    Rule(
        CauseCode.REFUSED,
        "the subscription {name} is disabled: enable it again, or leave it out",
        codes=_codes("ReadOnlyDisabledSubscription"),
        text=_text(r"subscription '(?P<name>[^']{1,300})'"),
    ),
    Rule(
        CauseCode.REFUSED,
        "the subscription is disabled: enable it again, or leave it out",
        codes=_codes("ReadOnlyDisabledSubscription"),
    ),
    Rule(
        CauseCode.NO_SLOT,
        "remove the lock on {lock}, which keeps commands on the VM, then make room: fleet commands delete",
        text=_text(r"maximum number of managed run commands.{0,2000}" + _LOCK),
    ),
    Rule(
        CauseCode.NO_SLOT,
        "make room: fleet commands list all, then fleet commands delete",
        frozenset(range(400, 500)),
        text=_text(r"maximum number of managed run commands"),
    ),
    Rule(
        CauseCode.REFUSED,
        "remove the lock on {lock}, or leave out the VMs that it covers",
        codes=_codes("ScopeLocked"),
        text=_text(_LOCK),
    ),
    Rule(CauseCode.REFUSED, "remove the lock that covers the VM, or leave it out", codes=_codes("ScopeLocked")),
    Rule(
        CauseCode.FORBIDDEN,
        "the credential lacks a right on this VM; fleet rbac PLAYBOOK prints the role",
        frozenset({403}),
    ),
    # Versions, providers and features.
    Rule(
        CauseCode.REFUSED,
        "this cloud does not have the api-version: check azure.cloud, and set azure.api_versions to one that it has",
        codes=_codes(
            "InvalidResourceType", "NoRegisteredProviderFound", "InvalidApiVersionParameter", "UnsupportedApiVersion"
        ),
    ),
    Rule(
        CauseCode.REFUSED,
        "register the resource provider in the subscription: az provider register --namespace {provider}",
        codes=_codes("MissingSubscriptionRegistration"),
        text=_text(r"namespace '(?P<provider>[^']{1,200})'"),
    ),
    Rule(
        CauseCode.REFUSED,
        "register the feature in the subscription: az feature register --namespace {provider} --name {feature}",
        text=_text(r"'(?P<provider>Microsoft\.[^'/]{1,100})/(?P<feature>[^']{1,100})' feature is not enabled"),
    ),
    Rule(
        CauseCode.REFUSED,
        "ask for more {quota} quota in this region, or use less of it",
        text=_text(r"exceeding approved (?P<quota>.{1,100}?) quota"),
    ),
    # What is not there, and what is about to go.
    Rule(
        CauseCode.VM_NOT_FOUND,
        "the VM is being deleted; plan again",
        _CONFLICT,
        text=_text(r"since the (?:vm|virtual machine) is marked for deletion"),
    ),
    Rule(
        CauseCode.VM_NOT_FOUND,
        "its resource group is being deleted; plan again",
        codes=_codes("ResourceGroupBeingDeleted"),
    ),
    Rule(
        CauseCode.REFUSED,
        "its managed command was deleted while Azure set it up: find what deletes commands on this VM, then rerun",
        _MISSING,
        _codes("ResourceNotFound"),
        _text(r"/runCommands/"),
    ),
    Rule(
        CauseCode.VM_NOT_FOUND,
        "the VM was deleted or moved since it was listed",
        _MISSING,
        _codes("ResourceNotFound", "ParentResourceNotFound"),
        _text(r"/(?:virtualMachines|virtualMachineScaleSets|machines)/[^/']{1,200}(?:/virtualMachines/[^/']{1,20})?'"),
    ),
    Rule(
        CauseCode.REFUSED,
        "{resource} does not exist: correct the step that names it",
        _MISSING,
        _codes("ResourceNotFound", "ParentResourceNotFound"),
        _text(r"resource '(?P<resource>[^']{1,1000})'"),
    ),
    Rule(
        CauseCode.VM_NOT_FOUND,
        "the VM was deleted or moved since it was listed",
        _MISSING,
        _codes("ResourceNotFound", "ParentResourceNotFound"),
    ),
    Rule(
        CauseCode.VM_NOT_FOUND,
        "the VM's resource group was deleted since it was listed",
        _MISSING,
        _codes("ResourceGroupNotFound"),
    ),
    Rule(
        CauseCode.VM_NOT_FOUND,
        "the VM's subscription was deleted, or moved to another tenant, since it was listed",
        _MISSING,
        _codes("SubscriptionNotFound"),
    ),
    Rule(CauseCode.REFUSED, "{source}", _MISSING, _codes("NotFound"), _text(r"entity was not found")),
    Rule(
        CauseCode.REFUSED,
        "this is not an answer of Azure Resource Manager: check azure.cloud, the proxy and the route to it",
        _MISSING,
        _codes("", "HTTP404", "HTTP410"),
    ),
    # What passes by itself.
    Rule(
        CauseCode.BUSY,
        "what has this name is being deleted on the VM: wait for its end, then rerun the unreachable ones",
        _CONFLICT,
        text=_text(r"marked for deletion"),
    ),
    Rule(
        CauseCode.BUSY,
        "another command holds this VM; find it or wait for its end",
        _CONFLICT,
        text=_text(r"run command extension execution is in progress"),
    ),
    Rule(
        CauseCode.BUSY,
        _OTHER_OPERATION,
        _CONFLICT,
        _codes("Conflict", "RetryableError", "AnotherOperationInProgress", "ConflictingConcurrentWriteNotAllowed"),
    ),
    Rule(
        CauseCode.BUSY,
        _OTHER_OPERATION,
        _CONFLICT,
        text=_text(r"another operation is in progress|ongoing operation is changing power state"),
    ),
    Rule(CauseCode.BUSY, _OTHER_OPERATION, frozenset({408})),
    # The state of the VM.
    Rule(
        CauseCode.VM_NOT_RUNNING,
        _START,
        _CONFLICT,
        text=_text(r"vm to be running|vm is not running|deallocated"),
    ),
    Rule(
        CauseCode.REFUSED,
        "the VM is generalized and takes no commands: leave it out",
        _CONFLICT,
        text=_text(r"since the vm is generalized"),
    ),
    Rule(
        CauseCode.REFUSED,
        "remove or update the VM's extension {extension}, which is in conflict with the one that runs commands",
        text=_text(r"VM extension '(?P<extension>[^']{1,200})'\. Change is in conflict with other extensions"),
    ),
)

_FAILURES: Sequence[Rule] = (
    Rule(
        CauseCode.OPERATION_FAILED,
        "allow the extension {extension} in the extension policy on the VM, then rerun",
        text=_text(r"run extension '(?P<extension>[^']{1,200})' because it is not specified as an allowed extension"),
    ),
    Rule(
        CauseCode.OPERATION_FAILED,
        "repair the VM's extension {extension}, on which Run Command depends there; the script did not run",
        text=_text(r"execution of dependent extension '?(?P<extension>[^\s']{1,200})'? failed"),
    ),
    Rule(
        CauseCode.OPERATION_FAILED,
        _START,
        codes=_codes("OperationNotAllowed"),
        text=_text(r"vm to be running|vm is not running"),
    ),
    *(rule for rule in _RULES if rule.codes and "" not in rule.codes),
)
"""Of the rules for refusals only those with a code: the message of a failed operation may quote what a script printed."""
