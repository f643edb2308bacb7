"""Run records made by hand: plans, targets and outcomes without an engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fleet.plan.model import Limits, Plan, PlannedStep, PlaybookRef, Wave
from fleet.playbook.model import Script
from fleet.run.model import NOT_RUN, Cause, CauseCode, Outcome, Phase, Status
from fleet.run.record import JobRecord, RunRecord
from fleet.targets.model import Os, Target, UnreadScope

START = 1_772_330_584.0
"""2026-03-01T02:03:04Z."""
SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"


def target(name: str, *, group: str = "rg-web", subscription: str = SUBSCRIPTION, os: Os = Os.LINUX) -> Target:
    """Return a VM."""
    path = f"/subscriptions/{subscription}/resourceGroups/{group}"
    return Target(
        id=f"{path}/providers/Microsoft.Compute/virtualMachines/{name}",
        subscription=subscription,
        subscription_name=f"prod-{subscription[-1]}",
        resource_group=group,
        name=name,
        location="westeurope",
        os=os,
    )


def step(name: str = "patch") -> PlannedStep:
    """Return a step."""
    return PlannedStep(id=name, script=Script(text="true"), digest=f"{name:0<64}".encode().hex()[:64])


def plan(
    targets: Sequence[Target],
    steps: Sequence[PlannedStep] = (),
    *,
    wave_sizes: Sequence[int] = (),
    unread: tuple[UnreadScope, ...] = (),
    receipts: bool = True,
) -> Plan:
    """Return a plan over ``targets``; ``wave_sizes`` cuts them into waves, what is left over is one more."""
    waves: list[Wave] = []
    at = 0
    for size in [*wave_sizes, len(targets)]:
        members = tuple(range(at, min(at + size, len(targets))))
        if members:
            waves.append(Wave(len(waves), str(len(members)), members))
        at += size
    return Plan(
        playbook=PlaybookRef("linux-patch", "1.0.0", "ab" * 32, "Patch Linux VMs", "ops@example.org", "linux.yaml"),
        targets=tuple(targets),
        steps=tuple(steps) or (step(),),
        waves=tuple(waves),
        limits=Limits(),
        unread=unread,
        receipts=receipts,
    )


def succeeded(stdout: str = "nothing to do\n") -> Outcome:
    return Outcome(Status.SUCCEEDED, Cause(CauseCode.COMPLETED), exit_code=0, stdout=stdout, verified=True)


def failed(exit_code: int = 100, stderr: str = "E: could not get lock\n", stdout: str = "") -> Outcome:
    cause = Cause(CauseCode.EXIT_CODE, f"the script ended with {exit_code}", "read its output")
    return Outcome(Status.FAILED, cause, exit_code, stdout, stderr, verified=True)


def ended(status: Status, code: CauseCode, message: str = "", hint: str = "") -> Outcome:
    return Outcome(status, Cause(code, message, hint))


def unreachable() -> Outcome:
    return ended(Status.UNREACHABLE, CauseCode.VM_NOT_RUNNING, "the VM is deallocated", "start it, then rerun")


def not_started(code: CauseCode = CauseCode.BUDGET_FAILURES) -> Outcome:
    return ended(Status.NOT_STARTED, code, "launching had stopped")


@dataclass(frozen=True)
class Open:
    """A job that has not ended."""

    phase: Phase = Phase.RUNNING


def record(
    plan: Plan,
    outcomes: Sequence[Outcome | Open],
    *,
    stop_cause: CauseCode | None = None,
    stop_message: str = "",
    finished: bool = True,
) -> RunRecord:
    """Return a run's record, outcomes in the order of the plan's jobs; the last is everybody's after it."""
    jobs = []
    for index, job in enumerate(plan.jobs()):
        outcome = outcomes[min(index, len(outcomes) - 1)]
        jobs.append(_job(JobRecord(job, Phase.DONE), outcome, index))
    end = max((job.ended or START for job in jobs), default=START) + 1
    return RunRecord("r-20260301-7f3a", plan, tuple(jobs), START, end if finished else None, stop_cause, stop_message)


def _job(job: JobRecord, outcome: Outcome | Open, index: int) -> JobRecord:
    started = START + 60 * job.job.wave + index % 7
    if isinstance(outcome, Open):
        if outcome.phase is Phase.WAITING:
            return replace(job, phase=outcome.phase)
        return replace(job, phase=outcome.phase, attempts=1, started=started)
    job = replace(job, outcome=outcome)
    if outcome.status in NOT_RUN:
        return job
    job = replace(job, attempts=1, ended=started + 5 + index * 37 % 53)
    if outcome.status is Status.UNREACHABLE:
        return job
    return replace(job, started=started, operation=f"fleet-{index:05}")


def fleet(size: int, prefix: str = "web") -> list[Target]:
    """Return ``size`` VMs named ``web001`` and so on."""
    return [target(f"{prefix}{number:03}") for number in range(1, size + 1)]


def mixed() -> RunRecord:
    """Return a run with something of everything: waves, failures, not reached, not started, unread."""
    members = [*fleet(8), *fleet(3, "db"), target("win-1", os=Os.WINDOWS)]
    unread = (UnreadScope("00000000-0000-0000-0000-000000000009", "prod-legacy", "forbidden", "no reader role"),)
    outcomes = [
        *[succeeded()] * 4,
        *[failed()] * 2,
        failed(2, "boom\n"),
        ended(Status.UNVERIFIED, CauseCode.NO_RECEIPT, "no receipt came back", "run it again with receipts"),
        unreachable(),
        ended(Status.UNKNOWN, CauseCode.ANSWER_LOST, "the answer was lost", "fleet rerun"),
        ended(Status.TIMED_OUT, CauseCode.GUEST_TIMEOUT, "the script took too long"),
        not_started(),
    ]
    return record(
        plan(members, wave_sizes=[1, 5], unread=unread),
        outcomes,
        stop_cause=CauseCode.BUDGET_FAILURES,
        stop_message="3 failures, 2 allowed",
    )


def hostile(text: str) -> RunRecord:
    """Return a run in which every text that others decide is ``text``: names, messages, output."""
    bad = replace(target("x"), name=text, resource_group=text, location=text, subscription_name=text, id=text)
    cause = Cause(CauseCode.EXIT_CODE, text, text)
    outcomes = [
        Outcome(Status.FAILED, cause, 1, stdout=text, stderr=text, truncated=True, verified=True),
        Outcome(Status.UNREACHABLE, cause),
        Outcome(Status.SUCCEEDED, cause, 0, stdout=text, verified=True),
        Outcome(Status.NOT_STARTED, cause),
    ]
    made = plan(
        [bad, target("y"), target("z", group=text), target("n")],
        unread=(UnreadScope(text, text, text, text),),
    )
    made = replace(made, playbook=replace(made.playbook, title=text, owner=text, version=text))
    return record(made, outcomes, stop_cause=CauseCode.BUDGET_FAILURES, stop_message=text)
