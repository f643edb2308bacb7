"""Where the nonce of a receipt comes from: drawn once for each try, kept with its first intent; derived in old journals."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fleet.engine.ports import Journal
from fleet.plan.model import JobId, Plan
from fleet.playbook.model import Transport
from fleet.run import events as e
from fleet.run.answers import Command, LostReason
from fleet.run.command import derived_nonce
from fleet.run.model import Status
from fleet.run.state import Run
from fleet.testing import Behaviour, ScriptedCloud
from tests.unit.engine.harness import RUN_ID, Trial
from tests.unit.run.factory import plan

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


class Watched(ScriptedCloud):
    """Notes every script that is sent, and loses the first answers about each."""

    def __init__(self, losses: int = 0, exit_codes: tuple[int, ...] = ()) -> None:
        self.scripts: list[str] = []
        self._losses, self._codes = losses, exit_codes
        super().__init__(self._meet)

    def _meet(self, command: Command, n: int) -> Behaviour:
        self.scripts.append(command.script)
        if n <= self._losses:
            return Behaviour(lose=LostReason.RESET, arrives=False)
        code = self._codes[min(len(set(self.scripts)), len(self._codes)) - 1] if self._codes else 0
        return Behaviour(exit_code=code)


def retried(times: int) -> Plan:
    """One VM whose step may be tried again so often."""
    made = plan(1, transport=Transport.ACTION)
    flow = replace(made.steps[0].flow, retries=times, retry_delay=1.0)
    return replace(made, steps=(replace(made.steps[0], flow=flow),))


@pytest.mark.parametrize("transport", [Transport.MANAGED, Transport.ACTION])
async def test_every_submission_of_a_try_is_the_same(transport: Transport) -> None:
    """However often it is sent, its first intent alone names the nonce, and every request is equal."""
    trial = Trial(plan(1, transport=transport), Watched(losses=2))
    record = await trial.start()
    intents = [event for event in trial.seen if isinstance(event, e.SubmissionIntended)]
    assert [bool(event.nonce) for event in intents] == [True, False, False]
    assert len(trial.cloud.scripts) == 3 and len(set(trial.cloud.scripts)) == 1  # type: ignore[attr-defined]
    assert record.jobs[0].nonce == intents[0].nonce
    assert intents[0].nonce not in repr(intents[0]) and intents[0].nonce not in repr(record.jobs[0])


async def test_another_try_draws_another() -> None:
    """A try that was asked for has a nonce of its own, so an answer to the one before proves nothing of it."""
    trial = Trial(retried(1), Watched(exit_codes=(3, 0)))
    record = await trial.start()
    nonces = [event.nonce for event in trial.seen if isinstance(event, e.SubmissionIntended)]
    assert len(set(nonces)) == 2 and all(nonces)
    assert record.jobs[0].outcome is not None
    assert record.jobs[0].outcome.status is Status.SUCCEEDED


async def test_a_run_of_an_older_version_goes_on_with_its_nonce() -> None:
    """Its intents name none: what it sent is answered, followed and sent again under the derived one."""
    frozen = plan(1, transport=Transport.ACTION)
    cloud = Watched()
    trial = Trial(frozen, cloud)
    old: Journal = await trial.runs.create(RUN_ID, frozen)
    opening = [e.RunOpened(0.0, 1), e.WaveOpened(0.0, 0), e.SubmissionIntended(1.0, JobId(0), 1)]
    await old.append(opening)
    before = Run(frozen, RUN_ID)
    for event in opening:
        before.apply(event)
    derived = derived_nonce(RUN_ID, before.jobs[0].job)
    assert next(iter(before.record().jobs)).nonce == derived
    await asyncio.sleep(5.0)
    record = await trial.resume()
    assert record.jobs[0].outcome is not None
    assert (record.jobs[0].outcome.status, record.jobs[0].nonce) == (Status.SUCCEEDED, derived)
    assert cloud.scripts == [before.command(JobId(0), {}).script]
    assert all(event.nonce == "" for event in trial.seen if isinstance(event, e.SubmissionIntended))
