"""Whole runs in virtual time: the engine, the fold and the journal against a scripted cloud."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import pytest

from fleet.clock import SystemClock
from fleet.engine.ports import Reply
from fleet.errors import AzureUnusable
from fleet.plan.model import JobId, Limits
from fleet.playbook.model import Amount, Transport
from fleet.report.aggregate import aggregate
from fleet.run import events as e
from fleet.run.answers import Command, LostReason, Refusal, SubmitAnswer
from fleet.run.model import CauseCode, Status
from fleet.run.record import RunRecord
from fleet.run.state import Run
from fleet.testing import Behaviour, ScriptedCloud
from tests.unit.engine.harness import RUN_ID, Trial
from tests.unit.run.factory import plan

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


def statuses(record: RunRecord) -> Counter[Status | None]:
    return Counter(job.outcome.status if job.outcome else None for job in record.jobs)


@pytest.mark.parametrize("transport", [Transport.MANAGED, Transport.ACTION])
async def test_every_target_runs_once_and_is_verified(transport: Transport) -> None:
    """A healthy run has one verified row per target and runs each script once, over either transport."""
    trial = Trial(plan(40, subscriptions=3, transport=transport), ScriptedCloud())
    record = await trial.start()
    assert statuses(record) == {Status.SUCCEEDED: 40}
    assert all(job.outcome and job.outcome.verified and job.outcome.stdout == "done\n" for job in record.jobs)
    assert set(trial.cloud.executions.values()) == {1}
    assert record.ended is not None
    assert trial.cloud.calls["remove"] == (40 if transport is Transport.MANAGED else 0)


async def test_an_exit_code_fails_its_row_only() -> None:
    """A script that exits 3 fails its own row with that code; the others succeed."""

    def behave(command: Command, n: int) -> Behaviour:
        return Behaviour(exit_code=3 if command.target.name.endswith("3") else 0)

    record = await Trial(plan(20), ScriptedCloud(behave)).start()
    assert statuses(record) == {Status.SUCCEEDED: 18, Status.FAILED: 2}
    failed = [job.outcome for job in record.jobs if job.outcome and job.outcome.status is Status.FAILED]
    assert {(outcome.exit_code, outcome.cause.code) for outcome in failed} == {(3, CauseCode.EXIT_CODE)}


async def test_steps_follow_each_other_and_stop_at_a_failure() -> None:
    """A target's second step starts after its first succeeded, and is skipped where it did not."""

    def behave(command: Command, n: int) -> Behaviour:
        return Behaviour(exit_code=1 if command.target.name == "vm0001" and command.name.endswith("-2") else 0)

    record = await Trial(plan(3, steps=2), ScriptedCloud(behave)).start()
    by_job = {(job.job.target.name, job.job.step.id): job.outcome for job in record.jobs}
    assert by_job["vm0001", "step0"].status is Status.FAILED  # type: ignore[union-attr]
    assert by_job["vm0001", "step1"].status is Status.SKIPPED  # type: ignore[union-attr]
    assert by_job["vm0000", "step1"].status is Status.SUCCEEDED  # type: ignore[union-attr]


async def test_a_refused_vm_is_unreachable_with_its_cause() -> None:
    """A VM that is off is unreachable, with a cause that says so, and nothing ran on it."""
    off = Refusal(409, "OperationNotAllowed", "The operation requires the VM to be running (or set to run).")

    def behave(command: Command, n: int) -> Behaviour:
        return Behaviour(refuse=off if command.target.name == "vm0002" else None)

    trial = Trial(plan(5), ScriptedCloud(behave))
    record = await trial.start()
    outcome = record.jobs[2].outcome
    assert outcome is not None
    assert (outcome.status, outcome.cause.code) == (Status.UNREACHABLE, CauseCode.VM_NOT_RUNNING)
    assert len(trial.cloud.executions) == 4


async def test_throttled_and_busy_submissions_wait_their_turn() -> None:
    """429 and a busy VM are tried again until they pass; the script still runs once."""

    def behave(command: Command, n: int) -> Behaviour:
        refusals = {1: Refusal(429, "TooManyRequests", "slow down", 7.0), 2: Refusal(409, "Conflict", "in progress")}
        return Behaviour(refuse=refusals.get(n))

    trial = Trial(plan(4), ScriptedCloud(behave))
    record = await trial.start()
    assert statuses(record) == {Status.SUCCEEDED: 4}
    assert set(trial.cloud.executions.values()) == {1}
    assert {job.attempts for job in record.jobs} == {3}


