"""Clean-up: which managed commands a run removes from its VMs, how often it tries, and what it reports of those that stay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.plan.model import JobId, Limits, Plan
from fleet.playbook.model import Transport
from fleet.run import effects as f
from fleet.run import events as e
from fleet.run.answers import Refusal
from fleet.run.model import Phase, Status
from fleet.run.removal import REMOVAL_TRIES
from fleet.run.retry import backoff
from fleet.run.state import Run
from fleet.run.view import CLEAN_UP_PATIENCE
from tests.unit.run.driven import OPERATION, due, ended, opened, sent
from tests.unit.run.factory import plan

JOB = JobId(0)
LOCKED = e.RemovalFailed(
    2.0, JOB, 409, None, "ScopeLocked", "The scope 'x' cannot perform delete operation because following scope(s) are"
    " locked: '/subscriptions/s/resourceGroups/rg'. Please remove the lock and try again.",
)  # fmt: skip


def removing(**more: object) -> Run:
    run = opened(plan(1, receipts=False, **more))  # type: ignore[arg-type]
    sent(run, 0, 1.0)
    ended(run, 0, 2.0)
    return run


def test_nothing_is_due_in_the_past_while_clean_up_goes_on() -> None:
    """When only removals are left and the run's deadline passes, the run waits for an answer and does not spin."""
    run = opened(plan(1, receipts=False, limits=Limits(deadline=10.0)))
    sent(run, 0, 1.0)
    ended(run, 0, 5.0)
    run.apply(e.RemovalBegun(9.0, JobId(0)))
    assert run.next(20.0) == f.WaitUntil(None)


@pytest.mark.parametrize(
    "event",
    [
        e.JobExpired(5.0, JobId(0)),
        e.ResultUnreadable(5.0, JobId(0), Refusal(404, "ResourceNotFound", "gone")),
    ],
)
def test_a_command_whose_end_is_unknown_is_left_alone(event: e.Event) -> None:
    """Deleting a command ends its script, so one that may still run is never cleaned up."""
    run = opened(plan(1))
    sent(run, 0, 1.0)
    if isinstance(event, e.ResultUnreadable):
        run.apply(e.LookBegun(4.0, JobId(0)))
    run.apply(event)
    assert run.jobs[0].outcome is not None
    assert run.jobs[0].outcome.status is Status.UNKNOWN
    assert run.next(6.0) == f.Finish()


def test_a_soft_stop_cleans_up_behind_it() -> None:
    """Before a stopped run is left, the commands whose results were read are deleted."""
    run = opened(plan(2, receipts=False))
    sent(run, 0, 1.0)
    run.apply(e.StopRequested(2.0, e.StopKind.SOFT))
    ended(run, 0, 3.0)
    assert run.next(3.0) == f.Remove(JobId(0))
    run.apply(e.RemovalBegun(3.0, JobId(0)))
    run.apply(e.CommandRemoved(3.0, JobId(0)))
    assert run.next(3.0) == f.Halt()


def test_a_forbidden_removal_is_not_tried_again() -> None:
    """A credential that may not delete is refused once a command, not five times."""
    run = opened(plan(1, receipts=False))
    sent(run, 0, 1.0)
    ended(run, 0, 3.0)
    run.apply(e.RemovalBegun(3.0, JobId(0)))
    run.apply(e.RemovalFailed(3.0, JobId(0), 403))
    assert run.leftovers == [JobId(0)]
    assert run.next(3.0) == f.Finish()
    assert not run.record().jobs[0].left
    run.apply(e.RunEnded(4.0))
    assert run.record().jobs[0].left


def test_what_was_deleted_is_not_left() -> None:
    """A replayed journal tells the same: only a deletion that was taken says that nothing lies there."""
    run = opened(plan(2, receipts=False))
    for job in (0, 1):
        sent(run, job, 1.0)
        ended(run, job, 3.0)
    run.apply(e.CommandRemoved(3.5, JobId(0)))
    run.apply(e.RunEnded(4.0))
    assert [job.left for job in run.record().jobs] == [False, True]


def test_clean_up_that_never_succeeds_does_not_keep_a_run_from_ending() -> None:
    """A service that lets nothing be deleted for ever holds up the end of the run for ten minutes, not years."""
    run = opened(plan(1, receipts=False))
    sent(run, 0, 1.0)
    ended(run, 0, 3.0)
    run.apply(e.RemovalBegun(3.0, JobId(0)))
    run.apply(e.RemovalFailed(3.0, JobId(0), 429, 999_999_999.0))
    assert run.next(4.0) == f.WaitUntil(603.0)
    assert run.next(603.0) == f.Finish()


