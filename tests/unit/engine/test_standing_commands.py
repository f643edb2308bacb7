"""Commands that stay on their VM: made, changed, found again after a lost answer, never run twice, never deleted."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fleet.clock import SystemClock
from fleet.engine.ports import Reply
from fleet.plan.model import JobId, Limits, Plan
from fleet.playbook.model import OnExisting, Properties, Script, Transport
from fleet.run import events as e
from fleet.run.answers import Command, LostReason, Operation, Refusal
from fleet.run.model import CauseCode, Outcome, Status
from fleet.run.record import RunRecord
from fleet.testing import Behaviour, ScriptedCloud
from tests.unit.engine.harness import RUN_ID, Trial
from tests.unit.run.factory import plan

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


def standing(
    vms: int = 3, *, script: str = "echo 1\n", receipts: bool = True, existing: OnExisting = OnExisting.UPDATE
) -> Plan:
    """A plan of one step that keeps the command ``nightly`` on each VM."""
    made = plan(vms, receipts=receipts, limits=Limits(concurrency=2))
    own = Properties(command="nightly", on_existing=existing)
    return replace(made, steps=(replace(made.steps[0], script=Script(text=script), properties=own),))


class Watched(ScriptedCloud):
    """Also keeps every command that was submitted."""

    sent: list[Command]

    async def submit(self, command: Command):  # type: ignore[no-untyped-def]
        self.sent = [*getattr(self, "sent", []), command]
        return await super().submit(command)


def outcomes(record: RunRecord) -> list[Outcome]:
    found = [job.outcome for job in record.jobs if job.outcome is not None]
    assert len(found) == len(record.jobs)
    return found


@pytest.mark.parametrize("receipts", [True, False])
async def test_it_is_made_then_changed_and_never_deleted(receipts: bool) -> None:
    """Missing it is PUT, there it is PATCHed; each changed content runs once, and no run deletes it."""
    cloud = Watched()
    for script, updates in (("echo 1\n", False), ("echo 2\n", True)):
        record = await Trial(standing(script=script, receipts=receipts), cloud).start()
        assert {(o.status, o.cause.code) for o in outcomes(record)} == {(Status.SUCCEEDED, CauseCode.COMPLETED)}
        assert {(command.name, command.update) for command in cloud.sent[-3:]} == {("nightly", updates)}
    assert set(cloud.executions.values()) == {2}
    assert cloud.calls["remove"] == 0


async def test_replace_sets_it_whole() -> None:
    """With on_existing replace, a command that is there is PUT, not PATCHed."""
    cloud = Watched()
    await Trial(standing(), cloud).start()
    await Trial(standing(script="echo 2\n", existing=OnExisting.REPLACE), cloud).start()
    assert [command.update for command in cloud.sent] == [False] * 6


async def test_what_has_not_changed_does_not_run_again_and_the_row_says_so() -> None:
    """An unchanged script without a receipt is not run again: its earlier result is shown as what it is."""
    cloud = ScriptedCloud(lambda command, n: Behaviour(exit_code=3))
    await Trial(standing(receipts=False), cloud).start()
    record = await Trial(standing(receipts=False), cloud).start()
    assert {(o.status, o.cause.code, o.exit_code) for o in outcomes(record)} == {
        (Status.FAILED, CauseCode.UNCHANGED, 3)
    }
    assert all("not run again" in o.cause.message and "exit code 3" in o.cause.message for o in outcomes(record))
    assert set(cloud.executions.values()) == {1}


@pytest.mark.parametrize("receipts", [True, False])
@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("there", [True, False])
async def test_a_lost_answer_is_resolved_without_a_second_execution(receipts: bool, arrives: bool, there: bool) -> None:
    """Whether a lost PUT or PATCH arrived is told by what stands on the VM; the script runs exactly once."""
    losing: set[str] | None = None

    def behave(command: Command, n: int) -> Behaviour:
        lost = losing is not None and command.target.name not in losing
        if losing is not None:
            losing.add(command.target.name)
        return Behaviour(lose=LostReason.RESET if lost else None, arrives=arrives or not lost, duration=30.0)

    cloud = ScriptedCloud(behave)
    if there:
        await Trial(standing(script="echo 1\n", receipts=receipts), cloud).start()
    losing = set()
    record = await Trial(standing(script="echo 2\n", receipts=receipts), cloud).start()
    assert {(o.status, o.cause.code) for o in outcomes(record)} == {(Status.SUCCEEDED, CauseCode.COMPLETED)}
    assert set(cloud.executions.values()) == {2 if there else 1}
    assert len(losing) == 3


@pytest.mark.parametrize("receipts", [True, False])
async def test_an_old_answer_that_is_still_shown_is_not_taken_for_the_new_one(receipts: bool) -> None:
    """Right after a change the service may still show the result before: it is read again."""

    class Slow(ScriptedCloud):
        shown = 0

        async def look(self, target, operation):  # type: ignore[no-untyped-def]
            if self.shown == 0 and old:
                self.shown += 1
                return old[0]
            return await super().look(target, operation)

    old: list[Reply[object]] = []
    cloud = Slow(lambda command, n: Behaviour(exit_code=n - 1))
    first = await Trial(standing(1, receipts=receipts), cloud).start()
    assert outcomes(first)[0].exit_code == 0
    (place,) = cloud._running
    old.append(await ScriptedCloud.look(cloud, first.jobs[0].job.target, Operation(Transport.MANAGED, resource=place)))
    (outcome,) = outcomes(await Trial(standing(1, script="echo 2\n", receipts=receipts), cloud).start())
    assert (cloud.shown, outcome.exit_code, outcome.cause.code) == (1, 1, CauseCode.EXIT_CODE)


async def test_on_existing_fail_leaves_it_alone() -> None:
    """A command that is there is not touched: unreachable, with a cause of its own, and nothing ran."""
    cloud = ScriptedCloud()
    await Trial(standing(), cloud).start()
    record = await Trial(standing(script="echo 2\n", existing=OnExisting.FAIL), cloud).start()
    assert {(o.status, o.cause.code) for o in outcomes(record)} == {(Status.UNREACHABLE, CauseCode.EXISTS)}
    assert set(cloud.executions.values()) == {1}


async def test_one_that_runs_is_waited_for() -> None:
    """A change would kill the script that runs: it is sent only after that one's end."""
    cloud = ScriptedCloud(lambda command, n: Behaviour(duration=100.0))
    first = asyncio.ensure_future(Trial(standing(1), cloud).start())
    await asyncio.sleep(5)
    second = Trial(standing(1, script="echo 2\n"), cloud)
    record = await second.start()
    await first
    sent = next(event.at for event in second.seen if isinstance(event, e.SubmissionIntended))
    opened = next(event.at for event in second.seen if isinstance(event, e.RunOpened))
    assert sent - opened > 90
    assert outcomes(record)[0].status is Status.SUCCEEDED


