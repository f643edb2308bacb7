"""Tries: which jobs are run again, how often, and what a stop leaves of that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.guest import envelope
from fleet.plan.model import JobId, Limits
from fleet.playbook.model import Fact, Transport, Turn
from fleet.run import events as e
from fleet.run.answers import Answer, LostReason, Refusal
from fleet.run.model import CauseCode, Phase, Status
from fleet.run.state import Run
from tests.unit.run.driven import ended, opened, sent
from tests.unit.run.factory import plan

JOB = JobId(0)


def retrying(retries: int = 1, **more: object) -> Run:
    made = plan(1, receipts=False, **more)  # type: ignore[arg-type]
    flow = replace(made.steps[0].flow, retries=retries)
    run = opened(replace(made, steps=(replace(made.steps[0], flow=flow),)))
    sent(run, 0, 1.0)
    run.apply(e.LookBegun(2.0, JOB))
    return run


def test_a_lost_submission_that_is_sent_again_is_not_told_as_never_sent() -> None:
    """A job that waits to be sent again may have run, and its record says so."""
    run = opened(plan(2, transport=Transport.ACTION))
    run.apply(e.SubmissionIntended(1.0, JobId(0), 1))
    run.apply(e.SubmissionLost(2.0, JobId(0), LostReason.RESET))
    first, second = run.record().jobs
    assert first.phase is Phase.WAITING
    assert first.possibly_sent
    assert not second.possibly_sent


def test_every_event_is_counted_and_ends_are_told_by_it() -> None:
    """Whoever watches a run can ask what has ended since the event that they saw last."""
    run = opened(plan(2, receipts=False))
    sent(run, 0, 1.0)
    assert (run.applied, run.endings) == (4, [])
    ended(run, 0, 2.0)
    assert (run.applied, run.endings) == (6, [(JOB, 6)])
    run.apply(e.LaunchStopped(3.0, CauseCode.DEADLINE))
    assert (run.applied, run.endings) == (7, [(JOB, 6), (JobId(1), 7)])


@pytest.mark.parametrize(
    ("event", "again"),
    [
        (e.ResultReceived(3.0, JOB, Answer("Failed", "", 1)), True),
        (e.ResultReceived(3.0, JOB, Answer("TimedOut", "", -1)), False),  # only its shell was ended
        (e.ResultReceived(3.0, JOB, Answer("Succeeded", "", 0)), False),
        (e.ResultReceived(3.0, JOB, Answer("Running", "", 0)), False),
        (e.ResultFailed(3.0, JOB, "VMExtensionProvisioningError", "command terminated with exit status=1"), True),
        (e.ResultFailed(3.0, JOB, "Odd", ""), False),
        (e.ResultFailed(3.0, JOB, "Canceled", "", cancelled=True), False),
        (e.ResultUnreadable(3.0, JOB, Refusal(403, "", "")), False),
    ],
)
def test_only_what_has_certainly_ended_badly_is_run_again(event: e.Event, again: bool) -> None:
    """A failure whose script is over; nothing that may still run, was not delivered, or went well."""
    run = retrying()
    run.apply(event)
    assert (run.jobs[0].retry, run.jobs[0].phase is Phase.DONE) == (int(again), not again)


def test_after_a_stop_nothing_is_run_again() -> None:
    """A failed job ends as it is once launching has stopped."""
    run = retrying()
    run.apply(e.LaunchStopped(2.0, CauseCode.DEADLINE))
    run.apply(e.ResultReceived(3.0, JOB, Answer("Failed", "", 1)))
    assert (run.jobs[0].retry, run.jobs[0].phase) == (0, Phase.DONE)


def test_what_brings_a_target_to_a_good_end_is_run_again_after_a_stop() -> None:
    """A step that always runs has its tries, whatever stopped the launching."""
    made = plan(1, steps=2, receipts=False)
    first, last = made.steps
    always = replace(last, flow=replace(last.flow, turn=Turn.ALWAYS, retries=1))
    run = opened(replace(made, steps=(first, always)))
    sent(run, 0, 1.0)
    ended(run, 0, 2.0)
    sent(run, 1, 3.0)
    run.apply(e.LaunchStopped(4.0, CauseCode.DEADLINE))
    ended(run, 1, 5.0, exit_code=1)
    assert (run.jobs[1].retry, run.jobs[1].phase) == (1, Phase.WAITING)


def test_tries_are_as_many_as_were_asked_for() -> None:
    """And the last failure stands."""
    run = retrying(2)
    run.apply(e.ResultReceived(3.0, JOB, Answer("Failed", "", 1)))
    for at in (10.0, 20.0):
        assert run.jobs[0].phase is Phase.WAITING
        sent(run, 0, at)
        ended(run, 0, at + 1, exit_code=2)
    outcome = run.jobs[0].outcome
    assert (run.jobs[0].retry, outcome and outcome.exit_code) == (2, 2)


def test_a_step_that_follows_knows_what_came_before() -> None:
    """Its turn comes with the facts of those above; once its target has spent its part it reserves nothing more."""
    made = plan(2, steps=2, receipts=False, limits=Limits(max_failures=5))
    first, last = made.steps
    first = replace(first, flow=replace(first.flow, collect={"x": Fact(key="x")}))
    last = replace(last, flow=replace(last.flow, turn=Turn.ALWAYS))
    run = opened(replace(made, steps=(first, last)))
    for job, code in ((0, 1), (2, 0)):
        sent(run, job, 1.0)
        run.apply(e.LookBegun(5.0, JobId(job)))
        run.apply(e.ResultReceived(5.0, JobId(job), Answer("Failed" if code else "Succeeded", "", code, f"x={job}\n")))
    assert [(state.released, state.begun, state.due) for state in run.jobs[1::2]] == [(True, 5.0, 5.0)] * 2
    assert [dict(state.known.facts) for state in run.jobs[1::2]] == [{"x": "0"}, {"x": "2"}]
    assert [state.free for state in run.jobs] == [False, True, False, False]
    sent(run, 1, 6.0)
    sent(run, 3, 6.0)
    assert (run.reserved, run.in_flight) == (1, 2)


def test_what_the_step_s_own_limit_ended_is_run_again() -> None:
    """Its receipt says that the script was ended in the VM, so nothing of it goes on."""
    made = plan(1)
    flow = replace(made.steps[0].flow, retries=1)
    run = opened(replace(made, steps=(replace(made.steps[0], flow=flow),)))
    sent(run, 0, 1.0)
    command = run.command(JOB, {})
    opening = envelope.open(command.script, {})
    assert opening is not None
    code, out, err = opening.seal(
        exit_code=124, stdout=b"", stderr=b"", boot_id="b", started=1.0, ended=2.0, replayed=False, timed_out=True
    )
    run.apply(e.LookBegun(2.0, JOB))
    run.apply(e.ResultReceived(3.0, JOB, Answer("Failed", "", code, out.decode(), err.decode())))
    assert (run.jobs[0].retry, run.jobs[0].phase) == (1, Phase.WAITING)
    assert run.jobs[0].earlier is not None and run.jobs[0].earlier.status is Status.TIMED_OUT
