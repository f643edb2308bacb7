"""Take-over: what another owner finds of a run, asks again, and gives up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.plan.model import JobId, Limits
from fleet.run import effects as f
from fleet.run import events as e
from fleet.run.answers import LostReason, Refusal
from fleet.run.expiry import LAST_LOOK
from fleet.run.model import Phase
from fleet.run.state import Run
from tests.unit.engine.harness import RUN_ID
from tests.unit.run.driven import OPERATION, due, ended, opened, sent, standing
from tests.unit.run.factory import plan

DAY = 86_400.0
JOB = JobId(0)


def test_a_run_taken_over_the_next_day_looks_before_it_gives_up() -> None:
    """A job in flight when the lid was closed is looked at after a resume, however late; only then may it expire."""
    run = opened(plan(1))
    sent(run, 0, 1.0)
    run.apply(e.RunOpened(DAY, 2))
    assert run.next(DAY) == f.Look(JobId(0))
    run.apply(e.LookBegun(DAY, JobId(0)))
    run.apply(e.SeenRunning(DAY, JobId(0)))
    end = DAY + run.plan.limits.answer_grace
    assert f.Expire(JobId(0)) not in due(run, end - 1.0)
    assert f.Expire(JobId(0)) in due(run, end + LAST_LOOK)


def test_a_refused_job_is_tried_again_after_a_late_takeover() -> None:
    """Time in which nobody drove the run is no time to deliver: a refused job gets its full time again."""
    run = opened(plan(1))
    run.apply(e.SubmissionIntended(1.0, JobId(0), 1))
    run.apply(e.SubmissionRefused(1.0, JobId(0), Refusal(409, "Conflict", "in progress")))
    run.apply(e.RunOpened(DAY, 2))
    assert run.next(DAY) == f.Submit(JobId(0), 2)


def test_the_newest_moment_of_a_run_is_known() -> None:
    """A run knows the latest moment it was told of, so that whoever takes it over never goes back in time."""
    run = opened(plan(1), at=DAY)
    sent(run, 0, DAY + 5.0)
    assert run.latest == DAY + 5.0
    again = Run(run.plan, RUN_ID)
    again.apply(e.SubmissionAccepted(3.0, JobId(0), OPERATION))
    assert again.latest == 3.0


@pytest.mark.parametrize("lost", [False, True])
def test_who_takes_over_asks_again_what_was_being_asked(lost: bool) -> None:
    """An answer to a read that is still on the wire will never come to the next owner."""
    run = opened(plan(1))
    run.apply(e.SubmissionIntended(1.0, JobId(0), 1))
    run.apply(
        e.SubmissionLost(2.0, JobId(0), LostReason.RESET) if lost else e.SubmissionAccepted(2.0, JobId(0), OPERATION)
    )
    (asked,) = due(run, 60.0)
    run.apply(e.RunOpened(70.0, 2))
    assert due(run, 70.0) == [asked]
    assert run.calls == 1


def test_who_takes_over_looks_again_at_what_was_being_looked_at() -> None:
    """A standing command about which nobody will hear any more holds no slot, and is looked at anew."""
    run = opened(standing(plan(2, receipts=False, limits=Limits(concurrency=1))))
    assert due(run, 1.0) == [f.Find(JobId(0))]
    assert (run.in_flight, run.held_back) == (1, 1)
    run.apply(e.RunOpened(70.0, 2))
    assert (run.in_flight, run.held_back, run.calls) == (0, 0, 0)
    assert due(run, 70.0) == [f.Find(JobId(0))]


def test_what_was_to_be_cancelled_is_followed_by_who_takes_over() -> None:
    """A hard stop ends with its process: a command that it could not delete any more is read to its end."""
    run = opened(plan(1, receipts=False))
    sent(run, 0, 1.0)
    run.apply(e.StopRequested(2.0, e.StopKind.HARD))
    assert run.next(2.0) == f.Remove(JobId(0))
    run.apply(e.RunOpened(70.0, 2))
    assert due(run, 70.0) == [f.Look(JobId(0))]


def test_who_takes_over_deletes_what_an_earlier_try_left() -> None:
    """Whether its deletion waits, was on the wire, or is that of a job that has ended."""
    made = plan(2, receipts=False)
    flow = replace(made.steps[0].flow, retries=1, retry_delay=500.0)
    run = opened(replace(made, steps=(replace(made.steps[0], flow=flow),)))
    for job, code in ((0, 1), (1, 0)):
        sent(run, job, 1.0)
        ended(run, job, 2.0, exit_code=code)
    assert set(due(run, 2.0)) == {f.Remove(JobId(0)), f.Remove(JobId(1))}
    run.apply(e.RunOpened(70.0, 2))
    assert set(due(run, 70.0)) == {f.Remove(JobId(0)), f.Remove(JobId(1))}


def test_a_run_begins_once() -> None:
    """When its first owner opens it, whoever goes on with it; what stopped it last time does not count."""
    run = opened(plan(1), at=5.0)
    assert run.started == 5.0
    run.apply(e.StopRequested(6.0, e.StopKind.SOFT))
    run.apply(e.RunOpened(9.0, 2, waits=False))
    assert (run.started, run.stop, run.calls) == (5.0, None, 0)


def test_what_was_being_sent_when_an_owner_died_may_have_arrived() -> None:
    """The next owner knows it as lost, looks for it, and nothing is on the wire."""
    run = opened(plan(2))
    run.apply(e.SubmissionIntended(1.0, JOB, 1))
    run.apply(e.RunOpened(9.0, 2))
    state = run.jobs[0]
    assert (state.phase, state.possibly_sent, state.calling, run.calls) == (Phase.FINDING, True, False, 0)
    assert state.trouble is not None and "crashed" in state.trouble.message
    assert f.Find(JOB) in due(run, 9.0)


def test_who_takes_over_cancels_nothing_that_another_cancelled() -> None:
    """A stop ends with its process: what was to be deleted to end it runs on, and what is left over is deleted still."""
    made = plan(2, receipts=False)
    run = opened(made)
    sent(run, 0, 1.0)
    sent(run, 1, 1.0)
    ended(run, 1, 2.0)
    run.apply(e.StopRequested(3.0, e.StopKind.HARD))
    assert [state.removals for state in run.jobs] == [[0], [0]]
    run.apply(e.RemovalBegun(3.0, JOB))
    run.apply(e.RunOpened(9.0, 2))
    assert [(state.removals, state.removal_due, state.removing) for state in run.jobs] == [
        ([], None, False),
        ([0], 2.0, False),
    ]