def test_a_run_that_took_long_cleans_up_all_the_same() -> None:
    """The patience with deletions begins when the last job has ended, not with the run."""
    run = opened(plan(1, receipts=False))
    sent(run, 0, 1.0)
    ended(run, 0, 2.0 + CLEAN_UP_PATIENCE)
    assert run.next(2.0 + CLEAN_UP_PATIENCE) == f.Remove(JobId(0))


def test_an_earlier_command_that_may_not_be_deleted_leaves_the_next_to_be_tried() -> None:
    """What a first try left stays and is told; what the second leaves is deleted all the same."""
    made = plan(1, receipts=False)
    flow = replace(made.steps[0].flow, retries=1)
    run = opened(replace(made, steps=(replace(made.steps[0], flow=flow),)))
    sent(run, 0, 1.0)
    ended(run, 0, 2.0, exit_code=1)
    assert set(due(run, 2.0)) == {f.Remove(JobId(0)), f.Submit(JobId(0), 2, retry=1)}
    run.apply(e.RemovalFailed(3.0, JobId(0), 403))
    assert run.leftovers == [JobId(0)]
    run.apply(e.SubmissionAccepted(100.0, JobId(0), OPERATION))
    ended(run, 0, 101.0)
    assert due(run, 101.0) == [f.Remove(JobId(0))]
    run.apply(e.CommandRemoved(102.0, JobId(0), retry=1))
    assert run.next(102.0) == f.Finish()


def test_a_removal_is_tried_five_times() -> None:
    """After pauses that grow, or the one the service asks for; then the command stays, and is told."""
    assert REMOVAL_TRIES == 5
    run = removing()
    at = 2.0
    for tries in range(1, 5):
        assert run.next(at) == f.Remove(JOB)
        run.apply(e.RemovalBegun(at, JOB))
        assert run.jobs[0].removing
        asked = 500.0 if tries == 2 else None
        run.apply(e.RemovalFailed(at, JOB, 503, asked))
        assert (run.jobs[0].removing, run.jobs[0].removal_tries, run.leftovers) == (False, tries, [])
        at += asked or backoff(tries, "0")
        assert run.next(at - 0.001) == f.WaitUntil(at)
    run.apply(e.RemovalBegun(at, JOB))
    run.apply(e.RemovalFailed(at, JOB, 503))
    assert (run.leftovers, run.next(at)) == ([JOB], f.Finish())


def test_a_removal_that_a_lock_refuses_is_tried_once_and_explained() -> None:
    """The report names the code, and the lock to remove; a new owner of the run tries again, as it may be gone."""
    run = removing()
    run.apply(e.RemovalBegun(2.0, JOB))
    run.apply(LOCKED)
    assert (run.leftovers, run.next(2.0)) == ([JOB], f.Finish())
    run.apply(e.RunOpened(5.0, 2))
    assert (run.leftovers, run.next(5.0)) == ([], f.Remove(JOB))
    run.apply(e.RemovalBegun(5.0, JOB))
    run.apply(replace(LOCKED, at=6.0))
    run.apply(e.RunEnded(7.0))
    ((left,),) = (job.leftovers for job in run.record().jobs)
    assert left.retry == 0 and left.cause is not None
    assert left.cause.message.startswith("ScopeLocked: The scope 'x'")
    assert "remove the lock on /subscriptions/s/resourceGroups/rg" in left.cause.hint
    assert run.record().jobs[0].left


def test_a_command_of_an_earlier_try_that_stays_is_told_of() -> None:
    """Whatever became of the later one: each that stays is a leftover of its own, by its try."""
    made = plan(1, receipts=False)
    flow = replace(made.steps[0].flow, retries=1)
    run = opened(replace(made, steps=(replace(made.steps[0], flow=flow),)))
    sent(run, 0, 1.0)
    ended(run, 0, 2.0, exit_code=1)
    run.apply(LOCKED)
    sent(run, 0, 3.0)
    ended(run, 0, 4.0)
    run.apply(e.CommandRemoved(5.0, JOB, retry=1))
    run.apply(e.RunEnded(6.0))
    assert [left.retry for left in run.record().jobs[0].leftovers] == [0]