async def test_a_vm_that_stays_busy_becomes_unreachable_at_the_delivery_deadline() -> None:
    """A submission refused until its delivery time is over ends unreachable, with the last refusal as its cause."""
    busy = Refusal(409, "Conflict", "Run command extension execution is in progress.")
    trial = Trial(
        plan(1, limits=Limits(deliver_timeout=120.0)), ScriptedCloud(lambda command, n: Behaviour(refuse=busy))
    )
    outcome = (await trial.start()).jobs[0].outcome
    assert outcome is not None
    assert (outcome.status, outcome.cause.code) == (Status.UNREACHABLE, CauseCode.BUSY)


@pytest.mark.parametrize("transport", [Transport.MANAGED, Transport.ACTION])
@pytest.mark.parametrize("arrives", [True, False])
async def test_a_lost_answer_is_recovered_without_a_second_execution(transport: Transport, arrives: bool) -> None:
    """Whether or not a submission arrived, its lost answer is recovered and the script runs exactly once."""

    def behave(command: Command, n: int) -> Behaviour:
        return Behaviour(lose=LostReason.RESET if n == 1 else None, arrives=arrives or n > 1)

    trial = Trial(plan(6, transport=transport), ScriptedCloud(behave))
    record = await trial.start()
    assert statuses(record) == {Status.SUCCEEDED: 6}
    assert set(trial.cloud.executions.values()) == {1}


async def test_without_receipts_a_lost_action_is_unknown_and_never_sent_again() -> None:
    """With receipts off, nothing makes a second delivery safe: the row is unknown after one submission."""
    trial = Trial(
        plan(3, transport=Transport.ACTION, receipts=False),
        ScriptedCloud(lambda command, n: Behaviour(lose=LostReason.TIMEOUT)),
    )
    record = await trial.start()
    assert statuses(record) == {Status.UNKNOWN: 3}
    assert trial.cloud.calls["submit"] == 3


async def test_without_receipts_a_missing_command_is_looked_for_twice_a_minute_apart() -> None:
    """An unwrapped managed command is sent again only after two looks a minute apart found nothing."""

    def behave(command: Command, n: int) -> Behaviour:
        return Behaviour(lose=LostReason.TIMEOUT if n == 1 else None, arrives=n > 1)

    trial = Trial(plan(1, receipts=False), ScriptedCloud(behave))
    record = await trial.start()
    assert statuses(record) == {Status.SUCCEEDED: 1}
    missing = [event.at for event in trial.seen if isinstance(event, e.CommandMissing)]
    assert len(missing) == 2
    assert missing[1] - missing[0] >= 60


async def test_action_without_receipts_is_unverified() -> None:
    """The bare action tells no exit code, so its rows never count as success."""
    record = await Trial(plan(2, transport=Transport.ACTION, receipts=False), ScriptedCloud()).start()
    assert statuses(record) == {Status.UNVERIFIED: 2}
    assert {job.outcome.cause.code for job in record.jobs if job.outcome} == {CauseCode.NO_EXIT_CODE}


async def test_waves_wait_for_each_other_and_soak() -> None:
    """No job of a wave leaves before every job of the wave before has ended and the soak has passed."""
    trial = Trial(plan(20, waves=(Amount(1), Amount(50, percent=True)), limits=Limits(soak=30.0)), ScriptedCloud())
    record = await trial.start()
    waves = [[job for job in record.jobs if job.job.wave == wave] for wave in range(3)]
    assert [len(wave) for wave in waves] == [1, 9, 10]
    for before, after in itertools.pairwise(waves):
        last_end = max(job.ended or 0.0 for job in before)
        assert min(job.started or 0.0 for job in after) >= last_end + 30.0


async def test_concurrency_holds_in_all_and_per_subscription() -> None:
    """Jobs in flight never exceed the limits, in all and in one subscription."""
    limits = Limits(concurrency=7, concurrency_per_subscription=3)
    trial = Trial(plan(60, subscriptions=3, limits=limits), ScriptedCloud())
    await trial.start()
    assert trial.peak_in_flight <= 7
    assert trial.cloud.most_at_once <= 9  # three a subscription; removed a moment after they end


