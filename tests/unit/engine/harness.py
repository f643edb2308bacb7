"""Drives whole runs against the scripted cloud, in virtual time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from fleet.clock import Clock, SystemClock
from fleet.engine.loop import Engine
from fleet.plan.model import Plan
from fleet.run.events import Event, StopKind
from fleet.run.record import RunRecord
from fleet.run.state import Run
from fleet.testing import MemoryRuns, ScriptedCloud

RUN_ID = "20260101-000000-test"


@dataclass
class Trial:
    """One run that may be driven, killed and resumed."""

    plan: Plan
    cloud: ScriptedCloud
    runs: MemoryRuns = field(default_factory=MemoryRuns)
    seen: list[Event] = field(default_factory=list)
    engine: Engine | None = None
    secrets: dict[str, str] = field(default_factory=dict)
    peak_in_flight: int = 0
    drawn: int = 0
    clock: Clock | None = None
    """One that goes on while nobody drives; None: a new one for each drive."""

    async def start(self) -> RunRecord:
        journal = await self.runs.create(RUN_ID, self.plan)
        return await self._drive(Run(self.plan, RUN_ID), journal, 1)

    async def resume(self) -> RunRecord:
        self.runs.drop_lock(RUN_ID)
        taken = await self.runs.take_over(RUN_ID)
        run = Run(self.plan, RUN_ID)
        for event in taken.events:
            run.apply(event)
        return await self._drive(run, taken.journal, taken.journal.epoch)

    def draw(self) -> str:
        """Draw a nonce: another one each time, and the same ones in each harness."""
        self.drawn += 1
        return hashlib.sha256(f"nonce {self.drawn}".encode()).hexdigest()[:32]

    async def _drive(self, run: Run, journal: object, epoch: int) -> RunRecord:
        def observe(event: Event) -> None:
            self.seen.append(event)
            self.peak_in_flight = max(self.peak_in_flight, run.in_flight)

        self.engine = Engine(
            run,
            self.cloud,
            journal,  # type: ignore[arg-type]
            self.clock or SystemClock(),
            lambda job: run.command(job, self.secrets),
            observe,
            nonces=self.draw,
        )
        await self.engine.drive(epoch, "test")
        return run.record()

    def stop(self, kind: StopKind) -> None:
        assert self.engine is not None
        self.engine.stop(kind, "tester")
