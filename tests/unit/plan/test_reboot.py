"""Restarts in the plan: which steps are added for whom, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet import codec
from fleet.errors import InvalidInput
from fleet.plan.build import Settings, build
from fleet.plan.model import Plan, PlannedStep, Restart
from fleet.playbook.load import load
from fleet.playbook.model import Transport, Turn
from fleet.targets.model import Os, TargetSet
from tests.unit.run.factory import target

HEAD = "apiVersion: fleet/v1\nkind: Playbook\nmetadata: {name: demo}\nsteps:\n"
LINUX, WINDOWS = target(0), replace(target(1), os=Os.WINDOWS)


def planned(steps: str, *targets: object, settings: Settings | None = None) -> Plan:
    playbook = load(HEAD + steps, file="f.yaml", read_script=lambda name: "x")
    return build(playbook, TargetSet(targets or (LINUX,)), {}, settings or Settings())  # type: ignore[arg-type]


def by_id(plan: Plan) -> dict[str, PlannedStep]:
    return {step.id: step for step in plan.steps}


def test_a_step_is_followed_by_one_that_asks_and_one_that_looks() -> None:
    """Each operating system that is among the targets has its own pair, between the step and the next one."""
    steps = "  - {id: patch, run: {inline: x}, reboot: always}\n  - {id: next, run: {inline: x}}\n"
    assert list(by_id(planned(steps))) == ["patch", "patch-reboot", "patch-back", "next"]
    both = by_id(planned(steps, LINUX, WINDOWS))
    assert list(both)[1:5] == ["patch-reboot", "patch-back", "patch-reboot-windows", "patch-back-windows"]
    assert "shutdown -r" in both["patch-reboot"].script.text
    assert "shutdown.exe /r" in both["patch-reboot-windows"].script.text
    assert both["patch-reboot-windows"].flow.when == 'os == "windows" and steps.patch.status == "succeeded"'
    assert both["patch-back"].restart == Restart("patch", "patch-reboot", 600.0, 30.0)
    assert both["patch-back-windows"].restart == Restart("patch", "patch-reboot-windows", 1800.0, 90.0)
    assert both["patch-back"].flow.turn is Turn.ALWAYS
    assert len({step.digest for step in both.values()}) == 6


def test_a_restart_if_needed_goes_by_exit_code_or_condition() -> None:
    """The codes that ask for a restart count as success, and a condition stands beside them."""
    keys = "collect: {want: {key: want}}, reboot: if_needed, reboot_when: 'facts.want == \"yes\"', reboot_timeout: 5m"
    plan = by_id(planned(f"  - {{id: patch, run: {{inline: x}}, {keys}}}\n"))
    assert plan["patch"].ok_exit == (0, 80, 81, 3010, 1641)
    assert plan["patch-reboot"].flow.when == (
        'os == "linux" and steps.patch.status == "succeeded" and '
        '(steps.patch.exit_code in ["80", "81", "3010", "1641"] or (facts.want == "yes"))'
    )
    assert plan["patch-back"].restart == Restart("patch", "patch-reboot", 300.0, 15.0)


def test_a_restart_travels_as_its_step_does() -> None:
    """The transport that a step chose carries its restart too, and the turn of a rescue step goes on."""
    steps = "  - {id: work, run: {inline: x}}\n"
    steps += "  - {id: mend, turn: rescue, transport: action, run: {inline: x}, reboot: always}\n"
    plan = by_id(planned(steps))
    assert plan["mend-reboot"].properties.transport is Transport.ACTION
    assert plan["mend-back"].properties.transport is Transport.ACTION
    assert plan["mend-reboot"].flow.turn is Turn.RESCUE


def test_a_plan_with_restarts_is_kept_whole() -> None:
    """Written to a file and read back, the plan is the same; one from before there were restarts has none."""
    plan = planned("  - {id: patch, run: {inline: x}, reboot: always}\n")
    assert codec.decode(Plan, codec.encode(plan)) == plan
    assert planned("  - {id: patch, run: {inline: x}}\n").steps[0].restart is None


@pytest.mark.parametrize(
    ("step", "code", "says"),
    [
        ("run: {command_id: ifconfig}, reboot: always", "not_carried", "receipt"),
        ("run: {uri: 'https://e.org/x'}, reboot: if_needed", "not_carried", "receipt"),
        ("run: {inline: x}, reboot_timeout: 5m", "contradiction", "reboot_timeout"),
        ("run: {inline: x}, reboot: always, reboot_when: 'os == \"linux\"'", "contradiction", "reboot_when"),
        ("run: {inline: x}, reboot: if_needed, reboot_when: 'facts.no == \"1\"'", "unknown_fact", "no"),
        ("run: {inline: x}, reboot: sometimes", "", "reboot"),
        ("run: {inline: x}, reboot: always, reboot_timeout: 1s", "", "reboot_timeout"),
        ("run: {inline: x}, reboot: always}\n  - {id: patch-back, run: {inline: x}", "contradiction", "patch-back"),
    ],
)
def test_what_cannot_be_restarted_is_refused(step: str, code: str, says: str) -> None:
    """What has no receipt, what changes nothing, and what takes the name of an added step, at its place."""
    with pytest.raises(InvalidInput) as caught:
        planned(f"  - {{id: patch, {step}}}\n")
    assert [p.code for p in caught.value.problems][:1] == [code or caught.value.problems[0].code]
    assert says in " ".join(f"{p.message} {p.hint}" for p in caught.value.problems)


def test_restarts_need_receipts() -> None:
    """Only the boot that a receipt tells keeps a request that arrives twice from restarting twice."""
    with pytest.raises(InvalidInput) as caught:
        planned("  - {id: patch, run: {inline: x}, reboot: always}\n", settings=Settings(receipts=False))
    assert [p.code for p in caught.value.problems] == ["reboot_needs_receipts"]