async def test_a_strict_failure_budget_is_never_overshot() -> None:
    """With ``max_failures: 3`` a script that breaks every VM reaches four, whatever the concurrency."""
    limits = Limits(concurrency=500, max_failures=3)
    trial = Trial(plan(200, limits=limits), ScriptedCloud(lambda command, n: Behaviour(exit_code=1)))
    record = await trial.start()
    assert sum(trial.cloud.executions.values()) == 4
    assert statuses(record) == {Status.FAILED: 4, Status.NOT_STARTED: 196}
    assert record.stop_cause is CauseCode.BUDGET_FAILURES


async def test_the_run_deadline_leaves_the_rest_not_started() -> None:
    """When the deadline passes, running jobs end and the others are not started, with that cause."""
    limits = Limits(concurrency=2, deadline=10.0)
    record = await Trial(plan(10, limits=limits), ScriptedCloud(lambda command, n: Behaviour(duration=4.0))).start()
    counts = statuses(record)
    assert counts[Status.SUCCEEDED] >= 2
    assert counts[Status.NOT_STARTED] == 10 - counts[Status.SUCCEEDED]
    assert record.stop_cause is CauseCode.DEADLINE


async def test_a_soft_stop_keeps_what_arrives_and_can_be_resumed() -> None:
    """After the first interrupt nothing is launched, what runs is kept, and a resume does the rest once."""
    trial = Trial(plan(30, limits=Limits(concurrency=5)), ScriptedCloud())
    asyncio.get_running_loop().call_later(3.0, lambda: trial.stop(e.StopKind.SOFT))
    record = await trial.start()
    counts = statuses(record)
    assert record.ended is None
    assert record.stop_cause is CauseCode.STOPPED_BY_USER
    assert 5 <= counts[Status.SUCCEEDED] < 30
    assert counts[Status.SUCCEEDED] + counts[None] == 30
    record = await trial.resume()
    assert statuses(record) == {Status.SUCCEEDED: 30}
    assert set(trial.cloud.executions.values()) == {1}


async def test_a_hard_stop_cancels_managed_commands() -> None:
    """After the second interrupt running managed commands are deleted and their rows are cancelled."""
    trial = Trial(plan(3), ScriptedCloud(lambda command, n: Behaviour(duration=500.0)))
    loop = asyncio.get_running_loop()
    loop.call_later(2.0, lambda: trial.stop(e.StopKind.SOFT))
    loop.call_later(3.0, lambda: trial.stop(e.StopKind.HARD))
    record = await trial.start()
    assert statuses(record) == {Status.CANCELLED: 3}
    assert loop.time() < 30


async def test_a_hard_stop_leaves_actions_to_be_resumed() -> None:
    """The action cannot be cancelled: a hard stop leaves such jobs unfinished, and a resume gets their answers."""
    trial = Trial(plan(3, transport=Transport.ACTION), ScriptedCloud(lambda command, n: Behaviour(duration=50.0)))
    asyncio.get_running_loop().call_later(2.0, lambda: trial.stop(e.StopKind.HARD))
    record = await trial.start()
    assert statuses(record) == {None: 3}
    assert statuses(await trial.resume()) == {Status.SUCCEEDED: 3}
    assert set(trial.cloud.executions.values()) == {1}


async def test_a_silent_operation_ends_unknown() -> None:
    """An accepted job without an answer in time is unknown, not failed."""
    trial = Trial(
        plan(1, limits=Limits(answer_grace=60.0)), ScriptedCloud(lambda command, n: Behaviour(duration=10_000.0))
    )
    outcome = (await trial.start()).jobs[0].outcome
    assert outcome is not None
    assert (outcome.status, outcome.cause.code) == (Status.UNKNOWN, CauseCode.NO_ANSWER)


async def test_a_refused_credential_stops_the_run() -> None:
    """When Azure answers 401 until a job gives up, nothing more is sent."""
    refused = Refusal(401, "ExpiredAuthenticationToken", "expired")
    trial = Trial(plan(50, limits=Limits(concurrency=2)), ScriptedCloud(lambda command, n: Behaviour(refuse=refused)))
    record = await trial.start()
    assert record.stop_cause is CauseCode.AZURE_UNUSABLE
    assert statuses(record)[Status.NOT_STARTED] >= 46


