"""The run itself: ``next(now)`` only reads and returns an effect, ``apply(event)`` only writes.

Resume, live view, report of a half-finished run and report of last month's run are the same two calls: apply the
journal's events, read the record. What is read lies in ``view``; this is the fold. A run that is carried out also joins the
rates that others use, and waits in line there: both change when it sends, and nothing that is reported.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import replace

from fleet.errors import defect
from fleet.plan.model import JobId
from fleet.playbook.model import Strategy
from fleet.run import agent, reboot
from fleet.run import events as e
from fleet.run.answers import LostReason
from fleet.run.budget import Budget
from fleet.run.command import derived_nonce
from fleet.run.counts import CALLS, Counted, count_answer, count_call, is_answer, is_end_of_call
from fleet.run.directives import sentence
from fleet.run.effects import Remove
from fleet.run.ender import Ender
from fleet.run.expiry import give_up_at, is_too_late
from fleet.run.gates.checks import cause, judgement
from fleet.run.gates.webhooks import told
from fleet.run.job import advance, again, broken, end
from fleet.run.job_state import JobState
from fleet.run.model import FAILURES, NOT_REACHED, Cause, CauseCode, Outcome, Phase, Status
from fleet.run.polling import LONGEST_HINT
from fleet.run.rates import Rates
from fleet.run.removal import forget_removal, may_be_removed, note_failure, plan_removal, try_anew
from fleet.run.retry import backoff
from fleet.run.scheduler import Lane
from fleet.run.view import RunView

_FOLLOWED = (e.SubmissionAccepted, e.SeenRunning, e.LookFailed, e.AgentSeen)
"""After these a running job is looked at again."""


class Run(RunView):
    """One run of one plan: mutable, with one writer."""

    def apply(self, event: e.Event) -> None:
        """Take over one event. The only place where the run changes."""
        self.applied += 1
        self._take(event)

    def join(self, rates: Rates, now: float, ahead: float = 0.0) -> None:
        """Count calls in rates that others use as well, whose moments are ``ahead`` seconds behind those of the run.

        Only a run that is carried out joins, and only after its kept events have been applied: a replay counts privately.
        """
        self._lanes.join(rates, now, ahead)

    def wait(self, now: float) -> None:
        """Keep a place among those who share the rates, for what is due and may not leave yet."""
        for at, effect, job in self._candidates():
            state = self.jobs[job]
            rates = self._lanes.of(state).rates
            due = state.removal_due if effect is Remove else state.due
            if at <= now or due is None or due > now:
                continue
            if effect is Remove:
                rates.wait_to_remove(now)
            elif effect == self._look:
                rates.wait_to_read(now)
            else:
                rates.wait_to_submit(now)

    def _take(self, event: e.Event) -> None:
        self._count_wire(event)
        self.latest = max(self.latest, event.at)
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
            case e.ApprovalAwaited():
                self.awaiting = event.wave
            case (
                e.RunPaused()
                | e.RunUnpaused()
                | e.RunCancelled()
                | e.LimitsChanged()
                | e.JobUnstuck()
                | e.WaveApproved()
                | e.WaveRejected()
            ):
                self._direct(event)
            case e.GateAsked() | e.GateSilent() | e.GateAnswered() | e.HealthBegun() | e.GateJudged():
                self._hear_gate(event)
            case e.RunEnded():
                self.ended = event.at
            case e.QuotaSeen():
                self._lanes.note(event.at, event.quota)
                lanes = ()
            case e.RemovalBegun() | e.RemovalFailed():
                self._write_removal(event)
                lanes = (self._lanes.of(self.jobs[event.job]),)
            case _:
                self._move(self.jobs[event.job], event)
                lanes = (self._lanes.of(self.jobs[event.job]),)
        self._settle(self._lanes if self.limits.spread else lanes)

    def _move(self, state: JobState, event: e.Event) -> None:
        """Advance one job and keep every count and queue in step with it."""
        before, was_done = Counted.of(state), state.phase is Phase.DONE
        count_call(self._lanes.of(state).rates, event)
        if isinstance(event, e.SubmissionIntended):
            self._lanes.submitted(state, event.at)
        self._advance(state, event)
        if self.launch_stop is not None and state.phase is Phase.WAITING and state.attempt:
            self._stop_job(state, event.at, self.launch_stop)
        if isinstance(event, e.CommandRemoved):
            forget_removal(state, event.at, event.retry)
            state.removed = state.removed or event.retry == state.retry
            self._progress = event.at
        self._pace(state, event)
        agent.take(state, event, self.plan.limits)
        if state.phase is Phase.DONE and not was_done:
            self._judge(state, event.at)
        self._count(state, before)
        if state.phase is Phase.DONE and not was_done:
            self._job_done(state, event.at)
        if self._is_to_be_cancelled(state):
            self._cancel(state, event.at)
        self._watch(state)
        self._lanes.index(state)
        self._lanes.let_go(state)
        self._end_unstuck(state, event.at)

    def _advance(self, state: JobState, event: e.Event) -> None:
        """Advance one job. Whatever goes wrong inside with what a VM or the service said ends that job and no other."""
        if isinstance(event, e.SubmissionIntended) and self.is_without_nonce(event.job) and not event.nonce:
            event = replace(event, nonce=derived_nonce(self.run_id, state.job, state.retry))
        was_done = state.phase is Phase.DONE
        try:
            advance(state, event)
            if isinstance(event, e.SubmissionIntended) and state.standing is not None:
                state.standing.source = self.command(event.job, {}).source
            if state.phase is Phase.DONE and not was_done:
                state.outcome = reboot.judged(state, event.at)
        except Exception as error:
            broken(state, event.at, defect(error))

    def _judge(self, state: JobState, at: float) -> None:
        """A try has ended: another follows, or that was the last."""
        if self._is_tried_again(state, at):
            self._try_again(state, at)
        elif state.is_last_look and state.outcome is not None:
            state.outcome = reboot.concluded(state.outcome)

    def _is_tried_again(self, state: JobState, at: float) -> bool:
        """Only what has certainly ended is run again, and after a stop only what brings a target to a good end."""
        flow, outcome = state.job.step.flow, state.outcome
        assert outcome is not None
        if state.job.step.restart is not None:
            wanted = reboot.is_tried_again(state, at, self._opened)
        else:
            ended = outcome.status in (Status.FAILED, Status.TIMED_OUT) and not outcome.may_still_run
            wanted = ended and state.retry < flow.retries
        return wanted and (self.launch_stop is None or not isinstance(self._decide(state), Outcome))

    def _try_again(self, state: JobState, at: float) -> None:
        if self._is_to_be_deleted(state):
            plan_removal(state, at)
        self.pace.begun(self.plan.target_index(state.job.id))
        again(state, at)

    def _count_wire(self, event: e.Event) -> None:
        """Count what goes out and what comes back, and note when something last did."""
        self.calls += type(event) in CALLS
        if is_end_of_call(event):
            self.calls -= 1
            state = self.jobs[event.job]
            count_answer(self._lanes.of(state).rates, state, event)
        if isinstance(event, (e.SubmissionAccepted, e.ResultReceived)):
            self._heard = event.at
        self._answered = event.at if is_answer(event) else self._answered

    def _pace(self, state: JobState, event: e.Event) -> None:
        """Set when a running job is looked at again."""
        if isinstance(event, _FOLLOWED) and state.phase is Phase.RUNNING:
            hint = None if isinstance(event, e.AgentSeen) else event.retry_after
            state.due = event.at + self.looks.wait(state, event.at, hint, self._lanes.reads(state, event.at))
        elif isinstance(event, e.LookFailed):
            state.due = event.at + max(backoff(state.looks, state.salt), min(event.retry_after or 0.0, LONGEST_HINT))

    def _look_sooner(self, like: JobState, at: float) -> None:
        """Some jobs have ended: look at those like them at the age at which most of these ended, if that comes sooner."""
        for state in self.jobs:
            if state.phase is Phase.RUNNING and not state.calling and self.looks.are_alike(state, like):
                sooner = max(at, self.looks.usual_end(state))
                if sooner < state.due:
                    state.due = sooner
                    self._lanes.index(state)

    def _count(self, state: JobState, before: Counted) -> None:
        """Keep the run's counts in step with a job that stood as ``before``."""
        change = int(state.in_flight) - int(before.in_flight)
        self.in_flight += change
        self.held_back += int(state.held_back) - int(before.held_back)
        self.tried += int(state.tried) - int(before.tried)
        self.reserved += int(state.reserves) - int(before.reserves)
        if change:
            self._lanes.count_flight(state, change)
            self.pace.flown(self.plan.target_index(state.job.id), change)

    def _watch(self, state: JobState) -> None:
        """Enter the moment at which the job is given up, where it changed, and have it looked at before."""
        cutoff = self._cutoff(state)
        if is_too_late(state, cutoff):
            assert cutoff is not None
            state.due = cutoff
        moment = give_up_at(state, cutoff)
        if moment != state.deadline:
            state.deadline = moment
            if moment is not None:
                heapq.heappush(self._deadlines, (moment, state.job.id))

    def _job_done(self, state: JobState, at: float) -> None:
        assert state.outcome is not None
        self.done += 1
        self.endings.append((state.job.id, self.applied))
        self._progress = at
        wave, status = state.job.wave, state.outcome.status
        if state.belongs_to_gate:
            self._gate_left[wave] -= 1
        else:
            self._wave_left[wave] -= 1
            self._spend(state, status)
            costs = self.budget.minds(status) or self.wave_budget.minds(status)
            self.pace.ended(self.plan.target_index(state.job.id), status, costs=costs)
        was_last = not state.belongs_to_gate and self._wave_left[wave] == 0
        refused = state.outcome.cause.code is CauseCode.UNAUTHENTICATED
        self.signed_out |= refused and self._heard <= (state.first_intended or 0.0)
        if state.operation is not None and state.outcome.verified and self.looks.learn(state, at):
            self._look_sooner(state, at)
        if self._is_to_be_deleted(state) and state.possibly_sent and may_be_removed(state):
            plan_removal(state, at)
        self._go_on(state, at)
        if was_last:
            self._close(wave, at)

    def _close(self, wave: int, at: float) -> None:
        """Every job of the wave has ended but those that its gates ask for: these end as well where none does."""
        if wave == self.wave:
            self._wave_closed = at
        if self.launch_stop is not None or not self.findings.needs_health(wave):
            self._give_gate_turns(wave, at)

    def _give_gate_turns(self, wave: int, at: float) -> None:
        """Let the steps begin, on every target of an ended wave, that wait for a gate to ask for them."""
        if self.plan.body < len(self.plan.steps):
            for target in self.plan.waves[wave].targets:
                self._give_turn(self.plan.job_id(target, self.plan.body), at)

    def _spend(self, state: JobState, status: Status) -> None:
        """Count a bad end against the budget: a target spends its part once, whatever its other steps do."""
        target = self.plan.target_index(state.job.id)
        by_us = self.stop is not None or self.control.cancelled is not None or state.ender is not None
        if target in self._spent or (by_us and status is Status.CANCELLED) or status not in FAILURES | NOT_REACHED:
            return
        self._spent.add(target)
        self.budget.count(status)
        self.wave_budget.count(status)

    def _go_on(self, state: JobState, at: float) -> None:
        """A step has ended: the next has its turn, on this target or, step by step, on all of the wave."""
        step = self.plan.step_index(state.job.id)
        wave = self.plan.waves[state.job.wave]
        if step + 1 in (len(self.plan.steps), self.plan.body):
            return  # what a gate asks for waits for the end of the wave
        if self.plan.strategy is Strategy.NODE:
            self._give_turn(JobId(state.job.id + 1), at)
            return
        self._step_left[wave.index][step] -= 1
        if self._step_left[wave.index][step] == 0:
            for target in wave.targets:
                self._give_turn(self.plan.job_id(target, step + 1), at)

    def _give_turn(self, job: JobId, at: float) -> None:
        """Release a job, or end it without having been sent."""
        state = self.jobs[job]
        verdict = self._decide(state)
        if isinstance(verdict, Outcome):
            end(state, at, verdict)
            self._job_done(state, at)
        else:
            before = Counted.of(state)
            state.released, state.known, state.begun = True, reboot.prepare(self._above(state), state, verdict), at
            state.due = at + reboot.first_look(state.job.step)
            state.free = state.belongs_to_gate or self.plan.target_index(job) in self._spent
            self._count(state, before)
            self._lanes.index(state)

    def _open(self, event: e.RunOpened) -> None:
        """Take the run over. What was on the wire when the last owner ended is lost; reads are simply asked again."""
        self._opened = self._progress = event.at
        self.started = event.at if self.started is None else self.started
        self.stop, self.calls, self._waits = None, 0, event.waits
        self.asking.take_over()
        self._lanes.share(event.principals)
        for state in self.jobs:
            state.removing = False
            if state.phase is not Phase.DONE:  # nobody asks any more that what runs be cancelled
                state.removals = [retry for retry in state.removals if retry != state.retry]
                state.removal_due = event.at if state.removals else None
            try_anew(state, event.at)
            if state.phase is Phase.SUBMITTING:
                self.calls += 1  # the answer that will never come is counted down by the event below
                self._take(e.SubmissionLost(event.at, state.job.id, LostReason.CRASHED))
            before, was_asked = Counted.of(state), state.calling
            state.calling = False
            agent.forget(state)
            self._count(state, before)
            self._watch(state)
            if state.attempt or was_asked:
                self._lanes.index(state)
        self.leftovers = [state.job.id for state in self.jobs if state.undeleted]
        self._look_anew()

    def _look_anew(self) -> None:
        """Forget how standing commands stood of which nothing was sent: others may have changed or started them since."""
        for state in self.jobs:
            if state.standing is None or not state.held_back or state.possibly_sent or state.calling:
                continue
            before = Counted.of(state)
            state.standing.surveyed = False
            self._count(state, before)
            self._lanes.index(state)
            self._lanes.let_go(state)

    def _open_wave(self, event: e.WaveOpened) -> None:
        self.wave, self._wave_closed = event.wave, None
        wave = self.plan.waves[event.wave]
        self.wave_budget = Budget(self.control.waves[event.wave], where=f" in wave {event.wave + 1}")
        self.pace.open_wave()
        for target in wave.targets:
            self._give_turn(self.plan.job_id(target, 0), event.at)

    def _request_stop(self, event: e.StopRequested) -> None:
        self.stop = event
        self._cancel_what_runs(event.at)

    def _direct(self, event: e.Directive) -> None:
        """Do as a person asked from elsewhere."""
        self.control.take(event)
        self.budget.limits = self.limits
        self.wave_budget.limits = self.control.waves.get(self.wave, self.wave_budget.limits)
        match event:
            case e.RunCancelled():
                self._end_launching(event, CauseCode.CANCELLED_BY_USER)
                self._cancel_what_runs(event.at)
            case e.WaveRejected() if event.wave == self.awaiting:
                self._end_launching(event, CauseCode.WAVE_REJECTED)
            case e.WaveApproved() if event.wave == self.awaiting:
                self.awaiting = None
            case e.RunUnpaused():
                self._look_anew()
            case e.JobUnstuck():
                self._unstick(event)
            case _:
                pass

    def _hear_gate(self, event: e.GateAsked | e.GateSilent | e.GateAnswered | e.HealthBegun | e.GateJudged) -> None:
        if isinstance(event, (e.HealthBegun, e.GateJudged)):
            self._hear_finding(event)
            return
        self.asking.take(event)
        if isinstance(event, e.GateAnswered) and not event.go and self.launch_stop is None:
            self._stop_launching(e.LaunchStopped(event.at, CauseCode.GATE_REFUSED, told(self.plan, event)))

    def _hear_finding(self, event: e.HealthBegun | e.GateJudged) -> None:
        self.findings.take(event)
        if isinstance(event, e.HealthBegun):
            self._give_gate_turns(event.wave, event.at)
        elif not event.go and self.launch_stop is None:
            why = cause(self.plan.gates[event.gate])
            self._stop_launching(e.LaunchStopped(event.at, why, judgement(self.plan, event)))

    def _end_launching(self, event: e.Directive, cause: CauseCode) -> None:
        if self.launch_stop is None:
            self._stop_launching(e.LaunchStopped(event.at, cause, sentence(event)))

    def _cancel_what_runs(self, at: float) -> None:
        for state in self.jobs:
            if self._is_to_be_cancelled(state):
                self._cancel(state, at)
                self._lanes.index(state)

    def _cancel(self, state: JobState, at: float) -> None:
        """Have the command of a running job deleted, and know who wants that, whatever is found of it later."""
        who = self.stop if self._is_hard() else self.control.cancelled
        if state.ender is None and who is not None:
            state.ender = Ender.of(who)
        plan_removal(state, at)

    def _unstick(self, event: e.JobUnstuck) -> None:
        """Know that a person ends a job's script, and look what became of it."""
        if not 0 <= event.job < len(self.jobs):
            return
        state = self.jobs[event.job]
        if state.phase is Phase.DONE or event.retry != state.retry:
            return
        failed, done = event.stage is e.FreeingStage.FAILED, event.stage is e.FreeingStage.DONE
        # What was still on its way when the command was deleted may run all the same.
        sure = done and state.phase is Phase.RUNNING
        state.ender = None if failed else replace(Ender.of(event), done=sure)
        if done and state.phase in (Phase.RUNNING, Phase.FINDING) and not state.calling:
            state.due = event.at
            self._lanes.index(state)
        self._end_unstuck(state, event.at)

    def _end_unstuck(self, state: JobState, at: float) -> None:
        """End a job whose managed command a person deleted; an answer that is on its way is awaited first."""
        ender = state.ender
        if ender is None or not ender.done or ender.in_guest or state.phase is not Phase.RUNNING or state.calling:
            return
        if self._is_to_be_deleted(state):
            self._move(state, e.CommandRemoved(at, state.job.id, retry=state.retry))

    def _stop_launching(self, event: e.LaunchStopped) -> None:
        """From now on nothing is sent: what waits is over, at once or when it comes back to waiting."""
        self.launch_stop, self.awaiting = event, None
        for state in self.jobs:
            first = self.plan.step_index(state.job.id) == 0
            if state.phase is Phase.WAITING and (state.released or first):
                before = Counted.of(state)
                self._stop_job(state, event.at, event)
                self._count(state, before)
                if state.outcome is not None:
                    self._job_done(state, event.at)
        if self._wave_closed is not None and self._gate_left[self.wave] and self.wave not in self.findings.begun:
            self._give_gate_turns(self.wave, event.at)

    def _stop_job(self, state: JobState, at: float, stop: e.LaunchStopped) -> None:
        """End a waiting job, unless it brings its target to a good end.

        One whose submission may have arrived is not sent again: it would begin only now.
        """
        verdict = self._decide(state)
        if isinstance(verdict, Outcome) and state.possibly_sent:
            message = f"the answer was lost, and the run sends nothing again ({stop.cause.value}: {stop.message})"
            cause = Cause(CauseCode.ANSWER_LOST, message, "look at the VM before running again")
            verdict = Outcome(Status.UNKNOWN, cause)
        if isinstance(verdict, Outcome):
            end(state, at, verdict)

    def _write_removal(self, event: e.RemovalBegun | e.RemovalFailed) -> None:
        state = self.jobs[event.job]
        lane = self._lanes.of(state)
        if isinstance(event, e.RemovalBegun):
            lane.rates.removed(event.at)
            state.removing = True
            return
        if event.status == 429:
            lane.rates.refused_removal(event.at, event.retry_after, event.code)
        if note_failure(state, event):
            self.leftovers.append(state.job.id)
        self._lanes.index(state)  # one that could not be cancelled is looked at again

    def _settle(self, lanes: Iterable[Lane]) -> None:
        """Drop stale tops of the queues that were touched, so that reading needs no writing."""
        self._lanes.settle(lanes)
        while self._deadlines and self.jobs[self._deadlines[0][1]].deadline != self._deadlines[0][0]:
            heapq.heappop(self._deadlines)
