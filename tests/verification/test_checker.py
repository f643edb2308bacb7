"""The checker can fail: each deliberate defect is found, under the invariant that it breaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest

from fleet.azure.cloud import AzureCloud
from fleet.engine.ports import Cloud, Journal, Reply
from fleet.logs import Log
from fleet.plan.model import JobId, Limits, Plan, PlannedStep, PlaybookRef, Wave
from fleet.playbook.model import Flow, Script, Transport, Turn
from fleet.rehearsal.faults import Fault
from fleet.rehearsal.network import MemoryTransport
from fleet.report.aggregate import aggregate
from fleet.run import answers as a
from fleet.run import events as e
from fleet.run.answers import Command, Operation, Refusal
from fleet.run.events import Event
from fleet.run.model import Status
from fleet.run.state import Run
from fleet.targets.model import Target
from tests.verification import canary
from tests.verification.disk import Disk, SimulatedJournal
from tests.verification.history import Departure, History, Kept
from tests.verification.invariants import INVARIANTS, check
from tests.verification.process import Process
from tests.verification.scenario import Scenario, draw
from tests.verification.world import live

HARSH = {Fault.LOST: 0.2, Fault.ERROR_AFTER: 0.2, Fault.SLOW: 0.1}


class _Cloud:
    """The real cloud; what a defect changes is overridden."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.real = AzureCloud(transport)

    async def submit(self, command: Command) -> Reply[a.SubmitAnswer]:
        return await self.real.submit(command)

    async def look(self, target: Target, operation: Operation) -> Reply[a.LookAnswer]:
        return await self.real.look(target, operation)

    async def find(self, target: Target, name: str) -> Reply[a.FindAnswer]:
        return await self.real.find(target, name)

    async def remove(self, target: Target, name: str) -> Reply[a.RemoveAnswer]:
        return await self.real.remove(target, name)

    async def agent(self, target: Target) -> Reply[a.AgentAnswer]:
        return await self.real.agent(target)


class SendsAgain(_Cloud):
    """Sends a submission again whose answer was an error, as common libraries do."""

    async def submit(self, command: Command) -> Reply[a.SubmitAnswer]:
        reply = await self.real.submit(command)
        return await self.real.submit(command) if isinstance(reply.answer, a.Lost) else reply


class MixesUp(_Cloud):
    """Gives the answer of one VM to the next that asks, as a list without names does."""

    last: a.LookAnswer | None = None

    async def look(self, target: Target, operation: Operation) -> Reply[a.LookAnswer]:
        reply = await self.real.look(target, operation)
        if not isinstance(reply.answer, a.Finished):
            return reply
        MixesUp.last, given = reply.answer, MixesUp.last or reply.answer
        return Reply(given)


class BelievesAzure(_Cloud):
    """Takes an accepted submission for a good end."""

    async def look(self, target: Target, operation: Operation) -> Reply[a.LookAnswer]:
        return Reply(a.Finished(a.Answer("Succeeded", "", 0)))


class NeverDone(_Cloud):
    """Reads every answer as that of a script that still runs."""

    async def look(self, target: Target, operation: Operation) -> Reply[a.LookAnswer]:
        await self.real.look(target, operation)
        return Reply(a.StillRunning())


class NeverLooks(_Cloud):
    """Says of every script that it still runs, and asks nobody."""

    async def look(self, target: Target, operation: Operation) -> Reply[a.LookAnswer]:
        return Reply(a.StillRunning())


class Forgets(SimulatedJournal):
    """Acknowledges results that it does not keep."""

    async def append(self, events: Sequence[Event]) -> None:
        await super().append([event for event in events if not isinstance(event, e.ResultReceived)])


class WithoutIntent(SimulatedJournal):
    """Keeps no intents."""

    async def append(self, events: Sequence[Event]) -> None:
        await super().append([event for event in events if not isinstance(event, e.SubmissionIntended)])


class Unfenced(SimulatedJournal):
    """Lets a former owner go on writing."""

    async def append(self, events: Sequence[Event]) -> None:
        mine, self._disk.epoch = self._disk.epoch, self._owner.epoch
        try:
            await super().append(events)
        finally:
            self._disk.epoch = mine


class Talks(_Cloud):
    """Writes into the log what it sends."""

    async def submit(self, command: Command) -> Reply[a.SubmitAnswer]:
        Log("talks").debug("sent", body=str(dict(command.protected)))
        return await self.real.submit(command)


class Shows(SimulatedJournal):
    """Keeps the token with an event."""

    async def append(self, events: Sequence[Event]) -> None:
        await super().append(
            [replace(event, owner=canary.TOKEN) if isinstance(event, e.RunOpened) else event for event in events]
        )


