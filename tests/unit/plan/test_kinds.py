"""Machines of several kinds in one plan: what carries a step, which rights, what the doctor says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.errors import InvalidInput
from fleet.plan.build import Settings, build
from fleet.plan.estimate import TYPICAL_ARC_SECONDS, TYPICAL_SECONDS, estimate
from fleet.plan.model import Plan
from fleet.plan.waves import canary_set
from fleet.playbook.model import Playbook, Rollout, Script, Selection, Step, Transport
from fleet.preflight.doctor import Check, Finding, Level, examine
from fleet.preflight.facts import Agent, Condition, Facts, Permissions, Principal
from fleet.preflight.rights import Grant, rights
from fleet.targets.model import Kind, Power, Target, TargetSet
from tests.unit.run.factory import plan as a_plan
from tests.unit.run.factory import target

GROUP = "/subscriptions/sub-0/resourceGroups/rg/providers"


def arc(number: int, **more: object) -> Target:
    identity = f"{GROUP}/Microsoft.HybridCompute/machines/arc{number}"
    return target(0, id=identity, name=f"arc{number}", size="", image="", **more)


def instance(number: int) -> Target:
    identity = f"{GROUP}/Microsoft.Compute/virtualMachineScaleSets/web/virtualMachines/{number}"
    return target(0, id=identity, name=f"web_{number}", scale_set="web")


MIXED = (target(0), instance(0), arc(1), arc(2))


def playbook(*scripts: Script) -> Playbook:
    steps = tuple(Step(id=f"s{number}", script=script) for number, script in enumerate(scripts))
    return Playbook("p", "1", "", "", "", "d", "p.yaml", (), Selection(), Rollout(), steps)


def mixed(**changes: object) -> Plan:
    return replace(a_plan(1), targets=MIXED, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scripts", "transport", "told"),
    [
        ((Script(text="true"),), Transport.ACTION, ["step 's0' needs the action (transport action)"]),
        (
            (Script(text="true"), Script(command_id="ifconfig")),
            Transport.AUTO,
            ["step 's1' needs the action (built-in command ifconfig)"],
        ),
    ],
)
def test_a_step_that_needs_the_action_is_refused_on_arc(
    scripts: tuple[Script, ...], transport: Transport, told: list[str]
) -> None:
    """Before anything is sent, with every such machine counted and named; other kinds are carried as asked."""
    settings = Settings(transport=transport)
    with pytest.raises(InvalidInput) as caught:
        build(playbook(*scripts), TargetSet(MIXED), {}, settings)
    problems = caught.value.problems
    assert [problem.code for problem in problems] == ["action_on_arc"]
    assert [problem.message for problem in problems] == [
        f"{text}, which no Arc machine has; 2 of 4 targets are: arc[1-2]" for text in told
    ]
    assert all('kind != "arc"' in problem.hint for problem in problems)
    assert len(build(playbook(*scripts), TargetSet(MIXED[:2]), {}, settings).targets) == 2


def test_the_canary_covers_every_kind() -> None:
    """One machine of each kind goes first, though they are alike otherwise."""
    alike = [target(1), target(2), instance(1), instance(2)]
    assert {alike[index].kind for index in canary_set(alike)} == {Kind.VM, Kind.SCALE_SET}


def test_arc_machines_take_longer_and_a_read_more() -> None:
    """An estimate knows that Arc takes minutes (recorded), and that each of its machines is asked first."""
    plain, both = estimate(a_plan(4)), estimate(mixed())
    assert (plain.script_seconds, both.script_seconds) == (TYPICAL_SECONDS, TYPICAL_ARC_SECONDS)
    assert both.reads == plain.reads + 2


STEP = Step(id="s", script=Script(text="true"))


def test_each_kind_needs_its_own_rights_and_no_other() -> None:
    """A role for VMs says nothing of scale sets and Arc machines, and the other way round."""
    common = {"Microsoft.Resources/subscriptions/read", "Microsoft.ResourceGraph/resources/read"}
    by_kind = {kind: {right.action for right in rights([STEP], Transport.AUTO, {kind})} - common for kind in Kind}
    verbs = ("write", "read", "delete")
    instances = "Microsoft.Compute/virtualMachineScaleSets/virtualMachines"
    assert by_kind[Kind.SCALE_SET] == {
        "Microsoft.Compute/virtualMachineScaleSets/read",
        f"{instances}/read",
        *(f"{instances}/runCommands/{verb}" for verb in verbs),
        "Microsoft.Compute/locations/operations/read",
    }
    assert by_kind[Kind.ARC] == {
        "Microsoft.HybridCompute/machines/read",
        *(f"Microsoft.HybridCompute/machines/runCommands/{verb}" for verb in verbs),
        "Microsoft.HybridCompute/locations/operationstatus/read",
    }
    assert not by_kind[Kind.VM] & by_kind[Kind.ARC]
    together = {right.action for right in rights([STEP], Transport.AUTO, Kind)}
    assert together == common.union(*by_kind.values())
    action = {right.action for right in rights([STEP], Transport.ACTION, {Kind.SCALE_SET})}
    assert f"{instances}/runCommand/action" in action


ME = (Principal(0),)


def findings(*conditions: Condition, grants: tuple[Grant, ...] = (Grant(("*",)),)) -> dict[Check, list[Finding]]:
    told = (Permissions(0, "/subscriptions/sub-0", grants),)
    found: dict[Check, list[Finding]] = {}
    for finding in examine(mixed(), Facts(ME, told, conditions)):
        found.setdefault(finding.check, []).append(finding)
    return found


def test_the_doctor_tells_an_arc_machine_that_is_away() -> None:
    """It is out of reach with a way to mend it; neither agent nor extensions of Compute are looked at."""
    away = Condition(MIXED[2], Power.DISCONNECTED, commands=())
    near = Condition(MIXED[3], Power.CONNECTED, commands=tuple(f"c{n}" for n in range(30)))
    told = findings(away, near)
    assert [(item.level, item.what, item.targets) for item in told[Check.POWER]] == [
        (Level.UNREACHABLE, "disconnected", (MIXED[2],)),
        (Level.OK, "connected", (MIXED[3],)),
    ]
    assert "azcmagent" in told[Check.POWER][0].next
    assert Check.AGENT not in told and Check.EXTENSIONS not in told
    assert {item.level for item in told[Check.SLOTS]} == {Level.OK}  # no number is documented for Arc


def test_the_doctor_knows_the_commands_of_each_kind() -> None:
    """What to do about a stopped instance, and about what was left on it, is a command for scale sets."""
    stopped = Condition(MIXED[1], Power.DEALLOCATED, Agent.UNKNOWN, extensions=True, commands=("fleet-r-1",))
    told = findings(stopped)
    assert "az vmss start" in told[Check.POWER][0].next
    assert "fleet commands delete" in told[Check.SLOTS][0].next


def test_rights_are_judged_machine_by_machine() -> None:
    """Who may do everything to VMs may still not command Arc machines, and is told so for those alone."""
    told = findings(grants=(Grant(("Microsoft.Compute/*", "Microsoft.Resources/*", "Microsoft.ResourceGraph/*")),))
    blocked = [item for item in told[Check.RIGHTS] if item.level is Level.RIGHTS and item.targets]
    assert [item.targets for item in blocked] == [(MIXED[2], MIXED[3])]
    assert "Microsoft.HybridCompute/machines/runCommands/write" in blocked[0].what
