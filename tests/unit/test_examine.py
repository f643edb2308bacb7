"""The doctor's composition over a fake of its port: what is asked, in which order, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from fleet.app.connect import Connection
from fleet.app.examine import examine
from fleet.azure.credentials import StaticTokens
from fleet.azure.inventory import AzureInventory
from fleet.azure.transport import Transport as HttpTransport
from fleet.engine.ports import Preflight
from fleet.errors import ExitCode, InvalidInput
from fleet.plan.model import Plan
from fleet.playbook.model import Script, Transport
from fleet.preflight.doctor import Check, Level, exit_code, kept_out
from fleet.preflight.facts import Agent, Condition, Permissions, Principal
from fleet.preflight.locks import Locks
from fleet.preflight.patchers import Patching, PatchSettings
from fleet.preflight.rights import Grant
from fleet.targets.model import Power, Target
from fleet.testing import ScriptedCloud
from tests.unit.run.factory import plan as a_plan


@dataclass
class FakePreflight:
    """Answers from tables: grants by scope (none told where absent), agents by VM name; keeps what was asked."""

    grants: dict[str, tuple[Grant, ...]] = field(default_factory=dict)
    not_ready: frozenset[str] = frozenset()
    asked: list[list[str]] = field(default_factory=list)
    commands_asked: bool | None = None

    async def principals(self) -> tuple[Principal, ...]:
        return (Principal(0, "t", "o", "a"),)

    async def permissions(self, asked: Sequence[tuple[int, str]]) -> tuple[Permissions, ...]:
        self.asked.append([scope for _, scope in asked])
        return tuple(Permissions(number, scope, self.grants.get(scope), "HTTP 404") for number, scope in asked)

    async def conditions(self, targets: Sequence[Target], *, commands: bool) -> tuple[Condition, ...]:
        self.commands_asked = commands
        return tuple(
            Condition(
                target,
                Power.RUNNING,
                Agent.NOT_READY if target.name in self.not_ready else Agent.READY,
                extensions=True,
                commands=() if commands else None,
            )
            for target in targets
        )

    async def locks(self, targets: Sequence[Target]) -> tuple[Locks, ...]:
        return tuple(Locks(name, ()) for name in dict.fromkeys(target.subscription for target in targets))

    async def patching(self, targets: Sequence[Target]) -> Patching:
        return Patching({target.key: PatchSettings("ImageDefault") for target in targets})


def connection(preflight: Preflight) -> Connection:
    unused = AzureInventory(HttpTransport("http://127.0.0.1:1", StaticTokens("t")))
    return Connection(ScriptedCloud(), unused, preflight, unused, "lab")


TOP, GROUP = "/subscriptions/sub-0", "/subscriptions/sub-0/resourceGroups/rg"


@pytest.mark.asyncio
async def test_permissions_are_followed_down_and_the_verdict_is_put_together() -> None:
    """Subscription, then group, then VMs, until it is known; states beside it; nothing is submitted."""
    plan = a_plan(3)
    first, second, third = plan.targets
    reader, all_ = (Grant(("*/read",)),), (Grant(("*",)),)
    fake = FakePreflight(
        {TOP: reader, GROUP: reader, first.id: all_, second.id: all_, third.id: ()}, frozenset({second.name})
    )
    where = connection(fake)
    found = await examine(where, plan, {})
    assert fake.asked == [[TOP], [GROUP], [vm.id for vm in plan.targets]]
    assert fake.commands_asked is True
    assert kept_out(found) == {second, third}
    assert exit_code(found) is ExitCode.AZURE_UNUSABLE
    assert isinstance(where.cloud, ScriptedCloud)
    assert not where.cloud.submissions


@pytest.mark.asyncio
async def test_by_the_action_no_commands_are_counted_and_sizes_are_measured() -> None:
    """The script as it would be sent, wrapper included, is held against the action's limit."""
    plan = a_plan(1, transport=Transport.ACTION)
    fake = FakePreflight({TOP: (Grant(("*",)),)})
    long = replace(plan, steps=(replace(plan.steps[0], script=Script("#" * 200_000)),))
    assert exit_code(await examine(connection(fake), plan, {})) is ExitCode.OK
    assert fake.commands_asked is False
    found = await examine(connection(fake), long, {})
    assert [finding.level for finding in found if finding.check is Check.SIZE] == [Level.PLAYBOOK]


@pytest.mark.asyncio
async def test_a_script_that_cannot_be_carried_is_found_before_anything_is_asked() -> None:
    """It is a problem of the playbook, and Azure hears nothing."""
    plan: Plan = a_plan(1)
    bad = replace(plan, steps=(replace(plan.steps[0], env={"FLEET_SECRET_X": "1"}),))
    fake = FakePreflight()
    with pytest.raises(InvalidInput):
        await examine(connection(fake), bad, {})
    assert fake.asked == []
