"""Gates: a wave that a person must approve, or that a webhook must let go."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from fleet.errors import InvalidInput
from fleet.plan.build import Settings, build
from fleet.plan.model import Gate, Limits, Plan
from fleet.playbook import model
from fleet.playbook.load import load
from fleet.playbook.model import Amount, Playbook, Rollout, Script, Selection, Step, WavesBy, Webhook
from fleet.run import effects as f
from fleet.run import events as e
from fleet.run.gates.webhooks import question, told
from fleet.run.model import CauseCode, Status
from fleet.run.state import Run
from fleet.targets.model import TargetSet
from tests.unit.engine.harness import RUN_ID
from tests.unit.run.driven import due, ended, opened, sent
from tests.unit.run.factory import plan, target


def gated(**limits: float) -> Plan:
    made = plan(2, waves=(Amount(1),), receipts=False, limits=Limits(**limits))  # type: ignore[arg-type]
    return replace(made, gates=(Gate(1),))


def at_the_gate(**limits: float) -> Run:
    """A run whose first wave has ended and that has just come to its gate."""
    run = opened(gated(**limits))
    sent(run, 0, 1.0)
    ended(run, 0, 2.0)
    assert f.AwaitApproval(1) in due(run, 2.0)
    run.apply(e.CommandRemoved(3.0, run.jobs[0].job.id))
    return run


def test_a_wave_opens_when_it_is_approved() -> None:
    """Nothing is launched before; after it, the wave opens at once."""
    run = at_the_gate()
    assert isinstance(run.next(3.0), f.WaitUntil)
    assert run.record().stop_cause is CauseCode.APPROVAL_AWAITED
    run.apply(e.WaveApproved(50.0, 1, "jo"))
    assert run.next(50.0) == f.OpenWave(1)
    assert run.record().stop_cause is None


def test_a_rejected_wave_ends_the_run() -> None:
    """What has not begun is not started, and the run ends."""
    run = at_the_gate()
    run.apply(e.WaveRejected(50.0, 1, "jo", "too slow"))
    assert run.jobs[1].outcome is not None and run.jobs[1].outcome.status is Status.NOT_STARTED
    assert run.next(50.0) == f.Finish()
    assert run.record().stop_message == "Wave 2 rejected by jo: too slow"


def test_the_first_wave_can_have_a_gate() -> None:
    """Before anything is sent at all."""
    run = Run(replace(plan(1), gates=(Gate(0),)), RUN_ID)
    run.apply(e.RunOpened(1.0, 1))
    assert run.next(1.0) == f.AwaitApproval(0)
    run.apply(e.ApprovalAwaited(1.0, 0))
    assert isinstance(run.next(9.0), f.WaitUntil)
    run.apply(e.WaveApproved(9.0, 0))
    assert run.next(9.0) == f.OpenWave(0)


def test_an_owner_that_does_not_wait_leaves_the_run() -> None:
    """Once nothing is in flight or to be cleaned up, the run is left as it stands; the next owner goes on."""
    run = at_the_gate()
    run.apply(e.RunOpened(10.0, 2, waits=False))
    assert run.next(10.0) == f.Halt()
    run.apply(e.RunOpened(20.0, 3, waits=True))
    assert isinstance(run.next(20.0), f.WaitUntil)
    run.apply(e.WaveApproved(21.0, 1))
    assert run.next(21.0) == f.OpenWave(1)


def test_a_deadline_ends_the_waiting() -> None:
    """A run that waits past its deadline stops, also where nobody stays to wait."""
    run = at_the_gate(deadline=100.0)
    run.apply(e.RunOpened(10.0, 2, waits=False))
    run.apply(e.RunOpened(20.0, 3, waits=True))
    wait = run.next(20.0)
    assert isinstance(wait, f.WaitUntil) and wait.at == 100.0
    assert due(run, 100.0)[0] == f.StopLaunching(CauseCode.DEADLINE, "the run's deadline passed")
    assert run.finished


def test_a_pause_holds_an_approved_wave_back() -> None:
    """Approval and pause are two things: both must let the wave go."""
    run = at_the_gate()
    run.apply(e.RunPaused(4.0))
    run.apply(e.WaveApproved(5.0, 1))
    assert isinstance(run.next(6.0), f.WaitUntil)
    run.apply(e.RunUnpaused(7.0))
    assert run.next(7.0) == f.OpenWave(1)


def built(*gates: model.Gate) -> tuple[Gate, ...]:
    """The gates of a plan with the waves ``ring dev, 1``, ``ring dev, 100%`` and ``ring prod, 1``."""
    rollout = Rollout(waves=WavesBy("tag:ring", each=(Amount(1),)), gates=gates)
    step = Step("a", Script(text="true\n"))
    playbook = Playbook("p", "1", "", "", "", "0" * 64, "p.yaml", (), Selection(), rollout, (step,))
    targets = [target(n, tags={"ring": "dev" if n < 2 else "prod"}) for n in range(3)]
    return build(playbook, TargetSet(tuple(targets)), {}, Settings()).gates


def test_gates_stand_before_the_waves_they_name() -> None:
    """By number, by label, by group, or each but the first; a label that no wave has is refused."""
    assert built(model.Gate(2, ("jo",))) == (Gate(1, ("jo",)),)
    assert built(model.Gate(9)) == ()
    assert built(model.Gate("each")) == (Gate(1), Gate(2))
    assert built(model.Gate("Ring Prod")) == (Gate(2),)
    assert built(model.Gate("ring dev, 100%")) == (Gate(1),)
    with pytest.raises(InvalidInput, match="'ring qa'"):
        built(model.Gate("ring qa"))


HOOK = Webhook("https://gate.example.org/fleet", timeout=60.0)


def hooked(*before: Gate, **limits: float) -> Run:
    """A run whose first wave has ended and that has just come to the gate of a webhook."""
    run = opened(replace(gated(**limits), gates=(*before, Gate(1, webhook=HOOK))))
    sent(run, 0, 1.0)
    ended(run, 0, 2.0)
    run.apply(e.RemovalBegun(2.0, run.jobs[0].job.id))
    run.apply(e.CommandRemoved(2.0, run.jobs[0].job.id))
    return run


def test_a_webhook_opens_its_wave() -> None:
    """It is asked once the wave before has ended; nobody is asked twice at once, and its yes opens the wave."""
    run = hooked()
    assert due(run, 3.0) == [f.AskGate(0, 1, 30.0)]
    assert isinstance(run.next(20.0), f.WaitUntil)
    run.apply(e.GateAnswered(20.0, 0, True, "no incident is open"))
    assert run.next(20.0) == f.OpenWave(1)
    assert told(run.plan, run.record().gates[0]) == f"{HOOK.url} let wave 2 go: no incident is open"


def test_a_webhooks_no_stops_the_run() -> None:
    """What has not begun is not started, and the reason given stands in the report."""
    run = hooked()
    due(run, 3.0)
    run.apply(e.GateAnswered(4.0, 0, False, "an incident is open"))
    assert run.jobs[1].outcome is not None and run.jobs[1].outcome.status is Status.NOT_STARTED
    assert run.record().stop_cause is CauseCode.GATE_REFUSED
    assert run.record().stop_message == f"{HOOK.url} did not let wave 2 go: an incident is open"
    assert run.next(4.0) == f.Finish()


def test_silence_is_asked_again_until_the_time_is_over() -> None:
    """The pauses grow, the last ask ends with the gate's time, and then the run stops and says what came last."""
    run, now, moments = hooked(), 3.0, []
    while not isinstance(effect := run.next(now), f.StopLaunching):
        if isinstance(effect, f.AskGate):
            moments.append(now)
            assert now + effect.within <= 63.0
            due(run, now)
            run.apply(e.GateSilent(now, 0, "HTTP 503"))
        else:
            assert isinstance(effect, f.WaitUntil) and effect.at is not None and effect.at > now
            now = effect.at
    assert now == 63.0
    pauses = [after - before for before, after in pairwise(moments)]
    assert 5 <= len(moments) <= 8 and pauses == sorted(pauses)
    assert effect == f.StopLaunching(CauseCode.GATE_UNANSWERED, f"{HOOK.url} gave no answer; last: HTTP 503")
    assert due(run, now)[-1] == f.Finish()


