"""One scenario, lived through: the lab, the wire, the disk, and one process after another until the run has ended."""

from __future__ import annotations

import asyncio
import io
import random
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from fleet import codec
from fleet.engine.ports import Journal
from fleet.guest import envelope
from fleet.lab import wire as lab
from fleet.lab.world.machine_spec import AgentState, PowerState
from fleet.lab.world.scripted import Script
from fleet.lab.world.spec import FaultKind
from fleet.lab.world.timing import GIVE_UP
from fleet.lab.world.world import Machine
from fleet.plan.model import JobId
from fleet.rehearsal import virtual
from fleet.rehearsal.faults import Fault
from fleet.rehearsal.network import Network
from fleet.report.aggregate import aggregate
from fleet.run.events import Event, StopRequested
from fleet.run.state import Run
from tests import log_lines
from tests.verification import canary
from tests.verification.call import CALL, NO_JOB, Call
from tests.verification.disk import Disk, SimulatedJournal
from tests.verification.endings import Ending
from tests.verification.guests import Errand, Truth
from tests.verification.history import Delivery, Departure, History
from tests.verification.listing import planned
from tests.verification.process import CloudOf, End, Process, job_of
from tests.verification.real import RealDisk, RealJournal
from tests.verification.scenario import ORIGIN, RUN_ID, Happening, Scenario, WorldEvent
from tests.verification.service import PlayedPlane

AFTERLIFE = 7200.0
"""Seconds for which the world goes on after the run's end: what was still on its way arrives and runs."""

LONGEST = 7 * 24 * 3600.0
"""Seconds of a world's time after which a run is said not to end."""

GAP = 3.0
"""Seconds until somebody resumes what was left."""

LOSSES = frozenset(Fault) - {Fault.THROTTLED, Fault.UNAUTHORIZED, Fault.BUSY}
"""What takes an answer away, or the question: all but the refusals, which the lab's log shows."""

_MANAGED = "/run-command-handler"
"""In the path of a script that a managed command brought."""

JournalOf = Callable[[Disk, Process], Journal]
"""Which journal an owner writes. Tests of the checker hand in journals that forget."""


def live(scenario: Scenario, *, cloud_of: CloudOf | None = None, journal_of: JournalOf = SimulatedJournal) -> History:
    """Live a scenario through, in virtual time, and return what happened. Equal scenarios give equal histories."""
    return virtual.run(_live(scenario, cloud_of, journal_of))


async def _live(scenario: Scenario, cloud_of: CloudOf | None, journal_of: JournalOf) -> History:
    clock = virtual.LoopClock(ORIGIN)
    found: tuple[str, ...] | None = None
    if scenario.misread:
        scenario, found = await planned(scenario, clock)
    world = _World(scenario, clock)
    if found is not None:
        world.history.unlisted = tuple(name for name in scenario.misread if name not in found)
        wanted = {target.name for target in scenario.plan.targets}
        world.history.misplaced = tuple(sorted(wanted - set(found)))
    with ExitStack() as stack:
        if scenario.secrets:
            stack.enter_context(log_lines.collected(world.log))
        disk = None
        if scenario.sqlite:
            made = tempfile.TemporaryDirectory(prefix="fleet-sim-", ignore_cleanup_errors=True)
            disk = RealDisk(Path(stack.enter_context(made)), world.clock, scenario.plan)
        try:
            async with asyncio.timeout(LONGEST):
                await world.run(cloud_of, journal_of, disk)
        except TimeoutError:
            pass  # the checker says that it did not end
        await world.bury()
        if disk is not None:
            await disk.close()
            world.disk = disk.copy(world.disk)
            world.history.damage = disk.damage
            world.history.written |= disk.files() if scenario.secrets else {}
    return world.told()


