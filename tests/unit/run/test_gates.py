"""Gates: a wave that a person must approve."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.errors import InvalidInput
from fleet.plan.build import Settings, build
from fleet.plan.model import Gate, Limits, Plan
from fleet.playbook import model
from fleet.playbook.model import Amount, Playbook, Rollout, Script, Selection, Step, WavesBy
from fleet.run import effects as f
from fleet.run import events as e
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
