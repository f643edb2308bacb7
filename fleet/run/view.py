"""How a run stands, and what follows from it: the next effect, and the record for its readers. Nothing here writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from fleet.errors import defect
from fleet.plan.model import Job, JobId, Limits, Plan
from fleet.playbook.model import Transport
from fleet.run import events as e
from fleet.run.admission import Admission
from fleet.run.answers import Command
from fleet.run.budget import Budget
from fleet.run.command import build, guest_digest, is_wrapped, transport_of
from fleet.run.directives import Control, budgets
from fleet.run.effects import (
    AskAgent,
    AskGate,
    AwaitApproval,
    BeginHealth,
    Effect,
    Expire,
    Find,
    Finish,
    Halt,
    JudgeGate,
    Look,
    OpenWave,
    Remove,
    StopLaunching,
    Submit,
    WaitUntil,
)
from fleet.run.expiry import cutoff
from fleet.run.facts import Known
from fleet.run.gates.checks import Findings, judge
from fleet.run.gates.webhooks import WebhookGates
from fleet.run.holdup import Holdup
from fleet.run.job_record import job_record
from fleet.run.job_state import JobState
from fleet.run.limits import CALLS_AT_ONCE
from fleet.run.longstanding import StandingCommand
from fleet.run.looks import Looks
from fleet.run.model import Cause, CauseCode, Outcome, Phase, Status
from fleet.run.record import JobRecord, RunRecord
from fleet.run.removal import REMOVAL_TRIES
from fleet.run.scheduler import Entry, Lane, Lanes
from fleet.run.steps import decide, left_selection, rescued
from fleet.targets.model import Os

CLEAN_UP_PATIENCE = 600.0
"""Seconds without any progress after which managed commands that cannot be deleted stay on their VMs."""

LEAVE_AFTER = 2.5
"""Seconds without any answer after which a run that a person stopped hard is left, whatever is on the wire."""


class RunView:
    """One run of one plan as it stands. Everything here only reads; :class:`fleet.run.state.Run` alone writes."""

    def __init__(self, plan: Plan, run_id: str) -> None:
        self.plan = plan
        self.run_id = run_id
        digests = {(step.id, os): guest_digest(step, os) for step in plan.steps for os in Os if is_wrapped(plan, step)}
        self.jobs = [self._new_job(job, digests) for job in plan.jobs()]
        self._left = {left.target: left_selection(left) for left in plan.left}
        """How the jobs end of targets that left the selection before the run began."""
        self.started: float | None = None
        self.ended: float | None = None
        self.latest = 0.0
        """The newest moment the run was told of: whoever takes it over does not go back behind it."""
        self.wave = -1
        self.stop: e.StopRequested | None = None
        self.launch_stop: e.LaunchStopped | None = None
        self.control = Control(plan.limits, budgets(plan))
        self.awaiting: int | None = None
        """The wave for whose approval the run waits."""
        self._gates = frozenset(gate.wave for gate in plan.gates if gate.is_approval)
        self.asking = WebhookGates(plan, run_id)
        self.findings = Findings(plan)
        self._waits = True
        self.budget = Budget(plan.limits)
        self.wave_budget = Budget(Limits())
        self.in_flight = 0
        self.held_back = 0
        """Jobs in flight that wait to be sent again; a stop leaves them as they are."""
        self.tried = 0
        """Jobs that wait to be sent again after a refusal: not in flight, and able to end out of reach."""
        self.reserved = 0
        """Jobs that could still spend some of the budget."""
        self.calls = 0
        self.done = 0
        self.applied = 0
        """How many events the run was told of."""
        self.endings: list[tuple[JobId, int]] = []
        """The jobs that have ended, in that order, each with the number of the event that ended it, counted from 1."""
        self.signed_out = False
        """Azure answered 401 to a job until it gave up, and to nobody else otherwise: nothing more can be sent."""
        self.leftovers: list[JobId] = []
        """Jobs whose managed command could not be deleted."""
        self._wave_left = [len(wave.targets) * plan.body for wave in plan.waves]
        self._gate_left = [len(wave.targets) * (len(plan.steps) - plan.body) for wave in plan.waves]
        """Jobs of a wave that its gates ask for, or would."""
        self._step_left = [[len(wave.targets)] * len(plan.steps) for wave in plan.waves]
        """Targets of a wave on which a step has not ended; counted where all wait for each other."""
        self._wave_closed: float | None = None
        self._spent: set[int] = set()
        """Targets that count against a budget already."""
        self.pace = Admission(plan)
        self._lanes = Lanes(plan, self.jobs, self.pace)
        self._opened = 0.0
        self._heard = 0.0
        """When Azure last accepted a submission or gave a result: our sign-in was good then."""
        self._answered = 0.0
        """When an answer of any kind last came."""
        self._progress = 0.0
        """When a job last ended or a command was last deleted."""
        self.looks = Looks(plan)
        self._deadlines: list[Entry] = []

    @property
    def limits(self) -> Limits:
        """The plan's limits, as people have changed them since."""
        return self.control.limits

    @property
    def finished(self) -> bool:
        return self.ended is not None

    @property
    def is_looked_at(self) -> bool:
        """Whether the open wave has ended, and the steps that its gates ask for are under way."""
        return self.wave in self.findings.begun and self._gate_left[self.wave] > 0

    def is_wave_over(self, wave: int) -> bool:
        """Whether every job of the wave has ended that may cost a budget."""
        return self._wave_left[wave] == 0

    @property
    def settles_until(self) -> float | None:
        """The moment until which an ended wave settles before anything follows it; None where nothing does."""
        if self._wave_closed is None or self.launch_stop is not None or self.done == len(self.jobs):
            return None
        return self._wave_closed + self.plan.limits.soak

    def next(self, now: float) -> Effect:
        """Say what to do now. Asked twice without an event between, it answers alike, unless others take from its rates."""
        if self.stop is not None and (self._may_halt(now) or self._is_left_at(now)):
            return Halt()
        if self.awaiting is not None and not self._waits and self.in_flight == 0 and self._is_quiet(now):
            return Halt()
        if (stop := self._must_stop(now)) is not None:
            return stop  # before more jobs expire, so that the budget is not exceeded by more than one
        if self._deadlines and self._deadlines[0][0] <= now:
            return Expire(self._deadlines[0][1])
        if (judgement := self._judgement()) is not None:
            return judgement
        if (health_at := self._health_at()) is not None and health_at <= now:
            return BeginHealth(self.wave)
        if (wave_at := self._wave_at()) is not None and wave_at <= now:
            return self._next_wave(now)
        if self.done == len(self.jobs) and self._is_quiet(now):
            return Finish()
        if self.calls >= CALLS_AT_ONCE:
            return WaitUntil(self._leave_at())
        return self._next_call(now)

    def holdup(self, now: float) -> Holdup:
        """Say what holds the pace back at a moment. Pauses, gates and waves that settle are not asked about here."""
        lanes = self._lanes.in_turn()
        goes_on = any(lane.freed or lane.again or lane.launches for lane in lanes)
        starts = any(lane.starts or lane.restarts for lane in lanes)
        if not (goes_on or starts):
            if self._lanes.spread_holds:
                return Holdup.SPREAD
            if self._lanes.steps_hold:
                return Holdup.STEP
            due = [lane.rates.read_at() for lane in lanes if lane.looks and lane.looks[0][0] <= now]
            return Holdup.READS if due and min(due) > now else Holdup.SCRIPTS
        if self.in_flight >= self.limits.concurrency:
            return Holdup.CONCURRENCY
        if not self._has_room(self.tried):
            return Holdup.BUDGET
        if not goes_on and not self.pace.has_room():
            return Holdup.SLOW_START
        if not goes_on and self.pace.start_at() > now:
            return Holdup.RATE
        waiting = [lane for lane in lanes if lane.starts or lane.restarts or lane.freed or lane.again or lane.launches]
        if not any(self._lane_has_room(lane) for lane in waiting):
            return Holdup.CONCURRENCY
        return Holdup.WRITES if min(lane.rates.submit_at() for lane in waiting) > now else Holdup.NOTHING

    def call_budget(self, now: float) -> int:
        """How many submissions the tightest subscription would still take at once."""
        return min((lane.rates.writes_left(now) for lane in self._lanes), default=0)

    def record(self) -> RunRecord:
        """Return how the run stands, one record per job."""
        return RunRecord(
            run_id=self.run_id,
            plan=self.plan,
            jobs=tuple(self._job_records()),
            started=self.started or 0.0,
            ended=self.ended,
            stop_cause=self.launch_stop.cause if self.launch_stop else self._stop_cause(),
            stop_message=self._stop_message(),
            directives=tuple(self.control.given),
            gates=self.asking.answers,
            judged=tuple(self.findings.judged.values()),
        )

    def _stop_cause(self) -> CauseCode | None:
        if self.awaiting is not None and not self.finished:
            return CauseCode.APPROVAL_AWAITED
        return CauseCode.STOPPED_BY_USER if self.stop is not None and not self.finished else None

    def _stop_message(self) -> str:
        if self.launch_stop is not None:
            return self.launch_stop.message
        return "" if self.awaiting is None else f"wave {self.awaiting + 1} waits for approval"

    def command(self, job: JobId, secrets: Mapping[str, str]) -> Command:
        """Build the command of a job's present try. ``secrets`` holds the values of the secret parameters."""
        state = self.jobs[job]
        facts, retry, nonce = state.known.facts, state.retry, state.nonce
        if not (state.wrapped and nonce):
            return build(self.plan, self.run_id, state.job, secrets, facts=facts, retry=retry)
        return build(self.plan, self.run_id, state.job, secrets, facts=facts, retry=retry, nonce=nonce)

    def is_without_nonce(self, job: JobId) -> bool:
        """Whether the job's next submission begins a try whose receipt needs a nonce."""
        return self.jobs[job].wrapped and not self.jobs[job].nonce

    def _job_records(self) -> Iterator[JobRecord]:
        steps = len(self.plan.steps)
        for first in range(0, len(self.jobs), max(steps, 1)):
            states = self.jobs[first : first + steps]
            mended = rescued(states)
            for place, state in enumerate(states):
                left = self._left.get(self.plan.target_index(state.job.id))
                yield job_record(self.run_id, state, left, finished=self.finished, mended=place in mended)

    def _must_stop(self, now: float) -> StopLaunching | None:
        if self.launch_stop is not None or self.done == len(self.jobs):
            return None
        if (breach := self.budget.breach() or self.wave_budget.breach()) is not None:
            return StopLaunching(*breach)
        if self.signed_out:
            return StopLaunching(CauseCode.AZURE_UNUSABLE, "Azure refuses the credential")
        deadline = self._deadline_at()
        if deadline is not None and deadline <= now:
            return StopLaunching(CauseCode.DEADLINE, "the run's deadline passed")
        return None

    def _deadline_at(self) -> float | None:
        if self.plan.limits.deadline is None or self.started is None:
            return None
        if self.launch_stop is not None or self.done == len(self.jobs):
            return None  # nothing is left to be stopped
        return self.started + self.plan.limits.deadline

    def _wave_at(self) -> float | None:
        """The moment from which the next wave may open; None while it may not."""
        if self.stop or self.control.paused or self.launch_stop or self.wave + 1 >= len(self.plan.waves):
            return None
        if self.awaiting is not None:
            return None
        if self.wave >= 0 and (self._wave_closed is None or self._is_before_gates()):
            return None
        ready = self.started if self._wave_closed is None else self._wave_closed + self.plan.limits.soak
        asked = self.asking.before(self.wave + 1)
        if asked is None or ready is None:
            return ready
        return None if asked.calling else max(ready, asked.due)

    def _is_before_gates(self) -> bool:
        """Whether gates have still to look at the open wave, which has ended."""
        return self._gate_left[self.wave] > 0 or self.findings.undecided(self.wave) is not None

    def _judgement(self) -> JudgeGate | None:
        """The next decision about the open wave, once everything that its gates look at has ended."""
        if self.launch_stop is not None or self._wave_closed is None or self._gate_left[self.wave]:
            return None
        gate = self.findings.undecided(self.wave)
        return None if gate is None else judge(self.plan, gate, self.jobs)

    def _health_at(self) -> float | None:
        """The moment from which the steps may start that the open wave's gates ask for; None while they may not."""
        if self.stop or self.control.paused or self.launch_stop or self._wave_closed is None:
            return None
        if not self._gate_left[self.wave] or self.wave in self.findings.begun:
            return None
        return self._wave_closed + self.plan.limits.soak

    def _next_wave(self, now: float) -> OpenWave | AwaitApproval | AskGate | StopLaunching:
        following = self.wave + 1
        if following in self._gates and following not in self.control.approved:
            return AwaitApproval(following)
        asked = self.asking.before(following)
        return OpenWave(following) if asked is None else asked.next(now)

    def _may_halt(self, now: float) -> bool:
        """Nothing is on the wire or to be deleted any more; soft: and nothing is in flight that could still be read."""
        if self.done == len(self.jobs):
            return False  # the ordinary end is near
        return self._is_quiet(now) and (self._is_hard() or self.in_flight == self.held_back)

    def _leave_at(self) -> float | None:
        """The moment at which a run that was stopped hard is left, if no answer comes before."""
        return max(self.stop.at, self._answered) + LEAVE_AFTER if self.stop is not None and self._is_hard() else None

    def _is_left_at(self, now: float) -> bool:
        leave_at = self._leave_at()
        return leave_at is not None and leave_at <= now

    def _is_quiet(self, now: float) -> bool:
        """Nothing is on the wire, and nothing is to be deleted, or has been possible to delete for long."""
        if self.asking.calls:
            return False
        return self.calls == 0 and (not self._lanes.removals_left or self._patience_ends() <= now)

    def _patience_ends(self) -> float:
        return self._progress + CLEAN_UP_PATIENCE

    def _is_hard(self) -> bool:
        return self.stop is not None and self.stop.kind is e.StopKind.HARD

    def _cancels(self) -> bool:
        """Whether what runs and can be cancelled is to be cancelled."""
        cancelled = self.control.cancelled
        return self._is_hard() or (cancelled is not None and cancelled.kind is e.StopKind.HARD)

    def _next_call(self, now: float) -> Effect:
        wake: list[float] = []
        for at, effect, job in self._candidates():
            if at <= now:
                return effect(job)
            wake.append(at)
        expiry = self._deadlines[0][0] if self._deadlines else None
        patience = self._patience_ends() if self._lanes.removals_left else None
        for moment in (expiry, self._deadline_at(), self._health_at(), self._wave_at(), patience, self._leave_at()):
            if moment is not None and moment > now:
                wake.append(moment)
        return WaitUntil(min(wake, default=None))

    def _candidates(self) -> Iterator[tuple[float, Callable[[JobId], Effect], JobId]]:
        """Yield what each lane could do and from when: launches round the lanes first, then reads, then removals."""
        lanes = self._lanes.in_turn()
        hard = self._is_hard()
        slot = not (self.stop or self.control.paused) and self.in_flight < self.limits.concurrency
        room, again = slot and self._has_room(self.tried), slot and self._has_room(self.tried - 1)
        begins = self.pace.has_room()
        for lane in lanes:
            if lane.resends and self._may_send(lane.resends[0][1]):
                due, job = lane.resends[0]
                yield max(due, lane.rates.submit_at()), self._submit, job
            if not slot or not self._lane_has_room(lane):
                continue
            for queue, may in ((lane.freed, slot), (lane.again, again), (lane.launches, room)):
                if queue and may:
                    due, job = queue[0]
                    yield max(due, lane.rates.submit_at()), self._submit, job
            for starts, may in ((lane.restarts, again and begins), (lane.starts, room and begins)):
                if starts and may:
                    due, _, job = starts[0]
                    at = max(lane.rates.submit_at(), self.pace.start_at() if starts is lane.starts else 0.0)
                    yield max(due, at), self._submit, job
        for lane in lanes:
            if lane.looks and not hard:
                due, job = lane.looks[0]
                yield max(due, lane.rates.read_at()), self._look, job
        for lane in lanes:
            if lane.removals:
                due, job = lane.removals[0]
                yield max(due, lane.rates.remove_at(lane.unsent)), Remove, job

    def _submit(self, job: JobId) -> Submit | Find:
        """Send the job's command; a standing one is looked at first, so that it is known what stood before."""
        state = self.jobs[job]
        if state.standing is not None and not state.standing.surveyed:
            return Find(job)
        return Submit(job, state.attempt + 1, state.standing is not None and state.standing.is_updated, state.retry)

    def _may_send(self, job: JobId) -> bool:
        """Whether a job that has its slot may go: after a stop what never arrived would begin now, as would, in a pause,
        what was never sent.
        """
        return not self.stop and (self.jobs[job].possibly_sent or not self.control.paused)

    def _look(self, job: JobId) -> Find | Look | AskAgent:
        if self.jobs[job].phase is Phase.FINDING:
            return Find(job)
        return AskAgent(job) if self.jobs[job].start.asks_agent else Look(job)

    def _has_room(self, tried: int) -> bool:
        """Whether the budgets let one more job go beside those in flight and so many that wait to be tried again."""
        if self.launch_stop is not None:
            return True  # what still goes cleans up after what was begun
        return all(budget.room(self.reserved, tried) for budget in (self.budget, self.wave_budget))

    def _lane_has_room(self, lane: Lane) -> bool:
        limit = self.plan.limits.concurrency_per_subscription
        return limit is None or self._lanes.in_flight(lane) < limit

    def _is_to_be_cancelled(self, state: JobState) -> bool:
        return (
            self._cancels()
            and state.phase is Phase.RUNNING
            and self._is_to_be_deleted(state)
            and state.retry not in state.removals
            and state.removal_tries < REMOVAL_TRIES
        )

    def _is_to_be_deleted(self, state: JobState) -> bool:
        """Whether the job's command may be deleted: a standing one stays, even where that means it runs on."""
        return state.transport is Transport.MANAGED and not state.job.step.properties.command

    def _cutoff(self, state: JobState) -> float | None:
        """When the job's time is over."""
        return cutoff(state, self._opened, self.plan.limits)

    def _decide(self, state: JobState) -> Known | Outcome:
        """What becomes of a job whose turn has come, as it stands now."""
        if (left := self._left.get(self.plan.target_index(state.job.id))) is not None:
            return left
        asked = not state.belongs_to_gate or self.findings.asks(state.job.wave, state.job.step.id)
        try:
            return decide(self._above(state), state, self.launch_stop, asked=asked)
        except Exception as error:  # over facts that a VM told: that VM's job ends, not the run
            message = f"whether the step runs here could not be decided: {defect(error)}"
            return Outcome(Status.UNREACHABLE, Cause(CauseCode.INTERNAL_ERROR, message))

    def _above(self, state: JobState) -> list[JobState]:
        return self.jobs[state.job.id - self.plan.step_index(state.job.id) : state.job.id]

    def _new_job(self, job: Job, digests: dict[tuple[str, Os], str]) -> JobState:
        wrapped = is_wrapped(self.plan, job.step)
        return JobState(
            job=job,
            transport=transport_of(self.plan, job.step),
            wrapped=wrapped,
            digest=digests[job.step.id, job.target.os] if wrapped else "",
            standing=self._new_standing(job),
        )

    def _new_standing(self, job: Job) -> StandingCommand | None:
        own = job.step.properties
        if not own.command:
            return None
        return StandingCommand(own.on_existing)
