"""A person ends the script of a job from elsewhere: what the run makes of each order in which it hears of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.plan.model import JobId, Limits
from fleet.playbook.model import Transport
from fleet.report.aggregate import aggregate
from fleet.run import events as e
from fleet.run.answers import Answer, LostReason, Refusal
from fleet.run.effects import Halt, WaitUntil
from fleet.run.model import CauseCode, Phase, Status
from fleet.run.state import Run
from tests.unit.run.driven import OPERATION, due, ended, opened, sent
from tests.unit.run.factory import plan

JOB = JobId(0)
GONE = Refusal(404, "ResourceNotFound", "it was not found")
WHO = {"who": "jo", "why": "it hangs", "vm": "vm0000"}


def running(**limits: object) -> Run:
    """A run of two VMs, the first of which is at work."""
    run = opened(plan(2, receipts=False, limits=Limits(**limits)))  # type: ignore[arg-type]
    sent(run, 0, 1.0)
    return run


def asked(at: float, **more: object) -> e.JobUnstuck:
    return e.JobUnstuck(at, JOB, **{**WHO, **more})  # type: ignore[arg-type]


def done(at: float, **more: object) -> e.JobUnstuck:
    return asked(at, stage=e.FreeingStage.DONE, **more)


def end(run: Run) -> tuple[Status, str]:
    outcome = run.jobs[0].outcome
    assert outcome is not None
    return outcome.status, outcome.cause.message


def test_a_command_that_is_gone_was_cancelled_by_the_person() -> None:
    """A look that finds nothing, after it was asked for, knows why; no budget is spent."""
    run = running(max_failures=0, max_unreachable=0)
    run.apply(asked(2.0))
    run.apply(e.LookBegun(3.0, JOB))
    run.apply(e.ResultUnreadable(4.0, JOB, GONE))
    status, message = end(run)
    assert status is Status.CANCELLED and message.startswith("ended by jo: it hangs; ")
    assert run.budget.breach() is None


def test_a_deleted_command_ends_its_job_at_once() -> None:
    """Nothing more is asked about it, and nothing is left to be deleted."""
    run = running()
    run.apply(asked(2.0))
    run.apply(done(3.0))
    assert end(run)[0] is Status.CANCELLED
    assert not run.jobs[0].removals and not aggregate(run.record()).leftovers


def test_the_proven_result_wins() -> None:
    """A result that a look brings which was on its way, or that was read before, is the job's end."""
    run = running()
    run.apply(e.LookBegun(2.0, JOB))
    run.apply(asked(2.1))
    run.apply(done(2.2))
    assert run.jobs[0].outcome is None, "an answer is on its way"
    run.apply(e.ResultReceived(2.3, JOB, Answer("Succeeded", "", 0)))
    assert end(run)[0] is Status.SUCCEEDED
    late = running()
    ended(late, 0, 2.0, 3)
    late.apply(asked(3.0))
    late.apply(done(4.0))
    assert end(late)[0] is Status.FAILED


def test_a_look_that_still_sees_it_running_ends_nothing_else() -> None:
    """Azure may show a command for a while that it is deleting."""
    run = running()
    run.apply(e.LookBegun(2.0, JOB))
    run.apply(done(2.2))
    run.apply(e.SeenRunning(2.3, JOB))
    assert end(run)[0] is Status.CANCELLED


def test_what_could_not_be_ended_is_as_before() -> None:
    """After a failure nobody is named for what happens to the command later."""
    run = running()
    run.apply(asked(2.0))
    run.apply(asked(3.0, stage=e.FreeingStage.FAILED))
    run.apply(e.LookBegun(4.0, JOB))
    run.apply(e.ResultUnreadable(5.0, JOB, GONE))
    assert end(run)[0] is Status.UNKNOWN


@pytest.mark.parametrize("stage", list(e.FreeingStage))
def test_of_another_try_nothing_is_known(stage: e.FreeingStage) -> None:
    """What was said of an earlier try does not hold for this one, nor for a job that there is not."""
    run = running()
    run.apply(asked(2.0, stage=stage, retry=1))
    run.apply(replace(asked(2.0, stage=stage), job=JobId(99)))
    assert run.jobs[0].ender is None and run.jobs[0].outcome is None


def test_a_lost_submission_is_not_sent_again_after_its_command_was_deleted() -> None:
    """Its command is missing, and a person wants it ended: sending it once more would run it after all."""
    run = opened(plan(1))
    run.apply(e.SubmissionIntended(1.0, JOB, 1))
    run.apply(e.SubmissionLost(2.0, JOB, LostReason.TIMEOUT))
    run.apply(asked(3.0))
    run.apply(done(4.0))
    run.apply(e.FindBegun(5.0, JOB))
    run.apply(e.CommandMissing(6.0, JOB))
    assert end(run)[0] is Status.CANCELLED


