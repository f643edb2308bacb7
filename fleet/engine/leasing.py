"""One run at a time on a VM: a Cloud that takes the VM's lease before it sends anything there.

A lease is taken (or renewed) with every submission and let go of when the run is done with the VM. What ended without a
certain answer may still be running in the VM, so its lease is left to become void by itself, at the moment at which an
answer would no longer have been waited for.
"""

from __future__ import annotations

from collections.abc import Iterable

from fleet.clock import Clock
from fleet.engine.ports import Cloud, Holder, Leases, Reply
from fleet.engine.wrapper import WrappedCloud
from fleet.plan.model import JobId, Plan
from fleet.playbook.model import Lease
from fleet.run import answers as a
from fleet.run.events import Event
from fleet.run.job_state import JobState
from fleet.run.model import CauseCode, Phase, Status
from fleet.run.state import Run
from fleet.run.waits import clock
from fleet.targets.model import Target

ASK_AGAIN_AFTER = 2.0
"""Seconds. The pause grows with every refusal, see :mod:`fleet.run.retry`."""


class LeasingCloud(WrappedCloud):
    """Carries a run's commands to ``cloud`` while the run holds their VMs' leases."""

    def __init__(self, cloud: Cloud, leases: Leases, run: Run, clock: Clock) -> None:
        super().__init__(cloud)
        self._leases = leases
        self._run = run
        self._clock = clock
        self._longest = max((step.timeout for step in run.plan.steps), default=0.0) + run.plan.limits.answer_grace
        # An earlier owner of the run took leases for whatever it sent.
        self._held = {state.job.target.key: state.job.target for state in run.jobs if state.attempt}

    async def submit(self, command: a.Command) -> Reply[a.SubmitAnswer]:
        """Send a command once if no other run holds the VM; otherwise refuse it without a request."""
        now = self._clock.now()
        holder = await self._leases.take(command.target, self._run.run_id, now=now, until=now + self._longest)
        if holder is not None:
            return Reply(a.Refused(_refusal(self._run.plan, holder)))
        self._held[command.target.key] = command.target
        return await self._cloud.submit(command)

    def observe(self, event: Event) -> None:
        """Let go of the event's VM if the run is done with it."""
        job: JobId | None = getattr(event, "job", None)
        if job is None or self._run.jobs[job].phase is not Phase.DONE:
            return
        target = self._run.jobs[job].job.target
        if target.key in self._held and all(state.phase is Phase.DONE for state in self._jobs_of(job)):
            self._let_go(target, job)

    def release_idle(self) -> None:
        """Let go of every VM on which nothing of this run may be at work: the run is left as it stands."""
        for state in self._run.jobs:
            if state.job.target.key in self._held:
                self._let_go(state.job.target, state.job.id)

    def at_work(self) -> tuple[Target, ...]:
        """Return the VMs that are held and on which something of this run may be at work."""
        jobs = (state.job for state in self._run.jobs if _may_be_at_work(state))
        return tuple({job.target.key: job.target for job in jobs if job.target.key in self._held}.values())

    async def hold_again(self, targets: Iterable[Target], leases: Leases) -> None:
        """Take the leases of VMs once more, where the first keeper of them was lost; those that others hold stay theirs."""
        now = self._clock.now()
        for target in targets:
            await leases.take(target, self._run.run_id, now=now, until=now + self._longest)

    def _let_go(self, target: Target, job: JobId) -> None:
        del self._held[target.key]
        if not any(_may_be_at_work(state) for state in self._jobs_of(job)):
            self._leases.release(target, self._run.run_id)

    def _jobs_of(self, job: JobId) -> list[JobState]:
        """Every job on the VM of this one."""
        plan = self._run.plan
        first = plan.job_id(plan.target_index(job), 0)
        return self._run.jobs[first : first + len(plan.steps)]


def idle(run: Run, targets: Iterable[Target]) -> list[Target]:
    """Return those of these targets on which no script of the run may be running."""
    at_work = {state.job.target.key for state in run.jobs if _may_be_at_work(state)}
    return [target for target in targets if target.key not in at_work]


def _may_be_at_work(state: JobState) -> bool:
    if state.outcome is None:
        return state.in_flight and not (state.ender is not None and state.ender.done)
    return state.outcome.status is Status.UNKNOWN or state.outcome.cause.code is CauseCode.SERVICE_TIMEOUT


def _refusal(plan: Plan, holder: Holder) -> a.Refusal:
    wait = ASK_AGAIN_AFTER if plan.lease is Lease.WAIT else None
    message = f"run {holder.run_id} is at work on this VM, until {clock(holder.until)} at the latest"
    return a.Refusal(0, a.LEASED, message, wait, holder.run_id, holder.until)