def test_a_removal_that_has_no_answer_is_told_with_what_is_known() -> None:
    """After five tries, with the last one's trouble; a failure of what is no longer asked for changes nothing."""
    run = removing()
    for at in range(5):
        run.apply(e.RemovalFailed(2.0 + at, JOB, 0, message="connection refused" if at else ""))
    run.apply(e.RemovalFailed(9.0, JOB, 0))
    run.apply(e.RunEnded(10.0))
    assert [left.cause and left.cause.message for left in run.record().jobs[0].leftovers] == ["connection refused"]


def test_a_try_that_follows_has_its_command_removed_after_the_one_before() -> None:
    """In the order of the tries, one at a time, each counted anew."""
    made = plan(1, receipts=False)
    flow = replace(made.steps[0].flow, retries=1, retry_delay=50.0)
    run = opened(replace(made, steps=(replace(made.steps[0], flow=flow),)))
    sent(run, 0, 1.0)
    ended(run, 0, 2.0, exit_code=1)
    assert (run.jobs[0].removals, run.jobs[0].removal_due, run.next(2.0)) == ([0], 2.0, f.Remove(JOB))
    run.apply(e.RemovalBegun(3.0, JOB))
    run.apply(e.RemovalFailed(3.0, JOB, 503, 100.0))
    assert run.next(51.9) == f.WaitUntil(52.0)
    assert run.next(52.0) == f.Submit(JOB, 2, retry=1)
    sent(run, 0, 52.0)
    ended(run, 0, 60.0)
    assert (run.jobs[0].removals, run.jobs[0].removal_due) == ([0, 1], 103.0)
    run.apply(e.RemovalBegun(103.0, JOB))
    run.apply(e.CommandRemoved(104.0, JOB, retry=0))
    assert (run.jobs[0].removals, run.jobs[0].removal_due, run.jobs[0].removal_tries) == ([1], 104.0, 0)
    assert (run.jobs[0].removed, run.jobs[0].removing, run.next(104.0)) == (False, False, f.Remove(JOB))
    run.apply(e.RemovalBegun(104.0, JOB))
    run.apply(e.CommandRemoved(105.0, JOB, retry=1))
    assert (run.jobs[0].removals, run.jobs[0].removal_due, run.jobs[0].removed) == ([], None, True)


def test_clean_up_is_waited_for_as_long_as_it_goes_on() -> None:
    """The run ends when nothing more could be deleted for some time, counted from the last that was."""
    run = opened(plan(2, receipts=False))
    for job in (0, 1):
        sent(run, job, 1.0)
        ended(run, job, 2.0)
    assert due(run, 2.0) == [f.Remove(JOB), f.Remove(JobId(1))]
    run.apply(e.RemovalFailed(3.0, JobId(1), 503, 90_000.0))
    run.apply(e.CommandRemoved(50.0, JOB))
    end = 50.0 + CLEAN_UP_PATIENCE
    assert run.next(51.0) == f.WaitUntil(end)
    assert run.next(end) == f.Finish()
    run.apply(e.RunEnded(end))
    assert [job.left for job in run.record().jobs] == [False, True]


@pytest.mark.parametrize(
    ("made", "removed"),
    [
        (plan(1, receipts=False), True),
        (plan(1, receipts=False, transport=Transport.ACTION), False),
    ],
)
def test_only_managed_commands_are_removed(made: Plan, removed: bool) -> None:
    """An action leaves nothing on its VM."""
    run = opened(made)
    sent(run, 0, 1.0)
    ended(run, 0, 2.0)
    assert (f.Remove(JOB) in due(run, 2.0)) == removed


def test_a_refused_job_leaves_nothing_to_remove() -> None:
    """Nothing reached the VM."""
    run = opened(plan(1))
    run.apply(e.SubmissionIntended(1.0, JOB, 1))
    run.apply(e.SubmissionRefused(2.0, JOB, Refusal(403, "AuthorizationFailed", "no")))
    assert (run.jobs[0].phase, run.next(2.0)) == (Phase.DONE, f.Finish())


def test_a_soft_stop_deletes_nothing_that_runs() -> None:
    """What runs is awaited; a hard one has it deleted, actions excepted."""
    for kind, transport, expected in (
        (e.StopKind.SOFT, Transport.AUTO, []),
        (e.StopKind.HARD, Transport.AUTO, [0]),
        (e.StopKind.HARD, Transport.ACTION, []),
    ):
        run = opened(plan(1, transport=transport, receipts=False))
        sent(run, 0, 1.0)
        run.apply(e.StopRequested(3.0, kind))
        assert run.jobs[0].removals == expected
