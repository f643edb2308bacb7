"""The run itself: ``next(now)`` only reads and returns an effect, ``apply(event)`` only writes.

Resume, live view, report of a half-finished run and report of last month's run are the same two calls: apply the
journal's events, read the record.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator

from fleet.plan.model import Job, JobId, Plan
from fleet.playbook.model import Transport
from fleet.run import events as e
from fleet.run.answers import LostReason
from fleet.run.command import command_name, guest_digest, is_wrapped, nonce, transport_of
from fleet.run.effects import (
    Effect,
    Expire,
    Find,
    Finish,
    Halt,
    Look,
    OpenWave,
    Remove,
    StopLaunching,
    Submit,
    WaitUntil,
)
from fleet.run.job import JobState, advance, end
from fleet.run.limits import CALLS_AT_ONCE, Budget, LaneRates, SubscriptionRates
from fleet.run.model import FAILURES, NOT_REACHED, Cause, CauseCode, Outcome, Phase, Status
from fleet.run.polling import Durations, next_look
from fleet.run.record import JobRecord, RunRecord
from fleet.run.retry import backoff
from fleet.run.scheduler import Entry, Lane
from fleet.targets.model import Os

REMOVAL_TRIES = 5
"""A managed command that cannot be deleted after this many tries stays on its VM."""

_CALLS = (e.SubmissionIntended, e.LookBegun, e.FindBegun, e.RemovalBegun)
_ANSWERS = (
    e.SubmissionAccepted,
    e.SubmissionRefused,
    e.SubmissionLost,
    e.CommandFound,
    e.CommandMissing,
    e.ResultReceived,
    e.ResultFailed,
    e.ResultUnreadable,
    e.SeenRunning,
    e.LookFailed,
    e.CommandRemoved,
    e.RemovalFailed,
)


class Run:
    """One run of one plan: mutable, with one writer."""

    def __init__(self, plan: Plan, run_id: str) -> None:
        self.plan = plan
        self.run_id = run_id
        digests = {(step.id, os): guest_digest(step, os) for step in plan.steps for os in Os if is_wrapped(plan, step)}
        self.jobs = [self._new_job(job, digests) for job in plan.jobs()]
        self.epoch = 0
        self.started: float | None = None
        self.ended: float | None = None
        self.wave = -1
        self.stop: e.StopRequested | None = None
        self.launch_stop: e.LaunchStopped | None = None
        self.budget = Budget(plan.limits)
        self.in_flight = 0
        self.calls = 0
        self.done = 0
        self.signed_out = False
        """Azure answered 401 to a job until it gave up: nothing more can be sent."""
        self.leftovers: list[JobId] = []
        """Jobs whose managed command could not be deleted."""
        self._wave_left = [len(wave.targets) * len(plan.steps) for wave in plan.waves]
        self._wave_closed: float | None = None
        self._lanes, self._lane_of = self._make_lanes()
        self._turn = 0
        self._per_subscription: Counter[str] = Counter()
        self._durations = [Durations() for _ in plan.steps]
        self._deadlines: list[Entry] = []

    # -- reading -----------------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        return self.ended is not None

    def next(self, now: float) -> Effect:
        """Say what to do now. Asked twice without an event between, it answers alike."""
        if self._deadlines and self._deadlines[0][0] <= now:
            return Expire(self._deadlines[0][1])
        if self.stop is not None and self._may_halt():
            return Halt()
        if (stop := self._must_stop(now)) is not None:
            return stop
        if (wave_at := self._wave_at()) is not None and wave_at <= now:
            return OpenWave(self.wave + 1)
        if self.done == len(self.jobs) and self.calls == 0 and not self._removals_left():
            return Finish()
        if self.calls >= CALLS_AT_ONCE:
            return WaitUntil(None)
        return self._next_call(now)

    def call_budget(self, now: float) -> int:
        """How many submissions the tightest subscription would still take at once."""
        return min((lane.rates.arm.writes.left(now) for lane in self._lanes), default=0)

    def record(self) -> RunRecord:
        """Return how the run stands, one record per job."""
        return RunRecord(
            run_id=self.run_id,
            plan=self.plan,
            jobs=tuple(self._job_record(state) for state in self.jobs),
            started=self.started or 0.0,
            ended=self.ended,
            stop_cause=self.launch_stop.cause if self.launch_stop else self._stop_cause(),
            stop_message=self.launch_stop.message if self.launch_stop else "",
        )

    def _stop_cause(self) -> CauseCode | None:
        return CauseCode.STOPPED_BY_USER if self.stop is not None and not self.finished else None

    def _job_record(self, state: JobState) -> JobRecord:
        operation = ""
        if state.operation is not None:
            managed = state.transport is Transport.MANAGED
            url = state.operation.status_url
            operation = command_name(self.run_id, state.job) if managed else _operation_id(url)
        return JobRecord(
            job=state.job,
            phase=state.phase,
            outcome=state.outcome,
            attempts=state.attempt,
            operation=operation,
            started=state.intended,
            ended=state.ended,
        )

    def _must_stop(self, now: float) -> StopLaunching | None:
        if self.launch_stop is not None or self.done == len(self.jobs):
            return None
        if (breach := self.budget.breach()) is not None:
            return StopLaunching(*breach)
        if self.signed_out:
            return StopLaunching(CauseCode.AZURE_UNUSABLE, "Azure refuses the credential")
        deadline = self._deadline_at()
        if deadline is not None and deadline <= now:
            return StopLaunching(CauseCode.DEADLINE, "the run's deadline passed")
        return None

    def _deadline_at(self) -> float | None:
        if self.plan.limits.deadline is None or self.started is None or self.launch_stop is not None:
            return None
        return self.started + self.plan.limits.deadline

    def _wave_at(self) -> float | None:
        """The moment from which the next wave may open; None while it may not."""
        if self.stop or self.launch_stop or self.wave + 1 >= len(self.plan.waves):
            return None
        if self.wave < 0:
            return self.started
        return None if self._wave_closed is None else self._wave_closed + self.plan.limits.soak

    def _may_halt(self) -> bool:
        """Soft: nothing is in flight. Hard: nothing can be cancelled any more and no submission is on the wire."""
        if self.done == len(self.jobs):
            return False  # the ordinary end is near
        if self.stop is not None and self.stop.kind is e.StopKind.SOFT:
            return self.in_flight == 0 and self.calls == 0
        return self.calls == 0 and not self._removals_left()

    def _removals_left(self) -> bool:
        return any(lane.removals for lane in self._lanes)

    def _next_call(self, now: float) -> Effect:
        wake: list[float] = []
        for at, effect in self._candidates():
            if at <= now:
                return effect
            wake.append(at)
        for moment in (self._deadlines[0][0] if self._deadlines else None, self._deadline_at(), self._wave_at()):
            if moment is not None:
                wake.append(moment)
        return WaitUntil(min(wake, default=None))

    def _candidates(self) -> Iterator[tuple[float, Effect]]:
        """Yield what each lane could do and from when: launches round the lanes first, then reads, then removals."""
        lanes = self._lanes[self._turn :] + self._lanes[: self._turn]
        hard = self.stop is not None and self.stop.kind is e.StopKind.HARD
        room = not self.stop and self._has_room()
        for lane in lanes:
            if not hard and (at := lane.resend_at()) is not None:
                yield at, self._submit(lane.resends[0])
            if room and self._lane_has_room(lane) and (at := lane.launch_at()) is not None:
                yield at, self._submit(lane.launches[0])
        for lane in lanes:
            if not hard and (at := lane.look_at()) is not None:
                job = lane.looks[0][1]
                yield at, Find(job) if self.jobs[job].phase is Phase.FINDING else Look(job)
        for lane in lanes:
            if (at := lane.removal_at()) is not None:
                yield at, Remove(lane.removals[0][1])

    def _submit(self, entry: Entry) -> Submit:
        return Submit(entry[1], self.jobs[entry[1]].attempt + 1)

    def _has_room(self) -> bool:
        return self.in_flight < self.plan.limits.concurrency and self.budget.room(self.in_flight)

    def _lane_has_room(self, lane: Lane) -> bool:
        limit = self.plan.limits.concurrency_per_subscription
        return limit is None or self._per_subscription[lane.subscription] < limit

    # -- writing -----------------------------------------------------------------------------------------------------

    def apply(self, event: e.Event) -> None:
        """Take over one event. The only place where the run changes."""
        self.calls += isinstance(event, _CALLS)
        self.calls -= isinstance(event, _ANSWERS)
        lanes: Iterable[Lane] = self._lanes
        match event:
            case e.RunOpened():
                self._open(event)
            case e.WaveOpened():
                self._open_wave(event)
            case e.StopRequested():
                self._request_stop(event)
            case e.LaunchStopped():
                self._stop_launching(event)
            case e.RunEnded():
                self.ended = event.at
            case e.QuotaSeen():
                self._note(event)
            case e.RemovalBegun() | e.RemovalFailed():
                self._write_removal(event)
                lanes = (self._lane(self.jobs[event.job]),)
            case _:
                self._move(self.jobs[event.job], event)
                lanes = (self._lane(self.jobs[event.job]),)
        self._settle(lanes)

    def _move(self, state: JobState, event: e.Event) -> None:
        """Advance one job and keep every count and queue in step with it."""
        before, was_done = state.in_flight, state.phase is Phase.DONE
        self._count_call(state, event)
        advance(state, event)
        if isinstance(event, e.CommandRemoved):
            state.removal_due, state.removing = None, False
        self._pace(state, event)
        self._count_flight(state, before)
        if state.phase is Phase.DONE and not was_done:
            self._job_done(state, event.at)
        if self._is_to_be_cancelled(state):
            state.removal_due = event.at
        self._watch(state)
        self._lane(state).index(state)

    def _is_to_be_cancelled(self, state: JobState) -> bool:
        return (
            self.stop is not None
            and self.stop.kind is e.StopKind.HARD
            and state.phase is Phase.RUNNING
            and state.transport is Transport.MANAGED
            and state.removal_due is None
        )

    def _count_call(self, state: JobState, event: e.Event) -> None:
        rates = self._lane(state).rates
        if isinstance(event, e.SubmissionIntended):
            rates.submitted(event.at)
            self._turn = (self._lane_of[state.job.id] + 1) % len(self._lanes)
        elif isinstance(event, (e.LookBegun, e.FindBegun)):
            rates.read(event.at)
        elif isinstance(event, e.SubmissionRefused) and event.refusal.status == 429:
            rates.arm.writes.block(max(state.due, event.at + (event.refusal.retry_after or 1.0)))
        elif isinstance(event, e.LookFailed) and event.status == 429:
            rates.arm.reads.block(event.at + (event.retry_after or 1.0))

    def _pace(self, state: JobState, event: e.Event) -> None:
        """Set when a running job is looked at again."""
        if isinstance(event, (e.SubmissionAccepted, e.SeenRunning, e.LookFailed)) and state.phase is Phase.RUNNING:
            wait = next_look(
                age=event.at - (state.intended or event.at),
                looks=state.looks,
                hint=event.retry_after,
                durations=self._durations[self.plan.step_index(state.job.id)],
            )
            state.due = event.at + wait
        elif isinstance(event, e.LookFailed):
            state.due = event.at + max(backoff(state.looks, state.salt), event.retry_after or 0.0)

    def _count_flight(self, state: JobState, before: bool) -> None:
        change = int(state.in_flight) - int(before)
        self.in_flight += change
        self._per_subscription[state.job.target.subscription] += change

    def _watch(self, state: JobState) -> None:
        """Enter the moment at which the job's time is over, where it changed."""
        moment = self._expiry(state)
        if moment != state.deadline:
            state.deadline = moment
            if moment is not None:
                heapq.heappush(self._deadlines, (moment, state.job.id))

    def _expiry(self, state: JobState) -> float | None:
        limits = self.plan.limits
        if state.first_intended is None:
            return None
        if state.phase is Phase.RUNNING:
            return (state.intended or 0.0) + state.job.step.timeout + limits.answer_grace
        if state.phase is Phase.FINDING or (state.phase is Phase.WAITING and state.possibly_sent):
            return state.first_intended + state.job.step.timeout + limits.answer_grace
        return state.first_intended + limits.deliver_timeout if state.phase is Phase.WAITING else None

    def _job_done(self, state: JobState, at: float) -> None:
        assert state.outcome is not None
        self.done += 1
        wave = state.job.wave
        self._wave_left[wave] -= 1
        status = state.outcome.status
        self.budget.failures += status in FAILURES
        self.budget.not_reached += status in NOT_REACHED
        self.signed_out |= state.outcome.cause.code is CauseCode.UNAUTHENTICATED
        if state.operation is not None and state.intended is not None and state.outcome.verified:
            self._durations[self.plan.step_index(state.job.id)].add(at - state.intended)
        if state.transport is Transport.MANAGED and state.possibly_sent and status is not Status.CANCELLED:
            state.removal_due = at
        self._next_step(state, at)
        if wave == self.wave and self._wave_left[wave] == 0:
            self._wave_closed = at

    def _next_step(self, state: JobState, at: float) -> None:
        """Release the target's next step after a success; otherwise it will not be sent."""
        position = self.plan.step_index(state.job.id) + 1
        if position == len(self.plan.steps):
            return
        following = self.jobs[state.job.id + 1]
        assert state.outcome is not None
        if state.outcome.status is Status.SUCCEEDED and self.launch_stop is None:
            following.due = at
            self._lane(following).index(following)
            return
        if state.outcome.status is Status.SUCCEEDED and self.launch_stop is not None:
            outcome = Outcome(Status.NOT_STARTED, Cause(self.launch_stop.cause, self.launch_stop.message))
        elif state.outcome.status is Status.NOT_STARTED:
            outcome = state.outcome
        else:
            outcome = Outcome(
                Status.SKIPPED, Cause(CauseCode.EARLIER_STEP, f"step {state.job.step.id!r} did not succeed")
            )
        end(following, at, outcome)
        self._job_done(following, at)

    def _open(self, event: e.RunOpened) -> None:
        """Take the run over. What was on the wire when the last owner ended is lost; reads are simply asked again."""
        self.epoch = event.epoch
        self.started = event.at if self.started is None else self.started
        self.stop, self.calls = None, 0
        for state in self.jobs:
            state.removing = False
            if state.phase is not Phase.DONE:
                state.removal_due = None
            if state.phase is Phase.SUBMITTING:
                self.calls += 1  # the answer that will never come is counted down by the event below
                self.apply(e.SubmissionLost(event.at, state.job.id, LostReason.CRASHED))
            elif state.phase is not Phase.DONE and state.calling:
                state.calling = False
            if state.phase is not Phase.WAITING or state.attempt:
                self._lane(state).index(state)

    def _open_wave(self, event: e.WaveOpened) -> None:
        self.wave, self._wave_closed = event.wave, None
        for target in self.plan.waves[event.wave].targets:
            state = self.jobs[self.plan.job_id(target, 0)]
            state.due = event.at
            self._lane(state).index(state)

    def _request_stop(self, event: e.StopRequested) -> None:
        self.stop = event
        if event.kind is e.StopKind.HARD:
            for state in self.jobs:
                if self._is_to_be_cancelled(state):
                    state.removal_due = event.at
                    self._lane(state).index(state)

    def _stop_launching(self, event: e.LaunchStopped) -> None:
        self.launch_stop = event
        outcome = Outcome(Status.NOT_STARTED, Cause(event.cause, event.message))
        for state in self.jobs:
            first_open = state.phase is Phase.WAITING and not state.possibly_sent
            if first_open and not self._waits_for_earlier_step(state):
                end(state, event.at, outcome)
                self._job_done(state, event.at)

    def _waits_for_earlier_step(self, state: JobState) -> bool:
        """Whether an earlier step of the target is under way; its end decides about this one."""
        return self.plan.step_index(state.job.id) > 0 and self.jobs[state.job.id - 1].phase is not Phase.DONE

    def _write_removal(self, event: e.RemovalBegun | e.RemovalFailed) -> None:
        state = self.jobs[event.job]
        lane = self._lane(state)
        if isinstance(event, e.RemovalBegun):
            lane.rates.removed(event.at)
            state.removing = True
            return
        state.removing = False
        state.removal_tries += 1
        if event.status == 429:
            lane.rates.arm.deletes.block(event.at + (event.retry_after or 1.0))
        if state.removal_tries >= REMOVAL_TRIES:
            state.removal_due = None
            self.leftovers.append(state.job.id)
        else:
            pause = max(backoff(state.removal_tries, state.salt), event.retry_after or 0.0)
            state.removal_due = event.at + pause
            lane.index(state)

    def _note(self, event: e.QuotaSeen) -> None:
        for lane in self._lanes:
            if (lane.subscription, lane.location) == (event.quota.subscription, event.quota.location):
                lane.rates.note(event.at, event.quota)

    def _settle(self, lanes: Iterable[Lane]) -> None:
        """Drop stale tops of the queues that were touched, so that reading needs no writing."""
        for lane in lanes:
            lane.settle(self.jobs)
        while self._deadlines and self.jobs[self._deadlines[0][1]].deadline != self._deadlines[0][0]:
            heapq.heappop(self._deadlines)

    # -- building ----------------------------------------------------------------------------------------------------

    def _new_job(self, job: Job, digests: dict[tuple[str, Os], str]) -> JobState:
        wrapped = is_wrapped(self.plan, job.step)
        return JobState(
            job=job,
            transport=transport_of(self.plan, job.step),
            nonce=nonce(self.run_id, job) if wrapped else None,
            digest=digests[job.step.id, job.target.os] if wrapped else "",
        )

    def _make_lanes(self) -> tuple[list[Lane], list[int]]:
        lanes: dict[tuple[str, str], int] = {}
        made: list[Lane] = []
        arm: dict[str, SubscriptionRates] = {}
        lane_of: list[int] = []
        for state in self.jobs:
            subscription, location = state.job.target.subscription, state.job.target.location
            if (subscription, location) not in lanes:
                lanes[subscription, location] = len(made)
                rates = arm.setdefault(subscription, SubscriptionRates())
                made.append(Lane(subscription, location, LaneRates(rates)))
            lane_of.append(lanes[subscription, location])
        return made, lane_of

    def _lane(self, state: JobState) -> Lane:
        return self._lanes[self._lane_of[state.job.id]]


def _operation_id(url: str) -> str:
    """The operation's id out of its signed URL: enough to find it, free of signatures."""
    return url.partition("?")[0].rpartition("/")[2]
