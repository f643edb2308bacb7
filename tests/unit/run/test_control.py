"""What people ask of a run while it goes on, event by event."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.plan.model import JobId, Limits
from fleet.playbook.model import Amount, Transport
from fleet.run import effects as f
from fleet.run import events as e
from fleet.run.answers import Answer
from fleet.run.directives import NONE, Control, changed, sentence
from fleet.run.model import CauseCode, Status
from fleet.run.state import Run
from fleet.store.sqlite.records import from_row, to_row
from tests.unit.engine.harness import RUN_ID
from tests.unit.run.driven import OPERATION, due, ended, opened, sent
from tests.unit.run.factory import plan


def test_a_paused_run_launches_nothing_and_looks_on() -> None:
    """Pause holds launches and waves back, not the reading of what is in flight; unpause lets them go."""
    run = opened(plan(3, receipts=False, limits=Limits(concurrency=1)))
    sent(run, 0, 1.0)
    run.apply(e.RunPaused(2.0, "jo", "why not"))
    assert f.Look(JobId(0)) in due(run, 10.0)
    run.apply(e.SeenRunning(10.0, JobId(0)))
    ended(run, 0, 11.0)
    assert not any(isinstance(effect, f.Submit) for effect in due(run, 12.0))
    run.apply(e.RunUnpaused(20.0, "jo"))
    assert run.next(20.0) == f.Submit(JobId(1), 1)


def test_a_pause_outlives_its_process() -> None:
    """Whoever takes a paused run over launches nothing either."""
    run = opened(plan(2))
    run.apply(e.RunPaused(1.0, "jo"))
    run.apply(e.RunOpened(50.0, 2))
    assert isinstance(run.next(50.0), f.WaitUntil)


@pytest.mark.parametrize("kind", list(e.StopKind))
def test_cancel_ends_what_waits_and_awaits_what_cannot_be_cancelled(kind: e.StopKind) -> None:
    """The action cannot be cancelled: it is looked at to its end, and then the run ends."""
    run = opened(plan(3, transport=Transport.ACTION, receipts=False))
    sent(run, 0, 1.0)
    run.apply(e.RunCancelled(2.0, kind, "jo", "wrong version"))
    assert [state.outcome.status for state in run.jobs[1:] if state.outcome] == [Status.NOT_STARTED] * 2
    assert due(run, 10.0) == [f.Look(JobId(0))]
    run.apply(e.SeenRunning(10.0, JobId(0)))
    ended(run, 0, 20.0)
    assert run.next(20.0) == f.Finish()
    assert run.record().stop_cause is CauseCode.CANCELLED_BY_USER
    assert run.record().stop_message.endswith("wrong version")


def test_a_hard_cancel_deletes_what_runs_and_does_not_look_meanwhile() -> None:
    """A look that found the command gone would not know why, so the removal alone decides: cancelled."""
    run = opened(plan(2, receipts=False))
    sent(run, 0, 1.0)
    sent(run, 1, 1.0)
    run.apply(e.RunCancelled(2.0, e.StopKind.HARD))
    assert due(run, 60.0) == [f.Remove(JobId(0)), f.Remove(JobId(1))]
    run.apply(e.CommandRemoved(61.0, JobId(0)))
    run.apply(e.RemovalFailed(61.0, JobId(1), 403))
    assert run.jobs[0].outcome is not None and run.jobs[0].outcome.status is Status.CANCELLED
    assert run.budget.failures == 0
    assert due(run, 62.0) == [f.Look(JobId(1))], "one that may not be deleted is awaited"


def test_a_soft_cancel_can_become_a_hard_one() -> None:
    """Cancelling again, harder, deletes what the first one awaits."""
    run = opened(plan(1))
    sent(run, 0, 1.0)
    run.apply(e.RunCancelled(2.0, e.StopKind.SOFT))
    run.apply(e.RunCancelled(3.0, e.StopKind.HARD))
    assert f.Remove(JobId(0)) in due(run, 3.0)


def test_a_budget_below_what_has_failed_stops_the_run() -> None:
    """A lowered budget holds at once; a raised one lets more begin."""
    run = opened(plan(5, receipts=False, limits=Limits(concurrency=1, max_failures=3)))
    sent(run, 0, 1.0)
    ended(run, 0, 2.0, exit_code=1)
    run.apply(e.LimitsChanged(3.0, max_failures=0))
    assert isinstance(run.next(3.0), f.StopLaunching)
    run.apply(e.LimitsChanged(4.0, max_failures=NONE, concurrency=9))
    effects = due(run, 4.0)
    assert sum(isinstance(effect, f.Submit) for effect in effects) == 4


def test_a_waves_budget_is_raised_and_lowered() -> None:
    """It holds for its wave alone, beside the run's, also where the wave has not begun and had no budget."""
    made = plan(6, waves=(Amount(3),), receipts=False, limits=Limits(concurrency=1))
    run = opened(made)
    run.apply(e.LimitsChanged(0.0, max_failures=1, wave=1))
    for job in range(3):
        sent(run, job, 1.0)
        ended(run, job, 2.0, exit_code=1)
    assert run.launch_stop is None and f.OpenWave(1) in due(run, 3.0)
    sent(run, 3, 4.0)
    ended(run, 3, 5.0, exit_code=1)
    assert not any(isinstance(effect, f.StopLaunching) for effect in due(run, 5.0))
    run.apply(e.LimitsChanged(6.0, max_failures=0, wave=1))
    stop = run.next(6.0)
    assert isinstance(stop, f.StopLaunching) and "in wave 2; the budget allows 0" in stop.message
    run.apply(e.LimitsChanged(7.0, max_failures=NONE, wave=1))
    assert not isinstance(run.next(7.0), f.StopLaunching)
    told = sentence(e.LimitsChanged(6.0, max_failures=0, who="jo", why="known", wave=1))
    assert told == "wave 2: max_failures set to 0, by jo: known"


