"""From a run's record to its report."""

from __future__ import annotations

import time
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fleet.report.aggregate import aggregate, unique_labels
from fleet.run.model import CauseCode, Outcome, Phase, Status

from . import factory as f

outcomes = st.sampled_from(
    [f.succeeded(), f.succeeded("other"), f.failed(), f.failed(2), f.unreachable(), f.not_started()]
)
any_job = st.one_of(outcomes, st.sampled_from(Phase).filter(lambda phase: phase is not Phase.DONE).map(f.Open))


@given(st.lists(any_job, min_size=1, max_size=30), st.integers(1, 3))
def test_nobody_is_missing(jobs: list[Outcome | f.Open], steps: int) -> None:
    """Every target and step has exactly one row, every row is in exactly one group, and the counts add up."""
    plan = f.plan(f.fleet(len(jobs)), [f.step(f"s{n}") for n in range(steps)])
    report = aggregate(f.record(plan, jobs, finished=False))
    assert [(row.target, row.step) for row in report.jobs] == [(t.id, s.id) for t in plan.targets for s in plan.steps]
    assert sorted(index for group in report.groups for index in group.jobs) == list(range(len(report.jobs)))
    assert sum(report.counts[status] for status in Status) == report.counts.total == len(report.jobs)


@given(st.lists(outcomes, min_size=1, max_size=30))
def test_groups_are_alike_and_failures_come_first(jobs: list[Outcome]) -> None:
    """Rows of a group agree in outcome and output; failures come first, larger groups before smaller."""
    report = aggregate(f.record(f.plan(f.fleet(len(jobs))), jobs))
    for group in report.groups:
        rows = [report.jobs[index] for index in group.jobs]
        assert {(r.status, r.cause.code, r.exit_code, r.step, r.stdout, r.stderr) for r in rows} == {
            (group.status, group.cause.code, group.exit_code, group.step, group.stdout, group.stderr)
        }
    failed = [group.status is Status.FAILED for group in report.groups]
    assert failed == sorted(failed, reverse=True)
    for kind in (report.failures, report.not_reached, report.not_run, report.successes, report.left_out):
        sizes = [group.count for group in kind]
        assert sizes == sorted(sizes, reverse=True)


def test_names_are_folded() -> None:
    """Forty targets with the same outcome are one group with one folded name."""
    report = aggregate(f.record(f.plan(f.fleet(41)), [*[f.failed()] * 40, f.succeeded()]))
    assert [(group.names, group.count) for group in report.groups] == [("web[001-040]", 40), ("web041", 1)]


def test_an_unfinished_job_is_unknown_if_it_was_sent() -> None:
    """While a run has not ended, sent jobs are unknown, waiting ones not started, with the way to resume."""
    phases = [Phase.WAITING, Phase.SUBMITTING, Phase.FINDING, Phase.RUNNING]
    report = aggregate(f.record(f.plan(f.fleet(4)), [f.Open(phase) for phase in phases], finished=False))
    assert [row.status for row in report.jobs] == [Status.NOT_STARTED, *[Status.UNKNOWN] * 3]
    assert {row.cause.code for row in report.jobs[1:]} == {CauseCode.NO_ANSWER}
    assert all("fleet resume r-20260301-7f3a" in row.cause.hint for row in report.jobs)
    assert any("not ended" in note for note in report.notes)


def test_a_run_that_cannot_be_resumed_says_so() -> None:
    """Where its record is lost no row names a way to go on, and a note says what the report is."""
    record = f.record(f.plan(f.fleet(2)), [f.Open(Phase.RUNNING), f.Open(Phase.WAITING)], finished=False)
    report = aggregate(record, resumable=False)
    assert [row.cause.hint for row in report.jobs] == ["", ""]
    assert report.notes[-1].startswith("The run's files were removed or replaced")
    assert report.notes[:-1] == aggregate(record).notes


def test_an_interrupted_run_has_its_own_exit_code() -> None:
    """What was left on purpose ends 130, whatever its rows say."""
    record = f.record(f.plan(f.fleet(2)), [f.failed(), f.Open()], finished=False)
    assert aggregate(record, interrupted=True).exit_code == 130


def test_the_mixed_run() -> None:
    """A run that met its budget says so, names the unread scope, and keeps the waves' times."""
    report = aggregate(f.mixed())
    assert report.exit_code == 5
    assert report.stopped is not None and report.stopped.cause is CauseCode.BUDGET_FAILURES
    assert [scope.name for scope in report.unread] == ["prod-legacy"]
    assert [wave.targets for wave in report.waves] == [1, 5, 6]
    assert all(wave.started is not None and wave.ended is not None for wave in report.waves)
    slow = [row.duration_s for row in report.slowest(3)]
    assert slow == sorted((row.duration_s for row in report.jobs if row.duration_s is not None), reverse=True)[:3]


def test_equal_names_are_told_apart() -> None:
    """Two VMs of one name show with their groups, or subscriptions, and case twins count as equal."""
    other = "00000000-0000-0000-0000-000000000002"
    members = [
        f.target("solo"),
        f.target("vm1", group="a"),
        f.target("VM1", group="b"),
        f.target("vm2", group="a"),
        f.target("vm2", group="a", subscription=other),
    ]
    labels = list(unique_labels(members).values())
    assert labels == ["solo", "a/vm1", "b/VM1", "prod-1/a/vm2", "prod-2/a/vm2"]


def test_what_must_be_known_to_trust_the_rows_is_noted() -> None:
    """Receipts off, kept answers and cut output are said in the notes."""
    jobs = [replace(f.succeeded(), replayed=True), replace(f.failed(), truncated=True)]
    notes = " ".join(aggregate(f.record(f.plan(f.fleet(2), receipts=False), jobs)).notes)
    assert "Receipts were off" in notes and "1 answer is a kept one" in notes
    assert "output of 1 job was too much" in notes and "VM --full" in notes


def test_many_rows_aggregate_quickly() -> None:
    """5,000 rows with 4 KB of output each, all different, aggregate in less than 2 s of CPU."""
    jobs = [f.failed(1, "x" * 4091 + f"{number:05}") for number in range(5_000)]
    record = f.record(f.plan(f.fleet(5_000), wave_sizes=[1, 500]), jobs)
    before = time.process_time()
    report = aggregate(record)
    assert time.process_time() - before < 2.0
    assert len(report.groups) == 5_000
