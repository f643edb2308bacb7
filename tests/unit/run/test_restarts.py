"""Restarts as whole runs in virtual time: asked once, seen once, whatever is lost on the way and whenever we are killed."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from dataclasses import dataclass, field, replace

import pytest

from fleet.clock import SystemClock
from fleet.guest import envelope
from fleet.plan.model import Limits, Plan
from fleet.plan.reboot import BOOT_FACT, restarts
from fleet.playbook.model import Reboot, Script, Step, Strategy, Transport, Turn
from fleet.run import events as e
from fleet.run.answers import Command, LostReason, Refusal
from fleet.run.facts import Known
from fleet.run.model import Cause, CauseCode, Outcome, Status
from fleet.run.reboot import bounds, concluded, first_look, is_tried_again, judged, prepare
from fleet.run.state import Run
from fleet.targets.model import Os
from fleet.testing import Behaviour, ScriptedCloud
from tests.unit.engine.harness import RUN_ID, Trial
from tests.unit.run.stepped import place, step, stepped, told
from tests.virtual import run

AWAY = Refusal(409, "OperationNotAllowed", "The operation requires the VM to be running")


@dataclass
class Vms:
    """VMs that restart when they are asked to, as their guests would: ``boots`` tells when each of them did."""

    code: int = 80
    stuck: frozenset[str] = frozenset()
    """VMs that say that they will restart, and do not."""
    dead: frozenset[str] = frozenset()
    """VMs that go down and stay there."""
    down: float = 40.0
    old: bool = False
    """The uptime that is told is too long."""
    lost: float = 0.0
    """Chance that an answer to a submission is lost."""
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    boots: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    did: dict[str, Behaviour] = field(default_factory=dict)

    def behave(self, command: Command, n: int) -> Behaviour:
        vm, now = command.target.name, asyncio.get_running_loop().time()
        past = [moment for moment in self.boots[vm] if moment <= now]
        boot = f"boot-{len(past)}"
        if past and (vm in self.dead or now < past[-1] + self.down):
            return Behaviour(refuse=AWAY)
        opened = envelope.open(command.script, {})
        assert opened is not None
        if command.name not in self.did:  # a guest runs one delivery once
            self.did[command.name] = self._run(vm, boot, opened.script, opened.env.get("EXPECT_BOOT_ID", ""), now, past)
        answer = replace(self.did[command.name], boot_id=boot)
        return replace(answer, lose=LostReason.TIMEOUT) if self.rng.random() < self.lost else answer

    def _run(self, vm: str, boot: str, script: str, expected: str, now: float, past: list[float]) -> Behaviour:
        if "shutdown -r" in script:
            if boot != expected:
                return Behaviour(stdout=f"state=already_restarted boot_id={boot}\n")
            if vm not in self.stuck:
                self.boots[vm] = [*past, now + 60.0]  # asked again, the shutdown is put off, as systemd does
            return Behaviour(exit_code=81, stdout=f"state=restart_scheduled boot_id={boot}\n")
        if "not_restarted" in script:
            if boot == expected:
                return Behaviour(exit_code=83, stdout=f"state=not_restarted boot_id={boot} uptime_s=5000\n")
            up = 5000 if self.old else int(now - past[-1])
            return Behaviour(stdout=f"state=back boot_id={boot} uptime_s={up}\n")
        return Behaviour(exit_code=self.code if "patch" in script else 0)


def patching(reboot: Reboot = Reboot.IF_NEEDED, vms: int = 1, **more: object) -> Plan:
    asked = Step("patch", Script(text="echo patch"), reboot=reboot)
    patch = replace(step("patch"), ok_exit=(0, 80))
    return stepped([patch, *restarts(asked, {Os.LINUX}), step("health"), step("clean", Turn.ALWAYS)], vms=vms, **more)  # type: ignore[arg-type]


def trial(plan: Plan, vms: Vms) -> Trial:
    return Trial(plan, ScriptedCloud(vms.behave))


WELL = {"patch": "succeeded", "patch-reboot": "succeeded", "patch-back": "succeeded", "health": "succeeded"}
ALONE = {"patch-reboot": "skipped: when_false", "patch-back": "skipped: when_false"}


@pytest.mark.parametrize("transport", [Transport.MANAGED, Transport.ACTION])
@pytest.mark.parametrize("strategy", Strategy)
def test_a_vm_restarts_once_and_is_seen(strategy: Strategy, transport: Transport) -> None:
    """Asked, gone, back: each VM restarted once, the next steps ran after it, and the report knows the new boot."""
    vms = Vms()
    record = run(trial(replace(patching(vms=5, strategy=strategy), transport=transport), vms).start())
    assert told(record) == {**WELL, "clean": "succeeded"}
    assert [len(boots) for boots in vms.boots.values()] == [1] * 5
    looks = [job for job in record.jobs if job.job.step.id == "patch-back"]
    assert {job.facts["boot_id"] for job in looks} == {"boot-1"}


@pytest.mark.parametrize(
    ("reboot", "code", "boots"),
    [(Reboot.IF_NEEDED, 80, 1), (Reboot.IF_NEEDED, 0, 0), (Reboot.ALWAYS, 0, 1), (Reboot.ALWAYS, 1, 0)],
)
def test_who_restarts(reboot: Reboot, code: int, boots: int) -> None:
    """If needed: after an exit code that asks for it. Always: after every success. Never after a failure."""
    vms = Vms(code=code)
    ends = told(run(trial(patching(reboot), vms).start()))
    assert len(vms.boots["vm0000"]) == boots
    assert ends["patch-back"] == ("succeeded" if boots else "skipped: when_false")


def test_one_that_does_not_go_is_told() -> None:
    """A VM that answers in its old boot until the patience ends has failed: its restart was not seen."""
    record = run(trial(patching(), Vms(stuck=frozenset({"vm0000"}))).start())
    back = record.jobs[2].outcome
    assert back is not None
    assert (back.status, back.cause.code) == (Status.FAILED, CauseCode.REBOOT_NOT_SEEN)
    assert told(record)["health"] == "skipped: earlier_step"
    assert told(record)["clean"] == "succeeded"


def test_one_that_does_not_come_back_is_told() -> None:
    """A VM that nobody reaches after its restart has failed, ten minutes after it was first looked for."""
    record = run(trial(patching(), Vms(dead=frozenset({"vm0000"}))).start())
    back = record.jobs[2]
    assert back.outcome is not None and back.ended is not None and record.jobs[1].ended is not None
    assert (back.outcome.status, back.outcome.cause.code) == (Status.FAILED, CauseCode.NOT_BACK)
    assert 540 < back.ended - record.jobs[1].ended <= 600


def test_a_vm_that_goes_down_is_left_alone_for_a_while() -> None:
    """It is not looked for before so long as its step says has passed since it was asked: nobody is refused in vain."""
    made, vms = patching(), Vms()
    sent: dict[str, float] = {}

    def behave(command: Command, n: int) -> Behaviour:
        sent.setdefault(place(made, command)[1], asyncio.get_running_loop().time())
        return vms.behave(command, n)

    run(Trial(made, ScriptedCloud(behave)).start())
    assert sent["patch-back"] - sent["patch-reboot"] >= first_look(made.steps[2]) == 30.0


def test_another_boot_is_not_enough() -> None:
    """A VM that has been up for longer than we waited was not restarted by us, whatever its boot id is."""
    record = run(trial(patching(), Vms(old=True)).start())
    back = record.jobs[2].outcome
    assert back is not None
    assert (back.status, back.cause.code) == (Status.FAILED, CauseCode.REBOOT_NOT_SEEN)


def test_lost_answers_restart_nobody_twice() -> None:
    """With a third of all answers lost, each VM restarts once, and all are seen."""
    vms = Vms(lost=0.33)
    record = run(trial(patching(vms=12), vms).start())
    assert [len(boots) for boots in vms.boots.values()] == [1] * 12
    looks = [job.outcome for job in record.jobs if job.job.step.id == "patch-back"]
    assert {look.status for look in looks if look is not None} == {Status.SUCCEEDED}


@pytest.mark.parametrize(("transport", "first"), [(Transport.MANAGED, 1), (Transport.ACTION, 4)])
def test_killed_at_any_moment_it_asks_once(transport: Transport, first: int) -> None:
    """Killed at any of many moments, before, while and after asking, and resumed: no VM restarts twice, none is missed."""

    async def killed(moment: float) -> None:
        vms = Vms()
        made = trial(replace(patching(vms=4), transport=transport), vms)
        made.clock = SystemClock()
        task = asyncio.create_task(made.start())
        await asyncio.sleep(moment)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(moment % 7 * 20)  # nobody drives: the VMs go down and come back meanwhile
        record = await made.resume()
        assert [len(boots) for boots in vms.boots.values()] == [1] * 4, moment
        assert told(record)["patch-back"] == "succeeded", moment

    for tenth in range(first, 140, 6):
        run(killed(tenth / 1.7))


def test_a_budget_counts_those_that_are_away() -> None:
    """With no failure allowed, a second VM is not asked to restart before the first is back."""
    dead = frozenset({"vm0000", "vm0001", "vm0002"})
    vms = Vms(dead=dead)
    limits = Limits(max_failures=0, concurrency=3)
    record = run(trial(patching(vms=3, limits=limits), vms).start())
    assert sum(len(boots) for boots in vms.boots.values()) == 1
    assert record.stop_cause is CauseCode.BUDGET_FAILURES


def test_those_that_are_away_hold_their_slots() -> None:
    """Concurrency bounds how many VMs are away at once."""
    vms = Vms()
    run(trial(patching(vms=6, limits=Limits(concurrency=2)), vms).start())
    moments = sorted(boots[0] for boots in vms.boots.values())
    assert all(later - earlier >= 40 for earlier, later in zip(moments, moments[2:], strict=False))


def test_after_a_stop_what_was_asked_is_still_seen() -> None:
    """When the deadline ends launching between asking and looking, the VM is looked at until it is back."""
    vms = Vms()
    record = run(trial(patching(limits=Limits(deadline=20.0)), vms).start())
    ends = told(record)
    assert len(vms.boots["vm0000"]) == 1
    assert ends["patch-back"] == "succeeded"
    assert ends["health"] == "not_started: deadline"


def test_a_replay_knows_as_much() -> None:
    """The journal alone, applied anew, gives the same record, tries and boots included."""
    made = trial(patching(vms=3), Vms(lost=0.2))
    record = run(made.start())
    again = Run(made.plan, RUN_ID)
    for event in made.runs.kept(RUN_ID):
        again.apply(event)
    assert again.record() == record
    assert any(isinstance(event, e.SubmissionIntended) and event.retry for event in made.seen)


@pytest.mark.parametrize(("code", "since"), [(81, 50.0), (0, 10.0), (1, 10.0)])
def test_since_when_a_target_may_have_gone(code: int, since: float) -> None:
    """Since its restart was asked for, where it said that it would; else since the step before, which it was seen in."""
    patch, asking, looking = Run(patching(), RUN_ID).jobs[:3]
    known = Known(facts={"kernel": "6.1"})
    patch.outcome = Outcome(Status.SUCCEEDED, Cause(CauseCode.COMPLETED), 80, boot_id="b1")
    assert prepare([patch], asking, known).facts == {"kernel": "6.1", BOOT_FACT: "b1"}
    assert asking.since == 0.0, "nothing was sent that told of a boot"
    patch.first_intended, asking.first_intended = 10.0, 50.0
    prepare([patch], asking, known)
    assert asking.since == 10.0
    asking.outcome = Outcome(Status.SUCCEEDED, Cause(CauseCode.COMPLETED), code, boot_id="b2")
    assert prepare([patch, asking], looking, known).facts[BOOT_FACT] == "b1"
    assert looking.since == since
    assert prepare([patch], patch, known) is known, "other steps know what they knew"


UNSURE = Outcome(Status.UNKNOWN, Cause(CauseCode.NO_ANSWER))
AWAY_NOW = Outcome(Status.UNREACHABLE, Cause(CauseCode.VM_NOT_RUNNING))
REFUSED_INSIDE = Outcome(Status.FAILED, Cause(CauseCode.EXIT_CODE), 1, verified=True)
UNPROVEN = Outcome(Status.FAILED, Cause(CauseCode.OPERATION_FAILED))
ASKED = Outcome(Status.SUCCEEDED, Cause(CauseCode.COMPLETED), 81, verified=True)
STOPPED = Outcome(Status.CANCELLED, Cause(CauseCode.CANCELLED))


@pytest.mark.parametrize(
    ("outcome", "asks_again", "looks_again"),
    [
        (UNSURE, True, True),
        (AWAY_NOW, True, True),
        (UNPROVEN, True, True),
        (REFUSED_INSIDE, False, True),
        (ASKED, False, False),
        (STOPPED, False, False),
    ],
)
def test_what_is_asked_or_looked_for_again(outcome: Outcome, asks_again: bool, looks_again: bool) -> None:
    """Asking goes on while it is not certain that it was heard; looking until the target is seen, or somebody cancelled."""
    asking, looking = (Run(patching(), RUN_ID).jobs[number] for number in (1, 2))
    for state, expected in ((asking, asks_again), (looking, looks_again)):
        assert state.job.step.restart is not None
        state.outcome, state.begun = outcome, 1000.0
        last = 1000.0 + state.job.step.restart.patience - state.job.step.flow.retry_delay
        assert is_tried_again(state, 1001.0, 0.0) is expected
        assert is_tried_again(state, last - 1, 0.0) is expected
        assert is_tried_again(state, last, 0.0) is False
        assert is_tried_again(state, last, 1001.0) is expected, "time in which nobody drove the run does not count"


LOOKED = Outcome(Status.FAILED, Cause(CauseCode.EXIT_CODE, "exit code 83"), 83, "state=not_restarted\n", verified=True)
NOT_SEEN = Cause(CauseCode.REBOOT_NOT_SEEN, "up for 9 s, and 5 s were waited")


@pytest.mark.parametrize(
    ("outcome", "status", "code", "message"),
    [
        (ASKED, Status.SUCCEEDED, CauseCode.COMPLETED, ""),
        (STOPPED, Status.CANCELLED, CauseCode.CANCELLED, ""),
        (Outcome(Status.NOT_STARTED, Cause(CauseCode.DEADLINE)), Status.NOT_STARTED, CauseCode.DEADLINE, ""),
        (Outcome(Status.FAILED, NOT_SEEN), Status.FAILED, CauseCode.REBOOT_NOT_SEEN, NOT_SEEN.message),
        (
            LOOKED,
            Status.FAILED,
            CauseCode.REBOOT_NOT_SEEN,
            "the VM answers, and its boot id is still the one from before",
        ),
        (
            replace(LOOKED, stdout="state=boot_id_unknown\n"),
            Status.FAILED,
            CauseCode.REBOOT_NOT_SEEN,
            "the VM answers, and cannot tell whether it has restarted: its boot is not known",
        ),
        (
            replace(LOOKED, stdout="state=servicing\n"),
            Status.FAILED,
            CauseCode.NOT_BACK,
            "the VM did not come back in time; last: exit code 83",
        ),
        (
            replace(LOOKED, verified=False),
            Status.FAILED,
            CauseCode.NOT_BACK,
            "the VM did not come back in time; last: exit code 83",
        ),
        (
            replace(LOOKED, exit_code=1),
            Status.FAILED,
            CauseCode.NOT_BACK,
            "the VM did not come back in time; last: exit code 83",
        ),
        (
            replace(LOOKED, stdout=""),
            Status.FAILED,
            CauseCode.NOT_BACK,
            "the VM did not come back in time; last: exit code 83",
        ),
        (UNSURE, Status.FAILED, CauseCode.NOT_BACK, "the VM did not come back in time"),
    ],
)
def test_how_looking_ends(outcome: Outcome, status: Status, code: CauseCode, message: str) -> None:
    """Back, cancelled and never begun stay what they are; else it never went, or has not come back."""
    end = concluded(outcome)
    assert (end.status, end.cause.code, end.cause.message) == (status, code, message)


@pytest.mark.parametrize(
    ("uptime", "seen"),
    [
        ("0", True),
        ("99", True),
        ("100", True),
        ("101", False),
        ("", False),
        ("x", False),
        ("-1", False),
        ("9" * 12, False),
        ("9" * 5000, False),
    ],
)
def test_a_target_is_back_when_it_is_up_for_less_than_we_waited(uptime: str, seen: bool) -> None:
    """What it tells is held against our own clock, and odd numbers prove nothing."""
    looking = Run(patching(), RUN_ID).jobs[2]
    looking.since, looking.outcome = 1000.0, ASKED
    looking.facts = {"uptime_s": uptime} if uptime else {}
    outcome = judged(looking, 1100.0)
    assert (outcome == ASKED) == seen
    assert seen or outcome.cause.message == f"up for {uptime or '?'} s, and 100 s were waited"


def test_bounds_of_a_restart_are_its_own() -> None:
    """Its tries are refused for as long as it has patience, and waited for a minute; other steps keep the run's limits."""
    limits = Limits(deliver_timeout=1800.0, answer_grace=600.0)
    ordinary, asking, *_ = patching().steps
    assert asking.restart is not None
    assert (bounds(ordinary, limits), first_look(ordinary)) == ((1800.0, 600.0), 0.0)
    assert bounds(asking, limits) == (min(1800.0, asking.restart.patience), 60.0)
    assert bounds(asking, Limits(deliver_timeout=5.0, answer_grace=6.0)) == (5.0, 6.0)
    assert [first_look(step) for step in patching().steps[1:3]] == [
        step.restart.first_look for step in patching().steps[1:3] if step.restart is not None
    ]
