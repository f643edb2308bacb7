"""What a refusal means, and what its hint names."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fleet.playbook.model import Script
from fleet.run.answers import Refusal
from fleet.run.diagnosis import LONGEST_VALUE, diagnose, hint_of_failure, is_settled
from fleet.run.model import CauseCode

RIGHTS = (
    "The client 'C' with object id 'O' does not have authorization to perform action '{action}' over scope '{scope}' or the"
    " scope is invalid. If access was recently granted, please refresh your credentials."
)
LINKED = (
    "The client 'C' has permission to perform action 'A' on scope 'S'; however, it does not have permission to perform action"
    " '{action}' on the linked scope(s) '{scope}' or the linked scope(s) are invalid."
)
LOCKED = "The scope 'S' cannot perform write operation because following scope(s) are locked: '{scope}'. Please remove."
POLICY = (
    'Resource \'R\' was disallowed by policy. Policy identifiers: \'[{{"policyAssignment":{{"name":"{action}","id":'
    '"{scope}"}},"policyDefinition":{{"name":"D","id":"I"}}}}]\'.'
)
NAMES = st.text("abcXYZ019-_.", min_size=1, max_size=30)
SCOPES = st.lists(NAMES, min_size=1, max_size=8).map(lambda parts: "/" + "/".join(parts))


@pytest.mark.parametrize(
    ("status", "code", "text", "cause"),
    [
        (403, "AuthorizationFailed", RIGHTS, CauseCode.FORBIDDEN),
        (403, "LinkedAuthorizationFailed", LINKED, CauseCode.FORBIDDEN),
        (403, "RequestDisallowedByPolicy", POLICY, CauseCode.FORBIDDEN),
        (409, "ScopeLocked", LOCKED, CauseCode.REFUSED),
    ],
)
@given(NAMES, SCOPES)
@example("Microsoft.Compute/virtualMachines/runCommand/action", "/subscriptions/s/resourceGroups/or")
def test_a_hint_names_what_the_message_names(
    status: int, code: str, text: str, cause: CauseCode, action: str, scope: str
) -> None:
    """The action and its scope, the policy assignment and its id, the lock: letter for letter."""
    found = diagnose(Refusal(status, code, text.format(action=action, scope=scope)))
    assert found.cause is cause
    assert scope in found.hint
    assert "{action}" not in text or action in found.hint


@given(
    st.integers(0, 599),
    st.sampled_from(["", "NotFound", "ScopeLocked", "AuthorizationFailed", "Odd"]) | st.text(),
    st.text(),
)
@example(404, "NotFound", "The entity was not found in this Azure location.")
@example(403, "RequestDisallowedByPolicy", '"policyAssignment": {"name": "{x}", "id": "{0}"}')
def test_any_refusal_has_a_cause_and_a_bounded_hint(status: int, code: str, message: str) -> None:
    """Whatever a service says, nothing is raised, and no placeholder of ours is shown."""
    found = diagnose(Refusal(status, code, message), Script(command_id="X"))
    assert found.cause in CauseCode
    assert len(found.hint) < 5 * LONGEST_VALUE
    assert "{scope}" not in found.hint.replace(message, "")
    assert len(hint_of_failure(code, message)) < 5 * LONGEST_VALUE


@given(st.text("'\"{}[]:,. abc/", max_size=400))
def test_no_message_takes_long_to_read(message: str) -> None:
    """Each rule's text is searched in every message, and its repetitions are bounded."""
    for code in ("AuthorizationFailed", "LinkedAuthorizationFailed", "RequestDisallowedByPolicy", "ScopeLocked"):
        diagnose(Refusal(403, code, (message * 200)[:4000]))


def test_what_a_step_asks_azure_to_find_is_named() -> None:
    """Of a thing that is not found in the region: the step's key, and its value."""
    missing = Refusal(404, "NotFound", "The entity was not found in this Azure location.")
    assert "run.command_id: Azure does not know 'X'" in diagnose(missing, Script(command_id="X")).hint
    assert "run.gallery: Azure does not find '/g/x'" in diagnose(missing, Script(gallery="/g/x")).hint
    assert "in this region" in diagnose(missing, Script(text="true")).hint
    assert "in this region" in diagnose(missing).hint


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("no identifiers", "a policy of the subscription must allow it"),
        ('"policyAssignment": {"other": "x"}', "a policy of the subscription must allow it"),
        ('"policyAssignment":{"name":"a"}', "the policy assignment a must allow it"),
        ("no identifiers (policy definition d) (policy assignment a b)", "the policy assignment a b must allow it"),
        ('"policyAssignment":{"id":"/a"}', "the policy assignment /a must allow it"),
        ('{\\"policyAssignment\\":{\\"name\\":\\"a\\"}}', "the policy assignment a must allow it"),
        (
            '"policyAssignment":{"name":"a"}, "policyAssignment":{"name":"b","id":"/b"}',
            "the policy assignments a, b (/b) must",
        ),
    ],
)
def test_policies_are_named_by_their_assignments(message: str, hint: str) -> None:
    """As far as the message has them, and never the definition, which may be assigned many times."""
    found = diagnose(Refusal(403, "RequestDisallowedByPolicy", message))
    assert found.hint.startswith(hint) and "role" in found.hint


@pytest.mark.parametrize(
    ("status", "code", "settled"),
    [(403, "", True), (409, "ScopeLocked", True), (409, "Conflict", False), (0, "", False), (503, "x", False),
     (400, "requestdisallowedbypolicy", True), (409, "ReadOnlyDisabledSubscription", True)],
)  # fmt: skip
def test_which_deletes_stay_refused(status: int, code: str, settled: bool) -> None:
    """Those that a person must make possible first."""
    assert is_settled(Refusal(status, code, "")) is settled


def test_what_a_script_printed_is_no_diagnosis() -> None:
    """The message of a failed operation may quote a script, so texts without a code of Azure's say nothing there."""
    for printed in (
        "the VM is deallocated",
        "deny assignment",
        "marked for deletion",
        "maximum number of managed run commands",
    ):
        assert hint_of_failure("VMExtensionProvisioningError", f'Error message: "{printed}"') == ""
    assert "start the VM" in hint_of_failure(
        "OperationNotAllowed", "Cannot modify extensions when the VM is not running."
    )


def test_a_long_value_is_shortened() -> None:
    """A hint stays a line; the message has the whole of it."""
    hint = diagnose(Refusal(403, "AuthorizationFailed", RIGHTS.format(action="a", scope="/" + "s" * 900))).hint
    assert "s" * (LONGEST_VALUE - 1) + "..." in hint and "s" * LONGEST_VALUE not in hint


def test_a_full_vm_behind_a_lock_names_the_lock() -> None:
    """What was refused when leftovers were to be deleted stands in the message as well."""
    full = "The maximum number of managed Run commands (max=25, current=25) has been exceeded."
    locked = f"{full} Leftovers could not be deleted: ScopeLocked: {LOCKED.format(scope='/g')}"
    assert diagnose(Refusal(409, "OperationNotAllowed", full)).hint.startswith("make room")
    found = diagnose(Refusal(409, "OperationNotAllowed", locked))
    assert (found.cause, found.hint.startswith("remove the lock on /g, ")) == (CauseCode.NO_SLOT, True)
