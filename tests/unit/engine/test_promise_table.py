"""The rows of the table in docs/promises.md that no other test holds: whole runs against a cloud where it happens."""

from __future__ import annotations

from collections import Counter

import pytest

from fleet.engine.ports import Reply
from fleet.playbook.model import Transport
from fleet.report.aggregate import aggregate
from fleet.run import answers as a
from fleet.run import events as e
from fleet.run.answers import Answer, Command, LostReason, Operation, Refusal
from fleet.run.model import CauseCode, Status
from fleet.targets.model import Target
from fleet.testing import Behaviour, MemoryRuns, ScriptedCloud
from tests.unit.engine.harness import RUN_ID, Trial
from tests.unit.run.factory import plan

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]
BOTH = pytest.mark.parametrize("transport", [Transport.MANAGED, Transport.ACTION])


class Unreadable(ScriptedCloud):
    """Every operation that was begun is gone, or may not be read; with ``times``, on so many looks at each target."""

    def __init__(self, status: int, times: int | None = None) -> None:
        super().__init__()
        self._status, self._times = status, times
        self._told: Counter[str] = Counter()

    async def look(self, target: Target, operation: Operation) -> Reply[a.LookAnswer]:
        reply = await super().look(target, operation)
        self._told[target.key] += 1
        if self._times is not None and self._told[target.key] > self._times:
            return reply
        return Reply(a.Refused(Refusal(self._status, "Gone", "as the service puts it")))


class Reimaged(ScriptedCloud):
    """Every VM is reimaged while its script runs: the service ends the command, and the new guest knows nothing of it."""

    async def look(self, target: Target, operation: Operation) -> Reply[a.LookAnswer]:
        await super().look(target, operation)
        if operation.transport is Transport.ACTION:
            return Reply(a.Finished(Answer(combined="Enable succeeded: \n[stdout]\n\n[stderr]\n")))
        return Reply(a.Finished(Answer("Succeeded", "", 0)))


class Overtaken(ScriptedCloud):
    """The first request arrives when the second has been sent, and Azure runs both: the bad case."""

    async def submit(self, command: Command) -> Reply[a.SubmitAnswer]:
        reply = await super().submit(command)
        if self.submissions[command.name] == 2:
            self._ran.clear()
            self._run(command, Behaviour())
        return reply


def lost_at_first(command: Command, number: int) -> Behaviour:
    return Behaviour(lose=LostReason.TIMEOUT if number == 1 else None, arrives=number > 1)


@BOTH
@pytest.mark.parametrize("status", [403, 404, 410])
async def test_an_operation_that_is_gone_or_forbidden_ends_unknown(transport: Transport, status: int) -> None:
    """It ran or runs, and its answer cannot be had: unknown, said with the code. Only a guest that keeps it is asked."""
    trial = Trial(plan(3, transport=transport), Unreadable(status))
    record = await trial.start()
    assert [job.outcome and job.outcome.status for job in record.jobs] == [Status.UNKNOWN] * 3
    assert {job.outcome.cause.code for job in record.jobs if job.outcome} == {CauseCode.OPERATION_GONE}
    asked_anew = transport is Transport.ACTION and status != 403
    assert set(trial.cloud.submissions.values()) == {1 + asked_anew}
    assert set(trial.cloud.executions.values()) == {1}
    assert aggregate(record).exit_code == 4


@pytest.mark.parametrize("receipts", [True, False])
async def test_an_answer_that_azure_lost_is_asked_of_the_guest(receipts: bool) -> None:
    """With receipts the same delivery brings the kept answer, and nothing runs twice; without, nothing is sent again."""
    trial = Trial(plan(3, transport=Transport.ACTION, receipts=receipts), Unreadable(404, times=2))
    record = await trial.start()
    wanted = Status.SUCCEEDED if receipts else Status.UNKNOWN
    assert [job.outcome and job.outcome.status for job in record.jobs] == [wanted] * 3
    assert [job.outcome and job.outcome.verified for job in record.jobs] == [receipts] * 3
    assert set(trial.cloud.submissions.values()) == {1 + receipts}
    assert set(trial.cloud.executions.values()) == {1}


