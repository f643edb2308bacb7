"""How stragglers are told to whoever watches."""

from __future__ import annotations

from fleet.cli.progress import slow_jobs
from fleet.plan.model import JobId
from fleet.playbook.model import Transport
from fleet.run import events as e
from fleet.run.answers import Answer, Operation
from fleet.run.state import Run
from tests.unit.run.factory import plan


def begun(vms: int, ended: int) -> Run:
    """A run of which the first ``ended`` jobs took twenty seconds, and the rest has been running since moment 0."""
    run = Run(plan(vms, receipts=False), "20260101-000000-test")
    run.apply(e.RunOpened(0, 1))
    run.apply(e.WaveOpened(0, 0))
    for job in map(JobId, range(vms)):
        run.apply(e.SubmissionIntended(0, job, 1))
        run.apply(e.SubmissionAccepted(0, job, Operation(Transport.MANAGED)))
    for job in map(JobId, range(ended)):
        run.apply(e.ResultReceived(20, job, Answer("Succeeded", exit_code=0)))
    return run


def test_stragglers_are_counted_and_named() -> None:
    """The line says how many, what is usual, and each by name with its age."""
    told = ["2 stragglers (usual: 20s; fleet probe looks at them)", "vm0012 1h 01m", "vm0013 1h 01m"]
    assert slow_jobs(begun(14, 12), now=3700) == told


def test_without_stragglers_there_is_nothing_to_say() -> None:
    """While all take about as long as the others, the line is empty."""
    assert slow_jobs(begun(14, 12), now=25) == []
