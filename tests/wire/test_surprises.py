"""What surprises people who know other APIs: one test for each, by its number on the list of docs/surprises.md."""

from __future__ import annotations

import re
from hashlib import shake_256
from pathlib import Path

import pytest

from fleet.azure.wire import run_command as wire
from fleet.azure.wire.arm import read_operation
from fleet.azure.wire.http import Json, Request
from fleet.guest.wrapper import wrap
from fleet.plan.build import Settings, build
from fleet.playbook.model import Playbook, Rollout, Script, Selection, Step, Transport
from fleet.preflight.compatibility import misfits
from fleet.run.answers import Command, Finished, LookAnswer, Refusal, StillRunning
from fleet.run.command import command_name
from fleet.run.model import CauseCode, Outcome, Status
from fleet.run.outcome import judge_answer
from fleet.run.record import RunRecord
from fleet.run.retry import Again, GiveUp, judge_refusal
from fleet.targets.model import Os, TargetSet
from fleet.testing import Behaviour, ScriptedCloud
from tests.lab.desk import Desk, decoded, spec
from tests.unit.engine.harness import Trial
from tests.unit.run.factory import plan, target
from tests.unit.run.test_judge import DELIVERY, sealed
from tests.unit.run.test_judge import combined as action_answer
from tests.unit.run.test_judge import judged as judged_by_receipt
from tests.virtual import run as in_virtual_time

PAGE = Path(__file__).parents[2] / "docs" / "surprises.md"


def unwrapped(look: LookAnswer | None) -> Outcome:
    """How a command without a receipt is judged."""
    assert isinstance(look, Finished), look
    return judge_answer(look.answer, nonce=None, digest="", ok_exit=(0,))


def action(message: str) -> LookAnswer | None:
    status = {"code": "ProvisioningState/succeeded", "level": "Info", "message": message}
    operation = read_operation({"status": "Succeeded", "properties": {"output": {"value": [status]}}})
    assert operation is not None
    return wire.action_state(operation)


def managed(provisioning: str, **view: Json) -> LookAnswer | None:
    return wire.managed_state({"properties": {"provisioningState": provisioning, "instanceView": view}})


def test_surprise_01_a_failed_action_looks_like_success() -> None:
    """Exit 127 comes as a success without a code (recorded): the row is unverified, never succeeded."""
    outcome = unwrapped(action("Enable succeeded: \n[stdout]\n\n[stderr]\nscript.sh: 1: at: not found\n"))
    assert (outcome.status, outcome.exit_code) == (Status.UNVERIFIED, None)


def test_surprise_02_provisioning_succeeds_and_the_script_fails() -> None:
    """The instance view decides, not the provisioning state (recorded)."""
    outcome = unwrapped(managed("Succeeded", executionState="Failed", exitCode=127, executionMessage="exit status=127"))
    assert (outcome.status, outcome.exit_code) == (Status.FAILED, 127)


def test_surprise_03_the_resource_lags_behind_its_operation() -> None:
    """A resource that still reads Updating is read again, whatever its old view says (recorded)."""
    assert isinstance(managed("Updating", executionState="Succeeded", exitCode=0), StillRunning)


def test_surprise_04_running_with_exit_code_zero_and_an_end() -> None:
    """It is over, and no success (recorded 2021 to 2022)."""
    look = managed("Succeeded", executionState="Running", exitCode=0, endTime="2022-01-01T00:00:00+00:00")
    assert unwrapped(look).status is Status.UNVERIFIED


def test_surprise_05_the_tail_begins_inside_a_character() -> None:
    """The channel keeps the last 4,096 bytes: the receipt is whole, the row proven, and said to be cut."""
    # Neither repetitive nor short: such output would be packed, and come back whole.
    text = "".join(chr(0xC0 + byte % 64) for byte in shake_256(b"tail").digest(20_000))
    _, out, err = sealed(0, stdout=text.encode())
    tail = out.encode()[-4095:].decode(errors="replace")
    outcome = judged_by_receipt(action_answer(tail, err))
    assert (outcome.status, outcome.truncated) == (Status.SUCCEEDED, True)
    assert outcome.stdout.endswith(text[-2:])


def test_surprise_06_conflict_right_after_a_finished_run() -> None:
    """409 waits its turn and does not fail; when it lasts for hours the target was busy, and nothing ran."""
    refusal = Refusal(409, "Conflict", "Run command extension execution is in progress. Please wait for completion")
    verdict = judge_refusal(refusal, now=0.0, tries=1, salt="s")
    assert isinstance(verdict, Again)
    record = carried_out(Behaviour(refuse=refusal), Transport.ACTION)
    assert [(status, cause) for status, cause in ends(record)] == [(Status.UNREACHABLE, CauseCode.BUSY)]