def test_a_new_owner_asks_what_was_not_answered() -> None:
    """An ask that the last owner left open is asked again, with the whole time; an answer that is kept is not."""
    run = hooked()
    due(run, 3.0)
    run.apply(e.RunOpened(500.0, 2))
    assert due(run, 500.0) == [f.AskGate(0, 2, 30.0)]
    run.apply(e.GateAnswered(501.0, 0, True))
    run.apply(e.RunOpened(900.0, 3))
    assert run.next(900.0) == f.OpenWave(1)


def test_a_person_comes_before_the_webhook() -> None:
    """A webhook's answer is of the moment: it is asked when nothing else holds the wave back."""
    run = hooked(Gate(1))
    assert due(run, 3.0) == [f.AwaitApproval(1)]
    run.apply(e.WaveApproved(50.0, 1))
    assert due(run, 50.0) == [f.AskGate(1, 1, 30.0)]


def test_nobody_is_asked_in_a_pause_and_an_ask_is_awaited() -> None:
    """A paused run asks nothing, and one that is stopped while an answer is due takes the answer first."""
    run = hooked()
    run.apply(e.RunPaused(3.0))
    assert isinstance(run.next(4.0), f.WaitUntil)
    run.apply(e.RunUnpaused(5.0))
    assert due(run, 5.0) == [f.AskGate(0, 1, 30.0)]
    run.apply(e.StopRequested(6.0, e.StopKind.SOFT))
    assert isinstance(run.next(6.0), f.WaitUntil)
    run.apply(e.GateAnswered(7.0, 0, True))
    assert run.next(7.0) == f.Halt()


