"""What a run tells its readers of itself, at any moment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.plan.model import JobId, Limits
from fleet.playbook.model import Amount, Properties, Transport
from fleet.run import events as e
from fleet.run.answers import LEASED, Answer, LostReason, Operation, Refusal
from fleet.run.limits import ARM_WRITES
from fleet.run.model import CauseCode
from fleet.run.state import Run
from tests.unit.engine.harness import RUN_ID
from tests.unit.run.driven import OPERATION, ended, opened, sent
from tests.unit.run.factory import plan

JOB = JobId(0)


def test_a_run_that_was_never_opened_has_nothing_to_tell() -> None:
    """No beginning, no end, nothing that stopped it, and jobs that nothing was done about."""
    run = Run(plan(1), RUN_ID)
    record = run.record()
    assert (record.started, record.ended, record.stop_cause, record.stop_message) == (0.0, None, None, "")
    (job,) = record.jobs
    assert (job.attempts, job.operation, job.started, job.ended, job.left) == (0, "", None, None, False)
    assert (run.latest, run.calls) == (0.0, 0)


def test_a_run_tells_when_it_began_and_ended() -> None:
    """Once, whoever took it over since."""
    run = opened(plan(1, receipts=False), at=5.0)
    sent(run, 0, 6.0)
    run.apply(e.RunOpened(7.0, 2))
    ended(run, 0, 8.0)
    run.apply(e.RunEnded(9.0))
    assert (run.record().started, run.record().ended) == (5.0, 9.0)


def test_what_a_run_waits_for_is_told() -> None:
    """The wave that needs a person is counted as people count: from one."""
    run = opened(plan(3, waves=(Amount(1), Amount(2), Amount(3))))
    run.apply(e.ApprovalAwaited(2.0, 1))
    record = run.record()
    assert (record.stop_cause, record.stop_message) == (CauseCode.APPROVAL_AWAITED, "wave 2 waits for approval")


def test_who_stopped_an_unfinished_run_is_told() -> None:
    """As long as it has not ended: one that ended all the same was not stopped."""
    run = opened(plan(1, receipts=False))
    sent(run, 0, 1.0)
    run.apply(e.StopRequested(2.0, e.StopKind.SOFT))
    assert (run.record().stop_cause, run.record().stop_message) == (CauseCode.STOPPED_BY_USER, "")
    ended(run, 0, 3.0)
    run.apply(e.RunEnded(4.0))
    assert run.record().stop_cause is None


@pytest.mark.parametrize(
    ("transport", "command", "operation"),
    [(Transport.ACTION, "", "op-7"), (Transport.MANAGED, "", f"{RUN_ID}-0"), (Transport.MANAGED, "nightly", "nightly")],
)
def test_a_job_names_what_to_look_for_in_azure(transport: Transport, command: str, operation: str) -> None:
    """The operation's id without its signature, or the managed command's name; nothing before Azure took it."""
    made = plan(1, transport=transport)
    step = replace(made.steps[0], properties=Properties(command=command))
    run = opened(replace(made, steps=(step,)))
    run.apply(e.SubmissionIntended(1.0, JOB, 1))
    assert run.record().jobs[0].operation == ""
    url = "https://management.example/subscriptions/s/operations/op-7?t=1&c=a/b&s=signed"
    run.apply(e.SubmissionAccepted(2.0, JOB, Operation(transport, status_url=url, resource="x")))
    assert run.record().jobs[0].operation.endswith(operation)
    assert "signed" not in run.record().jobs[0].operation


def test_what_never_left_is_no_attempt() -> None:
    """A submission that was held back here, by another run's lease, was not one."""
    run = opened(plan(1))
    for number, refusal in ((1, Refusal(0, LEASED, "held", 5.0)), (2, Refusal(409, "Conflict", "busy"))):
        run.apply(e.SubmissionIntended(10.0 * number, JOB, number))
        run.apply(e.SubmissionRefused(10.0 * number, JOB, refusal))
    assert run.record().jobs[0].attempts == 1


def test_the_tightest_subscription_is_the_one_that_counts() -> None:
    """How many submissions would still go at once; without any target none would."""
    run = opened(plan(4, subscriptions=2))
    run.apply(e.SubmissionIntended(0.0, JOB, 1))
    run.apply(e.SubmissionLost(0.0, JOB, LostReason.RESET))
    assert run.call_budget(0.0) == ARM_WRITES[0] - 1
    assert opened(plan(0)).call_budget(0.0) == 0


def test_what_may_still_lie_on_a_vm_is_told_when_the_run_has_ended() -> None:
    """Not before; and a standing command is no leftover."""
    for command, left in (("", True), ("nightly", False)):
        made = plan(1, receipts=False, limits=Limits())
        run = opened(replace(made, steps=(replace(made.steps[0], properties=Properties(command=command)),)))
        run.apply(e.SubmissionIntended(1.0, JOB, 1))
        run.apply(e.SubmissionAccepted(1.0, JOB, OPERATION))
        run.apply(e.JobExpired(3000.0, JOB))
        assert not run.record().jobs[0].left
        run.apply(e.RunEnded(3001.0))
        assert run.record().jobs[0].left is left


def test_what_azure_cancelled_left_nothing() -> None:
    """Somebody deleted the command, which ended its script."""
    run = opened(plan(1, receipts=False))
    sent(run, 0, 1.0)
    run.apply(e.LookBegun(2.0, JOB))
    run.apply(e.ResultReceived(3.0, JOB, Answer("Canceled", "", -1)))
    run.apply(e.RunEnded(4.0))
    assert not run.record().jobs[0].left