@pytest.mark.parametrize(("transport", "earliest"), [(Transport.MANAGED, 1), (Transport.ACTION, 4)])
async def test_a_crash_at_any_moment_loses_nothing_and_repeats_nothing(transport: Transport, earliest: int) -> None:
    """Killed at any of many moments and resumed, each script ran once and each row is there."""
    for tenths in range(earliest, 80, 6):
        trial = Trial(plan(12, steps=2, transport=transport, limits=Limits(concurrency=4)), ScriptedCloud())
        first = asyncio.ensure_future(trial.start())
        await asyncio.sleep(tenths / 10)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        record = await trial.resume()
        assert statuses(record) == {Status.SUCCEEDED: 24}, f"killed after {tenths / 10} s"
        assert set(trial.cloud.executions.values()) == {2}


async def test_few_requests_per_job_once_durations_are_known() -> None:
    """With equal scripts, a job costs well under three requests beside its removal."""
    trial = Trial(plan(1000, limits=Limits(concurrency=50)), ScriptedCloud(lambda command, n: Behaviour(duration=20.0)))
    await trial.start()
    assert (trial.cloud.calls["submit"] + trial.cloud.calls["look"]) / 1000 <= 2.7


async def test_submissions_keep_to_the_documented_rate() -> None:
    """In no window are there more submissions than ARM's bucket and refill allow for one subscription."""
    trial = Trial(plan(400), ScriptedCloud(lambda command, n: Behaviour(duration=5.0)))
    await trial.start()
    left = [event.at for event in trial.seen if isinstance(event, e.SubmissionIntended)]
    for first in range(0, len(left), 10):
        for last in range(first, len(left), 10):
            assert last - first + 1 <= 200 + 10 * (left[last] - left[first]) + 1


async def test_a_clock_set_back_between_owners_does_not_stop_the_run() -> None:
    """A run begun under a clock that was a year ahead goes on at once when it is resumed under the right one."""
    trial = Trial(plan(10, limits=Limits(concurrency=2)), ScriptedCloud())
    journal = await trial.runs.create(RUN_ID, trial.plan)
    ahead = SystemClock().now() + 31_536_000.0
    await journal.append([e.RunOpened(ahead, 1), e.WaveOpened(ahead, 0), e.SubmissionIntended(ahead, JobId(0), 1)])
    record = await trial.resume()
    assert statuses(record) == {Status.SUCCEEDED: 10}
    assert asyncio.get_running_loop().time() < 300
    moments = [event.at for event in (await trial.runs.read(RUN_ID)).events]
    assert moments == sorted(moments)


class _SignsOut(ScriptedCloud):
    """Has no token for the first of its VMs, and answers the others in the very moment."""

    async def submit(self, command: Command) -> Reply[SubmitAnswer]:
        if command.target.name == "vm0000":
            await asyncio.sleep(0.05)
            raise AzureUnusable("no token")
        return await super().submit(command)


async def test_answers_that_arrived_are_kept_when_azure_becomes_unusable() -> None:
    """What was accepted before the credential failed is on disk, so even an action without receipts is not lost."""
    trial = Trial(plan(3, transport=Transport.ACTION, receipts=False), _SignsOut(lambda command, n: Behaviour()))
    with pytest.raises(AzureUnusable):
        await trial.start()
    kept = [event for event in (await trial.runs.read(RUN_ID)).events if isinstance(event, e.SubmissionAccepted)]
    assert [event.job for event in kept] == [1, 2]


async def test_a_killed_run_tells_apart_what_was_sent_and_what_was_not() -> None:
    """Read after a kill, a job whose answer was lost is unknown and never one to be started; the others are not sent."""
    trial = Trial(
        plan(4, transport=Transport.ACTION, limits=Limits(concurrency=1)),
        ScriptedCloud(lambda command, n: Behaviour(lose=LostReason.RESET)),
    )
    first = asyncio.ensure_future(trial.start())
    await asyncio.sleep(1.0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    run = Run(trial.plan, RUN_ID)
    for event in (await trial.runs.read(RUN_ID)).events:
        run.apply(event)
    report = aggregate(run.record())
    assert [(row.status, row.cause.code) for row in report.jobs] == [
        (Status.UNKNOWN, CauseCode.NO_ANSWER),
        *[(Status.NOT_STARTED, CauseCode.NOT_SENT)] * 3,
    ]
    assert report.exit_code == 4