def test_surprise_07_a_name_that_was_used_may_not_run_again() -> None:
    """The lab plays it: the same content is not run again, nor a deleted name; so each run has names of its own."""
    desk = Desk(spec(remember_names=True))
    for _ in range(2):
        desk.put()
        desk.wait(120)
    desk.send("DELETE", f"{desk.vm().id}/runCommands/c1")
    desk.wait(120)
    desk.put()
    desk.wait(120)
    assert desk.plane.life.counts[desk.vm().id] == 1
    (job,) = plan(1).jobs()
    assert command_name("run-1", job) != command_name("run-2", job)


def test_surprise_08_the_26th_managed_command_is_refused() -> None:
    """The refusal is final, says which limit was met, and nothing ran."""
    desk = Desk(spec())
    answers = [desk.put(f"c{number}") for number in range(26)]
    error = decoded(answers[-1])["error"]
    verdict = judge_refusal(Refusal(answers[-1].status, error["code"], error["message"]), now=0, tries=1, salt="s")
    assert isinstance(verdict, GiveUp)
    assert verdict.cause.code is CauseCode.NO_SLOT
    assert "max=25" in verdict.cause.message


def test_surprise_12_a_managed_command_that_never_returns() -> None:
    """Its row ends unknown when its time is over, and it was sent once."""
    cloud = ScriptedCloud(lambda command, number: Behaviour(duration=1e7))
    record = carried_out(cloud, Transport.MANAGED)
    assert ends(record) == [(Status.UNKNOWN, CauseCode.NO_ANSWER)]
    assert cloud.calls["submit"] == 1


def test_surprise_13_an_action_that_stays_in_progress() -> None:
    """As when the agent restarts in mid-run: unknown at the end of its time, never sent again."""
    cloud = ScriptedCloud(lambda command, number: Behaviour(duration=1e7))
    record = carried_out(cloud, Transport.ACTION)
    assert ends(record) == [(Status.UNKNOWN, CauseCode.NO_ANSWER)]
    assert cloud.calls["submit"] == 1


@pytest.mark.parametrize(("os", "name"), [(Os.LINUX, "Linux"), (Os.WINDOWS, "Windows")])
def test_surprise_14_a_built_in_command_resets_a_broken_extension(os: Os, name: str) -> None:
    """A playbook may carry it: by the action, without a script, on the system it is for."""
    script = Script(command_id=f"RemoveRunCommand{name}Extension")
    book = Playbook("p", "1", "", "", "", "d", "", (), Selection(), Rollout(), (Step("reset", script),))
    made = build(book, TargetSet((target(0, os=os),)), {}, Settings())
    assert list(misfits(made, made.steps[0], os, 0)) == []
    sent: Request = wire.submission(Command(made.targets[0], Transport.ACTION, "fleet-1", command_id=script.command_id))
    assert sent.body == {"commandId": script.command_id}


def test_surprise_15_success_that_did_not_finish() -> None:
    """After a reboot the handler reports success: the script was cut off, and the row is unknown (handler source)."""
    look = action("Enable succeeded: Last script execution didn't finish.")
    assert isinstance(look, Finished)
    for nonce in (None, "n" * 32):
        outcome = judge_answer(look.answer, nonce=nonce, digest="d", ok_exit=(0,))
        assert (outcome.status, outcome.cause.code) == (Status.UNKNOWN, CauseCode.INTERRUPTED_IN_GUEST)


def test_surprise_16_a_prompt_cannot_hold_the_slot() -> None:
    """A wrapped script has no input to wait for, and its own time limit ends it long before the service's 90 minutes."""
    text = wrap(DELIVERY)
    assert re.search(r"\) </dev/null >", text)


def carried_out(cloud: ScriptedCloud | Behaviour, transport: Transport) -> RunRecord:
    """Carry out a plan of one job in virtual time."""
    scripted = ScriptedCloud(lambda command, number: cloud) if isinstance(cloud, Behaviour) else cloud
    return in_virtual_time(Trial(plan(1, transport=transport), scripted).start())


def ends(record: RunRecord) -> list[tuple[Status, CauseCode]]:
    return [(job.outcome.status, job.outcome.cause.code) for job in record.jobs if job.outcome is not None]


def test_every_surprise_has_its_tests() -> None:
    """The page has each number once, in order, and each test that it names is in the suite."""
    rows = re.findall(r"^\| (\d+) \| .+ \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 18))
    suite = "\n".join(path.read_text(encoding="utf-8") for path in Path(__file__).parents[1].rglob("test_*.py"))
    for number, tests in rows:
        names = re.findall(r"`(test_\w+)`", tests)
        assert names and names[0].startswith(f"test_surprise_{int(number):02}_")
        assert [name for name in names if f"def {name}(" not in suite] == []