@BOTH
async def test_a_vm_reimaged_in_mid_run_is_never_green(transport: Transport) -> None:
    """Whatever the service says, the receipt is gone with the old disk: the row proves nothing, and is not sent again."""
    trial = Trial(plan(2, transport=transport), Reimaged())
    record = await trial.start()
    assert [job.outcome and job.outcome.status for job in record.jobs] == [Status.UNVERIFIED] * 2
    assert set(trial.cloud.submissions.values()) == {1}


async def test_a_request_that_was_overtaken_may_have_run_twice_and_the_report_says_so() -> None:
    """Unwrapped, lost, looked for twice and sent again: should the first arrive after all, only the report can tell."""
    trial = Trial(plan(1, receipts=False), Overtaken(lost_at_first))
    report = aggregate(await trial.start())
    assert set(trial.cloud.executions.values()) == {2}
    (note,) = [note for note in report.notes if "twice" in note]
    assert "vm0000" in note and "may have run twice" in note


QUIET = Behaviour(lose=LostReason.NOT_CONNECTED)
BUSY = Behaviour(refuse=Refusal(409, "Conflict", "busy"))
LOST = Behaviour(lose=LostReason.TIMEOUT, arrives=False)


@pytest.mark.parametrize(("receipts", "first"), [(True, LOST), (True, QUIET), (False, QUIET), (False, BUSY)])
async def test_nothing_else_is_said_to_have_run_twice(receipts: bool, first: Behaviour) -> None:
    """Not what receipts make safe to send again, what never left, nor what was refused and tried again."""
    cloud = ScriptedCloud(lambda command, number: first if number == 1 else Behaviour())
    report = aggregate(await Trial(plan(2, receipts=receipts), cloud).start())
    assert {row.attempts for row in report.jobs} == {2}
    assert [note for note in report.notes if "twice" in note] == []


async def test_what_may_run_twice_is_told_after_a_crash_as_well() -> None:
    """The note is a fold of the journal: a reader of a killed run finds it, too."""
    trial = Trial(plan(1, receipts=False), Overtaken(lost_at_first))
    first = aggregate(await trial.start())
    again = aggregate(await trial.resume())
    assert first.run == RUN_ID
    assert [note for note in again.notes if "twice" in note] == [note for note in first.notes if "twice" in note]


@BOTH
async def test_what_has_ended_is_asked_for_no_more(transport: Transport) -> None:
    """A run killed after its last result is on disk is resumed without a question to any of its VMs."""
    trial = Trial(plan(3, transport=transport), ScriptedCloud())
    await trial.start()
    events = (await trial.runs.read(RUN_ID)).events
    last = max(number for number, event in enumerate(events) if isinstance(event, e.ResultReceived))
    trial.runs = MemoryRuns()
    await (await trial.runs.create(RUN_ID, trial.plan)).append(events[: last + 1])
    before = dict(trial.cloud.calls)
    report = aggregate(await trial.resume())
    assert [row.status for row in report.jobs] == [Status.SUCCEEDED] * 3
    asked = {kind: count - before.get(kind, 0) for kind, count in trial.cloud.calls.items() if kind != "remove"}
    assert set(asked.values()) == {0}


async def test_a_vm_that_is_busy_after_a_lost_answer_is_waited_for() -> None:
    """What holds it is most likely the first request of ours: it is no failure, and the kept answer is read in the end."""

    def behave(command: Command, number: int) -> Behaviour:
        return (Behaviour(lose=LostReason.TIMEOUT), BUSY, BUSY, Behaviour())[min(number, 4) - 1]

    trial = Trial(plan(1, transport=Transport.ACTION), ScriptedCloud(behave))
    record = await trial.start()
    (outcome,) = [job.outcome for job in record.jobs]
    assert outcome is not None
    assert (outcome.status, outcome.replayed) == (Status.SUCCEEDED, True)
    assert set(trial.cloud.executions.values()) == {1}