async def test_one_that_runs_for_ever_is_busy_at_last() -> None:
    """Where the other script does not end in the time to deliver, the row is unreachable and says why."""
    cloud = ScriptedCloud(lambda command, n: Behaviour(duration=9e9))
    first = asyncio.ensure_future(Trial(standing(1), cloud).start())
    await asyncio.sleep(5)
    made = replace(standing(1, script="echo 2\n"), limits=Limits(deliver_timeout=300.0))
    (outcome,) = outcomes(await Trial(made, cloud).start())
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (outcome.status, outcome.cause.code) == (Status.UNREACHABLE, CauseCode.BUSY)


async def test_a_vm_that_is_gone_ends_at_the_first_look() -> None:
    """A look that is refused for good ends the row as a submission would: nothing is waited for."""

    class Gone(ScriptedCloud):
        async def find(self, target, name):  # type: ignore[no-untyped-def]
            from fleet.engine.ports import Reply
            from fleet.run.answers import Refused

            return Reply(Refused(Refusal(404, "ResourceNotFound", "no such VM")))

    cloud = Gone()
    (outcome,) = outcomes(await Trial(standing(1), cloud).start())
    assert (outcome.status, outcome.cause.code) == (Status.UNREACHABLE, CauseCode.VM_NOT_FOUND)
    assert cloud.calls["submit"] == 0


async def test_one_deleted_between_look_and_change_is_made_anew() -> None:
    """A PATCH that finds nothing is not the end: the command is looked for again, and PUT."""
    gone = Refusal(404, "ResourceNotFound", "The Resource '.../runCommands/nightly' was not found.")

    class Deleting(Watched):
        async def submit(self, command: Command):  # type: ignore[no-untyped-def]
            if command.update:
                self._running.clear()
            return await super().submit(command)

    cloud = Deleting(lambda command, n: Behaviour(refuse=gone if command.update else None))
    await Trial(standing(1), cloud).start()
    (outcome,) = outcomes(await Trial(standing(1, script="echo 2\n"), cloud).start())
    assert outcome.status is Status.SUCCEEDED
    assert [command.update for command in cloud.sent] == [False, True, False]


async def test_a_hard_stop_lets_it_run_on_and_a_resume_reads_its_end() -> None:
    """Deleting is the only cancel there is, and a standing command is never deleted: it is left, and read later."""
    trial = Trial(standing(2), ScriptedCloud(lambda command, n: Behaviour(duration=50.0)))
    asyncio.get_running_loop().call_later(3.0, lambda: trial.stop(e.StopKind.HARD))
    record = await trial.start()
    assert [job.outcome for job in record.jobs] == [None, None]
    assert {o.status for o in outcomes(await trial.resume())} == {Status.SUCCEEDED}
    assert trial.cloud.calls["remove"] == 0
    assert set(trial.cloud.executions.values()) == {1}


async def test_after_a_resume_it_is_looked_at_anew() -> None:
    """What was seen before an interruption is not relied on: somebody may have changed the command since."""
    trial = Trial(standing(1), ScriptedCloud())
    journal = await trial.runs.create(RUN_ID, trial.plan)
    now = SystemClock().now()
    await journal.append([e.RunOpened(now, 1), e.WaveOpened(now, 0), e.CommandMissing(now, JobId(0))])
    await Trial(standing(1, script="echo 0\n"), trial.cloud).start()
    record = await trial.resume()
    assert outcomes(record)[0].status is Status.SUCCEEDED
    assert trial.cloud.calls["find"] == 2
    assert set(trial.cloud.executions.values()) == {2}


@pytest.mark.parametrize("receipts", [True, False])
@pytest.mark.parametrize("there", [True, False])
async def test_a_crash_at_any_moment_repeats_nothing(receipts: bool, there: bool) -> None:
    """Killed at any of many moments and resumed, each script ran once, each row is there and nothing is deleted."""
    for hundredths in range(1, 600, 23):
        cloud = ScriptedCloud()
        if there:
            await Trial(standing(receipts=receipts), cloud).start()
        trial = Trial(standing(script="echo 2\n", receipts=receipts), cloud)
        first = asyncio.ensure_future(trial.start())
        await asyncio.sleep(hundredths / 100)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        record = await trial.resume()
        assert {(o.status, o.cause.code) for o in outcomes(record)} == {(Status.SUCCEEDED, CauseCode.COMPLETED)}
        assert set(cloud.executions.values()) == {2 if there else 1}
        assert cloud.calls["remove"] == 0