class _World:
    """Everything that is not Fleet's process."""

    def __init__(self, scenario: Scenario, clock: virtual.LoopClock) -> None:
        self.scenario = scenario
        self.clock = clock
        rng = random.Random(f"fleet-sim/world/{scenario.seed}")
        self.plane = PlayedPlane(scenario, self.clock, self)
        plan = scenario.plan
        self.keepers = replace(scenario.keepers)
        self.network = Network(
            self.plane, self.clock, rng, scenario.rates, scenario.latency, scenario.grid, listener=self
        )
        self.disk = Disk(rng, self.clock)
        self.log = io.StringIO()
        self.history = History(plan, RUN_ID, ORIGIN)
        self.history.lossy = bool(scenario.lab.faults) or any(scenario.rates.get(fault, 0) for fault in LOSSES)
        self.history.gives_up = GIVE_UP / scenario.lab.speed
        self.history.faults = frozenset(rule.what for rule in scenario.lab.faults)
        off = {Happening.STOPPED, Happening.DELETED}
        goes_off = FaultKind.VM_STOPS in self.history.faults or FaultKind.VM_VANISHES in self.history.faults
        self.history.cut = frozenset(
            target.key
            for number, target in enumerate(plan.targets)
            if goes_off or any(event.vm == number and event.what in off for event in scenario.happenings)
        )
        self.history.disturbed = frozenset(plan.targets[event.vm].key for event in scenario.happenings)
        self._nonces = random.Random(f"fleet-sim/nonces/{scenario.seed}")
        self._number = {target.key: index for index, target in enumerate(plan.targets)}
        self._sent: dict[JobId, dict[int, float]] = {}
        """When the last submission of each try of a job left."""
        self._processes: list[Process] = []
        for event in scenario.happenings:
            asyncio.get_running_loop().call_later(event.at, self._happens, event)

    def _draw_nonce(self) -> str:
        return f"{self._nonces.getrandbits(128):032x}"

    async def run(self, cloud_of: CloudOf | None, journal_of: JournalOf, real: RealDisk | None) -> None:
        """One owner after another, until one has brought the run to its end."""
        for interruption in (*self.scenario.interruptions, None):
            async with self._owned(journal_of, real) as (journal, epoch, events):
                process = Process(
                    self.scenario.plan,
                    self.keepers,
                    self.network,
                    self.clock,
                    self.history,
                    epoch,
                    interruption,
                    cloud_of,
                    self.scenario.secrets,
                    nonces=self._draw_nonce,
                )
                self._processes.append(process)
                written = journal(process)
                process.start(written, events)
                how = await process.ended
                if how is not End.FROZEN:
                    await process.finish()
                elif isinstance(written, RealJournal):
                    written.is_frozen = True
            self._note_stop(epoch)
            if how is End.FINISHED:
                self.history.finished = True
                return
            if how is not End.FROZEN:
                await asyncio.sleep(GAP)

    @asynccontextmanager
    async def _owned(
        self, journal_of: JournalOf, real: RealDisk | None
    ) -> AsyncIterator[tuple[Callable[[Process], Journal], int, tuple[Event, ...]]]:
        self.history.owners += 1
        if real is None:
            epoch, events = self.disk.take_over()
            yield (lambda process: journal_of(self.disk, process)), epoch, events
            return
        async with real.taken_over() as (journal, epoch, events):
            yield (lambda process: journal.under(process)), epoch, events

    async def bury(self) -> None:
        """End every process that still stands somewhere, and let the world finish what is on its way."""
        self.history.ended = self.clock.now()
        await asyncio.sleep(400.0)  # frozen ones thaw within this, and meet the fence
        for process in self._processes:
            with suppress(asyncio.CancelledError):
                await process.finish()
        await asyncio.sleep(AFTERLIFE)
        self.plane.life.advance(self.clock.now())

    def told(self) -> History:
        """The history, with the report that a reader of the disk would get."""
        history = self.history
        history.kept, history.met = self.disk.kept(), self.network.met
        run = Run(self.scenario.plan, RUN_ID)
        for kept in history.kept:
            run.apply(kept.event)
        report = aggregate(run.record())
        history.report, history.rows = report, report.jobs
        if self.scenario.secrets:
            history.written |= {
                "the log": self.log.getvalue().encode("utf-8", "surrogatepass"),
                "the plan": codec.to_json(self.scenario.plan).encode(),
                "the journal": "\n".join(row.body for _, _, row in self.disk.rows).encode("utf-8", "surrogatepass"),
                "what was told": repr(history.shown).encode("utf-8", "surrogatepass"),
                **canary.reports(report),
            }
        return history

    # -- what the lab and the wire tell ----------------------------------------------------------------------------

    def departed(self, request: lab.Request, at: float) -> int:
        asked = CALL.get() or Call(NO_JOB, "other", 0)
        if asked.kind == "submit" and request.method == "GET":  # how agents stand, read before it leaves
            asked = replace(asked, job=NO_JOB, kind="agent")
        subscription = request.path.split("/")[2] if request.path.startswith("/subscriptions/") else ""
        self.history.departures.append(
            Departure(asked.job, asked.kind, subscription, asked.epoch, at, asked.target, retry=asked.retry)
        )
        if asked.kind == "submit":
            self._sent.setdefault(asked.job, {})[asked.retry] = at
        return len(self.history.departures) - 1

    def answered(self, number: int, answer: lab.Answer, own: bool) -> None:
        departure = self.history.departures[number]
        departure.answered, departure.self_inflicted = answer.status, own
        if departure.kind == "submit" and 200 <= answer.status < 300:
            self.plane.accepted(departure.job, departure.retry, answer.headers.get("x-ms-request-id", ""))

    def errand(self, machine: Machine, script: Script) -> Errand:
        plan = self.scenario.plan
        command = script.folder.split("/")[-2] if _MANAGED in script.folder else ""
        opened = envelope.open(script.text, script.environment)
        if opened is not None or command:
            return Errand(*job_of(opened.key if opened is not None else command), opened, command)
        step = next(index for index, step in enumerate(plan.steps) if step.script.text == script.text)
        job = plan.job_id(self._number[machine.key], step)
        return Errand(job, max(self._sent.get(job, ()), default=0), None, command)

    def delivered(self, machine: Machine, script: Script, errand: Errand, truth: Truth, now: float) -> None:
        job, retry = errand.job, errand.retry
        environment = script.environment if errand.opened is None else errand.opened.env
        if truth.fresh and self.scenario.secrets and environment.get(canary.VARIABLE) != canary.VALUE:
            self.history.untold.append(job)
        ends = now + truth.duration / self.scenario.lab.speed
        left = self._sent.get(job, {}).get(retry, 0.0)
        self.history.deliveries.append(
            Delivery(
                job,
                machine.key,
                now,
                truth.fresh,
                truth.exit_code,
                truth.stdout,
                ends,
                left,
                retry,
                truth.nonce,
            )
        )

    def said(self, job: JobId, retry: int, ending: Ending) -> None:
        self.history.said.setdefault((job, retry), Counter())[ending] += 1

    def code(self, job: JobId, retry: int) -> int:
        codes = (run.exit_code for run in reversed(self.history.deliveries) if (run.job, run.retry) == (job, retry))
        return next(codes, 0)

    def _note_stop(self, epoch: int) -> None:
        for shown in self.history.shown:
            if shown.epoch == epoch and isinstance(shown.event, StopRequested):
                self.history.stops.append((shown.event.at, self.clock.now()))

    def _happens(self, event: WorldEvent) -> None:
        target = self.scenario.plan.targets[event.vm]
        machine = self.plane.world.by_id(target.id)
        if machine is None:
            return
        now = self.clock.now()
        self.plane.life.advance(now)
        match event.what:
            case Happening.STOPPED:
                self.plane.move(machine, now, power=PowerState.DEALLOCATED)
            case Happening.STARTED:
                self.plane.move(machine, now, power=PowerState.RUNNING)
            case Happening.AGENT_AWAY:
                self.plane.move(machine, now, agent=AgentState.NOT_READY)
            case Happening.AGENT_BACK:
                self.plane.move(machine, now, agent=AgentState.READY)
            case Happening.DELETED:
                self.plane.move(machine, now, power=PowerState.DEALLOCATED, agent=AgentState.NOT_READY)
                self.plane.world.remove(machine)