@dataclass(frozen=True)
class Defect:
    """What is broken, and the invariant that must say so."""

    invariant: str
    cloud: Callable[[MemoryTransport], Cloud] | None = None
    journal: Callable[[Disk, Process], Journal] = SimulatedJournal
    judged: Callable[[History], History] = lambda history: history
    scenario: Callable[[Scenario], Scenario] = lambda scenario: scenario


def tighter(**changes: object) -> Callable[[History], History]:
    """Judge a run by other limits than it was driven with: as if it had not heeded them."""

    def judged(history: History) -> History:
        limits = replace(history.plan.limits, **changes)  # type: ignore[arg-type]
        return replace(history, plan=replace(history.plan, limits=limits))

    return judged


def lax(scenario: Scenario) -> Scenario:
    return replace(scenario, plan=replace(scenario.plan, limits=Limits()), rates={}, interruptions=())


def unwrapped(scenario: Scenario) -> Scenario:
    return replace(scenario, plan=replace(scenario.plan, receipts=False), rates=HARSH)


def refused_often(scenario: Scenario) -> Scenario:
    """Nothing is lost, so that every answer is there to be read; half of all requests are refused."""
    plan = replace(scenario.plan, transport=Transport.ACTION, limits=Limits())
    return replace(scenario, plan=plan, rates={Fault.THROTTLED: 0.5}, interruptions=(), happenings=())


def without(*kinds: type[Event]) -> Callable[[History], History]:
    """Judge a run as if these events had never been."""
    return lambda history: replace(history, kept=[kept for kept in history.kept if not isinstance(kept.event, kinds)])


def flattering(history: History) -> History:
    """Judge a run as if its gates had found one good target more."""
    kept = [
        replace(item, event=replace(item.event, met=item.event.met + 1))
        if isinstance(item.event, e.GateJudged)
        else item
        for item in history.kept
    ]
    return replace(history, kept=kept)


def greener(history: History) -> History:
    """A run whose exit code says that all is well."""
    assert history.report is not None
    return replace(history, report=replace(history.report, exit_code=0))


def shorter(history: History) -> History:
    """A report that has lost a row after it was counted."""
    assert history.report is not None
    return replace(history, report=replace(history.report, jobs=history.report.jobs[:-1]))


def flattered(history: History) -> History:
    """A report that counts each failure among the successes."""
    assert history.report is not None
    counts = history.report.counts
    said = {**counts.by_status, Status.FAILED: 0}
    said[Status.SUCCEEDED] += counts[Status.FAILED]
    return replace(history, report=replace(history.report, counts=replace(counts, by_status=said)))


def unread(history: History) -> History:
    """A run whose lists held a VM that could not be read, and whose plan has forgotten that."""
    return replace(history, unlisted=("vm999",))


def secretive(scenario: Scenario) -> Scenario:
    """Every step has a secret."""
    plan = replace(scenario.plan, transport=Transport.MANAGED)
    return replace(scenario, plan=canary.hidden_in(plan), secrets=canary.SECRETS)


DEFECTS = {
    "a library that sends again": Defect("nothing runs twice", SendsAgain, scenario=unwrapped),
    "answers without names": Defect("answers belong to the VM they name", MixesUp, scenario=unwrapped),
    "accepted is good": Defect("green is true", BelievesAzure, scenario=unwrapped),
    "a journal that forgets": Defect("what was told is on disk", journal=Forgets),
    "sending without an intent": Defect("an intent is on disk before its submission leaves", journal=WithoutIntent),
    "no fence": Defect("a former owner writes nothing", journal=Unfenced),
    "an answer that is read and not known": Defect("unknown only where it is due", NeverDone, scenario=refused_often),
    "an answer that nobody looks for": Defect("unknown only where it is due", NeverLooks, scenario=refused_often),
    "a row too few": Defect("one row per target and step", judged=lambda h: replace(h, rows=h.rows[:-1])),
    "an exit code of 0 in any case": Defect("the exit code is what the rows say", judged=greener),
    "lists that were read in part, forgotten": Defect(
        "the exit code is what the rows say", judged=unread, scenario=lax
    ),
    "a row lost after it was counted": Defect("the report adds up", judged=shorter),
    "failures counted as successes": Defect("the report adds up", judged=flattered),
    "a run without an end": Defect("the run ends", judged=lambda h: replace(h, finished=False)),
    "no concurrency limit": Defect("concurrency is kept", judged=tighter(concurrency=1), scenario=lax),
    "no budget": Defect("budgets are kept", judged=tighter(max_failures=0, max_unreachable=0), scenario=lax),
    "a log of what is sent": Defect("secrets stay secret", Talks, scenario=secretive),
    "a token on disk": Defect("secrets stay secret", journal=Shows, scenario=secretive),
    "a script without its secret": Defect(
        "secrets stay secret", scenario=secretive, judged=lambda h: replace(h, untold=[JobId(0)])
    ),
    "no soak": Defect("waves wait", judged=tighter(soak=1e6), scenario=lax),
    "waves that ask nobody": Defect("gates hold", judged=without(e.WaveApproved, e.GateAnswered, e.GateJudged)),
    "looks that no gate asked for": Defect("gates hold", judged=without(e.HealthBegun)),
    "gates that flatter": Defect("gates decide by what is there", judged=flattering),
}


