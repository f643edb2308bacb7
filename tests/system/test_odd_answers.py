"""Whatever stands in a field of an answer: nothing crashes, no machine is missing in silence, and no green is unproven."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import pytest

from fleet.errors import ExitCode, FleetError
from fleet.playbook.model import Transport
from fleet.preflight.doctor import Check, Level, exit_code
from fleet.run.model import Status
from tests.system import odd_runs
from tests.system.odd_answers import BAD, LAB, PLAYBOOK, Change, Tap
from tests.system.odd_runs import Ended, Way

DEV = "22222222-2222-4222-8222-222222222222"
OTHERS = """
apiVersion: fleet/v1
kind: Lab
speed: 100
subscriptions:
  - name: prod
    id: 11111111-1111-4111-8111-111111111111
    groups:
      - name: rg-web
        vms: [{name: web1, guest: scripted}]
        scale_sets: [{name: set, count: 2, guest: scripted}]
        arc: [{name: till, guest: scripted}]
"""
OFF = LAB.replace("{name: bad, ", "{name: bad, power: deallocated, ")
UNREADY = LAB.replace("{name: bad, ", "{name: bad, agent: not_ready, ")


@dataclass(frozen=True, slots=True)
class Sweep:
    """Which answers are changed, in which world. Where nothing is sent, only the plan is made."""

    way: Way
    picked: Callable[[str], bool]
    text: str = LAB
    book: str = PLAYBOOK


FINDING = {
    "the graph": Sweep(Way(), lambda kind: kind == "GET /subscriptions" or "ResourceGraph" in kind),
    "a refusal of the graph": Sweep(Way(graph=False), lambda kind: "ResourceGraph" in kind),
    "lists of VMs": Sweep(Way(graph=False), lambda kind: DEV in kind),
    "other kinds": Sweep(
        Way(graph=False),
        lambda kind: "ScaleSets" in kind or "HybridCompute" in kind,
        OTHERS,
        f"{PLAYBOOK}targets: {{kinds: [vm, scale_set, arc]}}\n",
    ),
}
SENDING = {
    "managed": Sweep(Way(), lambda kind: f"/{BAD}/" in kind),
    "managed and refused": Sweep(Way(), lambda kind: f"/{BAD}/" in kind, OFF),
    "action refused": Sweep(Way(Transport.ACTION), lambda kind: f"/{BAD}/" in kind, OFF),
    "managed without receipts": Sweep(Way(receipts=False), lambda kind: f"/{BAD}/" in kind),
    "action": Sweep(Way(Transport.ACTION), lambda kind: f"/{BAD}/" in kind or (DEV in kind and "OPERATION" in kind)),
    "action without receipts": Sweep(
        Way(Transport.ACTION, receipts=False),
        lambda kind: f"/{BAD}/" in kind or (DEV in kind and "OPERATION" in kind),
    ),
}


def taken(every: Iterator[Change], picked: Callable[[str], bool], step: int) -> Iterator[Change]:
    """Every so manieth change of the answers that are picked."""
    return islice((change for change in every if picked(change.answer)), 0, None, step)


def is_sound(change: Change) -> bool:
    """Say whether a changed answer is a sound one: a provider's list with fewer machines, or with none."""
    entry = len(change.path) == 2 and change.path[0] == "value" and change.name == "absence"
    return "/providers/" in change.answer and (entry or (change.path == ("value",) and change.value == []))


def find_all(name: str, step: int = 1) -> list[str]:
    """Change what a selection is made from, and return what went wrong: a crash, or a machine that is missing in silence."""
    sweep = FINDING[name]
    tap = Tap()
    calm = odd_runs.find(sweep.way, tap, text=sweep.text, book=sweep.book)
    assert not isinstance(calm, FleetError) and not calm.unread
    whole, wrong = {target.key for target in calm.targets}, []
    for change in taken(tap.changes(), sweep.picked, step):
        try:
            plan = odd_runs.find(sweep.way, Tap((change,)), text=sweep.text, book=sweep.book)
        except Exception as error:
            wrong.append(f"{change}: {error!r}"[:500])
            continue
        if isinstance(plan, FleetError):
            wrong += [] if plan.hint else [f"{change}: {plan} has no hint"]
        elif whole - {target.key for target in plan.targets} and not plan.unread and not is_sound(change):
            wrong.append(f"{change}: {sorted(whole - {target.key for target in plan.targets})} missing in silence")
        elif {target.key for target in plan.targets} - whole:
            wrong.append(f"{change}: a machine that there is not")
    return wrong