counts = st.one_of(st.none(), st.integers(0, 9))


@given(counts, counts, st.one_of(st.none(), st.integers(1, 9)))
def test_limits_left_out_stay(failures: int | None, unreachable: int | None, concurrency: int | None) -> None:
    """A change touches what it names and nothing else, and reads back from the journal as it was."""
    before = Limits(concurrency=7, max_failures=5, max_unreachable=None, soak=3.0)
    event = e.LimitsChanged(1.0, concurrency, failures, unreachable, "jo", "so", "1")
    assert from_row(to_row(event)) == event
    after = changed(before, event)
    assert (after.soak, after.strict) == (before.soak, before.strict)
    assert after.concurrency == (7 if concurrency is None else concurrency)
    assert after.max_failures == (5 if failures is None else failures)
    assert after.max_unreachable == unreachable
    assert from_row(to_row(replace(event, wave=2))) == replace(event, wave=2)


def test_a_directive_is_known_after_a_replay() -> None:
    """Whoever takes a run over knows which directives were taken up, so that none counts twice."""
    run = Run(plan(1), RUN_ID)
    run.apply(e.RunPaused(1.0, "jo", "", "00000000000000000001-0000000a"))
    run.apply(e.RunUnpaused(2.0, "jo"))
    assert run.control.has("00000000000000000001-0000000a")
    assert not run.control.has("")
    assert not run.control.has("00000000000000000001-0000000b")