def test_a_submission_on_the_wire_is_not_taken_for_ended() -> None:
    """It may arrive after its command was deleted: the next look says how it stands."""
    run = opened(plan(1, receipts=False))
    run.apply(e.SubmissionIntended(1.0, JOB, 1))
    run.apply(done(2.0))
    run.apply(e.SubmissionAccepted(3.0, JOB, OPERATION))
    assert run.jobs[0].outcome is None


def test_an_interrupt_whose_deletion_was_not_told_names_who_interrupted() -> None:
    """The run was left while a command was being deleted; whoever resumes it finds it gone, and knows why."""
    run = running()
    run.apply(e.StopRequested(2.0, e.StopKind.HARD, "jo@desk/1"))
    run.apply(e.RunOpened(10.0, 2))
    run.apply(e.LookBegun(11.0, JOB))
    run.apply(e.ResultUnreadable(12.0, JOB, GONE))
    status, message = end(run)
    assert status is Status.CANCELLED and "interrupted by jo@desk/1" in message


def test_a_cancelled_run_names_who_cancelled_it() -> None:
    """The row of each script that was ended says by whom and why."""
    run = running()
    run.apply(e.RunCancelled(2.0, e.StopKind.HARD, "jo", "wrong version"))
    run.apply(e.RemovalBegun(3.0, JOB))
    run.apply(e.CommandRemoved(4.0, JOB))
    outcome = run.jobs[0].outcome
    assert outcome is not None and outcome.cause.code is CauseCode.CANCELLED
    assert outcome.cause.message.startswith("cancelled by jo: wrong version; ")


def test_many_scripts_are_told_of_in_one_note() -> None:
    """Once for all that one person did for one reason, and by their last stage."""
    run = opened(plan(3, receipts=False))
    for job in range(3):
        sent(run, job, 1.0)
        for stage in (e.FreeingStage.ASKED, e.FreeingStage.DONE):
            event = e.JobUnstuck(2.0, JobId(job), stage=stage, vm=f"vm000{job}", who="jo", why="it hangs")
            run.apply(event)
    (note,) = [note for note in aggregate(run.record()).notes if "jo" in note]
    assert note.endswith("Script on vm[0000-0002] ended by jo, its managed command is deleted: it hangs")


def test_a_run_that_was_stopped_hard_is_left_when_nothing_answers() -> None:
    """Two and a half seconds after the last answer, whatever is on the wire; an answer puts it off."""
    run = running()
    run.apply(e.StopRequested(10.0, e.StopKind.HARD, "jo"))
    due(run, 10.0)
    assert run.next(12.4) == WaitUntil(12.5)
    assert isinstance(run.next(12.5), Halt)
    run.apply(e.RemovalFailed(12.4, JOB, 429, 60.0))
    assert run.next(12.5) == WaitUntil(14.9)
    run.apply(e.RemovalFailed(12.6, JOB, 0))
    assert isinstance(run.next(14.9), Halt), "a lost answer is none"


def test_who_asked_first_is_named() -> None:
    """A run that is stopped hard afterwards deletes the command, and the row still names the person who asked for it."""
    run = running()
    run.apply(asked(2.0))
    run.apply(e.StopRequested(3.0, e.StopKind.HARD, "somebody else"))
    run.apply(e.RemovalBegun(4.0, JOB))
    run.apply(e.CommandRemoved(5.0, JOB))
    assert end(run)[0] is Status.CANCELLED
    assert "ended by jo" in end(run)[1]


def test_an_action_has_no_command_that_could_have_been_deleted() -> None:
    """What a person says of it ends nothing here: its operation is still read."""
    run = opened(plan(2, transport=Transport.ACTION, receipts=False))
    sent(run, 0, 1.0)
    run.apply(asked(2.0))
    run.apply(done(3.0))
    assert run.jobs[0].phase is Phase.RUNNING


def test_a_step_that_cannot_be_decided_ends_its_job_alone() -> None:
    """A condition that cannot be read, as in a damaged plan, ends the jobs that need it; nothing is sent for them."""
    made = plan(2)
    step = replace(made.steps[0], flow=replace(made.steps[0].flow, when="facts.x =="))
    run = opened(replace(made, steps=(step,)))
    for state in run.jobs:
        assert state.outcome is not None
        assert (state.outcome.status, state.outcome.cause.code) == (Status.UNREACHABLE, CauseCode.INTERNAL_ERROR)