FEW = (1, 12)
"""VMs of the fleets in which defects are looked for: many small ones find one sooner than a few large ones."""


@pytest.mark.parametrize("name", DEFECTS)
def test_a_deliberate_defect_is_found(name: str) -> None:
    """Within a few seeds the checker names the invariant that the defect breaks; without it, it names none."""
    defect = DEFECTS[name]
    MixesUp.last = None
    for seed in range(400):
        scenario = replace(defect.scenario(draw(seed, sizes=FEW)), sqlite=False)
        try:
            history = defect.judged(live(scenario, cloud_of=defect.cloud, journal_of=defect.journal))
        except (
            AssertionError
        ):  # of such a journal not every run can be folded: found as well, and in no need of a checker
            continue
        if defect.invariant in {breach.invariant for breach in check(history)}:
            assert defect.invariant not in {breach.invariant for breach in check(live(scenario))}
            return
    pytest.fail(f"400 seeds did not find: {name}")


def test_scenarios_have_secrets_and_all_that_is_written_is_searched() -> None:
    """Some seeds give their steps a secret; journal, log, what is told and each form of the report are looked through."""
    secret = (drawn for drawn in map(draw, range(300)) if drawn.secrets)
    lived = (live(replace(drawn, rates={}, interruptions=(), happenings=())) for drawn in secret)
    history = next(history for history in lived if any(delivery.fresh for delivery in history.deliveries))
    assert history.untold == []
    assert {"the plan", "the journal", "the log", "what was told"} < set(history.written)
    assert all(history.written.values()), "nothing was written there"
    assert b"azure_request" in history.written["the log"]
    assert not any(canary.shows_in(data, canary.VALUE, canary.TOKEN) for data in history.written.values())


def two_steps(first: Turn, second: Turn, status: Status) -> History:
    """A target whose first step was refused, and ended so; its second step was sent all the same."""
    (target,) = draw(1).plan.targets[:1]
    steps = tuple(
        PlannedStep(name, Script(text="true\n"), name, flow=Flow(turn=turn))
        for name, turn in (("first", first), ("second", second))
    )
    plan = Plan(PlaybookRef("p", "1", "0"), (target,), steps, (Wave(0, "all", (0,)),))
    run = Run(plan, "r")
    kept: list[Event] = [
        e.RunOpened(0.0, 1, "me"),
        e.SubmissionIntended(1.0, JobId(0), 1),
        e.SubmissionRefused(2.0, JobId(0), Refusal(404, "ResourceNotFound", "gone")),
        e.SubmissionIntended(3.0, JobId(1), 1),
    ]
    for event in kept[:3]:
        run.apply(event)
    first_row, *rest = aggregate(run.record()).jobs
    return History(
        plan,
        "r",
        0.0,
        kept=[Kept(1, event.at, event) for event in kept],
        departures=[Departure(JobId(number), "submit", "s", 1, at) for number, at in ((0, 1.5), (1, 3.5))],
        rows=(replace(first_row, status=status), *rest),
    )


@pytest.mark.parametrize("second", [Turn.RESCUE, Turn.ALWAYS])
def test_what_follows_a_step_that_was_refused_is_in_order(second: Turn) -> None:
    """A rescue or an always step follows one that never began, though nothing says on disk that it ended."""
    in_order = INVARIANTS["a step follows the end of the one before"]
    assert list(in_order(two_steps(Turn.SUCCESS, second, Status.UNREACHABLE))) == []
    assert list(in_order(two_steps(Turn.SUCCESS, second, Status.UNKNOWN))) != []
    assert list(in_order(two_steps(Turn.SUCCESS, Turn.SUCCESS, Status.UNREACHABLE))) != []


def test_every_defect_names_an_invariant() -> None:
    """The names above are the checker's."""
    assert {defect.invariant for defect in DEFECTS.values()} <= set(INVARIANTS)