def test_a_no_after_the_deadline_changes_nothing() -> None:
    """The run has stopped already, for another cause, and ends when the answer is in."""
    run = hooked(deadline=100.0)
    run.apply(e.GateAsked(90.0, 0, 1))
    assert due(run, 100.0) == [f.StopLaunching(CauseCode.DEADLINE, "the run's deadline passed")]
    run.apply(e.GateAnswered(101.0, 0, False, "late"))
    assert run.record().stop_cause is CauseCode.DEADLINE
    assert run.next(101.0) == f.Finish()


def test_a_webhook_is_told_counts_only() -> None:
    """Names of run, playbook and wave, and how many jobs ended how: no output, no parameter, no VM."""
    run = hooked()
    asked = question(run.plan, RUN_ID, 0, [state.outcome for state in run.jobs])
    assert asked.webhook == HOOK
    assert set(asked.body) == {"schema", "run", "plan", "playbook", "wave", "targets", "jobs", "counts"}
    assert asked.body["wave"] == {"number": 2, "of": 2, "label": run.plan.waves[1].label, "targets": 1}
    assert asked.body["counts"] == {status.value: int(status is Status.SUCCEEDED) for status in Status}


def test_one_gate_may_have_both() -> None:
    """``approve`` beside ``webhook`` makes two gates; a webhook alone asks no person, and neither means anybody."""
    hook = {"url": "https://gate.example.org", "timeout": "2m"}
    gates = [
        {"before_wave": 1, "webhook": hook},
        {"before_wave": 2, "webhook": hook, "approve": ["jo"]},
        {"before_wave": 3},
    ]
    playbook = loaded(gates)
    asked = Webhook("https://gate.example.org", timeout=120.0)
    assert playbook.rollout.gates == (
        model.Gate(1, webhook=asked),
        model.Gate(2, ("jo",)),
        model.Gate(2, webhook=asked),
        model.Gate(3),
    )


@pytest.mark.parametrize(
    ("hook", "code"),
    [
        ({"url": "http://gate.example.org"}, "url"),
        ({"url": "https://gate.example.org/x?sig=secret"}, "url"),
        ({"url": "https://me:secret@gate.example.org"}, "url"),
        ({"url": "https://gate.example.org", "timeout": "0s"}, "duration"),
        ({"url": "https://gate.example.org", "token_env": "AZURE_CLIENT_SECRET"}, ""),
    ],
)
def test_a_webhook_that_could_tell_a_secret_is_refused(hook: dict[str, str], code: str) -> None:
    """Plain http beyond this machine, secrets in the address, which is kept with the run, and secrets not meant for it."""
    with pytest.raises(InvalidInput) as caught:
        loaded([{"before_wave": 2, "webhook": hook}])
    assert code in {problem.code for problem in caught.value.problems} or not code


def loaded(gates: object) -> Playbook:
    text = {
        "apiVersion": "fleet/v1",
        "kind": "Playbook",
        "metadata": {"name": "p", "version": "1.0.0"},
        "targets": {},
        "rollout": {"waves": [1, 2, 3], "gates": gates},
        "steps": [{"id": "a", "run": {"inline": "true"}}],
    }
    return load(json.dumps(text), file="p.yaml", read_script=lambda name: "")
