"""The smallest role, and how permissions are read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.plan.model import PlannedStep
from fleet.playbook.model import Script, Transport
from fleet.preflight.rights import OPERATIONS, PLACEHOLDER, Grant, Right, missing, rights, role, scopes

ONE = "0b1f6471-1bf0-4dda-aec3-111111111111"
SCRIPT = PlannedStep("a", Script(text="true\n"), "d")
BUILT_IN = PlannedStep("b", Script(command_id="IPConfig"), "d")


def actions(*steps: PlannedStep, transport: Transport = Transport.AUTO) -> set[str]:
    return {right.action.removeprefix("Microsoft.") for right in rights(steps, transport)}


FINDING = {"Resources/subscriptions/read", "ResourceGraph/resources/read", "Compute/virtualMachines/read"}
TRACKING = "Compute/locations/operations/read"
ACTION = {"Compute/virtualMachines/runCommand/action", TRACKING}
MANAGED = {f"Compute/virtualMachines/runCommands/{verb}" for verb in ("read", "write", "delete")} | {TRACKING}


def test_each_transport_needs_its_own_rights_and_no_other() -> None:
    """The role for the action cannot write managed commands, and the other way round."""
    assert actions(SCRIPT, transport=Transport.ACTION) == FINDING | ACTION
    assert actions(SCRIPT, transport=Transport.MANAGED) == FINDING | MANAGED
    assert actions(SCRIPT) == FINDING | MANAGED


def test_built_in_commands_travel_by_the_action() -> None:
    """A built-in command brings the action's rights, and beside a script both kinds."""
    built_in = {"Compute/locations/runCommands/read"}
    assert actions(BUILT_IN) == FINDING | ACTION | built_in
    assert actions(SCRIPT, BUILT_IN) == actions(BUILT_IN, SCRIPT) == FINDING | ACTION | MANAGED | built_in


def test_following_an_operation_is_vital_for_the_action_only() -> None:
    """Without it nobody sees how an action ended; a managed command is read from its own resource."""

    def vital(*steps: PlannedStep) -> bool:
        return next(right.vital for right in rights(steps, Transport.AUTO) if right.action == OPERATIONS)

    assert not vital(SCRIPT)
    assert vital(BUILT_IN)
    assert vital(SCRIPT, BUILT_IN)
    assert vital(BUILT_IN, SCRIPT)


def test_every_right_has_a_reason() -> None:
    """No action is asked for without saying what for, and none twice."""
    found = rights([SCRIPT, BUILT_IN], Transport.AUTO)
    assert all(right.reason for right in found)
    assert len({right.action for right in found}) == len(found)


WRITE = Right("Microsoft.Compute/virtualMachines/runCommands/write", "r")


def test_permissions_are_read_as_azure_reads_them() -> None:
    """Wildcards anywhere, no regard to case, exceptions within a role only, and roles add up."""
    assert missing([WRITE], [Grant(("*",))]) == ()
    assert missing([WRITE], [Grant(("microsoft.compute/*/write",))]) == ()
    assert missing([WRITE], [Grant(("*/read",))]) == (WRITE,)
    assert missing([WRITE], []) == (WRITE,)
    without = Grant(("*",), ("Microsoft.Compute/virtualMachines/runCommands/*",))
    assert missing([WRITE], [without]) == (WRITE,)
    assert missing([WRITE], [without, Grant((WRITE.action,))]) == ()
    assert missing([WRITE], [Grant(("Microsoft.Compute/virtualMachines/runCommands/writ",))]) == (WRITE,)


@given(st.text("ab/.*+", max_size=8), st.text("ab/.*+", max_size=8))
def test_only_the_asterisk_is_special(before: str, after: str) -> None:
    """Every other character of a pattern stands for itself."""
    pattern, action = f"{before}*{after}", f"{before.replace('*', 'xy')}any{after.replace('*', '')}"
    assert Grant((pattern,)).allows(action)
    assert not Grant((pattern.replace("*", "") + "!",)).allows(action)


def test_scopes_are_the_ids_and_the_rest_is_named() -> None:
    """Ids become scopes, what is excluded is left out, and what is no id is handed back."""
    assert scopes([ONE, "prod-*", "!old", ONE]) == ((f"/subscriptions/{ONE}",), ("prod-*",))


def test_a_role_can_be_read_by_az() -> None:
    """The keys are those of a role definition; without a scope the place for it is marked."""
    made = role("n", "d", [WRITE], [])
    assert made["Actions"] == [WRITE.action]
    assert made["AssignableScopes"] == [PLACEHOLDER]
    assert made["IsCustom"] is True
    assert role("n", "d", [], ["/subscriptions/1"])["AssignableScopes"] == ["/subscriptions/1"]
