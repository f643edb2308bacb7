"""A defect that Fleet meets on one VM's answer ends that VM's job. It never ends the run, nor any resume of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fleet.engine.ports import Reply
from fleet.errors import AzureUnusable, defect
from fleet.playbook.model import Transport
from fleet.run import answers as a
from fleet.run import events as e
from fleet.run.answers import Command, Operation
from fleet.run.model import CauseCode, Status
from fleet.targets.model import Target
from fleet.testing import ScriptedCloud
from tests.unit.engine.harness import Trial
from tests.unit.run.factory import plan

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

VICTIM = "vm0003"


class Defective(ScriptedCloud):
    """An adapter with a defect that one VM's answers meet, in one kind of call."""

    def __init__(self, call: str, raised: Callable[[], BaseException]) -> None:
        super().__init__()
        self._call, self._raised = call, raised

    async def _met(self, call: str, target: Target) -> None:
        await asyncio.sleep(0.01)
        if call == self._call and target.name == VICTIM:
            raise self._raised()

    async def submit(self, command: Command) -> Reply[a.SubmitAnswer]:
        await self._met("submit", command.target)
        return await super().submit(command)

    async def look(self, target: Target, operation: Operation) -> Reply[a.LookAnswer]:
        await self._met("look", target)
        return await super().look(target, operation)

    async def remove(self, target: Target, name: str) -> Reply[a.RemoveAnswer]:
        await self._met("remove", target)
        return await super().remove(target, name)


class Shapeless(ScriptedCloud):
    """A service one of whose answers is of a shape that nobody thought of."""

    def __init__(self, **shape: object) -> None:
        super().__init__()
        self._shape: Any = shape

    async def look(self, target: Target, operation: Operation) -> Reply[a.LookAnswer]:
        reply = await super().look(target, operation)
        if target.name == VICTIM and isinstance(reply.answer, a.Finished):
            return Reply(a.Finished(replace(reply.answer.answer, **self._shape)))
        return reply


@pytest.mark.parametrize("call", ["submit", "look"])
@pytest.mark.parametrize("transport", [Transport.MANAGED, Transport.ACTION])
async def test_a_defect_in_a_call_ends_its_job_alone(call: str, transport: Transport) -> None:
    """The row is unknown, says where the defect is, and every other VM has its result."""
    trial = Trial(plan(6, transport=transport), Defective(call, lambda: ValueError("too many digits")))
    record = await trial.start()
    assert record.ended is not None
    found = {job.job.target.name: job.outcome for job in record.jobs}
    victim = found.pop(VICTIM)
    assert victim is not None
    assert (victim.status, victim.cause.code) == (Status.UNKNOWN, CauseCode.INTERNAL_ERROR)
    assert "ValueError in _met" in victim.cause.message and "too many digits" in victim.cause.message
    assert {outcome.status for outcome in found.values() if outcome} == {Status.SUCCEEDED}
    assert any(isinstance(event, e.AnswerUnusable) for event in trial.seen)


async def test_a_defect_in_a_removal_leaves_the_command() -> None:
    """Deleting is tried again a few times, and what stays on its VM is named."""
    record = await Trial(plan(6), Defective("remove", lambda: ValueError("odd"))).start()
    assert {job.outcome.status for job in record.jobs if job.outcome} == {Status.SUCCEEDED}
    assert [job.job.target.name for job in record.jobs if job.left] == [VICTIM]


async def test_what_is_about_the_whole_run_still_ends_it() -> None:
    """A sign-in that is over is nobody's own trouble."""
    trial = Trial(plan(6), Defective("look", lambda: AzureUnusable("the sign-in has expired")))
    with pytest.raises(AzureUnusable):
        await trial.start()


@pytest.mark.parametrize("shape", [{"stdout": 5}, {"combined": 7}, {"execution_state": 7}])
async def test_an_answer_of_any_shape_ends_its_job_alone(shape: dict[str, object]) -> None:
    """Also where the fold fails on it: live and when the journal is read again, the rows are the same."""
    trial = Trial(plan(6, receipts=False), Shapeless(**shape))
    record = await trial.start()
    again = await trial.resume()
    found = {job.job.target.name: job.outcome for job in again.jobs}
    assert [job.outcome for job in again.jobs] == [job.outcome for job in record.jobs]
    victim = found.pop(VICTIM)
    assert victim is not None
    assert (victim.status, victim.cause.code) == (Status.UNKNOWN, CauseCode.INTERNAL_ERROR)
    assert {outcome.status for outcome in found.values() if outcome} == {Status.SUCCEEDED}


async def test_a_defect_never_hides_its_place() -> None:
    """The line names the kind, the function and what was said; an error without words or with bad ones as well."""

    class Wordless(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert defect(KeyError("x")) == "internal error: KeyError: 'x'"
    assert defect(Wordless()) == "internal error: Wordless"
    assert len(defect(ValueError("9" * 9000))) < 300