def send_all(name: str, step: int = 1) -> list[str]:
    """Change the answers to what is sent, and return what went wrong: a crash, a row too few, or green without proof."""
    sweep = SENDING[name]
    tap = Tap()
    odd_runs.run(sweep.way, tap, text=sweep.text)
    wrong = []
    for number, change in enumerate(taken(tap.changes(), sweep.picked, step)):
        try:
            ended = odd_runs.run(sweep.way, Tap((change,)), text=sweep.text)
            if ended.report is not None and number % 3 == 0:
                odd_runs.render_all(ended.report)
        except Exception as error:
            wrong.append(f"{change}: {error!r}"[:500])
        else:
            wrong += lies(change, ended)
    return wrong


def lies(change: Change, ended: Ended) -> Iterator[str]:
    """Say what is wrong with how a run ended: its script failed on one VM, so nothing else is ever true of that one."""
    if ended.report is None:
        yield f"{change}: the run had no report: {ended.error}"
        return
    if len(ended.report.jobs) != 4:
        yield f"{change}: {len(ended.report.jobs)} rows for 4 VMs"
    if ended.report.exit_code not in (ExitCode.SCRIPT_FAILED, ExitCode.NOT_REACHED):
        yield f"{change}: the exit code is {ended.report.exit_code}"
    for row in ended.report.jobs:
        if row.status is Status.SUCCEEDED and (row.name == BAD or row.target.casefold() not in ended.ran):
            yield f"{change}: {row.name} is green"


@pytest.mark.parametrize("name", FINDING)
def test_a_sample_of_odd_answers_hides_no_machine(name: str) -> None:
    """Some of the changes of the whole sweep, which is slow."""
    assert find_all(name, step=61) == []


@pytest.mark.parametrize("name", SENDING)
def test_a_sample_of_odd_answers_makes_nothing_green(name: str) -> None:
    """Some of the changes of the whole sweep, which is slow."""
    assert send_all(name, step=47) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", FINDING)
def test_no_odd_answer_hides_a_machine(name: str) -> None:
    """Each field of each list with each strange value: every machine is selected or named as unread, and nothing crashes."""
    assert find_all(name) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SENDING)
def test_no_odd_answer_makes_a_failure_green(name: str) -> None:
    """Each field and header of each answer to what is sent: a row for each VM, no green without proof, and an end."""
    assert send_all(name) == []


def commands_wrong(step: int = 1) -> list[str]:
    """Change the lists of managed commands, and return what went wrong."""
    names = ("deploy", "watch")
    tap = Tap()
    odd_runs.commands(tap, names)
    wrong = []
    for change in taken(tap.changes(), lambda kind: f"/{BAD}/runCommands" in kind and kind.startswith("GET"), step):
        try:
            read = odd_runs.commands(Tap((change,)), names)
        except Exception as error:
            wrong.append(f"{change}: {error!r}"[:500])
            continue
        assert not isinstance(read, FleetError)
        for item in read:
            if tuple(sorted(command.name for command in item.commands)) != names and not (
                item.why or is_shorter(change)
            ):
                wrong.append(f"{change}: a command of {item.target.name} is missing in silence")
    return wrong


def is_shorter(change: Change) -> bool:
    """Say whether a list of commands is a sound one with fewer commands."""
    entry = len(change.path) == 2 and change.path[0] == "value" and change.name == "absence"
    return entry or (change.path == ("value",) and change.value == [])


def doctor_wrong(step: int = 1) -> list[str]:
    """Change what the doctor reads of a VM whose agent is not ready, and return what went wrong."""
    tap = Tap()
    calm = odd_runs.doctor(tap, UNREADY)
    assert not isinstance(calm, FleetError) and exit_code(calm) == ExitCode.NOT_REACHED
    wrong = []
    for change in taken(tap.changes(), lambda kind: f"/{BAD}" in kind, step):
        try:
            found = odd_runs.doctor(Tap((change,)), UNREADY)
        except Exception as error:
            wrong.append(f"{change}: {error!r}"[:500])
            continue
        assert not isinstance(found, FleetError)
        seen = [item for item in found if item.check is not Check.RIGHTS]  # which the lab does not answer
        about = {item.level for item in seen if any(target.name == BAD for target in item.targets)}
        if not {Level.UNREACHABLE, Level.UNCHECKED} & about:
            wrong.append(f"{change}: the doctor finds nothing in the way")
    return wrong


def test_a_sample_of_odd_answers_hides_no_command_and_no_trouble() -> None:
    """Some of the changes of the whole sweeps, which are slow."""
    assert commands_wrong(step=29) + doctor_wrong(step=53) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_odd_answer_hides_a_command() -> None:
    """Each field of a list of managed commands: every command is listed, or it is said that one could not be read."""
    assert commands_wrong() == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_odd_answer_hides_trouble_from_the_doctor() -> None:
    """Each field of what the doctor reads of a VM: that its agent is away is found, or what could not be checked is said."""
    assert doctor_wrong() == []