WHO = {"who": "jo", "why": "because"}


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (e.RunPaused(1.0, **WHO), "Paused by jo: because"),
        (e.RunPaused(1.0), "Paused by somebody"),
        (e.RunUnpaused(1.0, **WHO), "Unpaused by jo: because"),
        (e.RunCancelled(1.0, e.StopKind.SOFT, **WHO), "Cancelled by jo: because"),
        (e.RunCancelled(1.0, e.StopKind.HARD, **WHO), "Cancelled by jo, and what could be cancelled was: because"),
        (e.LimitsChanged(1.0, 5, **WHO), "concurrency set to 5, by jo: because"),
        (e.LimitsChanged(1.0, None, 0, NONE), "max_failures set to 0, max_unreachable set to none, by somebody"),
        (
            e.JobUnstuck(1.0, JobId(0), vm="web01", **WHO),
            "End of the script on web01 asked for by jo, its managed command is deleted: because",
        ),
        (
            e.JobUnstuck(1.0, JobId(0), how=e.Freeing.IN_GUEST, stage=e.FreeingStage.DONE, vm="web01"),
            "Script on web01 ended by somebody, in the VM",
        ),
        (
            e.JobUnstuck(1.0, JobId(0), stage=e.FreeingStage.FAILED, vm="web01", **WHO),
            "Script on web01 could not be ended by jo, its managed command is deleted: because",
        ),
        (e.WaveApproved(1.0, 1, **WHO), "Wave 2 approved by jo: because"),
        (e.WaveRejected(1.0, 0, **WHO), "Wave 1 rejected by jo: because"),
    ],
)
def test_a_directive_is_told_in_one_line(event: e.Directive, text: str) -> None:
    """What was asked, by whom, and why."""
    assert sentence(event) == text


def test_what_was_asked_is_kept_in_order() -> None:
    """Every directive, and what holds now."""
    control = Control(Limits(concurrency=7))
    asked: list[e.Directive] = [
        e.RunPaused(1.0),
        e.LimitsChanged(2.0, 9),
        e.WaveApproved(3.0, 1),
        e.WaveRejected(4.0, 2),
        e.RunCancelled(5.0, e.StopKind.SOFT),
    ]
    for event in asked:
        control.take(event)
    assert (control.given, control.limits.concurrency, control.approved) == (asked, 9, {1})
    assert (control.paused, control.cancelled) == (asked[0], asked[4])
    control.take(e.RunUnpaused(6.0))
    assert control.paused is None


def test_a_rejected_wave_stops_the_launching_only_where_it_is_awaited() -> None:
    """A rejection of another wave is kept and changes nothing."""
    waves = (Amount(1), Amount(100, percent=True))
    run = opened(plan(2, waves=waves, receipts=False))
    run.apply(e.WaveRejected(1.0, 1, "jo"))
    assert run.launch_stop is None
    sent(run, 0, 1.0)
    ended(run, 0, 2.0)
    run.apply(e.ApprovalAwaited(3.0, 1))
    run.apply(e.WaveRejected(4.0, 0, "jo"))
    assert (run.launch_stop, run.awaiting) == (None, 1)
    run.apply(e.WaveRejected(5.0, 1, "jo", "no"))
    assert run.launch_stop == e.LaunchStopped(5.0, CauseCode.WAVE_REJECTED, "Wave 2 rejected by jo: no")
    assert run.awaiting is None


def test_what_is_accepted_after_a_hard_cancel_is_deleted() -> None:
    """A submission that was on the wire when the run was cancelled is cancelled as soon as it runs."""
    run = opened(plan(1))
    run.apply(e.SubmissionIntended(1.0, JobId(0), 1))
    run.apply(e.RunCancelled(2.0, e.StopKind.HARD))
    assert not any(isinstance(effect, f.Remove) for effect in due(run, 2.0))
    run.apply(e.SubmissionAccepted(3.0, JobId(0), OPERATION))
    assert due(run, 3.0) == [f.Remove(JobId(0))]


def test_an_end_that_was_read_before_the_removal_is_an_end() -> None:
    """The look was on the wire already: the job has ended by itself, and its command is deleted once."""
    run = opened(plan(1, receipts=False))
    sent(run, 0, 1.0)
    run.apply(e.LookBegun(2.0, JobId(0)))
    run.apply(e.RunCancelled(2.0, e.StopKind.HARD))
    run.apply(e.ResultReceived(3.0, JobId(0), Answer("Succeeded", "", 0)))
    outcome = run.jobs[0].outcome
    assert outcome is not None and outcome.status is Status.SUCCEEDED
    assert due(run, 3.0) == [f.Remove(JobId(0))]
    run.apply(e.CommandRemoved(4.0, JobId(0)))
    assert run.next(4.0) == f.Finish()
